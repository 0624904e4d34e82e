package ledger

import "testing"

// TestSubject: what Subject makes ParseSubject reads, and nothing else.
func TestSubject(t *testing.T) {
	for _, c := range []struct {
		host     string
		sequence uint64
	}{{"web-1.example", 0}, {"a", 7}, {"entry", 12}, {"x_y", 1<<63 - 1}} {
		for _, part := range []string{"", ", anchor", ", record 3"} {
			subject := Subject(c.host, c.sequence) + part
			if host, sequence, ok := ParseSubject(subject); !ok || host != c.host || sequence != c.sequence {
				t.Errorf("%s: host %q, sequence %d, %v", subject, host, sequence, ok)
			}
		}
	}
	for _, subject := range []string{
		"", "entry", "entry 0123456789ab", "entry 12", "checkpoint", "leaves/00", "web-1", "web-1 #", "web-1 #x", "web-1 #07", "web-1#7",
		" #7", "Web #7", "log.example/a #7", "web-1 #7 and more", "web-1 #9223372036854775808", "imaledger/retention/v1", "payloads",
	} {
		if host, sequence, ok := ParseSubject(subject); ok || host != "" || sequence != 0 {
			t.Errorf("%q is taken for entry %d of host %q", subject, sequence, host)
		}
	}
}
