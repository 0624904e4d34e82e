package audit

import "testing"

func TestCount(t *testing.T) {
	for _, c := range []struct {
		n    uint64
		noun string
		want string
	}{
		{1, "record", "1 record"}, {0, "record", "0 records"}, {2, "record", "2 records"}, {1, "entry", "1 entry"}, {3, "entry", "3 entries"},
		{1, "witness", "1 witness"}, {2, "witness", "2 witnesses"}, {2, "day", "2 days"}, {1, "day", "1 day"}, {0, "erased payload", "0 erased payloads"},
	} {
		if got := Count(c.n, c.noun); got != c.want {
			t.Errorf("%d %s: %q, want %q", c.n, c.noun, got, c.want)
		}
	}
}
