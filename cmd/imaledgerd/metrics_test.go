package main

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
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
	for _, want := range []string{"\nimaledger_up 1\n", "\nimaledger_tree_size 0\n", "\nimaledger_hosts 0\n",
		"\n" + `imaledger_findings_total{code="chain-fork",signed="true"} 0` + "\n", `imaledger_entries_total{format="imaledger/segment/v1",outcome="failed"} 0`, "\ngo_goroutines ", "\nprocess_resident_memory_bytes "} {
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

// TestAlerts: neither an alert nor the dashboard waits for a metric that there is
// not, and Prometheus takes the alerts.
func TestAlerts(t *testing.T) {
	source, err := os.ReadFile("../../ledger/server/metrics.go")
	if err != nil {
		t.Fatal(err)
	}
	for file, least := range map[string]int{"alerts.yml": 6, "dashboard.json": 14} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		names := regexp.MustCompile(`\bimaledger_[a-z_]+`).FindAllString(string(text), -1)
		if len(names) < least {
			t.Fatalf("%s has %d metrics", file, len(names))
		}
		for _, name := range names {
			if !strings.Contains(string(source), `"`+strings.TrimSuffix(name, "_bucket")+`"`) {
				t.Errorf("%s waits for %s", file, name)
			}
		}
		if strings.HasSuffix(file, ".json") && !json.Valid(text) {
			t.Errorf("%s is no JSON", file)
		}
	}
	if out, err := exec.Command("promtool", "test", "rules", "alerts_test.yml").CombinedOutput(); err != nil {
		t.Errorf("promtool (apt-get install prometheus): %v\n%s", err, out)
	}
}
