//go:build web

package audit_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/ledger"
)

// textOf is an entry without its trailer.
func textOf(entry []byte) []byte {
	n := 1
	if len(entry) > 0 {
		n += 36 * int(entry[len(entry)-1])
	}
	return entry[:max(0, len(entry)-n)]
}

var addendum = regexp.MustCompile(`(?m)^(payload|evidence|report) [0-9]+ ([0-9a-f]{64})$|^anchor [0-9]+ [0-9a-f]{64} ([0-9a-f]{64})$`)

// retrailed puts the trailer behind a text that its lines demand.
func retrailed(text []byte) []byte {
	order := map[string][]byte{}
	for _, f := range addendum.FindAllSubmatch(text, -1) {
		if len(f[3]) > 0 {
			order["b anchor"] = f[3]
		} else {
			order["a "+string(f[1])] = f[2]
		}
	}
	out := bytes.Clone(text)
	var offsets []byte
	for _, k := range slices.Sorted(func(yield func(string) bool) {
		for k := range order {
			if !yield(k) {
				return
			}
		}
	}) {
		offsets = binary.BigEndian.AppendUint32(offsets, uint32(len(out)))
		raw, _ := hex.DecodeString(string(order[k]))
		out = append(out, raw...)
	}
	return append(append(out, offsets...), byte(len(order)))
}

// rebuilt rewrites a bundle: what its entries say is altered, and all that depends
// on it is made anew, so that what is wrong is wrong at one place and deep.
func (m *mutator) rebuilt() question {
	b := pick(m, m.bundles)
	for len(b.files) == 0 || b.name == "log-split" {
		b = pick(m, m.bundles)
	}
	drafts := m.drafts(b)
	if len(drafts) == 0 {
		return m.file()
	}
	if m.oneIn(8) && len(drafts) > 1 {
		i := m.rand.IntN(len(drafts))
		if m.oneIn(2) {
			drafts = slices.Delete(drafts, i, i+1)
		} else {
			drafts = slices.Insert(drafts, i, drafts[m.rand.IntN(len(drafts))])
		}
	}
	if m.oneIn(8) {
		i, k := m.rand.IntN(len(drafts)), m.rand.IntN(len(drafts))
		drafts[i], drafts[k] = drafts[k], drafts[i]
	}
	what := b.name + ", made anew"
	altered := m.rand.IntN(len(drafts))
	n := m.rand.IntN(3)
	for i := range drafts {
		d := &drafts[i]
		d.text, d.payload, d.attest = bytes.Clone(d.text), slices.Clone(d.payload), slices.Clone(d.attest)
	}
	for range n {
		d := &drafts[altered]
		if d.payload != nil && m.oneIn(2) {
			d.payload = m.list(d.payload)
			what += fmt.Sprintf("; the records of entry %d", altered)
		} else if d.attest != nil && m.oneIn(3) {
			m.counters(d.attest)
			what += fmt.Sprintf("; the counters of entry %d", altered)
		} else {
			d.text = m.textOnce(d.text)
			what += fmt.Sprintf("; the text of entry %d", altered)
		}
		if m.oneIn(3) {
			altered = m.rand.IntN(len(drafts))
		}
	}
	files := m.publish(drafts, b)
	var out bytes.Buffer
	if err := ledger.WriteBundle(&out, files); err != nil {
		return m.file()
	}
	return question{what, 'b', append([][]byte{out.Bytes()}, b.trust...)}
}

// A publisher makes a log anew.
type publisher struct {
	*mutator
	worlds  map[string]*world
	renamed map[string]string // leaf hashes, and digests of payloads
	files   []ledger.BundleSource
	hosts   map[string]*fuzzKey
	signers map[string]note.Signer
	entries []made
}

type made struct {
	w     *world
	index int
}

var hash64 = regexp.MustCompile(`\b[0-9a-f]{64}\b`)

func (m *mutator) publish(drafts []draft, b loadedBundle) []ledger.BundleSource {
	p := &publisher{mutator: m, worlds: make(map[string]*world), renamed: make(map[string]string), hosts: make(map[string]*fuzzKey), signers: make(map[string]note.Signer)}
	for _, name := range []string{"registrar.example", "operator.example"} {
		p.signers[name], _ = noteSigner(m.t, name)
	}
	for _, f := range b.files {
		if f.Folder == ledger.FolderEvidence {
			p.keep(f.Folder, b.body[fmt.Sprintf("%s/%x", f.Folder, f.Hash)])
		}
	}
	for _, d := range drafts {
		p.add(d)
	}
	for _, e := range p.entries {
		if m.oneIn(200) {
			continue
		}
		leaf := e.w.leaves[e.index]
		p.files = append(p.files, ledger.SourceBytes(ledger.FolderProofs, e.w.proof(e.index), leaf))
	}
	seen := make(map[string]bool)
	return slices.DeleteFunc(p.files, func(f ledger.BundleSource) bool {
		name := fmt.Sprintf("%s/%x", f.Folder, f.Hash)
		defer func() { seen[name] = true }()
		return seen[name]
	})
}

func (p *publisher) keep(folder string, content []byte) {
	p.files = append(p.files, ledger.SourceBytes(folder, content, ledger.Hash{}))
}

func (p *publisher) world(name string) *world {
	if w := p.worlds[name]; w != nil {
		return w
	}
	w := newWorld(p.t)
	if name == nextOrigin {
		w.origin, w.log = nextOrigin, ed25519.NewKeyFromSeed(seed("next log"))
	}
	p.worlds[name] = w
	return w
}

// add makes an entry anew and puts it into its log.
func (p *publisher) add(d draft) {
	w := p.world(d.origin)
	if p.oneIn(4) {
		w.now = w.now.Add(time.Duration(p.rand.IntN(40)) * 24 * time.Hour)
	}
	text := hash64.ReplaceAllFunc(d.text, func(h []byte) []byte {
		if to, ok := p.renamed[string(h)]; ok && !p.oneIn(100) {
			return []byte(to)
		}
		return h
	})
	switch d.kind {
	case "segment":
		text = p.segment(w, d, text)
	case "enrolment":
		text = p.sign(p.enrolment(text), "registrar.example")
	default:
		text = p.sign(text, "operator.example")
	}
	entry := retrailed(text)
	if p.oneIn(100) {
		entry = p.bytes(entry)
	}
	leaf := w.add(entry)
	p.renamed[d.old] = fmt.Sprintf("%x", leaf)
	p.files = append(p.files, ledger.SourceBytes(ledger.FolderLeaves, entry, ledger.Hash{}))
	p.entries = append(p.entries, made{w, len(w.leaves) - 1})
}

// sign adds a signature line to a text.
func (p *publisher) sign(text []byte, by string) []byte {
	if p.oneIn(60) {
		by = pick(p.mutator, []string{"registrar.example", "operator.example"})
	}
	signed, err := note.Sign(&note.Note{Text: string(text)}, p.signers[by])
	if err != nil {
		return append(text, "\n— nobody.example AAAAAAAA\n"...)
	}
	return signed
}

var hostLine = regexp.MustCompile(`(?m)^host (\S+)$`)

// key is the AK of the host that a text names.
func (p *publisher) key(text []byte) *fuzzKey {
	host := ""
	if f := hostLine.FindSubmatch(text); f != nil {
		host = string(f[1])
	}
	if p.hosts[host] == nil {
		p.hosts[host] = pick(p.mutator, p.keys)
	}
	return p.hosts[host]
}

var (
	akLine       = regexp.MustCompile(`(?m)^ak [0-9a-f]+$`)
	publicLine   = regexp.MustCompile(`(?m)^ak-public \S+$`)
	anchorLine   = regexp.MustCompile(`(?m)^anchor .*$`)
	payloadLine  = regexp.MustCompile(`(?m)^payload .*$`)
	recordsLine  = regexp.MustCompile(`(?m)^records .*$`)
	countLine    = regexp.MustCompile(`(?m)^count .*$`)
	quoteLine    = regexp.MustCompile(`(?m)^quote \S+$`)
	sigLine      = regexp.MustCompile(`(?m)^signature \S+$`)
	registerLine = regexp.MustCompile(`(?m)^(base|end|other) ([a-z0-9_]+):([0-9]+) ([0-9a-f]+)$`)
	styleLine    = regexp.MustCompile(`(?m)^style ([a-z0-9_]+) (\S+)$`)
)

func set(text []byte, line *regexp.Regexp, format string, args ...any) []byte {
	return line.ReplaceAllLiteral(text, fmt.Appendf(nil, format, args...))
}

func (p *publisher) enrolment(text []byte) []byte {
	if p.oneIn(30) {
		return text
	}
	k := p.key(text)
	public := k.public
	if p.oneIn(20) {
		public = p.bytes(public)
	}
	text = set(text, akLine, "ak %x", k.name)
	return set(text, publicLine, "ak-public %s", base64.StdEncoding.EncodeToString(public))
}

// segment makes anchor, payload, body and quote of a segment anew.
func (p *publisher) segment(w *world, d draft, text []byte) []byte {
	k := p.key(text)
	text = set(text, akLine, "ak %x", k.name)
	if size := len(w.leaves) - p.rand.IntN(2)*p.rand.IntN(2); size >= 0 && !p.oneIn(40) {
		anchor := w.checkpoint(size)
		if p.oneIn(30) {
			anchor = p.text(anchor)
		}
		p.keep(ledger.FolderAnchors, anchor)
		root := sha256.Sum256(nil)
		if size > 0 {
			root = treeRoot(w.leaves[:size])
		}
		text = set(text, anchorLine, "anchor %d %x %x", size, root, sha256.Sum256(anchor))
	}
	if d.payload != nil {
		p.keep(ledger.FolderPayloads, d.payload)
		if !p.oneIn(20) {
			text = p.body(text, d.payload)
		}
	}
	attest := d.attest
	if !p.oneIn(30) {
		attest = p.quote(k, text, attest)
	}
	signature := k.sign(p.mutator, attest)
	if p.oneIn(30) {
		signature = p.bytes(signature)
	}
	text = set(text, quoteLine, "quote %s", base64.StdEncoding.EncodeToString(attest))
	return set(text, sigLine, "signature %s", base64.StdEncoding.EncodeToString(signature))
}
