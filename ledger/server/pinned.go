package server

import (
	"fmt"
	"strings"

	"github.com/imaledger/imaledger/ledger"
)

// ParsePinned reads the EKs that an operator vouches for, each with its host:
// lines of a host's name, one space, and an EK's TPM name in hex. Empty lines and
// those that begin with # are for people.
func ParsePinned(b []byte) (map[ledger.Name]string, error) {
	pinned, n := make(map[ledger.Name]string), 0
	for line := range strings.Lines(string(b)) {
		n++
		line = strings.TrimSuffix(line, "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		host, name, _ := strings.Cut(line, " ")
		if !ledger.ValidHost(host) {
			return nil, fmt.Errorf("line %d: want a host, one space, and the name of its EK", n)
		}
		ek, err := ledger.ParseName(name)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if other, twice := pinned[ek]; twice {
			return nil, fmt.Errorf("line %d: this EK is listed for %s already", n, other)
		}
		pinned[ek] = host
	}
	return pinned, nil
}
