package storagetest_test

import (
	"os"
	"sync/atomic"
	"testing"

	"github.com/imaledger/imaledger/ledger/server"
	"github.com/imaledger/imaledger/ledger/server/s3mysql"
	"github.com/imaledger/imaledger/ledger/server/s3mysql/s3mysqltest"
	"github.com/imaledger/imaledger/ledger/server/storagetest"
)

func TestDirectory(t *testing.T) {
	storagetest.Test(t, func(t *testing.T) func() *server.Storage {
		// Tessera's workers write for some moments after they were ended.
		dir, err := os.MkdirTemp("", "imaledger-storage-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		return func() *server.Storage { return server.Directory(dir) }
	})
}

func TestS3MySQL(t *testing.T) {
	servers := s3mysqltest.Start(t)
	storagetest.Test(t, func(t *testing.T) func() *server.Storage { return opener(t, servers.Config(t)) })
}

// opener opens a store again and again, each time as another process, by each of the
// configurations in turn.
func opener(t *testing.T, configs ...s3mysql.Config) func() *server.Storage {
	var opened atomic.Int64
	return func() *server.Storage {
		c := configs[int(opened.Add(1)-1)%len(configs)]
		s, err := s3mysql.Open(t.Context(), c)
		if err != nil {
			t.Error(err)
			return &server.Storage{}
		}
		t.Cleanup(func() { s.Close() })
		storage := &server.Storage{Name: "s3", Log: s.Log, Files: s.Files, Addenda: s.Addenda, Tree: s.DB, Sequencer: s.DB, Driver: s.Driver}
		if !s.Locks {
			t.Error("the payloads' bucket has no object lock")
		}
		storage.Holder = s.Addenda
		return storage
	}
}
