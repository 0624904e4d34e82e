package ledger

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestFormatListsEveryCode holds the table of FORMAT.md to the code.
func TestFormatListsEveryCode(t *testing.T) {
	b, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, c := range Codes() {
		row := fmt.Sprintf("| `%s` | %s | %s |\n", c, c.Class(), c.Describe())
		if !strings.Contains(text, row) {
			t.Errorf("FORMAT.md has no row %s", row)
		}
	}
	if got, want := strings.Count(text, "\n| `"), len(Codes()); got < want {
		t.Errorf("FORMAT.md has %d rows of names and codes, there are %d codes", got, want)
	}
	for _, limit := range []string{"16,384", "49,152", "65,536", "262,144"} {
		if !strings.Contains(text, limit) {
			t.Errorf("FORMAT.md does not state the limit %s", limit)
		}
	}
	if MaxLeaf != 16384 || MaxStatement != 49152 || MaxEnrolmentEvidence != 65536 || MaxBundleFiles != 262144 {
		t.Error("a limit is not the one that FORMAT.md states")
	}
}

// TestFormatExample holds the example of FORMAT.md to the vector that it names.
func TestFormatExample(t *testing.T) {
	b, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(b), "\n```\nimaledger/segment/v1\n")
	example, _, _ = strings.Cut(example, "```\n")
	var vectors []struct{ Name, Entry string }
	if b, err = os.ReadFile("testdata/vectors/entries.json"); err == nil {
		err = json.Unmarshal(b, &vectors)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range vectors {
		if v.Name != "good-2" {
			continue
		}
		entry, err := base64.StdEncoding.DecodeString(v.Entry)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(entry), "\n")[1:]
		shown := strings.Split(strings.TrimSuffix(example, "\n"), "\n")
		if len(shown) < 20 {
			t.Fatalf("the example has %d lines", len(shown))
		}
		for i, line := range shown {
			if whole, cut := strings.CutSuffix(line, "…"); lines[i] != line && !(cut && strings.HasPrefix(lines[i], whole)) {
				t.Errorf("line %d is %q, the vector has %q", i+2, line, lines[i])
			}
		}
		return
	}
	t.Fatal("no vector good-2")
}
