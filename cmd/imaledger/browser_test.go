package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	stdlog "log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/imaledger/imaledger/cmd/internal/trustdir"
	"github.com/imaledger/imaledger/ledger"
)

// screenshotsDir is the folder that pictures of the pages are kept in, if it is set.
const screenshotsDir = "IMALEDGER_SCREENSHOTS"

// pageTimeout bounds one page, on a slow machine that does other things too.
const pageTimeout = 60 * time.Second

// A site is a played demonstration, served to browsers.
type site struct {
	*demo
	policy, rules string
	roots         []string // PEM
}

// startSite plays the demonstration and serves it: two hosts, three boots, a kexec.
func startSite(t *testing.T) *site {
	t.Helper()
	s := newSite(t, time.Now)
	if err := s.play(t.Context(), &printer{w: t.Output()}); err != nil {
		t.Fatal(err)
	}
	return s
}

// siteOf is what a browser pins of a trust folder.
func siteOf(t *testing.T, trust string) *site {
	t.Helper()
	offer, err := trustdir.Offer(trust)
	if err != nil {
		t.Fatal(err)
	}
	return &site{policy: offer.Policy, rules: offer.Rules, roots: offer.Roots}
}

// newSite serves a ledger in which no host is yet.
func newSite(t *testing.T, now func() time.Time) *site {
	t.Helper()
	dir, err := os.MkdirTemp("", "web") // Unix sockets have short names
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	d, err := startDemo(context.Background(), dir, now) // t.Context ends before the clean-up
	t.Cleanup(func() {
		if err := d.close(); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &site{demo: d}
	for name, to := range map[string]*string{ledger.TrustPolicyFile: &s.policy, ledger.TrustRulesFile: &s.rules} {
		b, err := os.ReadFile(filepath.Join(dir, "trust", name))
		if err != nil {
			t.Fatal(err)
		}
		*to = string(b)
	}
	return s
}

// A browser is a fresh profile of Chromium: nothing is pinned, nothing remembered.
type browser struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	requests []string // URLs, of workers and the browser itself too: all go through a proxy
	problems []string // what the page complained of: exceptions, errors, refused loads
}

func startBrowser(t *testing.T) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("chromium is not installed: apt-get install chromium")
	}
	b := &browser{t: t}
	proxy := httptest.NewServer(b.proxy())
	t.Cleanup(proxy.Close)
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.WindowSize(1280, 900),
		chromedp.Flag("lang", "en-US"), chromedp.Flag("enable-precise-memory-info", true), chromedp.Env("TZ=Europe/Berlin"), chromedp.ProxyServer(proxy.URL), chromedp.Flag("proxy-bypass-list", "<-loopback>"), chromedp.WSURLReadTimeout(pageTimeout))
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...) // t.Context ends before the clean-up
	ctx, cancel := chromedp.NewContext(allocator, chromedp.WithErrorf(func(string, ...any) {}), chromedp.WithListener(b.listen))
	b.ctx = ctx
	t.Cleanup(func() {
		cancel()
		stop()
	})
	if err := chromedp.Do(ctx); err != nil { // the browser's life is not bound by one page's time
		t.Fatal(err)
	}
	b.run(protocol(network.Enable, network.EnableParams{}), protocol(network.SetCacheDisabled, network.SetCacheDisabledParams{CacheDisabled: true}))
	return b
}

// protocol is a command of the DevTools protocol whose answer is of no interest.
func protocol[P, R any](command cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, command, params)
		return err
	})
}

// ofTheBrowser are hosts that Chromium itself asks, whatever page it shows: for updates
// and the like. The proxy lets none of it through.
var ofTheBrowser = []string{
	"update.googleapis.com", "clients2.google.com", "accounts.google.com", "content-autofill.googleapis.com", "optimizationguide-pa.googleapis.com",
	"safebrowsing.googleapis.com", "safebrowsingohttpgateway.googleapis.com", "android.clients.google.com", "redirector.gvt1.com", "edgedl.me.gvt1.com",
}

// proxy notes every request of the browser, and passes on those to this machine.
func (b *browser) proxy() http.Handler {
	pass := &httputil.ReverseProxy{Rewrite: func(*httputil.ProxyRequest) {}, ErrorLog: stdlog.New(io.Discard, "", 0)}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(ofTheBrowser, r.URL.Hostname()) {
			b.mu.Lock()
			b.requests = append(b.requests, r.URL.String())
			b.mu.Unlock()
		}
		if addr, err := netip.ParseAddr(r.URL.Hostname()); err != nil || !addr.IsLoopback() || r.Method == http.MethodConnect {
			http.Error(w, "tests talk to this machine alone", http.StatusForbidden)
			return
		}
		pass.ServeHTTP(w, r)
	})
}

func (b *browser) listen(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			text += " " + e.ExceptionDetails.Exception.Description
		}
		b.problems = append(b.problems, text)
	case *runtime.EventConsoleAPICalled:
		if e.Type == "error" && len(e.Args) > 0 {
			b.problems = append(b.problems, string(e.Args[0].Value))
		}
	case *log.EventEntryAdded:
		// What a server does not have is not the page's fault.
		if e.Entry.Level == "error" && e.Entry.Source != "network" {
			b.problems = append(b.problems, e.Entry.Text)
		}
	}
}

// run does things in the page, within a bound of time.
func (b *browser) run(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, pageTimeout)
	defer cancel()
	b.check(chromedp.Do(ctx, actions...))
}

// check fails with what the page shows.
func (b *browser) check(err error) {
	b.t.Helper()
	if err == nil {
		return
	}
	ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second)
	defer cancel()
	text, _ := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText.slice(0, 2000)`)) // for the message
	b.t.Fatalf("%v; problems %q; the page shows\n%s", err, b.complaints(), text)
}

// eval evaluates an expression, which may be a promise.
func eval[T any](b *browser, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, pageTimeout)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	b.check(err)
	return v
}

// reload has the page forget what it holds in memory.
var reload = chromedp.Reload()

// until waits for an expression to be true.
func (b *browser) until(expression string) {
	b.t.Helper()
	b.run(chromedp.Poll[chromedp.Void](expression, chromedp.WithPollingInterval(50*time.Millisecond), chromedp.WithPollingTimeout(pageTimeout)))
}

// open shows a page of a site and waits until it has nothing more to load.
func (b *browser) open(url, hash string) {
	b.t.Helper()
	if was := eval[string](b, `location.href`); strings.HasPrefix(was, url+"/") {
		// A page is shown once: what it loads twice may still be on its way when all is there.
		eval[int](b, `document.querySelector("main").replaceChildren(); location.hash === `+quoted(hash)+` ? dispatchEvent(new Event("hashchange")) : (location.hash = `+quoted(hash)+`); 0`)
	} else {
		b.run(chromedp.Navigate(url + "/" + hash))
	}
	b.settled()
}

// settled: there is a page, and nothing in it loads.
func (b *browser) settled() {
	b.t.Helper()
	b.until(`document.querySelector("main > .page")?.dataset.at === location.hash && !!document.querySelector("main h1") && !document.querySelector("main .loading, main .vrow.waiting, main .checking")
		&& ![...document.querySelectorAll("main .vlist")].some((v) => !v.hasAttribute("aria-rowcount") || v.getAttribute("aria-rowcount") > 1 && !v.querySelector(".vrows .vrow"))`)
}

// pin puts a trust folder into the browser's memory, as the page of trust does.
func (b *browser) pin(s *site) {
	b.t.Helper()
	pin, err := json.Marshal(map[string]any{"policy": s.policy, "rules": s.rules, "roots": append([]string{}, s.roots...), "from": "files of yours", "at": time.Now().Unix(), "compared": true})
	if err != nil {
		b.t.Fatal(err)
	}
	eval[int](b, `localStorage.setItem("imaledger-trust", `+quoted(string(pin))+`); 0`)
	b.run(chromedp.Reload())
	b.settled()
}

// click clicks the first element that a selector finds.
func (b *browser) click(selector string) {
	b.t.Helper()
	b.until(`!!document.querySelector(` + quoted(selector) + `)`)
	eval[int](b, `document.querySelector(`+quoted(selector)+`).click(); 0`)
}

// press presses a key of the given name, or types a letter.
func (b *browser) press(key string) {
	b.t.Helper()
	name, ok := map[string]string{"Enter": kb.Enter, "Tab": kb.Tab, "ArrowDown": kb.ArrowDown, "PageDown": kb.PageDown, "End": kb.End, "Home": kb.Home}[key]
	if !ok {
		b.t.Fatalf("no key %s", key)
	}
	b.run(chromedp.KeyEvent(name))
}

func (b *browser) typed(text string) {
	b.t.Helper()
	b.run(chromedp.KeyEvent(text))
}

// tabTo presses Tab until what has the focus is called so: its label, or its text. What
// has the focus must show that.
func (b *browser) tabTo(name string) {
	b.t.Helper()
	var seen []string
	for range 200 {
		b.press("Tab")
		at := eval[string](b, `((e) => e.getAttribute("aria-label") ?? e.labels?.[0]?.innerText ?? e.innerText ?? "")(document.activeElement).trim()`)
		if at == name || strings.HasSuffix(at, name) {
			if width := eval[string](b, `getComputedStyle(document.activeElement).outlineStyle + getComputedStyle(document.activeElement).outlineWidth`); width != "solid3px" {
				b.t.Errorf("%s has the focus and does not show it: outline %s", name, width)
			}
			return
		}
		seen = append(seen, at)
	}
	b.t.Fatalf("Tab does not lead to %q, but to %q", name, seen)
}

// text is what elements show.
func (b *browser) text(selector string) string {
	b.t.Helper()
	return eval[string](b, `[...document.querySelectorAll(`+quoted(selector)+`)].map((e) => e.innerText).join("\n")`)
}

func (b *browser) count(selector string) int {
	b.t.Helper()
	return eval[int](b, `document.querySelectorAll(`+quoted(selector)+`).length`)
}

func (b *browser) complaints() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.problems
}

// clean: the page threw nothing and talked to nobody but its own origin.
func (b *browser) clean(origins ...string) {
	b.t.Helper()
	if p := b.complaints(); len(p) > 0 {
		b.t.Errorf("the page complains: %q", p)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.requests) == 0 {
		b.t.Error("no request was seen")
	}
	for _, url := range b.requests {
		own := false
		for _, o := range origins {
			own = own || strings.HasPrefix(url, o+"/")
		}
		if !own {
			b.t.Errorf("a request to %s", url)
		}
	}
}

// theme is how a page is looked at.
type theme struct {
	name  string
	dark  bool
	width int64
}

var themes = []theme{{"light", false, 1280}, {"dark", true, 1280}, {"narrow", false, 320}}

func (b *browser) look(th theme) {
	b.t.Helper()
	scheme := "light"
	if th.dark {
		scheme = "dark"
	}
	b.run(
		protocol(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}),
		protocol(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: th.width, Height: 900, DeviceScaleFactor: 1}))
}

// shoot keeps a picture of the whole page, or of its begin.
func (b *browser) shoot(name string) { b.shootTo(name, 3000) }

// shootTo keeps a picture of so many pixels of the page from above.
func (b *browser) shootTo(name string, height float64) {
	b.t.Helper()
	dir := os.Getenv(screenshotsDir)
	if dir == "" {
		return
	}
	b.run(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		m, err := cdp.Call(ctx, target, cdppage.GetLayoutMetrics, cdp.Empty{})
		if err != nil {
			return err
		}
		beyond := true
		picture, err := cdp.Call(ctx, target, cdppage.CaptureScreenshot, cdppage.CaptureScreenshotParams{
			CaptureBeyondViewport: &beyond, Clip: &cdppage.Viewport{Width: m.CSSContentSize.Width, Height: min(m.CSSContentSize.Height, height), Scale: 1}})
		if err != nil {
			return err
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, name+".png"), picture.Data, 0o644)
	}))
}

func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string has JSON
	}
	return string(b)
}

// get reads what a site serves.
func get(t *testing.T, url string) *http.Response {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Body.Close() })
	return r
}

func quotedNumber(f float64) string {
	b, err := json.Marshal(f)
	if err != nil {
		panic(err) // it is finite
	}
	return string(b)
}
