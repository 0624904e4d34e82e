package ledger

import (
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
