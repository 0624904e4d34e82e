//go:build clusters

package storagetest_test

import (
	"database/sql"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger/server"
	"github.com/imaledger/imaledger/ledger/server/s3mysql"
	"github.com/imaledger/imaledger/ledger/server/s3mysql/s3mysqltest"
	"github.com/imaledger/imaledger/ledger/server/storagetest"
)

// TestClusters holds what keeps a ledger in earnest to the same: Ceph's RGW and three
// nodes of Galera, first with all front ends on one node, then with each on the next.
// IMALEDGER_S3 is the RGW's URL, IMALEDGER_MYSQL the addresses of nodes with commas
// between; make clusters has the keys that they must know.
func TestClusters(t *testing.T) {
	endpoint, addresses := os.Getenv("IMALEDGER_S3"), os.Getenv("IMALEDGER_MYSQL")
	if endpoint == "" || addresses == "" {
		t.Fatal("IMALEDGER_S3 and IMALEDGER_MYSQL are not set; the Makefile says what they are")
	}
	nodes := strings.Split(addresses, ",")
	stores := 0
	on := func(nodes []string) func(t *testing.T) {
		return func(t *testing.T) {
			storagetest.Test(t, func(t *testing.T) func() *server.Storage {
				stores++
				name := strings.ToLower(fmt.Sprintf("ledger%x%d", time.Now().UnixNano(), stores))
				made := s3mysqltest.MakeStore(t, endpoint, func(database string) string { return s3mysqltest.DSN(nodes[0], database) }, name)
				var configs []s3mysql.Config
				for _, node := range nodes {
					c := made
					c.DSN = s3mysqltest.DSN(node, name)
					configs = append(configs, c)
					makeDatabase(t, node, name)
				}
				return opener(t, configs...)
			})
		}
	}
	t.Run("one node", on(nodes[:1]))
	if len(nodes) > 1 {
		t.Run("all nodes", on(nodes))
	}
}

// makeDatabase returns when a node has the database, whichever node it was made on.
func makeDatabase(t *testing.T, node, name string) {
	t.Helper()
	db, err := sql.Open("mysql", s3mysqltest.DSN(node, "mysql"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), "CREATE DATABASE IF NOT EXISTS "+name); err != nil {
		t.Fatal(err)
	}
}
