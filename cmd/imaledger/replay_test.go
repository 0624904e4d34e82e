package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/tpm/ima"
)

// A quoteFiles is a recorded quote with its list, as files that a test may alter.
type quoteFiles struct {
	t                          *testing.T
	dir                        string
	list, attest, sig, ak, pcr []byte
	nonce                      string
	base                       map[string]string
	flags                      []string
}

// quoteOf reads a recorded quote; identity is the folder above it with the key.
func quoteOf(t *testing.T, identity, cut string) *quoteFiles {
	t.Helper()
	q := &quoteFiles{t: t, dir: t.TempDir(), attest: recorded(t, cut+"/quote.tpms_attest"), sig: recorded(t, cut+"/quote.tpmt_signature"),
		ak: recorded(t, identity+"/identity/ak.tpmt_public"), pcr: recorded(t, cut+"/pcrs.json")}
	var hints struct{ ExtraData string }
	if err := json.Unmarshal(q.pcr, &hints); err != nil {
		t.Fatal(err)
	}
	q.nonce = hints.ExtraData
	return q
}

func (q *quoteFiles) args() []string {
	q.t.Helper()
	file := func(name string, content []byte) string { return writeFile(q.t, filepath.Join(q.dir, name), content) }
	args := []string{"replay", "--attest", file("attest", q.attest), "--signature", file("signature", q.sig), "--ak", file("ak", q.ak), "--nonce", q.nonce}
	if q.pcr != nil {
		args = append(args, "--pcrs", file("pcrs.json", q.pcr))
	}
	if q.base != nil {
		b, err := json.Marshal(q.base)
		if err != nil {
			q.t.Fatal(err)
		}
		args = append(args, "--base", file("base.json", b))
	}
	return append(append(args, q.flags...), file("list", q.list))
}

func (q *quoteFiles) replay() (code int, r replayReport, text string) {
	q.t.Helper()
	code, stdout, stderr := tool(q.t, append(q.args(), "--json")...)
	if stdout != "" {
		if err := json.Unmarshal([]byte(stdout), &r); err != nil {
			q.t.Fatal(err)
		}
	}
	textCode, text, _ := tool(q.t, q.args()...)
	if textCode != code {
		q.t.Errorf("exit %d with --json, %d without", code, textCode)
	}
	return code, r, text + stderr
}

// rawRecords are a list's records.
func rawRecords(t *testing.T, list []byte) (raw [][]byte) {
	t.Helper()
	for r := ima.NewReader(bytes.NewReader(list), ima.Format{Bank: ima.SHA1}); ; {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return raw
		}
		if err != nil {
			t.Fatal(err)
		}
		raw = append(raw, bytes.Clone(rec.Raw))
	}
}

// valuesAfter replays a list from zero, in hex by register.
func valuesAfter(t *testing.T, list []byte) map[string]string {
	t.Helper()
	p, err := ima.NewReplayer([]ima.Bank{ima.SHA1, ima.SHA256}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for r := ima.NewReader(bytes.NewReader(list), ima.Format{Bank: ima.SHA1}); ; {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = p.Extend(rec)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	values := make(map[string]string)
	for slot, v := range p.Values() {
		values[slot.String()] = hex.EncodeToString(v)
	}
	return values
}

// TestReplayRecordings: every recorded quote covers the prefix that the
// recordings' README states, and leads to the values of that prefix.
func TestReplayRecordings(t *testing.T) {
	const staging = "staging-7.3-kexec"
	full := recorded(t, staging+"/02-before-deleting-10/binary_runtime_measurements")
	ten := slices.Concat(rawRecords(t, full)[:10]...)
	staged := recorded(t, staging+"/04-staged/binary_runtime_measurements_staged")
	deleted := slices.Concat(ten, staged)
	for _, row := range []struct {
		identity, cut   string
		files           []string // of the list, joined
		before          []byte   // deleted from the kernel by then
		prefix, records uint64
	}{
		{"stock-6.1/boot1", "cut1", nil, nil, 5, 7}, {"stock-6.1/boot1", "cut2", nil, nil, 52, 52},
		{"stock-6.1/boot1", "cut3", nil, nil, 119, 119}, {"stock-6.1/boot1", "cut4", nil, nil, 141, 141},
		{"stock-6.1/boot2", "cut1", nil, nil, 5, 7}, {"stock-6.1/boot2", "cut2", nil, nil, 52, 52},
		{"stock-6.1/boot2", "cut3", nil, nil, 119, 119}, {"stock-6.1/boot2", "cut4", nil, nil, 141, 141},
		{"templates-7.3", "cut1", nil, nil, 25, 25}, {"custom-format-7.3", "cut1", nil, nil, 22, 23}, {"big-7.3", "cut1", nil, nil, 20003, 20003},
		{staging, "01-full", nil, nil, 2, 3}, {staging, "02-before-deleting-10", nil, nil, 63, 63},
		{staging, "03-after-deleting-10", nil, ten, 53, 53},
		{staging, "04-staged", []string{"binary_runtime_measurements_staged"}, ten, 113, 113},
		{staging, "06-violations", nil, deleted, 64, 64},
		{staging, "07-staged-before-kexec", []string{"binary_runtime_measurements_staged", "binary_runtime_measurements"}, deleted, 69, 69},
		{staging, "08-after-kexec", nil, deleted, 124, 124}, {staging, "09-after-kexec-later", nil, deleted, 134, 134},
	} {
		t.Run(row.identity+"/"+row.cut, func(t *testing.T) {
			q := quoteOf(t, row.identity, row.identity+"/"+row.cut)
			files := row.files
			if files == nil {
				files = []string{"binary_runtime_measurements"}
			}
			for _, name := range files {
				q.list = append(q.list, recorded(t, row.identity+"/"+row.cut+"/"+name)...)
			}
			if row.before != nil {
				q.base = valuesAfter(t, row.before)
			}
			code, r, text := q.replay()
			if code != cli.ExitOK || r.Verdict != "verified" || r.Prefix != row.prefix || r.Records != row.records || len(r.Findings) > 0 {
				t.Fatalf("exit %d, %+v, want %d of %d records\n%s", code, r, row.prefix, row.records, text)
			}
			if !strings.Contains(text, "VERIFIED") || r.Counters == nil || r.Counters.ResetCount == 0 {
				t.Errorf("%+v\n%s", r.Counters, text)
			}
			want := valuesAfter(t, slices.Concat(row.before, slices.Concat(rawRecords(t, q.list)[:row.prefix]...)))
			for _, slot := range []string{"sha1:10", "sha256:10"} {
				if r.End[slot] == "" || r.End[slot] != want[slot] {
					t.Errorf("end %s: %q, want %q", slot, r.End[slot], want[slot])
				}
			}
		})
	}
}

// TestReplayAltered: a list or a quote that was altered is refused, with the
// finding that says what is wrong, and where.
func TestReplayAltered(t *testing.T) {
	const boot, cut = "stock-6.1/boot1", "stock-6.1/boot1/cut2"
	list := recorded(t, cut+"/binary_runtime_measurements")
	raw := rawRecords(t, list)
	for _, test := range []struct {
		name  string
		alter func(q *quoteFiles)
		code  ledger.Code
		says  string
	}{
		{"ends inside a record", func(q *quoteFiles) { q.list = q.list[:len(q.list)-3] }, ledger.ListMalformed, "record 51"},
		{"a path altered", func(q *quoteFiles) {
			q.list = bytes.Replace(q.list, raw[7], bytes.Replace(raw[7], []byte{'/'}, []byte{'-'}, 1), 1)
		}, ledger.RecordDigest, "record 7"},
		{"a record removed", func(q *quoteFiles) { q.list = slices.Concat(slices.Concat(raw[:9]...), slices.Concat(raw[10:]...)) }, ledger.ReplayMismatch, "prefix"},
		{"the first record removed", func(q *quoteFiles) { q.list = slices.Concat(raw[1:]...) }, ledger.ReplayMismatch, "prefix"},
		{"two records swapped", func(q *quoteFiles) {
			q.list = slices.Concat(slices.Concat(raw[:9]...), raw[10], raw[9], slices.Concat(raw[11:]...))
		}, ledger.ReplayMismatch, "prefix"},
		{"a record twice", func(q *quoteFiles) {
			q.list = slices.Concat(slices.Concat(raw[:9]...), raw[8], slices.Concat(raw[9:]...))
		}, ledger.ReplayMismatch, "prefix"},
		{"no list", func(q *quoteFiles) { q.list = nil }, ledger.ReplayMismatch, "prefix"},
		{"another nonce", func(q *quoteFiles) { q.nonce = "00" + q.nonce[2:] }, ledger.QuoteNonce, "attest"},
		{"no nonce", func(q *quoteFiles) { q.nonce = "" }, ledger.QuoteNonce, "attest"},
		{"another key", func(q *quoteFiles) { q.ak = recorded(t, "templates-7.3/identity/ak.tpmt_public") }, ledger.QuoteSignature, "signature"},
		{"signature altered", func(q *quoteFiles) { q.sig[len(q.sig)-1] ^= 1 }, ledger.QuoteSignature, "signature"},
		{"signature cut off", func(q *quoteFiles) { q.sig = q.sig[:len(q.sig)-1] }, ledger.QuoteMalformed, "attest"},
		{"quote altered", func(q *quoteFiles) { q.attest[len(q.attest)-1] ^= 1 }, ledger.QuoteSignature, "signature"},
		{"another quote", func(q *quoteFiles) { q.attest = recorded(t, "stock-6.1/boot1/cut3/quote.tpms_attest") }, ledger.QuoteSignature, "signature"},
		{"key cut off", func(q *quoteFiles) { q.ak = q.ak[:len(q.ak)-1] }, ledger.QuoteMalformed, "ak"},
		{"a base that is none", func(q *quoteFiles) { q.base = map[string]string{"sha256:10": strings.Repeat("11", 32)} }, ledger.ReplayMismatch, "prefix"},
	} {
		t.Run(test.name, func(t *testing.T) {
			q := quoteOf(t, boot, cut)
			q.list = bytes.Clone(list)
			test.alter(q)
			code, r, text := q.replay()
			if code != cli.ExitContradicted || r.Verdict != "contradicted" || len(r.Findings) == 0 || r.Findings[0].Code != test.code {
				t.Fatalf("exit %d, %+v, want %s\n%s", code, r, test.code, text)
			}
			if !strings.Contains(text, "["+string(test.code)+"]") || !strings.Contains(text, test.says) {
				t.Errorf("want %q and the code in:\n%s", test.says, text)
			}
		})
	}
}

// TestReplayUsage: what keeps the checks from being made names the file and the
// place, and is no verdict.
func TestReplayUsage(t *testing.T) {
	const boot, cut = "stock-6.1/boot1", "stock-6.1/boot1/cut2"
	for _, test := range []struct {
		name  string
		alter func(q *quoteFiles)
		says  string
	}{
		{"nonce no hex", func(q *quoteFiles) { q.nonce = "xyz" }, "--nonce"},
		{"hint no JSON", func(q *quoteFiles) { q.pcr = []byte("{") }, "pcrs.json"},
		{"hint too short", func(q *quoteFiles) { q.pcr = []byte(`{"pcrs": {"sha256": {"0": "00"}}}`) }, "sha256:0: want 64 hex digits"},
		{"hint of no bank", func(q *quoteFiles) { q.pcr = []byte(`{"pcrs": {"md5": {"0": "00"}}}`) }, "md5"},
		{"base of no register", func(q *quoteFiles) { q.base = map[string]string{"sha256:99": "00"} }, "base.json"},
		{"no such bank", func(q *quoteFiles) { q.flags = []string{"--bank", "md5"} }, "--bank"},
	} {
		t.Run(test.name, func(t *testing.T) {
			q := quoteOf(t, boot, cut)
			q.list = recorded(t, cut+"/binary_runtime_measurements")
			test.alter(q)
			code, stdout, stderr := tool(t, q.args()...)
			if code != cli.ExitUsage || stdout != "" || !strings.Contains(stderr, test.says) {
				t.Errorf("exit %d, want %d and %q: %s%s", code, cli.ExitUsage, test.says, stdout, stderr)
			}
		})
	}
	q := quoteOf(t, boot, cut)
	args := q.args()
	for _, missing := range []string{"--attest", "--signature", "--ak", "--nonce"} {
		i := slices.Index(args, missing)
		if code, _, stderr := tool(t, slices.Concat(args[:i], args[i+2:])...); code != cli.ExitUsage || !strings.Contains(stderr, strings.TrimPrefix(missing, "--")) {
			t.Errorf("without %s: exit %d %s", missing, code, stderr)
		}
	}
	args[len(args)-1] = filepath.Join(q.dir, "none")
	if code, _, stderr := tool(t, args...); code != cli.ExitUndecided || !strings.Contains(stderr, "none") {
		t.Errorf("no such list: exit %d %s", code, stderr)
	}
}
