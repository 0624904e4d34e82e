//go:build figures

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger"
)

// TestFigures: what the README says of the pages, on a host without a TPM, so that the
// time is the browser's.
func TestFigures(t *testing.T) {
	b := startBrowser(t)
	path := os.Getenv("PATH")
	os.Setenv("PATH", t.TempDir()) // without swtpm
	s := newSite(t, time.Now)
	os.Setenv("PATH", path)
	host := s.hosts[0]
	if err := host.boot(); err != nil {
		t.Fatal(err)
	}
	if err := host.enrol(t.Context(), s.demo); err != nil {
		t.Fatal(err)
	}
	list := host.list[:firstRecords(t, host.list, 1)]
	for i := range 20_002 {
		list = append(list, fileRecord("/usr/lib/x86_64-linux-gnu/library-"+strconv.Itoa(i)+".so.1")...)
	}
	host.list = list
	seal := func(n int) {
		t.Helper()
		if got, err := host.measure(n); err != nil || got != n {
			t.Fatal(got, err)
		}
		if _, err := host.seal(t.Context(), s.demo, 0); err != nil {
			t.Fatal(err)
		}
	}
	seal(20_003)
	sources, err := s.bundle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := packed(sources)
	if err != nil {
		t.Fatal(err)
	}
	for range 1_000_000 {
		host.list = append(host.list, fileRecord("/usr/lib/x86_64-linux-gnu/library-"+strconv.Itoa(len(host.list))+".so.1")...)
	}
	seal(1_000_000)

	b.look(themes[0])
	b.open(s.url, "#/")
	b.pin(s)
	var first []float64
	for range 5 {
		b.run(reload)
		b.until(`!!document.querySelector(".mini.verified") && (globalThis.firstAt = performance.now())`)
		first = append(first, eval[float64](b, `globalThis.firstAt`))
	}
	t.Logf("first verified checkpoint: %.0f ms after the page was asked for (median of 5, looked for every 50 ms)", median(first))

	file := filepath.Join(t.TempDir(), "evidence.tar")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	b.open(s.url, "#/verify")
	b.until(`document.querySelector(".drop").innerText.includes("is loaded")`)
	var browser, inGo []float64
	for i := range 5 {
		began := time.Now()
		report, err := s.check(raw)
		if err != nil || report.Class() != ledger.Noted {
			t.Fatal(report, err)
		}
		inGo = append(inGo, float64(time.Since(began).Microseconds())/1000)
		eval[int](b, `(() => {
			const live = document.querySelector("#live");
			live.textContent = "";
			document.querySelector(".drop").addEventListener("drop", () => (globalThis.droppedAt = performance.now()), {once: true, capture: true});
			new MutationObserver((_, o) => { if (live.textContent.endsWith("verified")) { globalThis.verifiedAt = performance.now(); o.disconnect(); } }).observe(live, {childList: true, subtree: true, characterData: true});
			return 0;
		})()`)
		b.drop(".drop", map[string][]byte{"run" + strconv.Itoa(i) + ".tar": raw})
		b.until(`document.querySelector("#live").textContent.endsWith("verified")`)
		browser = append(browser, eval[float64](b, `globalThis.verifiedAt - globalThis.droppedAt`))
	}
	t.Logf("20,003 records in a bundle: %.0f ms in the browser, %.0f ms in Go (medians of 5)", median(browser), median(inGo))

	b = startBrowser(t) // one that holds nothing of the above
	b.look(themes[0])
	b.open(s.url, "#/trust")
	b.pin(s)
	before := rendererMemory(t)
	began := time.Now()
	b.open(s.url, "#/hosts/web1.example/2")
	t.Logf("1,000,000 records (%d MB): fetched, verified and shown in %.1f s", len(host.list)/1e6, time.Since(began).Seconds())
	if mark := b.text(".verdict > .mark > summary"); mark != "✓ verified" {
		t.Fatal(mark)
	}
	t.Logf("memory: %d MB of renderers in all, of two browsers, %d MB before; the page's heap %.0f MB", rendererMemory(t)/1e6, before/1e6, eval[float64](b, `performance.memory.usedJSHeapSize / 1e6`))
	frames := eval[[]float64](b, `new Promise((done) => {
		const list = document.querySelector(".vlist"), frames = [];
		let last = performance.now(), n = 0;
		requestAnimationFrame(function frame(now) {
			frames.push(now - last); last = now;
			list.scrollTop += n++ % 60 === 59 ? list.scrollHeight / 12 : 90;
			if (n < 600) requestAnimationFrame(frame); else done(frames);
		});
	})`)
	slices.Sort(frames)
	t.Logf("scrolling 10^6 records, 600 frames with ten jumps: median %.1f ms, 95 %% %.1f ms, longest %.1f ms", frames[300], frames[570], frames[599])
	began = time.Now()
	eval[int](b, `(() => { const i = document.querySelector(".records input"); i.value = "library-7777"; i.dispatchEvent(new Event("input")); return 0; })()`)
	b.until(`/of 1,000,000 records/.test(document.querySelector(".records [role=status]").innerText)`)
	t.Logf("filter over 10^6 records: %.1f s", time.Since(began).Seconds())
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}

// rendererMemory is what the browser's renderers of this process hold, in bytes.
func rendererMemory(t *testing.T) (sum int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		line, err := os.ReadFile(name)
		if err != nil || !bytes.Contains(line, []byte("--type=renderer")) || !descends(filepath.Base(filepath.Dir(name))) {
			continue
		}
		status, err := os.ReadFile(filepath.Join(filepath.Dir(name), "status"))
		if err != nil {
			continue
		}
		for _, l := range strings.Split(string(status), "\n") {
			if kb, found := strings.CutPrefix(l, "VmRSS:"); found {
				n, _ := strconv.Atoi(strings.Fields(kb)[0])
				sum += n * 1024
			}
		}
	}
	return sum
}

// descends reports whether a process comes from this one.
func descends(pid string) bool {
	for range 20 {
		if pid == strconv.Itoa(os.Getpid()) {
			return true
		}
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil || pid == "1" {
			return false
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		pid = fields[1]
	}
	return false
}
