package witness

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// LogListFormat is the first line of a list of logs (c2sp.org/tlog-list).
const LogListFormat = "logs/v0"

// Limits of a list.
const (
	MaxLogList     = 64 << 20 // bytes; 10^5 logs with Ed25519 keys have a third of it
	maxLogListLogs = 200_000
)

// ParseLogList reads a list of logs (c2sp.org/tlog-list), strictly: errors name
// the line. Each log has one key.
func ParseLogList(text string) ([]Log, error) {
	if len(text) > MaxLogList {
		return nil, fmt.Errorf("list of %d bytes, at most %d", len(text), MaxLogList)
	}
	p := &listParser{seen: make(map[string]int)}
	for line := range strings.SplitSeq(text, "\n") {
		p.line++
		// SPEC: Lines have all leading and trailing space (0x20) and tab (0x09) removed
		// SPEC: before processing. Blank lines are ignored. Lines starting with `#` denote
		// SPEC: comments and are also ignored.
		line = strings.Trim(line, " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		if err := checkCharacters(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", p.line, err)
		}
		if err := p.add(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", p.line, err)
		}
	}
	if !p.begun {
		return nil, fmt.Errorf("no line %s, with which a list starts", LogListFormat)
	}
	if p.want != "" && p.want != "vkey" {
		return nil, fmt.Errorf("line %d: the list ends here, want a line %s", p.line, p.want)
	}
	return p.logs, nil
}

type listParser struct {
	line  int
	begun bool
	want  string // the key of the next line
	log   Log
	logs  []Log
	seen  map[string]int // lines by origin
}

func (p *listParser) add(line string) error {
	if !p.begun {
		// SPEC: The list starts with a single line declaring the list format.
		if line != LogListFormat {
			return fmt.Errorf("%.64q, want %s", line, LogListFormat)
		}
		p.begun, p.want = true, "vkey"
		return nil
	}
	// SPEC: A log is identified by its origin, and defined by a sequence of key-value
	// SPEC: lines. The order of key-value lines is strict.
	key, value, _ := strings.Cut(line, " ")
	switch {
	case key == "origin" && p.want == "qpd" && p.log.Contact == "" && p.log.Origin == p.log.Keys[0].Name() && value != "":
		// SPEC: If omitted, the log's origin line defaults to the vkey's key name.
		if value == p.log.Origin {
			return nil
		}
		p.log.Origin = value
		return nil
	case key != p.want:
		return fmt.Errorf("%.64q, want a line %s", line, p.want)
	}
	switch key {
	case "vkey":
		if len(p.logs) == maxLogListLogs {
			return fmt.Errorf("more than %d logs", maxLogListLogs)
		}
		var err error
		p.log, err = ParseLog(value)
		p.want = "qpd"
		return err
	case "qpd":
		// SPEC: It MUST be a number in the range [1, 2^31) encoded as an ASCII decimal
		// SPEC: consisting of characters in the range `0`-`9` only, with no leading zeroes.
		n, err := strconv.ParseInt(value, 10, 32)
		if err != nil || n < 1 || strconv.FormatInt(n, 10) != value {
			return fmt.Errorf("qpd %.32q, want a decimal of 1 to 2^31-1 without sign and leading zeroes", value)
		}
		p.log.QPD, p.want = int(n), "contact"
	case "contact":
		// SPEC: Two logs MUST NOT share the same origin.
		if other, found := p.seen[p.log.Origin]; found {
			return fmt.Errorf("the log %s is in the list already, at line %d", p.log.Origin, other)
		}
		p.seen[p.log.Origin] = p.line
		p.log.Contact = value
		p.logs = append(p.logs, p.log)
		p.want = "vkey"
	}
	return nil
}

// FormatLogList writes a list of logs that have a key each.
func FormatLogList(logs []Log) (string, error) {
	var b strings.Builder
	b.WriteString(LogListFormat + "\n")
	for _, l := range logs {
		if len(l.Keys) != 1 || l.QPD < 1 {
			return "", fmt.Errorf("log %s: a list has logs of one key, with a qpd", l.Origin)
		}
		b.WriteString("\nvkey " + l.Keys[0].VKey + "\n")
		if l.Origin != l.Keys[0].Name() {
			b.WriteString("origin " + l.Origin + "\n")
		}
		fmt.Fprintf(&b, "qpd %d\ncontact %s\n", l.QPD, l.Contact)
	}
	return b.String(), nil
}

// ErrLogChanged is a log of a list that is known with another key.
var ErrLogChanged = errors.New("known with another key")

// AddLogs gives the logs that are known and those of a list that are not: a list
// that others write adds logs, and changes and removes none. The error names
// each log that the list has with another key, and does not keep the others out.
func AddLogs(known, list []Log) ([]Log, error) {
	by := make(map[string]Log, len(known))
	for _, l := range known {
		by[l.Origin] = l
	}
	all := slices.Clone(known)
	var errs []error
	for _, l := range list {
		if old, found := by[l.Origin]; !found {
			all = append(all, l)
		} else if !slices.ContainsFunc(old.Keys, func(k LogKey) bool { return k.VKey == l.Keys[0].VKey }) {
			errs = append(errs, fmt.Errorf("log %s: %w", l.Origin, ErrLogChanged))
		}
	}
	return all, errors.Join(errs...)
}
