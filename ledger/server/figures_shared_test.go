//go:build figures

package server

import (
	"bytes"
	"crypto/sha256"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/ledger/server/s3mysql/s3mysqltest"
)

// TestFiguresShared: sustained admissions a second on S3 and MySQL, payloads
// uploaded, with one front end and with two, and beside them a directory. Front ends,
// versitygw, MariaDB, witnesses and hosts share the machine: the ratio of two to one
// says little where it has two cores.
func TestFiguresShared(t *testing.T) {
	const each, rounds = 8, 3
	store := s3mysqltest.Start(t)
	for round := range rounds {
		for _, n := range []int{0, 1, 2} {
			var c *childLedger
			var fronts []*frontEnd
			if n == 0 {
				c = newChildLedger(t)
				spec := c.spec
				spec.Dir = filepath.Join(tempDir(t), "ledger")
				fronts = []*frontEnd{{spec: spec}}
				c.testLedger.Client = &client.Client{Base: balance(t, fronts)}
			} else {
				c, fronts = newFrontEnds(t, store.Config(t), n)
			}
			for _, f := range fronts {
				f.run(t)
			}
			for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
				if _, err := c.Checkpoint(t.Context()); err == nil {
					break
				} else if time.Now().After(deadline) {
					t.Fatal(err)
				}
			}
			c.testLedger.Client = &client.Client{Base: "http://" + fronts[0].spec.Address, HTTP: poster()}
			list := prepare(t, c.testLedger, figureHosts, each, false)
			clients := make([]*client.Client, len(fronts))
			for i, f := range fronts {
				clients[i] = &client.Client{Base: "http://" + f.spec.Address, HTTP: poster()}
			}
			var mu sync.Mutex
			var took []time.Duration
			rate := perSecond(t, list, func(leaf, payload []byte) error {
				// A host keeps to one front end, as a balancer has it do.
				s, err := ledger.ParseSegment(leaf)
				if err != nil {
					return err
				}
				l := clients[int(sha256.Sum256([]byte(s.Host))[0])%len(clients)]
				began := time.Now()
				if err = l.PutAddendum(t.Context(), sha256.Sum256(payload), int64(len(payload)), bytes.NewReader(payload)); err == nil {
					_, err = l.SubmitLeaf(t.Context(), leaf, 0)
				}
				mu.Lock()
				took = append(took, time.Since(began))
				mu.Unlock()
				return err
			})
			slices.Sort(took)
			what := map[int]string{0: "a directory", 1: "S3 and MySQL, one front end", 2: "S3 and MySQL, two front ends"}[n]
			t.Logf("round %d, %s: %.0f segments a second with their payloads; p50 %v, p99 %v", round, what, rate,
				took[len(took)/2].Round(time.Millisecond), took[len(took)*99/100].Round(time.Millisecond))
			for _, f := range fronts {
				f.end()
			}
		}
	}
}
