package export

import (
	"bytes"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/tpm/ima"
)

const recordings = "../../tpm/ima/testdata/recordings/"

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(recordings + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// records reads a SHA-1 list as a segment of host h that was quoted in two banks.
func records(t testing.TB, list []byte) []*Record {
	t.Helper()
	var all []*Record
	for r := ima.NewReader(bytes.NewReader(list), ima.Format{Bank: ima.SHA1}); ; {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		kept := *rec
		kept.Digest, kept.Template, kept.Data, kept.Raw = bytes.Clone(rec.Digest), bytes.Clone(rec.Template), bytes.Clone(rec.Data), bytes.Clone(rec.Raw)
		all = append(all, &Record{Record: &kept, Host: "h", Boot: 3, Number: rec.Index, Segment: "00ff", Quoted: true, Banks: []ima.Bank{ima.SHA1, ima.SHA256}})
	}
}

func written(t testing.TB, format string, o Options, all []*Record) ([]byte, error) {
	t.Helper()
	f, err := Find(format)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := f.New(&b, o)
	for _, r := range all {
		if err := w.Write(r); err != nil {
			return b.Bytes(), err
		}
	}
	err = w.Close()
	return b.Bytes(), err
}

// record makes one of template data.
func record(t testing.TB, template string, data []byte) []*Record {
	t.Helper()
	le := func(n int) []byte { return []byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)} }
	sum := ima.SHA1.New()
	sum.Write(data)
	return records(t, bytes.Join([][]byte{le(10), sum.Sum(nil), le(len(template)), []byte(template), le(len(data)), data}, nil))
}

func named(t testing.TB, name string) []*Record {
	n := len(name) + 1
	data := append([]byte("\x28\x00\x00\x00sha256:\x00"), make([]byte, 32)...)
	data = append(data, byte(n), byte(n>>8), 0, 0)
	return record(t, "ima-ng", append(append(data, name...), 0))
}

// TestKernelLists: what is exported is the kernel's own file.
func TestKernelLists(t *testing.T) {
	for _, dir := range []string{"stock-6.1/boot1/cut4/", "templates-7.3/cut1/", "custom-format-7.3/cut1/", "staging-7.3-kexec/08-after-kexec/"} {
		list := read(t, dir+"binary_runtime_measurements")
		all := records(t, list)
		if got, err := written(t, "binary", Options{Bank: ima.SHA1}, all); err != nil || !bytes.Equal(got, list) {
			t.Errorf("%s: binary is not the kernel's: %v", dir, err)
		}
		if got, err := written(t, "ascii", Options{Bank: ima.SHA1}, all); err != nil || !bytes.Equal(got, read(t, dir+"ascii_runtime_measurements")) {
			t.Errorf("%s: ascii is not the kernel's: %v", dir, err)
		}
		if want, err := os.ReadFile(recordings + dir + "binary_runtime_measurements_sha256"); err == nil {
			if got, err := written(t, "binary", Options{Bank: ima.SHA256}, all); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: the list in SHA-256 is not the kernel's: %v", dir, err)
			}
		}
	}
}

// TestCELVector: one record in the three encodings, written by hand from section 5 of
// the TCG's Canonical Event Log Format 1.1.
func TestCELVector(t *testing.T) {
	data, err := hex.DecodeString("280000007368613235363a002d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a48810b0000002f7362696e2f696e697400")
	if err != nil {
		t.Fatal(err)
	}
	const sha1, sha256 = "875db26ff4ede16aba547fa2a4d15e09ad5da957", "df0d45d5119c37df2a6c5e7b15db3f699bc7f2ed27666a0b2a7ee6a02f518c0a" // evmctl's
	all := record(t, "ima-ng", data)
	text := hex.EncodeToString(data)
	for format, want := range map[string]string{
		"cel-tlv": "0000000008" + "0000000000000000" + "0100000001" + "0a" +
			"030000003e" + "0400000014" + sha1 + "0b00000020" + sha256 +
			"070000004b" + "0000000006" + "696d612d6e67" + "010000003b" + text,
		"cel-cbor": "81" + "a5" + "0000" + "010a" +
			"0382" + "a20004" + "0154" + sha1 + "a2000b" + "015820" + sha256 +
			"0907" + "0aa2" + "0066" + "696d612d6e67" + "01583b" + text,
	} {
		if got, err := written(t, format, Options{Records: 1}, all); err != nil || hex.EncodeToString(got) != want {
			t.Errorf("%s: %v\n got %x\nwant %s", format, err, got, want)
		}
	}
	want := `[{"recnum":0,"pcr":10,"digests":[{"hashAlg":"sha1","digest":"` + sha1 + `"},{"hashAlg":"sha256","digest":"` + sha256 +
		`"}],"content_type":"ima_template","content":{"template_name":"ima-ng","template_data":"` + text + `"}}]`
	if got, err := written(t, "cel-json", Options{}, all); err != nil || strings.ReplaceAll(string(got), "\n", "") != want {
		t.Errorf("cel-json: %v\n got %s\nwant %s", err, got, want)
	}
}

// TestCELReplays: the digests of a log with violations and two registers replay to what
// the records do, and each register's records are counted from 0 in each encoding.
func TestCELReplays(t *testing.T) {
	for _, dir := range []string{"stock-6.1/boot1/cut4/", "staging-7.3-kexec/08-after-kexec/"} {
		all := records(t, read(t, dir+"binary_runtime_measurements"))
		want, _ := ima.NewReplayer([]ima.Bank{ima.SHA1, ima.SHA256}, nil, nil)
		for _, r := range all {
			if err := want.Extend(r.Record); err != nil {
				t.Fatal(err)
			}
		}
		text, err := written(t, "cel-json", Options{}, all)
		if err != nil {
			t.Fatal(err)
		}
		var log []celRecord
		if err := json.Unmarshal(text, &log); err != nil || len(log) != len(all) {
			t.Fatalf("%s: %d records of %d, %v", dir, len(log), len(all), err)
		}
		got, _ := ima.NewReplayer([]ima.Bank{ima.SHA1, ima.SHA256}, nil, nil)
		numbers := map[uint32]uint64{}
		for _, r := range log {
			if r.Recnum != numbers[r.PCR] {
				t.Fatalf("%s: recnum %d of PCR %d, want %d", dir, r.Recnum, r.PCR, numbers[r.PCR])
			}
			numbers[r.PCR]++
			for _, d := range r.Digests {
				bank, err := ima.ParseBank(d.HashAlg)
				if err != nil {
					t.Fatal(err)
				}
				value, err := hex.DecodeString(d.Digest)
				if err != nil {
					t.Fatal(err)
				}
				if err := got.ExtendDigest(ima.Slot{Bank: bank, PCR: int(r.PCR)}, value); err != nil {
					t.Fatal(err)
				}
			}
		}
		if !reflect.DeepEqual(got.Values(), want.Values()) {
			t.Errorf("%s: the log replays to %x, the records to %x", dir, got.Values(), want.Values())
		}
		if tlv := tlvRecords(t, mustWrite(t, "cel-tlv", Options{}, all)); !reflect.DeepEqual(tlv, log) {
			t.Errorf("%s: CEL-TLV says something else than CEL-JSON", dir)
		}
		if c := cborRecords(t, mustWrite(t, "cel-cbor", Options{Records: uint64(len(all))}, all)); !reflect.DeepEqual(c, log) {
			t.Errorf("%s: CEL-CBOR says something else than CEL-JSON", dir)
		}
	}
}

func mustWrite(t *testing.T, format string, o Options, all []*Record) []byte {
	t.Helper()
	b, err := written(t, format, o, all)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestCELCount: an array of another length than its records is never written in silence.
func TestCELCount(t *testing.T) {
	all := named(t, "/a")
	var unfit *UnfitError
	for _, n := range []uint64{0, 2} {
		if _, err := written(t, "cel-cbor", Options{Records: n}, all); !errors.As(err, &unfit) {
			t.Errorf("%d records announced, 1 written: %v", n, err)
		}
	}
	for format, want := range map[string]string{"cel-json": "[]\n", "cel-tlv": "", "cel-cbor": "\x80", "jsonl": "", "binary": "", "ascii": "", "csv": strings.Join(columns, ",") + "\n"} {
		if got, err := written(t, format, Options{Bank: ima.SHA1}, nil); err != nil || string(got) != want {
			t.Errorf("%s of no records: %q, %v", format, got, err)
		}
	}
}

// hostile are names that root of a host can have measured.
var hostile = []string{
	"=cmd|'/c calc'!A0", "+1", "-1", "@SUM(1)", "＝1", "\ttab", "/a\nb", "/a\r\nb,\"c\"", "/\x1b[31m", "/\xff\xfe", "/\u202egnp.exe", "", "\"", "/a,b", strings.Repeat("x", 4096),
}

// TestHostileNames: no name breaks a line of JSON or a row of the table, none is a
// formula there, and each can be had back byte for byte.
func TestHostileNames(t *testing.T) {
	for _, name := range hostile {
		all := named(t, name)
		text := mustWrite(t, "jsonl", Options{}, all)
		var l Line
		if bytes.Count(text, []byte("\n")) != 1 || bytes.ContainsAny(text[:len(text)-1], "\x1b\r") {
			t.Errorf("%q: jsonl is %q", name, text)
		}
		if err := json.Unmarshal(text, &l); err != nil || l.Path == nil {
			t.Fatalf("%q: %v", name, err)
		}
		got := *l.Path
		if l.PathHex != "" {
			b, err := hex.DecodeString(l.PathHex)
			if err != nil {
				t.Fatal(err)
			}
			got = string(b)
		}
		if got != name {
			t.Errorf("jsonl gives %q for %q", got, name)
		}
		rows, err := csv.NewReader(bytes.NewReader(mustWrite(t, "csv", Options{}, all))).ReadAll()
		if err != nil || len(rows) != 2 || len(rows[1]) != len(columns) {
			t.Fatalf("%q: %v, %q", name, err, rows)
		}
		path, pathHex := rows[1][8], rows[1][9]
		if path != "" && strings.ContainsAny(path[:1], "=+-@\t\r\n") || strings.HasPrefix(path, "＝") || strings.ContainsAny(path, "\n\r\t\x1b") {
			t.Errorf("%q is %q in the table", name, path)
		}
		if pathHex != "" {
			b, err := hex.DecodeString(pathHex)
			if err != nil {
				t.Fatal(err)
			}
			path = string(b)
		}
		if path != name {
			t.Errorf("csv gives %q for %q", path, name)
		}
	}
}

// TestUnfit: a record that a format has no form for is an error that names it, never a
// record that says something else.
func TestUnfit(t *testing.T) {
	for _, c := range []struct {
		format string
		all    []*Record
	}{
		{"ascii", record(t, "unknown", []byte("x"))},
		{"ascii", record(t, "ima-ng", []byte("x"))},
		{"cel-json", record(t, "\xff", nil)},
		{"cel-tlv", record(t, "\xff", nil)},
		{"cel-cbor", record(t, "\xff", nil)},
	} {
		var unfit *UnfitError
		if _, err := written(t, c.format, Options{Bank: ima.SHA1, Records: 1}, c.all); !errors.As(err, &unfit) {
			t.Errorf("%s of template %q: %v", c.format, c.all[0].Template, err)
		}
	}
	// Lines have a form for each.
	var l Line
	if err := json.Unmarshal(mustWrite(t, "jsonl", Options{}, record(t, "\xff", []byte{1})), &l); err != nil || l.Data != "01" || l.Fault == "" {
		t.Errorf("%+v, %v", l, err)
	}
}

// TestProof: each record says how far it is proven.
func TestProof(t *testing.T) {
	all := named(t, "/a")
	r := *all[0]
	for _, c := range []struct {
		want   string
		change func(*Record)
	}{
		{"quote", func(*Record) {}},
		{"none", func(r *Record) { r.Quoted = false }},
		{"violation", func(r *Record) { r.Digest = make([]byte, 20) }},
		{"unattested", func(r *Record) { r.PCR = 17 }},
		{"unattested", func(r *Record) { r.PCR, r.Quoted = 24, false }},
	} {
		x, inner := r, *r.Record
		x.Record = &inner
		c.change(&x)
		if got := x.Proof(); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}
