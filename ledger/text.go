package ledger

import (
	"encoding/base64"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A FormatError says where a text format was left, and what should stand
// there.
type FormatError struct {
	Format string // the format's first line, or its name where that is unknown
	Line   int    // counted from 1; 0 where the fault is not in the text
	What   string
}

func (e *FormatError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.Format, e.What)
	}
	return fmt.Sprintf("%s: line %d: %s", e.Format, e.Line, e.What)
}

// textReader takes a strict text apart: LF after every line, one space between
// fields, nothing else. The first fault is kept and all later reads give zero
// values, so that a format's parser reads like its grammar and checks once.
type textReader struct {
	format string
	rest   string
	line   int
	fields []string // of values
	err    error
}

func newTextReader(format, text string) *textReader {
	r := &textReader{format: format, rest: text}
	if got := r.next(); r.err == nil && got != format {
		r.fail("first line is %.64q, want %q", got, format)
	}
	return r
}

func (r *textReader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = &FormatError{r.format, r.line, fmt.Sprintf(format, args...)}
	}
}

func (r *textReader) next() string {
	if r.err != nil {
		return ""
	}
	r.line++
	line, rest, ok := strings.Cut(r.rest, "\n")
	if !ok {
		r.fail("the text ends here without a newline")
		return ""
	}
	for i := 0; i < len(line); i++ {
		if c := line[i]; c < 0x20 || c > 0x7e {
			r.fail("byte 0x%02x, want printable ASCII", c)
			return ""
		}
	}
	r.rest = rest
	return line
}

// peek reports whether the next line has the given key.
func (r *textReader) peek(key string) bool {
	return r.err == nil && len(r.rest) > len(key) && r.rest[:len(key)] == key && r.rest[len(key)] == ' '
}

// lines counts the lines with the given key that come next.
func (r *textReader) lines(key string) (n int) {
	for ahead := (textReader{rest: r.rest}); ahead.peek(key); n++ {
		_, ahead.rest, _ = strings.Cut(ahead.rest, "\n")
	}
	return n
}

// value returns what follows the key on the next line.
func (r *textReader) value(key string) string {
	line := r.next()
	if r.err != nil {
		return ""
	}
	v, ok := strings.CutPrefix(line, key+" ")
	if !ok || v == "" {
		r.fail("%.64q, want %q and its value", line, key)
		return ""
	}
	return v
}

// values returns the n fields that follow the key on the next line. They are good
// until the next call.
func (r *textReader) values(key string, n int) []string {
	f := r.fields[:0]
	for rest, more := r.value(key), true; more; {
		var s string
		s, rest, more = strings.Cut(rest, " ")
		f = append(f, s)
	}
	r.fields = f
	if r.err == nil && len(f) != n {
		r.fail("%s has %d fields, want %d", key, len(f), n)
	}
	for _, s := range f {
		if s == "" {
			r.fail("%s: two spaces, or one at an end", key)
		}
	}
	if r.err != nil {
		return make([]string, n)
	}
	return f
}

// freeText is a sentence for people: printable ASCII, no space at an end.
func (r *textReader) freeText(key string) string {
	v := r.value(key)
	if r.err == nil && !validText(v) {
		r.fail("%s: 1 to %d printable ASCII characters, no space at an end", key, MaxText)
	}
	return v
}

func (r *textReader) number(key string) uint64 { return r.parseNumber(key, r.value(key)) }

func (r *textReader) parseNumber(what, s string) uint64 {
	if r.err != nil {
		return 0
	}
	n, err := ParseNumber(s)
	if err != nil {
		r.fail("%s: %v", what, err)
	}
	return n
}

func (r *textReader) hash(key string) Hash { return r.parseHash(key, r.value(key)) }

func (r *textReader) parseHash(what, s string) (h Hash) {
	if r.err != nil {
		return h
	}
	h, err := ParseHash(s)
	if err != nil {
		r.fail("%s: want 64 lower-case hex digits", what)
	}
	return h
}

// base64 reads standard base64 of at least one and at most max bytes.
func (r *textReader) base64(key string, max int) []byte {
	s := r.value(key)
	if r.err != nil {
		return nil
	}
	b, ok := canonicalBase64(s, max)
	if !ok || len(b) == 0 {
		r.fail("%s: want canonical base64 of 1 to %d bytes", key, max)
		return nil
	}
	return b
}

func (r *textReader) logOrigin() string {
	s := r.value("log")
	if r.err == nil && !ValidOrigin(s) {
		r.fail("log: %.64q is no log origin: printable ASCII without space or plus, at most %d bytes", s, MaxOrigin)
	}
	return s
}

func (r *textReader) host() string {
	s := r.value("host")
	if r.err == nil && !ValidHost(s) {
		r.fail("host: %.64q is no host name: a-z, 0-9, dot, dash and underscore, first and last a letter or digit, at most %d bytes", s, MaxHost)
	}
	return s
}

func (r *textReader) name(key string) Name {
	s := r.value(key)
	if r.err != nil {
		return ""
	}
	n, err := ParseName(s)
	if err != nil {
		r.fail("%s: %v", key, err)
	}
	return n
}

// end returns the first fault; text left over is one.
func (r *textReader) end() error {
	if r.err == nil && r.rest != "" {
		r.line++
		r.fail("nothing may follow, %d bytes do", len(r.rest))
	}
	return r.err
}

// ParseNumber reads a canonical decimal: no sign, no leading zero, at most
// 2^63-1, so that every language can hold it in a signed word.
func ParseNumber(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > math.MaxInt64 || strconv.FormatUint(n, 10) != s {
		return 0, fmt.Errorf("%.32q is no canonical decimal up to 2^63-1", s)
	}
	return n, nil
}

func canonicalHex(s string) ([]byte, bool) { return appendHex(make([]byte, 0, len(s)/2), s) }

// appendHex appends the bytes that lower-case hex digits stand for.
func appendHex(b []byte, s string) ([]byte, bool) {
	n := len(s) / 2
	b = slices.Grow(b, n)
	to := b[len(b) : len(b)+n]
	for i := range to {
		high, low := hexValue[s[2*i]], hexValue[s[2*i+1]]
		if high|low == noHex {
			return b, false
		}
		to[i] = high<<4 | low
	}
	return b[:len(b)+n], len(s)%2 == 0
}

const noHex = 0xff

// hexValue has the value of each lower-case hex digit, noHex for all else.
var hexValue = func() (v [256]byte) {
	for i := range v {
		v[i] = noHex
	}
	for i, c := range "0123456789abcdef" {
		v[c] = byte(i)
	}
	return v
}()

var strictBase64 = base64.StdEncoding.Strict()

func canonicalBase64(s string, max int) ([]byte, bool) {
	if len(s) > strictBase64.EncodedLen(max) {
		return nil, false
	}
	// What a strict decoder still passes over are the ends of lines.
	b, err := strictBase64.DecodeString(s)
	return b, err == nil && len(b) <= max && !strings.ContainsAny(s, "\r\n")
}

// ValidOrigin reports whether s can be a log's origin: a signed-note key name
// in printable ASCII.
func ValidOrigin(s string) bool {
	if s == "" || len(s) > MaxOrigin {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] <= 0x20 || s[i] > 0x7e || s[i] == '+' {
			return false
		}
	}
	return true
}

// ValidHost reports whether s can name a host. The alphabet is that of DNS in
// lower case, so that a name stands unchanged in a path, a URL and a page.
func ValidHost(s string) bool {
	alnum := func(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }
	if s == "" || len(s) > MaxHost || !alnum(s[0]) || !alnum(s[len(s)-1]) || strings.Contains(s, "..") {
		return false
	}
	for i := 0; i < len(s); i++ {
		if !alnum(s[i]) && s[i] != '.' && s[i] != '-' && s[i] != '_' {
			return false
		}
	}
	return true
}

func validText(s string) bool {
	if s == "" || len(s) > MaxText || s[0] == ' ' || s[len(s)-1] == ' ' {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}
