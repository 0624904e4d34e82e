package witness

import (
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
)

// One request, from the bytes to the answer: the same tree once more.
func BenchmarkSameSize(b *testing.B) {
	log := newTestLog(b, testOrigin)
	w := start(b, testConfig(b, log))
	want(b, w, 200, log.body(b, 0, 7))
	body := log.body(b, 7, 7)
	for b.Loop() {
		want(b, w, 200, body)
	}
}

// 64 logs that grow at once, each request durable before its answer.
func BenchmarkGrow(b *testing.B) {
	const logs = 64
	shared := newTestLog(b, testOrigin)
	sizes := b.N/logs + 2
	for i := treeSize; i <= sizes; i++ {
		shared.tree.AppendData(binary.BigEndian.AppendUint32(nil, uint32(i)))
	}
	all, bodies := make([]*testLog, logs), make([][]string, logs)
	var group sync.WaitGroup
	for i := range all {
		all[i] = newTestLog(b, fmt.Sprint("log.example/", i))
		group.Go(func() {
			for size := range uint64(sizes) {
				bodies[i] = append(bodies[i], "old "+fmtUint(size)+"\n"+all[i].proof(shared.tree, size, size+1)+"\n"+all[i].signed(shared.tree, size+1))
			}
		})
	}
	group.Wait()
	w := start(b, testConfig(b, all...))
	b.ResetTimer()
	for i := range all {
		group.Go(func() {
			for n := range b.N / logs {
				if code := post(w, bodies[i][n]).Code; code != 200 {
					b.Error(code)
					return
				}
			}
		})
	}
	group.Wait()
}
