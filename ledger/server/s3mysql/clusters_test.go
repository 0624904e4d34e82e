//go:build clusters

package s3mysql_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger/server/s3mysql/s3mysqltest"
)

// TestClusters holds Ceph's RGW to what is said of locks; the servers are those of
// storagetest's TestClusters.
func TestClusters(t *testing.T) {
	endpoint, addresses := os.Getenv("IMALEDGER_S3"), os.Getenv("IMALEDGER_MYSQL")
	if endpoint == "" || addresses == "" {
		t.Fatal("IMALEDGER_S3 and IMALEDGER_MYSQL are not set; the Makefile says what they are")
	}
	node, _, _ := strings.Cut(addresses, ",")
	name := fmt.Sprintf("locked%x", time.Now().UnixNano())
	testLocked(t, s3mysqltest.MakeStore(t, endpoint, func(database string) string { return s3mysqltest.DSN(node, database) }, name))
}
