package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
)

// tool runs the command as the shell does.
func tool(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, talk bytes.Buffer
	code = cli.Run(t.Context(), "imaledger", run, args, nil, &out, &talk)
	return code, out.String(), talk.String()
}

// decodeStrict takes one JSON object with no keys but those of v.
func decodeStrict(t *testing.T, text string, v any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil || d.More() {
		t.Fatalf("want one JSON object: %v\n%s", err, text)
	}
}

// A recordedCut is a quote of a recording, and what the recordings' README says
// of it. base names what ran before the list: "" for a boot.
type recordedCut struct {
	dir, list       string // list: suffixes of its files, separated by spaces
	base            string
	prefix, records uint64
	pcrs            []string // the registers that the records extend
}

const firstTen, untilStaged = "the first ten records", "all that 04 staged"

var (
	pcr10       = []string{"10"}
	pcr10And11  = []string{"10", "11"} // the kexec's command line
	stagingDir  = "staging-7.3-kexec/"
	recordedAll = []recordedCut{
		{"stock-6.1/boot1/cut1", ".", "", 5, 7, pcr10},
		{"stock-6.1/boot1/cut2", ".", "", 52, 52, pcr10},
		{"stock-6.1/boot1/cut3", ".", "", 119, 119, pcr10},
		{"stock-6.1/boot1/cut4", ".", "", 141, 141, pcr10},
		{"stock-6.1/boot2/cut1", ".", "", 5, 7, pcr10},
		{"stock-6.1/boot2/cut2", ".", "", 52, 52, pcr10},
		{"stock-6.1/boot2/cut3", ".", "", 119, 119, pcr10},
		{"stock-6.1/boot2/cut4", ".", "", 141, 141, pcr10},
		{"templates-7.3/cut1", ".", "", 25, 25, pcr10},
		{"templates-7.3/cut1", "_sha256", "", 25, 25, pcr10},
		{"custom-format-7.3/cut1", ".", "", 22, 23, pcr10},
		{"custom-format-7.3/cut1", "_sha256", "", 22, 23, pcr10},
		{"big-7.3/cut1", ".gz", "", 20003, 20003, pcr10},
		{stagingDir + "01-full", ".", "", 2, 3, pcr10},
		{stagingDir + "01-full", "_sha256", "", 2, 3, pcr10},
		{stagingDir + "02-before-deleting-10", ".", "", 63, 63, pcr10},
		{stagingDir + "02-before-deleting-10", "_sha256", "", 63, 63, pcr10},
		{stagingDir + "03-after-deleting-10", ".", firstTen, 53, 53, pcr10},
		{stagingDir + "04-staged", "_staged .", firstTen, 113, 113, pcr10},
		{stagingDir + "05-staged-deleted", ".", untilStaged, 0, 0, pcr10},
		{stagingDir + "06-violations", ".", untilStaged, 64, 64, pcr10},
		{stagingDir + "07-staged-before-kexec", "_staged .", untilStaged, 69, 69, pcr10},
		{stagingDir + "08-after-kexec", ".", untilStaged, 124, 124, pcr10And11},
		{stagingDir + "09-after-kexec-later", ".", untilStaged, 134, 134, pcr10And11},
	}
)

// args are replay's arguments but for the base, and what pcrs.json says.
func (c recordedCut) args(t *testing.T) ([]string, *recordedPCRs) {
	t.Helper()
	dir := filepath.Join(recordings, c.dir)
	identity := filepath.Join(recordings, filepath.Dir(c.dir), "identity")
	var read recordedPCRs
	if err := json.Unmarshal(readList(t, c.dir+"/pcrs.json"), &read); err != nil {
		t.Fatal(err)
	}
	args := []string{
		"--attest", dir + "/quote.tpms_attest", "--signature", dir + "/quote.tpmt_signature", "--ak", identity + "/ak.tpmt_public",
		"--nonce", read.ExtraData, "--pcrs", dir + "/pcrs.json",
	}
	for _, suffix := range strings.Fields(c.list) {
		name := dir + "/binary_runtime_measurements" + strings.TrimSuffix(suffix, ".")
		if suffix == ".gz" {
			z, err := gzip.NewReader(bytes.NewReader(readList(t, c.dir+"/binary_runtime_measurements.gz")))
			if err != nil {
				t.Fatal(err)
			}
			list, err := io.ReadAll(z)
			if err != nil {
				t.Fatal(err)
			}
			name = writeList(t, "list", list)
		}
		args = append(args, name)
	}
	return args, &read
}

// recordedPCRs is what the recorder read from the TPM.
type recordedPCRs struct {
	PCRs      map[string]map[string]string `json:"pcrs"`
	ExtraData string                       `json:"extraData"`
	replayCounters
}

// replayJSON runs replay --json.
func replayJSON(t *testing.T, args ...string) (code int, r replayReport) {
	t.Helper()
	code, stdout, stderr := tool(t, append([]string{"replay", "--json"}, args...)...)
	if stderr != "" {
		t.Fatalf("replay %v: code %d: %s", args, code, stderr)
	}
	decodeStrict(t, stdout, &r)
	return code, r
}

// recordedBases makes the files for --base, as a user does who kept what the tool
// said of the records that left the kernel.
func recordedBases(t *testing.T) map[string]string {
	t.Helper()
	write := func(end map[string]string) string {
		text, err := json.Marshal(end)
		if err != nil {
			t.Fatal(err)
		}
		return writeList(t, "base.json", text)
	}
	// 03 is 02 without its first ten records.
	whole, rest := readList(t, stagingDir+"02-before-deleting-10/binary_runtime_measurements"), readList(t, stagingDir+"03-after-deleting-10/binary_runtime_measurements")
	ten := writeList(t, "ten", bytes.TrimSuffix(whole, rest))
	code, r, stderr := inspectJSON(t, ten)
	if code != cli.ExitOK || r.Records != 10 {
		t.Fatalf("%d records: code %d: %s", r.Records, code, stderr)
	}
	bases := map[string]string{firstTen: write(r.End)}
	i := slices.IndexFunc(recordedAll, func(c recordedCut) bool { return c.dir == stagingDir+"04-staged" })
	args, _ := recordedAll[i].args(t)
	_, staged := replayJSON(t, append(args, "--base", bases[firstTen])...)
	bases[untilStaged] = write(staged.End)
	return bases
}

// TestReplayRecordings: on every recording, replay --json says what the README of
// the recordings does, and what the TPM held.
func TestReplayRecordings(t *testing.T) {
	bases := recordedBases(t)
	tested := make(map[string]bool)
	for _, c := range recordedAll {
		t.Run(c.dir+" "+c.list, func(t *testing.T) {
			tested[filepath.Join(recordings, c.dir)] = true
			args, read := c.args(t)
			want := replayReport{
				Verdict: "verified", Prefix: c.prefix, Records: c.records, End: map[string]string{}, Bank: "sha1", Order: "le", Style: "digest",
				Counters: &read.replayCounters, Findings: []ledger.Finding{},
			}
			if c.list == "_sha256" {
				want.Bank = "sha256"
			}
			if c.records == 0 {
				want.Order = "unknown"
			}
			for bank, pcrs := range map[string]map[string]string{"sha1": read.PCRs["sha1"], "sha256": read.PCRs["sha256"]} {
				for _, pcr := range c.pcrs {
					want.End[bank+":"+pcr] = pcrs[pcr]
				}
			}
			if c.base != "" {
				if code, r := replayJSON(t, args...); code != cli.ExitContradicted || r.Verdict != "contradicted" || len(r.Findings) != 1 || r.Findings[0].Code != ledger.ReplayMismatch {
					t.Errorf("from zero: code %d, %+v", code, r)
				}
				args = append(args, "--base", bases[c.base])
			}
			code, got := replayJSON(t, args...)
			if code != cli.ExitOK || !reflect.DeepEqual(got, want) {
				t.Errorf("code %d,\ngot  %+v\nwant %+v\ncounters got %+v, want %+v", code, got, want, got.Counters, want.Counters)
			}
		})
	}
	var quoted []string
	for _, pattern := range []string{"*/*/quote.tpms_attest", "*/*/*/quote.tpms_attest"} {
		names, err := filepath.Glob(recordings + pattern)
		if err != nil {
			t.Fatal(err)
		}
		quoted = append(quoted, names...)
	}
	for _, name := range quoted {
		if !tested[filepath.Dir(name)] {
			t.Errorf("%s is not tested", name)
		}
	}
	if len(quoted) != len(tested) {
		t.Errorf("%d quotes recorded, %v tested", len(quoted), slices.Sorted(maps.Keys(tested)))
	}
	if _, err := os.Stat(recordings + "README.md"); err != nil {
		t.Error(err)
	}
}
