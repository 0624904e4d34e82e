package ledger

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMemoryOfBadInput: what is over a limit, or states a length that is not there,
// is refused before memory is taken for it.
func TestMemoryOfBadInput(t *testing.T) {
	const big = 32 << 20
	lines := func(head, line string) []byte { return []byte(head + strings.Repeat(line, big/len(line))) }
	segment := string(sampleEntries(t)[0].Marshal())
	long := base64.StdEncoding.EncodeToString(make([]byte, big))
	tarOf := func(name string, size int64) []byte { // the header alone
		var b bytes.Buffer
		err := tar.NewWriter(&b).WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o444, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR})
		if err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	for _, row := range []struct {
		name  string
		input []byte
		parse func([]byte) error
	}{
		{"segment with a long line", []byte(strings.Replace(segment, "\nquote ", "\nquote "+long, 1)), parsed(ParseEntry)},
		{"segment of many registers", lines(SegmentFormat+"\n", "base sha1:10 "+strings.Repeat("0", 40)+"\n"), parsed(ParseEntry)},
		{"enrolment", lines(EnrolmentFormat+"\n", "log a\n"), parsed(ParseEntry)},
		{"erasure of many payloads", lines(ErasureFormat+"\n", "erased "+strings.Repeat("0", 64)+" "+strings.Repeat("0", 64)+"\n"), parsed(ParseEntry)},
		{"statement of many signatures", lines(HoldFormat+"\n\n", "— a AAAAAA==\n"), parsed(ParseEntry)},
		{"entry of another format", lines("", "x"), parsed(ParseEntry)},
		{"enrolment evidence", lines("imaledger/enrolment-evidence/v1\nek AA==\n", "certificate AA==\n"), parsed(ParseEnrolmentEvidence)},
		{"proof of many hashes", lines(ProofFormat+"\nindex 1\n", base64.StdEncoding.EncodeToString(make([]byte, 32))+"\n"), parsed(ParseProof)},
		{"checkpoint", lines("a\n1\n", "x\n"), parsed(ParseCheckpoint)},
		{"policy", lines("", "# x\n"), parsed(ParsePolicy)},
		{"rules", lines(TrustRulesFormat+"\n", "# x\n"), parsed(ParseRules)},
		{"bundle with a manifest that is not there", tarOf(ManifestName, maxManifest), parsed(open)},
		{"bundle with a manifest of 8 GiB", tarOf(ManifestName, 8<<30-1), parsed(open)},
		{"bundle that is none", make([]byte, big), parsed(open)},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := row.parse(row.input)
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s: parses", row.name)
		}
		if taken := after.TotalAlloc - before.TotalAlloc; taken > 256<<10 {
			t.Errorf("%s: took %d bytes, and said %v", row.name, taken, err)
		}
	}
}

// parsed makes one kind of all parsers.
func parsed[T any](parse func([]byte) (T, error)) func([]byte) error {
	return func(b []byte) error {
		_, err := parse(b)
		return err
	}
}

// TestRecordProofOfManyRecords: its size is checked before the sealed records are
// copied.
func TestRecordProofOfManyRecords(t *testing.T) {
	head := (&RecordProof{Record: []byte("r"), Banks: []Bank{"sha1"}, Sealed: nil}).Marshal()
	b := append(bytes.Replace(head, []byte("sealed 0\n"), fmt.Appendf(nil, "sealed %d\n", MaxSealedRecords+1), 1), make([]byte, (MaxSealedRecords+1)*21)...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := ParseRecordProof(b)
	runtime.ReadMemStats(&after)
	if taken := after.TotalAlloc - before.TotalAlloc; err == nil || taken > 64<<10 {
		t.Errorf("took %d bytes, and said %v", taken, err)
	}
}
