package main

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/cmd/internal/cli"
)

const recordings = "../../tpm/ima/testdata/recordings/"

// inspectTool runs the command as the shell does.
func inspectTool(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, talk bytes.Buffer
	code = cli.Run(t.Context(), "imaledger", run, append([]string{"inspect"}, args...), nil, &out, &talk)
	return code, out.String(), talk.String()
}

func inspectJSON(t *testing.T, args ...string) (code int, r inspectReport, stderr string) {
	t.Helper()
	code, stdout, stderr := inspectTool(t, append(args, "--json")...)
	d := json.NewDecoder(strings.NewReader(stdout))
	if err := d.Decode(&r); err != nil {
		t.Fatalf("%v: code %d: %s\n%v\n%s", args, code, stderr, err, stdout)
	}
	if d.More() {
		t.Errorf("%v: more than one object", args)
	}
	return code, r, stderr
}

func writeList(t *testing.T, name string, list []byte) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, list, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func readList(t *testing.T, name string) []byte {
	t.Helper()
	list, err := os.ReadFile(recordings + name)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestInspectValues: where a quote covers the whole list, the values are those
// that the TPM held, in the SHA-1 and in the per-bank file.
func TestInspectValues(t *testing.T) {
	for _, file := range []string{
		"templates-7.3/cut1/binary_runtime_measurements", "templates-7.3/cut1/binary_runtime_measurements_sha256",
		"stock-6.1/boot1/cut4/binary_runtime_measurements", "staging-7.3-kexec/02-before-deleting-10/binary_runtime_measurements",
	} {
		var tpm struct{ PCRs map[string]map[string]string }
		if err := json.Unmarshal(readList(t, filepath.Dir(file)+"/pcrs.json"), &tpm); err != nil {
			t.Fatal(err)
		}
		code, r, stderr := inspectJSON(t, recordings+file)
		if code != cli.ExitOK || stderr != "" || r.Finding != nil {
			t.Errorf("%s: code %d: %s %v", file, code, stderr, r.Finding)
		}
		for _, bank := range []string{"sha1", "sha256"} {
			if got, want := r.End[bank+":10"], tpm.PCRs[bank]["10"]; got != want || want == "" {
				t.Errorf("%s: %s:10 is %s, the TPM had %s", file, bank, got, want)
			}
		}
	}
}

// TestInspectRecords: digests, names and templates are those of the kernel's own
// text, in its order.
func TestInspectRecords(t *testing.T) {
	dir := "templates-7.3/cut1/"
	code, r, stderr := inspectJSON(t, "--records", "--banks", "sha384", recordings+dir+"binary_runtime_measurements")
	if code != cli.ExitOK || stderr != "" {
		t.Fatalf("code %d: %s", code, stderr)
	}
	if r.Records != 25 || r.Bytes != 4542 || r.Order != "le" || r.Bank != "sha1" || len(r.Templates) != 8 || r.Templates["ima"] != 3 || r.PCRs["10"] != 25 {
		t.Errorf("%+v", r)
	}
	if !slices.Equal(r.BootAggregates, []uint64{0}) || len(r.End["sha384:10"]) != 96 || r.End["sha256:10"] != "" {
		t.Errorf("boot_aggregate at %v, end %v", r.BootAggregates, r.End)
	}
	lines := strings.Split(strings.TrimSpace(string(readList(t, dir+"ascii_runtime_measurements"))), "\n")
	if len(r.Items) != len(lines) {
		t.Fatalf("%d records, the kernel printed %d", len(r.Items), len(lines))
	}
	for i, item := range r.Items {
		digest := item.Digest
		if item.Template == "ima" {
			digest = strings.TrimPrefix(digest, "sha1:") // which the kernel leaves out there
		}
		if want := " " + item.Template + " " + digest + " " + item.Path; !strings.Contains(lines[i]+" ", want+" ") {
			t.Errorf("record %d has%s, the kernel printed %s", i, want, lines[i])
		}
	}
}

// TestInspectJoined: several files are one list.
func TestInspectJoined(t *testing.T) {
	file := "staging-7.3-kexec/07-staged-before-kexec/binary_runtime_measurements"
	whole := writeList(t, "list", slices.Concat(readList(t, file+"_staged"), readList(t, file)))
	_, want, _ := inspectJSON(t, "--records", whole)
	code, got, stderr := inspectJSON(t, "--records", recordings+file+"_staged", recordings+file)
	if code != cli.ExitOK || got.Records != 69 || got.Violations == 0 || len(got.Files) != 2 {
		t.Errorf("code %d: %s\n%+v", code, stderr, got)
	}
	want.Files = got.Files
	if !reflect.DeepEqual(got, want) {
		t.Errorf("joined %+v\nwhole %+v", got, want)
	}
}

// TestInspectPaddedBank: a kernel pads the SHA-3 banks, and a list that stores
// such digests is whole.
func TestInspectPaddedBank(t *testing.T) {
	sha1 := listRecordBytes(10, "/x")
	padded := slices.Concat(sha1[:24], make([]byte, 12), sha1[24:])
	code, r, stderr := inspectJSON(t, "--bank", "sha3_256", writeList(t, "binary_runtime_measurements_tpm_alg_27", padded))
	if code != cli.ExitOK || r.Records != 1 || len(r.End["sha3_256:10"]) != 64 {
		t.Errorf("code %d: %s\n%+v", code, stderr, r)
	}
}

// listRecordBytes is a SHA-1 list's ima-ng record for a path.
func listRecordBytes(pcr uint32, path string) []byte {
	sized := func(b string) []byte { return append(binary.LittleEndian.AppendUint32(nil, uint32(len(b))), b...) }
	data := slices.Concat(sized("sha256:\x00"+strings.Repeat("d", 32)), sized(path+"\x00"))
	digest := sha1.Sum(data)
	return slices.Concat(binary.LittleEndian.AppendUint32(nil, pcr), digest[:], sized("ima-ng"), sized(string(data)))
}

// TestInspectDamage: what is wrong, in which file, at which record and byte, and
// what came before it.
func TestInspectDamage(t *testing.T) {
	good := writeList(t, "good", listRecordBytes(10, "/good"))
	record := listRecordBytes(10, "/bad")
	for _, row := range []struct {
		name string
		list []byte
		at   string // in the bad file
		want string
	}{
		{"truncated", slices.Concat(record, record[:50]), "byte 91", "ends inside this record"},
		{"altered", slices.Concat(record, record[:90], []byte{'x'}), "byte 91", "stored sha1 digest"},
		{"big-endian", slices.Concat(record, []byte{0, 0, 0, 10}, record[4:]), "byte 91", "PCR number"},
		{"ascii", []byte("10 aabb ima-ng sha256:00 /x\n"), "byte 0", "PCR number"},
	} {
		bad := writeList(t, "bad", row.list)
		code, r, _ := inspectJSON(t, "--records", good, bad)
		if f := r.Finding; code != cli.ExitContradicted || f == nil || f.Subject != bad+": "+row.at || !strings.Contains(f.Text, row.want) || r.Records == 0 || int(r.Records) != len(r.Items) {
			t.Errorf("%s: code %d, %d records, %+v; want %q at %s", row.name, code, r.Records, f, row.want, row.at)
		}
		if code, stdout, _ := inspectTool(t, good, bad); code != cli.ExitContradicted || !strings.Contains(stdout, row.want) || !strings.Contains(stdout, bad+": "+row.at) {
			t.Errorf("%s: code %d\n%s", row.name, code, stdout)
		}
	}
}

func TestInspectUsage(t *testing.T) {
	list := recordings + "templates-7.3/cut1/binary_runtime_measurements"
	unnamed := writeList(t, "unnamed", readList(t, "templates-7.3/cut1/binary_runtime_measurements_sha256"))
	for _, row := range []struct {
		args string
		code int
		want string // on stderr, or else in the finding
	}{
		{"", cli.ExitUsage, "the measurement list is missing"},
		{"--bank md5 " + list, cli.ExitUsage, "unknown bank"},
		{"--banks md5 " + list, cli.ExitUsage, "unknown bank"},
		{"--banks sm3_256 " + list, cli.ExitUsage, "cannot be computed"},
		{list + ".absent", cli.ExitUndecided, "no such file"},
		{recordings, cli.ExitUsage, "directory"},
		{unnamed, cli.ExitOK, ""}, // its digests tell
		{"--bank sha256 " + unnamed, cli.ExitOK, ""},
		{"--bank sha256 " + list, cli.ExitContradicted, "other digests than sha256"},
	} {
		code, stdout, stderr := inspectTool(t, strings.Fields(row.args)...)
		if code != row.code || !strings.Contains(stdout+stderr, row.want) {
			t.Errorf("inspect %s: code %d, %s; want %d, %q", row.args, code, stderr, row.code, row.want)
		}
	}
}

// TestInspectText: nothing in a name reaches the terminal but as letters, and
// what no register binds says so.
func TestInspectText(t *testing.T) {
	list := writeList(t, "list", slices.Concat(listRecordBytes(10, "boot_aggregate"), listRecordBytes(10, "/a\x1b[2J\nb"), listRecordBytes(10, "/\xff"), listRecordBytes(24, "/late")))
	code, stdout, stderr := inspectTool(t, "--records", list)
	if code != cli.ExitOK || strings.Contains(stdout, "\x1b") {
		t.Errorf("code %d: %s\n%q", code, stderr, stdout)
	}
	for _, want := range []string{
		`"/a\x1b[2J\nb"`, `"/\xff"`, "/late [unattested: not proven]\n", "4 records", "little-endian", "ima-ng 4", "10 3, 24 1", "boot_aggregate at record 0",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is not in\n%s", want, stdout)
		}
	}
	var plain, coloured bytes.Buffer
	r := &inspectReport{Order: "le"}
	if err := errors.Join(r.print(&plain, false), r.print(&coloured, true)); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(plain.String(), "\x1b") || !strings.Contains(coloured.String(), "\x1b[1m") {
		t.Errorf("plain %q, coloured %q", plain.String(), coloured.String())
	}
}

func TestInspectEmptyList(t *testing.T) {
	code, r, stderr := inspectJSON(t, "--records", writeList(t, "empty", nil))
	if code != cli.ExitOK || r.Records != 0 || r.End["sha256:10"] != strings.Repeat("00", 32) {
		t.Errorf("code %d: %s\n%+v", code, stderr, r)
	}
}
