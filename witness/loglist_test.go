package witness

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

// The list that the public witness network publishes for tests parses, and is
// written again with the same meaning.
func TestPublishedLogList(t *testing.T) {
	text, err := os.ReadFile("testdata/witness-network-testing")
	if err != nil {
		t.Fatal(err)
	}
	logs, err := ParseLogList(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if len(logs) != 11 || logs[6].Origin != "vindex.gopherwatch.org" || logs[6].QPD != 288 || logs[6].Contact != "admin@gopherwatch.org" {
		t.Errorf("%d logs, %+v", len(logs), logs[6])
	}
	c := testConfig(t)
	c.Logs = logs
	start(t, c)
	again, err := FormatLogList(logs)
	if err != nil {
		t.Fatal(err)
	}
	if reparsed, err := ParseLogList(again); err != nil || len(reparsed) != len(logs) {
		t.Errorf("%d logs, %v", len(reparsed), err)
	}
}

func TestParseLogList(t *testing.T) {
	vkey := newTestLog(t, "log.example/a").vkey
	other := newTestLog(t, "log.example/b").vkey
	one := "logs/v0\nvkey " + vkey + "\nqpd 24\ncontact ops\n"
	for _, test := range []struct {
		name, text, want string // want is a part of the error, empty for none
		logs             int
	}{
		{"a log", one, "", 1},
		{"no log", "# nothing yet\nlogs/v0\n", "", 0},
		{"space around lines", "\t logs/v0 \n  vkey " + vkey + "\t\n\n# comment\n\tqpd 24\n contact a b \n", "", 1},
		{"two logs, one with an origin", one + "vkey " + other + "\norigin elsewhere\nqpd 2147483647\ncontact ops\n", "", 2},
		{"no newline at the end", strings.TrimSuffix(one, "\n"), "", 1},

		{"empty", "", "no line logs/v0", 0},
		{"another format", "logs/v1\n", "line 1", 0},
		{"the header twice", "logs/v0\nlogs/v0\n", "line 2", 0},
		{"a log before the header", "vkey " + vkey + "\n", "line 1", 0},
		{"carriage returns", strings.ReplaceAll(one, "\n", "\r\n"), "control character", 0},
		{"qpd before vkey", "logs/v0\nqpd 1\n", "line 2", 0},
		{"origin after qpd", "logs/v0\nvkey " + vkey + "\nqpd 1\norigin x\ncontact c\n", "line 4", 0},
		{"two origins", "logs/v0\nvkey " + vkey + "\norigin x\norigin y\nqpd 1\ncontact c\n", "line 4", 0},
		{"an empty origin", "logs/v0\nvkey " + vkey + "\norigin\nqpd 1\ncontact c\n", "line 3", 0},
		{"no contact", "logs/v0\nvkey " + vkey + "\nqpd 1\n", "the list ends here", 0},
		{"a key twice", one + "vkey " + vkey + "\nqpd 1\ncontact c\n", "in the list already, at line 4", 0},
		{"two logs with one origin", one + "vkey " + other + "\norigin log.example/a\nqpd 1\ncontact c\n", "in the list already", 0},
		{"two vkeys of a log", "logs/v0\nvkey " + vkey + "\nvkey " + other + "\nqpd 1\ncontact c\n", "line 3", 0},
		{"qpd 0", strings.Replace(one, "qpd 24", "qpd 0", 1), "line 3: qpd", 0},
		{"qpd 2^31", strings.Replace(one, "qpd 24", "qpd 2147483648", 1), "line 3: qpd", 0},
		{"qpd with a zero", strings.Replace(one, "qpd 24", "qpd 024", 1), "line 3: qpd", 0},
		{"qpd with a plus", strings.Replace(one, "qpd 24", "qpd +24", 1), "line 3: qpd", 0},
		{"no vkey", "logs/v0\nvkey x\nqpd 1\ncontact c\n", "line 2: log key", 0},
		{"a witness's key", "logs/v0\nvkey " + testKey(t, "w").VKey() + "\nqpd 1\ncontact c\n", "a witness's key", 0},
		{"an unknown line", "logs/v0\nvkey " + vkey + "\nbastion none\nqpd 1\ncontact c\n", "line 3", 0},
	} {
		logs, err := ParseLogList(test.text)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) || len(logs) != test.logs {
			t.Errorf("%s: %d logs, %v; want %d, %q", test.name, len(logs), err, test.logs, test.want)
		}
	}
}

// A list that others write adds logs. It changes none and removes none.
func TestAddLogs(t *testing.T) {
	parse := func(vkey string, qpd int) Log {
		l, err := ParseLog(vkey)
		if err != nil {
			t.Fatal(err)
		}
		l.QPD = qpd
		return l
	}
	a, b, forged := newTestLog(t, "log.example/a"), newTestLog(t, "log.example/b"), newTestLog(t, "log.example/a")
	known := []Log{parse(a.vkey, 24)}
	all, err := AddLogs(known, []Log{parse(forged.vkey, 86400), parse(b.vkey, 10)})
	if !errors.Is(err, ErrLogChanged) || len(all) != 2 || all[0].Keys[0].VKey != a.vkey || all[0].QPD != 24 || all[1].Origin != b.origin {
		t.Errorf("%+v, %v", all, err)
	}
	if all, err := AddLogs(all, nil); err != nil || len(all) != 2 {
		t.Errorf("an empty list: %d logs, %v", len(all), err)
	}
}

// Logs come and go while the witness runs; what was cosigned stays.
func TestSetLogs(t *testing.T) {
	log, fresh := newTestLog(t, testOrigin), newTestLog(t, "log.example/fresh")
	c := testConfig(t, log)
	w := start(t, c)
	want(t, w, 200, log.body(t, 0, 7))
	want(t, w, 404, fresh.body(t, 0, 3))
	both := testConfig(t, log, fresh).Logs
	if err := w.SetLogs(both); err != nil {
		t.Fatal(err)
	}
	want(t, w, 200, fresh.body(t, 0, 3))
	if err := w.SetLogs(append(both, both[0])); err == nil {
		t.Error("a key given twice is accepted")
	}
	if err := w.SetLogs(both[1:]); err != nil {
		t.Fatal(err)
	}
	want(t, w, 404, log.body(t, 7, 12))
	if got := get(w, "/"+originHash(testOrigin)+"/checkpoint"); got.Code != 200 {
		t.Errorf("monitors of a log that is gone get %d", got.Code)
	}
	w.Close()
	c.Logs = nil
	w = start(t, c) // without any
	if err := w.SetLogs(both); err != nil {
		t.Fatal(err)
	}
	want(t, w, 409, log.body(t, 0, 12))
	want(t, w, 200, log.body(t, 7, 12))
	want(t, w, 409, fresh.body(t, 0, 3))
}

// Requests beyond what a log may send are answered with 429, and nobody who
// sends its published checkpoints again keeps it from growing.
func TestLimits(t *testing.T) {
	log, other := newTestLog(t, testOrigin), newTestLog(t, "log.example/other")
	c := testConfig(t, log, other)
	c.Logs[0].QPD = 48 // one each half hour, 16 at once
	now := testTime
	c.Now = func() time.Time { return now }
	w := start(t, c)
	want(t, w, 200, log.body(t, 0, 7))
	for range minBurst / 2 {
		want(t, w, 200, log.body(t, 7, 7))
		want(t, w, 409, log.body(t, 3, 12))
	}
	for _, body := range []string{log.body(t, 7, 7), log.body(t, 3, 12), log.bodyOf(t, log.fork, 7, 12)} {
		response := post(w, body)
		if response.Code != 429 || response.Header().Get("Retry-After") != "1800" {
			t.Errorf("got %d %q, Retry-After %q", response.Code, response.Body, response.Header().Get("Retry-After"))
		}
	}
	want(t, w, 403, corrupt(t, log.body(t, 7, 8))) // strangers count for nobody
	for size := uint64(7); size < 7+minBurst-1; size++ {
		want(t, w, 200, log.body(t, size, size+1))
	}
	want(t, w, 429, log.body(t, 22, 23))
	want(t, w, 200, other.body(t, 0, 7))
	now = now.Add(30 * time.Minute)
	want(t, w, 200, log.body(t, 22, 23))
	want(t, w, 429, log.body(t, 23, 24))
	// A reload that does not change the limit does not forget what was used.
	if err := w.SetLogs(c.Logs); err != nil {
		t.Fatal(err)
	}
	want(t, w, 429, log.body(t, 23, 24))
}

func FuzzLogList(f *testing.F) {
	text, err := os.ReadFile("testdata/witness-network-testing")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	f.Add("logs/v0\nvkey x\norigin y\nqpd 1\ncontact c\n")
	f.Fuzz(func(t *testing.T, text string) {
		logs, err := ParseLogList(text)
		if err != nil {
			return
		}
		again, err := FormatLogList(logs)
		if err != nil {
			t.Fatal(err)
		}
		reparsed, err := ParseLogList(again)
		if err != nil || len(reparsed) != len(logs) {
			t.Fatalf("%q is written as %q: %v", text, again, err)
		}
		for i := range logs {
			if reparsed[i].Origin != logs[i].Origin || reparsed[i].QPD != logs[i].QPD || reparsed[i].Keys[0].VKey != logs[i].Keys[0].VKey {
				t.Fatalf("%+v is written as %+v", logs[i], reparsed[i])
			}
		}
	})
}
