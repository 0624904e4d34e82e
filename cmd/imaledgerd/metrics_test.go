package main

import (
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/cmd/internal/cli"
)

// TestMetricsListen: what is shown is the ledger's and the process's, on an
// address of its own and on no other.
func TestMetricsListen(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	_, url := serve(t, append(setup(t, ""), "--metrics-listen", address))
	text := get(t, "http://"+address+"/metrics")
	for _, want := range []string{"\nimaledger_up 1\n", "\nimaledger_tree_size 0\n", "\nimaledger_hosts 0\n", "\ngo_goroutines ", "\nprocess_resident_memory_bytes "} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if resp, err := http.Get("http://" + address + "/debug/pprof/cmdline"); err != nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("profiles that nobody asked for: %v %v", resp, err)
	}
	resp, err := http.Get(url + "metrics")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("the ledger's own address answers %s", resp.Status)
	}
}

func TestPprof(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	serve(t, append(setup(t, ""), "--metrics-listen", address, "--pprof"))
	if text := get(t, "http://"+address+"/debug/pprof/heap?debug=1"); !strings.Contains(text, "heap profile:") {
		t.Error(text)
	}
	if err := run(t.Context(), append(setup(t, ""), "--pprof"), nil, io.Discard, io.Discard); err == nil || cli.Code(err) != cli.ExitUsage {
		t.Errorf("without a place to show them: %v", err)
	}
}

// TestAlerts: no alert waits for a metric that there is not.
func TestAlerts(t *testing.T) {
	source, err := os.ReadFile("../../ledger/server/metrics.go")
	if err != nil {
		t.Fatal(err)
	}
	alerts, err := os.ReadFile("alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`\bimaledger_[a-z_]+`).FindAllString(string(alerts), -1)
	if len(names) < 6 {
		t.Fatalf("alerts.yml has %d metrics", len(names))
	}
	for _, name := range names {
		if !strings.Contains(string(source), `"`+strings.TrimSuffix(name, "_bucket")+`"`) {
			t.Errorf("alerts.yml waits for %s", name)
		}
	}
}
