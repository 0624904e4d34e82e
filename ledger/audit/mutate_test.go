//go:build web

package audit_test

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/ledger"
)

// A mutator alters vectors: blindly, file by file, and by rewriting what entries
// say and making all signatures, quotes and proofs anew.
type mutator struct {
	t        testing.TB
	rand     *rand.Rand
	bundles  []loadedBundle
	entries  [][]byte
	records  []recordVector
	policies [][]byte
	rules    [][]byte
	keys     []*fuzzKey

	authorities []crypto.Signer // of EK certificates
}

type loadedBundle struct {
	name  string
	raw   []byte
	files []ledger.BundleSource
	body  map[string][]byte // by folder and hash
	trust [][]byte          // policy, rules, roots
}

func newMutator(t *testing.T) *mutator {
	m := &mutator{t: t, keys: fuzzKeys(t), authorities: authorities(t)}
	var vectors []bundleVector
	readJSON(t, "bundles.json", &vectors)
	for _, v := range vectors {
		read := func(name string) []byte { return readFile(t, filepath.Join(vectorDir, v.Trust, name)) }
		b := loadedBundle{name: v.Name, raw: readFile(t, filepath.Join(vectorDir, v.Bundle)), body: make(map[string][]byte)}
		b.trust = [][]byte{read("policy"), read("rules"), read("roots/vendor.pem")}
		m.policies, m.rules = append(m.policies, b.trust[0]), append(m.rules, b.trust[1])
		open, err := ledger.OpenBundle(bytes.NewReader(b.raw), int64(len(b.raw)))
		if err == nil {
			for _, f := range open.Files {
				content, _, err := open.Read(f.Folder, f.Hash)
				if err != nil {
					t.Fatal(err)
				}
				b.files = append(b.files, ledger.SourceBytes(f.Folder, content, f.Hash))
				b.body[fmt.Sprintf("%s/%x", f.Folder, f.Hash)] = content
			}
		}
		m.bundles = append(m.bundles, b)
	}
	var entries []entryVector
	readJSON(t, "entries.json", &entries)
	for _, v := range entries {
		raw, _ := base64.StdEncoding.DecodeString(v.Entry)
		m.entries = append(m.entries, raw)
	}
	readJSON(t, "records.json", &m.records)
	more, _ := filepath.Glob("../testdata/c2sp/policy/*")
	for _, name := range more {
		m.policies = append(m.policies, readFile(t, name))
	}
	return m
}

// oneIn is true once in so many times.
func (m *mutator) oneIn(n int) bool { return m.rand.IntN(n) == 0 }

func pick[T any](m *mutator, list []T) T { return list[m.rand.IntN(len(list))] }

func (m *mutator) question() question {
	switch n := m.rand.IntN(24); {
	case n == 0:
		b := pick(m, m.bundles)
		return question{b.name + ": bytes of the bundle", 'b', append([][]byte{m.bytes(b.raw)}, b.trust...)}
	case n < 5:
		return m.file()
	case n == 5:
		b := pick(m, m.bundles)
		return question{b.name + ": another policy", 'b', [][]byte{b.raw, m.text(b.trust[0]), b.trust[1], b.trust[2]}}
	case n == 6:
		b := pick(m, m.bundles)
		return question{b.name + ": other rules", 'b', [][]byte{b.raw, b.trust[0], m.text(b.trust[1]), b.trust[2]}}
	case n == 7:
		return question{"an entry", 'e', [][]byte{m.text(pick(m, m.entries))}}
	case n == 8:
		return question{"an entry, its trailer made anew", 'e', [][]byte{retrailed(m.text(textOf(pick(m, m.entries))))}}
	case n == 9:
		return question{"a policy", 'p', [][]byte{m.text(pick(m, m.policies))}}
	case n == 10:
		return question{"rules", 'r', [][]byte{m.text(pick(m, m.rules))}}
	case n == 11:
		v := pick(m, m.records)
		segment, _ := base64.StdEncoding.DecodeString(v.Segment)
		proof, _ := base64.StdEncoding.DecodeString(v.Proof)
		return question{v.Name, 'd', [][]byte{segment, m.text(proof)}}
	case n < 14:
		return m.certified()
	case n >= 22:
		return m.across()
	default:
		return m.rebuilt()
	}
}

// across holds altered bundles to one another, and to those that they were. One that
// shows two histories by itself is not among them: which of the two it stands for
// nobody says.
func (m *mutator) across() question {
	b := m.readable()
	what, parts := "held to one another", slices.Clone(b.trust)
	one := m.oneIn(2) // of one history, but for what is altered
	for range 2 + m.rand.IntN(2) {
		for {
			q := m.fileOf(b)
			if !one {
				q = m.rebuilt()
			}
			r, err := checked(b.trust, q.parts[0])
			if err == nil && !slices.Contains(codes(r), ledger.LogSplit) {
				what, parts = what+"; "+q.what, append(parts, q.parts[0])
				break
			}
			one = false // it may split whatever is altered
		}
	}
	return question{what, 'a', parts}
}

// file alters one file of a bundle, or leaves it out, or puts another in its
// place, and makes the manifest anew.
func (m *mutator) file() question { return m.fileOf(m.readable()) }

// readable picks a bundle that can be read.
func (m *mutator) readable() loadedBundle {
	for {
		if b := pick(m, m.bundles); len(b.files) > 0 {
			return b
		}
	}
}

func (m *mutator) fileOf(b loadedBundle) question {
	files := slices.Clone(b.files)
	i := m.rand.IntN(len(files))
	f := files[i]
	name := fmt.Sprintf("%s/%x", f.Folder, f.Hash)
	what := ""
	switch m.rand.IntN(8) {
	case 0:
		what = "left out"
		files = slices.Delete(files, i, i+1)
	case 1:
		other := pick(m, files)
		what = "exchanged for " + fmt.Sprintf("%s/%x", other.Folder, other.Hash)
		files[i] = ledger.SourceBytes(f.Folder, b.body[fmt.Sprintf("%s/%x", other.Folder, other.Hash)], f.Hash)
	case 2:
		what = "under its old name"
		files[i] = ledger.SourceBytes(f.Folder, m.text(b.body[name]), f.Hash)
		files[i].Hash = f.Hash
	default:
		what = "altered"
		content := m.text(b.body[name])
		files[i] = ledger.SourceBytes(f.Folder, content, f.Hash)
		if f.Folder == ledger.FolderLeaves && m.oneIn(2) { // its proof goes with it
			old := fmt.Sprintf("%s/%x", ledger.FolderProofs, f.Hash)
			files = slices.DeleteFunc(files, func(s ledger.BundleSource) bool { return s.Folder == ledger.FolderProofs && s.Hash == f.Hash })
			files = append(files, ledger.SourceBytes(ledger.FolderProofs, b.body[old], ledger.LeafHash(content)))
		}
	}
	var out bytes.Buffer
	if err := ledger.WriteBundle(&out, files); err != nil { // two files of one name
		return m.fileOf(b)
	}
	return question{b.name + ": " + name + " " + what, 'b', append([][]byte{out.Bytes()}, b.trust...)}
}

// bytes alters some bytes.
func (m *mutator) bytes(b []byte) []byte {
	b = bytes.Clone(b)
	if len(b) == 0 {
		return []byte{byte(m.rand.IntN(256))}
	}
	i := m.rand.IntN(len(b))
	switch m.rand.IntN(6) {
	case 0:
		return b[:i]
	case 1:
		return append(b, byte(m.rand.IntN(256)))
	case 2:
		return slices.Insert(b, i, byte(m.rand.IntN(256)))
	case 3:
		return slices.Delete(b, i, i+1)
	case 4:
		b[i] = byte(m.rand.IntN(256))
	default:
		b[i] ^= 1 << m.rand.IntN(8)
	}
	return b
}

var number = regexp.MustCompile(`\b[0-9]{1,19}\b`)

// words stand where another of their row does.
var words = [][]string{
	{"continues", "boot", "gap trimmed", "gap tpm-clear", "gap kexec-lost", "gap nothing"},
	{"sha1", "sha256", "sha384", "sha512", "sm3_256", "sha3_256", "md5"},
	{"digest", "padded", "padded-ff"}, {"le", "be"},
	{"certificate", "pinned", "first-use", "software"},
	{"passed", "failed"}, {"required", "none"}, {"forever", "1", "0"},
	{"stock", "staging", "*", "a..b", "-"},
	{"log.example/test", "log.example/next", "other.example"},
	{"any", "all", "1", "2", "01"}, {"w0", "w1", "w2", "any2", "none"}, {"gap", "kexec", "no-code"},
}

var numbers = []string{"0", "1", "2", "00", "10", "23", "24", "9007199254740993", "9223372036854775807", "9223372036854775808", "18446744073709551616"}

// text alters lines, words and numbers of a text, or bytes of what is none.
func (m *mutator) text(b []byte) []byte {
	for range 1 + m.rand.IntN(2) {
		b = m.textOnce(b)
	}
	return b
}

func (m *mutator) textOnce(b []byte) []byte {
	lines := strings.SplitAfter(string(b), "\n")
	i := m.rand.IntN(len(lines))
	switch m.rand.IntN(10) {
	case 0:
		lines = slices.Delete(lines, i, i+1)
	case 1:
		lines = slices.Insert(lines, i, lines[i])
	case 2:
		k := m.rand.IntN(len(lines))
		lines[i], lines[k] = lines[k], lines[i]
	case 3, 4:
		lines[i] = m.number(lines[i])
	case 5, 6:
		lines[i] = m.word(lines[i])
	case 7:
		lines[i] = strings.Replace(lines[i], " ", pick(m, []string{"  ", "\t", "", " \r"}), 1)
	default:
		return m.bytes(b)
	}
	return []byte(strings.Join(lines, ""))
}

func (m *mutator) number(line string) string {
	at := number.FindAllStringIndex(line, -1)
	if len(at) == 0 {
		return line
	}
	where := pick(m, at)
	value := pick(m, numbers)
	if n, err := strconv.ParseUint(line[where[0]:where[1]], 10, 63); err == nil && m.oneIn(2) {
		value = strconv.FormatUint(n+uint64(m.rand.IntN(3))-1, 10)
	}
	return line[:where[0]] + value + line[where[1]:]
}

func (m *mutator) word(line string) string {
	for range 20 {
		row := pick(m, words)
		for _, w := range row {
			if strings.Contains(line, w) {
				return strings.Replace(line, w, pick(m, row), 1)
			}
		}
	}
	return line
}
