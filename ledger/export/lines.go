package export

import (
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/imaledger/imaledger/tpm/ima"
)

// A Line is a record in JSON Lines. Its keys are stable.
type Line struct {
	Host     string            `json:"host,omitempty"`
	Boot     uint32            `json:"boot"`
	Restart  uint32            `json:"restart"`
	Index    uint64            `json:"index"` // among the records since the TPM was reset
	Segment  string            `json:"segment,omitempty"`
	PCR      uint32            `json:"pcr"`
	Proof    string            `json:"proof"`    // quote, violation, unattested, none
	Extended map[string]string `json:"extended"` // bank to what it was extended with, hex
	Template string            `json:"template"`
	Path     *string           `json:"path,omitempty"`
	PathHex  string            `json:"pathHex,omitempty"` // where the path is not UTF-8: its bytes

	Digest       string            `json:"digest,omitempty"` // of the file, with its algorithm
	Signature    string            `json:"signature,omitempty"`
	KeyID        string            `json:"keyId,omitempty"`
	Buffer       *string           `json:"buffer,omitempty"`
	ModsigDigest string            `json:"modsigDigest,omitempty"`
	Modsig       string            `json:"modsig,omitempty"`
	EVMSignature string            `json:"evmSignature,omitempty"`
	UID          *uint32           `json:"uid,omitempty"`
	GID          *uint32           `json:"gid,omitempty"`
	Mode         *uint16           `json:"mode,omitempty"`
	Xattrs       map[string]string `json:"xattrs,omitempty"` // hex
	Data         string            `json:"data,omitempty"`   // hex, where the fields cannot be told apart
	Fault        string            `json:"fault,omitempty"`  // and why
}

func newLine(r *Record) *Line {
	l := &Line{
		Host: r.Host, Boot: r.Boot, Restart: r.Restart, Index: r.Number, Segment: r.Segment, PCR: r.PCR,
		Proof: r.Proof(), Extended: map[string]string{}, Template: ima.Printable(r.Template),
	}
	for _, b := range r.Banks {
		l.Extended[b.String()] = hex.EncodeToString(r.extended(b))
	}
	f, err := r.Fields()
	if err != nil || f.Format == nil {
		l.Data, l.Fault = hex.EncodeToString(r.Data), "unknown template"
		if err != nil {
			l.Fault = err.Error()
		}
		return l
	}
	path := string(f.Path)
	if !utf8.Valid(f.Path) {
		path, l.PathHex = ima.Printable(f.Path), hex.EncodeToString(f.Path)
	}
	l.Path = &path
	l.Digest, l.ModsigDigest = digest(f.Digest), digest(f.ModHash)
	l.Signature, l.Modsig, l.EVMSignature = hex.EncodeToString(f.Sig), hex.EncodeToString(f.Modsig), hex.EncodeToString(f.EVMSig)
	l.KeyID = keyID(f)
	l.UID, l.GID, l.Mode = f.UID, f.GID, f.Mode
	if f.HasBuf {
		buffer := hex.EncodeToString(f.Buf)
		l.Buffer = &buffer
	}
	for _, x := range f.Xattrs {
		if l.Xattrs == nil {
			l.Xattrs = map[string]string{}
		}
		l.Xattrs[ima.Printable([]byte(x.Name))] = hex.EncodeToString(x.Value)
	}
	return l
}

// digest writes a digest whose algorithm may be any bytes.
func digest(d ima.FileDigest) string {
	if d.Algorithm == "" {
		return ""
	}
	return ima.Printable([]byte(d.String()))
}

// keyID names the keys of a record's signatures.
func keyID(f *ima.Fields) string {
	var ids []string
	for _, id := range f.KeyIDs() {
		ids = append(ids, fmt.Sprintf("%08x", id))
	}
	return strings.Join(ids, " ")
}

// lines writes JSON Lines: an object and LF for each record.
type lines struct{ e *json.Encoder }

func newLines(w io.Writer, _ Options) Writer {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return &lines{e}
}

func (l *lines) Write(r *Record) error { return l.e.Encode(newLine(r)) }

func (l *lines) Close() error { return nil }

// table writes CSV (RFC 4180, LF at line ends). Names are as people see them; where
// that is not the name's bytes, path_hex has those.
type table struct {
	w     *csv.Writer
	begun bool
}

var columns = []string{"host", "boot", "restart", "index", "segment", "pcr", "proof", "template", "path", "path_hex", "digest", "key_id", "extended", "fault"}

func newTable(w io.Writer, _ Options) Writer { return &table{w: csv.NewWriter(w)} }

func (t *table) Write(r *Record) error {
	if err := t.begin(); err != nil {
		return err
	}
	l := newLine(r)
	var extended []string
	for _, b := range r.Banks {
		extended = append(extended, b.String()+":"+l.Extended[b.String()])
	}
	path, pathHex := "", ""
	if f, err := r.Fields(); err == nil && len(f.Path) > 0 {
		path = cell(ima.Printable(f.Path))
		if path != string(f.Path) {
			pathHex = hex.EncodeToString(f.Path)
		}
	}
	row := []string{l.Host, fmt.Sprint(l.Boot), fmt.Sprint(l.Restart), fmt.Sprint(l.Index), l.Segment, fmt.Sprint(l.PCR), l.Proof}
	row = append(row, cell(l.Template), path, pathHex, cell(l.Digest), l.KeyID, strings.Join(extended, " "), cell(l.Fault))
	return t.w.Write(row)
}

func (t *table) begin() error {
	if t.begun {
		return nil
	}
	t.begun = true
	return t.w.Write(columns)
}

func (t *table) Close() error {
	if err := t.begin(); err != nil {
		return err
	}
	t.w.Flush()
	return t.w.Error()
}

// formulas are what a cell begins with that spreadsheets compute: whoever can name a
// buffer would have them run it (CWE-1236).
const formulas = "=+-@\t\r\n＝＋－＠"

// cell returns text that no spreadsheet takes for a formula.
func cell(s string) string {
	if c, _ := utf8.DecodeRuneInString(s); s != "" && strings.ContainsRune(formulas, c) {
		return "'" + s
	}
	return s
}
