//go:build clusters

package storagetest_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger/server"
	"github.com/imaledger/imaledger/ledger/server/s3mysql/s3mysqltest"
	"github.com/imaledger/imaledger/ledger/server/storagetest"
)

// TestClusters holds what keeps a ledger in earnest to the same: Ceph's RGW and three
// nodes of Galera. IMALEDGER_S3 is the RGW's URL, IMALEDGER_MYSQL the address of one
// node; make clusters has the keys that they must know.
func TestClusters(t *testing.T) {
	endpoint, node := os.Getenv("IMALEDGER_S3"), os.Getenv("IMALEDGER_MYSQL")
	if endpoint == "" || node == "" {
		t.Fatal("IMALEDGER_S3 and IMALEDGER_MYSQL are not set; the Makefile says what they are")
	}
	stores := 0
	storagetest.Test(t, func(t *testing.T) func() *server.Storage {
		stores++
		name := strings.ToLower(fmt.Sprintf("ledger%x%d", time.Now().UnixNano(), stores))
		return opener(t, s3mysqltest.MakeStore(t, endpoint, func(database string) string { return s3mysqltest.DSN(node, database) }, name))
	})
}
