//go:build guest

package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/imaledger/imaledger/cmd/internal/guest"
	"github.com/imaledger/imaledger/cmd/internal/trustdir"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
)

// programs are the binaries under test, built once.
var programs = sync.OnceValues(func() (map[string]string, error) {
	dir, err := os.MkdirTemp("", "guest-programs")
	if err != nil {
		return nil, err
	}
	built := make(map[string]string)
	for name, tags := range map[string]string{
		"cmd/imaledger": "", "cmd/imaledgerd": "", "cmd/imaledger-witness": "", "cmd/imaledger-agent": "guest", "cmd/internal/guest/guestinit": "",
	} {
		if built[filepath.Base(name)], err = guest.Build(dir, name, tags); err != nil {
			return nil, err
		}
	}
	return built, nil
})

func init() {
	inParallel = "4" // guests do not wait, they compute
	atExit = func() {
		if built, err := programs(); err == nil {
			os.RemoveAll(filepath.Dir(built["imaledger"]))
		}
	}
}

// A site is a ledger with three witnesses, of which two are demanded, each a
// process of its own, on this machine's loopback.
type site struct {
	t      *testing.T
	dir    string
	trust  *ledger.Trust
	client *client.Client
	urls   []string // of the witnesses
	served int      // programs started
	port   int      // of what hosts reach: it forwards to the ledger
	before atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool]
}

func (s *site) program(name string) string {
	built, err := programs()
	if err != nil {
		s.t.Fatal(err)
	}
	return built[name]
}

// tool runs imaledger, and returns what it prints.
func (s *site) tool(args ...string) (string, error) {
	out, err := exec.Command(s.program("imaledger"), args...).CombinedOutput()
	return string(out), err
}

func (s *site) keygen(kind, name string) (vkey string) {
	s.t.Helper()
	out, err := exec.Command(s.program("imaledger"), "keygen", "--kind", kind, "--name", name, "--out", s.path(name+".key")).Output()
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func (s *site) path(name string) string {
	return filepath.Join(s.dir, strings.ReplaceAll(name, "/", "_"))
}

// serve starts a server and returns the URL that it prints in its second line.
func (s *site) serve(name string, args ...string) string {
	s.t.Helper()
	c := exec.Command(s.program(name), append(args, "--listen", "127.0.0.1:0")...)
	stdout, err := c.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	s.served++
	log, err := os.Create(s.path(fmt.Sprintf("%s-%d.log", name, s.served)))
	if err != nil {
		s.t.Fatal(err)
	}
	c.Stderr = log
	if err := c.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Process.Kill(); c.Wait(); log.Close() })
	lines := bufio.NewScanner(stdout)
	lines.Scan() // the key
	if !lines.Scan() {
		text, err := os.ReadFile(log.Name())
		s.t.Fatalf("%s did not start: %s %v", name, text, err)
	}
	return lines.Text()
}

// startWitnesses starts the site's witnesses, each with its state in a folder of
// the given suffix.
func (s *site) startWitnesses(logKey, suffix string) (urls []string) {
	s.t.Helper()
	for i := range 3 {
		name := fmt.Sprintf("w%d.example", i)
		urls = append(urls, s.serve("imaledger-witness", "--state", s.path(name+suffix), "--key", s.path(name+".key"+suffix), "--log", logKey))
	}
	return urls
}

// fork starts the ledger and its witnesses a second time, with the keys and the
// state that they have now.
func (s *site) fork() http.Handler {
	s.t.Helper()
	for _, name := range []string{"w0.example", "w1.example", "w2.example", "ledger", "trust"} {
		if err := os.CopyFS(s.path(name+".fork"), os.DirFS(s.path(name))); err != nil {
			s.t.Fatal(err)
		}
	}
	// A witness's key is fenced, so that one program uses it. Who forks it copies both.
	for i := range 3 {
		name := s.path(fmt.Sprintf("w%d.example.key", i))
		for from, to := range map[string]string{name: name + ".fork", name + ".fence": name + ".fork.fence"} {
			content, err := os.ReadFile(from)
			if err == nil {
				err = os.WriteFile(to, content, 0o600)
			}
			if err != nil {
				s.t.Fatal(err)
			}
		}
	}
	policy, err := os.ReadFile(filepath.Join(s.dir, "trust", ledger.TrustPolicyFile))
	if err != nil {
		s.t.Fatal(err)
	}
	text := string(policy)
	logKey := strings.Fields(text)[1]
	for i, u := range s.startWitnesses(logKey, ".fork") {
		text = strings.ReplaceAll(text, s.urls[i], u)
	}
	s.write("trust.fork/"+ledger.TrustPolicyFile, text)
	u, err := url.Parse(s.serve("imaledgerd", s.flags(".fork")...))
	if err != nil {
		s.t.Fatal(err)
	}
	return httputil.NewSingleHostReverseProxy(u)
}

func (s *site) flags(suffix string) []string {
	return []string{"serve", "--dir", s.path("ledger" + suffix), "--key", s.path("log.example/guests.key"), "--trust", s.path("trust" + suffix),
		"--registrar", s.path("registrar.example.key"), "--public-payloads", "--checkpoint-interval", "200ms"}
}

// newSite starts a ledger. rules are those of its trust folder besides the
// registrar's, flags are further ones of imaledgerd.
func newSite(t *testing.T, rules string, flags ...string) *site {
	t.Helper()
	return newSiteOf(t, 1, rules, flags...)
}

// newSiteOf starts a ledger that demands one registrar, or two: then the second is
// a service of its own.
func newSiteOf(t *testing.T, registrars int, rules string, flags ...string) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir()}
	logKey := s.keygen("log", "log.example/guests")
	policy := "log " + logKey + "\n"
	var keys []string
	for i := range 3 {
		keys = append(keys, s.keygen("witness", fmt.Sprintf("w%d.example", i)))
	}
	s.urls = s.startWitnesses(logKey, "")
	for i, u := range s.urls {
		policy += fmt.Sprintf("witness w%d %s %s\n", i, keys[i], u)
	}
	policy += "group two 2 w0 w1 w2\nquorum two\n"
	demanded := "registrar " + s.keygen("registrar", "registrar.example") + "\n"
	if registrars == 2 {
		demanded += "registrar " + s.keygen("registrar", "registrar2.example") + "\n"
	}
	rules = fmt.Sprintf("%s\n%sregistrars %d\n%s", ledger.TrustRulesFormat, demanded, registrars, rules)
	s.write("trust/"+ledger.TrustPolicyFile, policy)
	s.write("trust/"+ledger.TrustRulesFile, rules)
	for i, ca := range []string{"issuercert.pem", "swtpm-localca-rootca-cert.pem"} {
		pem, err := os.ReadFile("/var/lib/swtpm-localca/" + ca)
		if err != nil {
			// swtpm_setup makes its authority with the first TPM.
			m := &guest.Machine{Dir: t.TempDir()}
			if err := m.NewTPM(); err != nil {
				t.Fatal(err)
			}
			if pem, err = os.ReadFile("/var/lib/swtpm-localca/" + ca); err != nil {
				t.Fatal(err)
			}
		}
		s.write(fmt.Sprintf("trust/%s/%d.pem", ledger.TrustRootsDir, i), string(pem))
	}
	var err error
	if s.trust, err = trustdir.Read(filepath.Join(s.dir, "trust")); err != nil {
		t.Fatal(err)
	}
	if registrars == 2 {
		token := s.path("token")
		if err := os.WriteFile(token, []byte("a token of these two alone\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		url := s.serve("imaledgerd", "registrar", "--trust", s.path("trust"), "--key", s.path("registrar2.example.key"), "--registrar-token", token)
		flags = append(flags, "--registrar", url, "--registrar-token", token)
	}
	s.forward(s.serve("imaledgerd", append(s.flags(""), flags...)...))
	return s
}

func (s *site) write(name, content string) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// forward puts a proxy before the ledger, which answer can have speak for it.
func (s *site) forward(target string) {
	u, err := url.Parse(target)
	if err != nil {
		s.t.Fatal(err)
	}
	s.client = &client.Client{Base: target}
	proxy := httputil.NewSingleHostReverseProxy(u)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := s.before.Load(); f == nil || !(*f)(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	s.t.Cleanup(front.Close)
	s.port = front.Listener.Addr().(*net.TCPAddr).Port
}

// answer lets f answer in the ledger's place where it returns true; nil ends it.
func (s *site) answer(f func(w http.ResponseWriter, r *http.Request) bool) {
	if f == nil {
		s.before.Store(nil)
		return
	}
	s.before.Store(&f)
}

func (s *site) down() {
	s.answer(func(w http.ResponseWriter, _ *http.Request) bool {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return true
	})
}
