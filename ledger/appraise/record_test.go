package appraise

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/imaledger/imaledger/tpm/ima"
)

// A measured is a record for tests: fields by template.
type measured struct {
	template  string // ima-ng where it is empty
	algorithm string // of the digest, sha256 where it is empty; with its type for …v2
	digest    []byte // 32 zeros where it is nil
	path      string
	sig, buf  []byte
	pcr       uint32
	violation bool
}

func (m measured) record(t testing.TB) *ima.Record {
	t.Helper()
	if m.template == "" {
		m.template = "ima-ng"
		if m.sig != nil {
			m.template = "ima-sig"
		}
		if m.buf != nil {
			m.template = "ima-buf"
		}
	}
	if m.algorithm == "" {
		m.algorithm = "sha256"
	}
	if m.digest == nil {
		m.digest = make([]byte, 32)
	}
	if m.pcr == 0 {
		m.pcr = 10
	}
	le := func(n int) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(n)) }
	field := func(b []byte) []byte { return append(le(len(b)), b...) }
	data := append(field(append([]byte(m.algorithm+":\x00"), m.digest...)), field([]byte(m.path+"\x00"))...)
	switch m.template {
	case "ima-sig", "ima-sigv2":
		data = append(data, field(m.sig)...)
	case "ima-buf":
		data = append(data, field(m.buf)...)
	}
	sum := ima.SHA1.New()
	sum.Write(data)
	stored := sum.Sum(nil)
	if m.violation {
		stored = make([]byte, 20)
	}
	list := bytes.Join([][]byte{le(int(m.pcr)), stored, le(len(m.template)), []byte(m.template), le(len(data)), data}, nil)
	rec, err := ima.NewReader(bytes.NewReader(list), ima.Format{Bank: ima.SHA1}).Next()
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// judge appraises one record by one policy.
func judge(t testing.TB, p Policy, m measured) Judgement {
	t.Helper()
	return (&Appraiser{Policies: []Policy{p}}).Judge(m.record(t))
}

func wantJudgement(t testing.TB, what string, got Judgement, verdict Verdict, rule string) {
	t.Helper()
	if got.Verdict != verdict || got.Rule != rule {
		t.Errorf("%s: %s by %s (%s), want %s by %s", what, got.Verdict, got.Rule, got.Detail, verdict, rule)
	}
}
