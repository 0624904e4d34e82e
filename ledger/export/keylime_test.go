package export

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/tpm/ima"
	"github.com/imaledger/imaledger/tpm/quote"
)

// keylimeCut is the evidence of a recorded cut, and the records of its list.
func keylimeCut(t testing.TB, recording, cut string) (KeylimeEvidence, []*Record) {
	t.Helper()
	ak, err := quote.ParseAK(read(t, recording+"/identity/ak.tpmt_public"))
	if err != nil {
		t.Fatal(err)
	}
	dir := recording + "/" + cut
	var file struct{ PCRs map[string]map[string]string }
	if err := json.Unmarshal(read(t, dir+"/pcrs.json"), &file); err != nil {
		t.Fatal(err)
	}
	return KeylimeEvidence{
		Attest: read(t, dir+"/quote.tpms_attest"), Signature: read(t, dir+"/quote.tpmt_signature"), AK: ak,
		EKPublic: read(t, recording+"/identity/ek.tpmt_public"),
		Values: func(s ima.Slot) []byte {
			v, err := hex.DecodeString(file.PCRs[s.Bank.String()][fmt.Sprint(s.PCR)])
			if err != nil {
				t.Fatal(err)
			}
			return v
		},
	}, records(t, read(t, dir+"/binary_runtime_measurements"))
}

func writeKeylime(t testing.TB, e KeylimeEvidence, all []*Record) ([]byte, error) {
	t.Helper()
	var b bytes.Buffer
	w, err := NewKeylime(&b, e)
	for _, r := range all {
		if err == nil {
			err = w.Write(r)
		}
	}
	if err == nil {
		err = w.Close()
	}
	return b.Bytes(), err
}

// TestKeylimeEvidence: a verifier that knows Keylime's REST API and tpm2-tools' file of
// register values finds the quote, its values and the kernel's own list. To have
// Keylime's code check the same files, set KEYLIME_EVIDENCE to a folder to write them to.
func TestKeylimeEvidence(t *testing.T) {
	e, all := keylimeCut(t, "stock-6.1/boot1", "cut4")
	e.Policy = []byte(`{"a":"b"}`)
	text, err := writeKeylime(t, e, all)
	if err != nil {
		t.Fatal(err)
	}
	if dir := os.Getenv("KEYLIME_EVIDENCE"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, "evidence.json"), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var got struct {
		Type string
		Data struct {
			Quote         string
			Nonce         string
			HashAlg       string `json:"hash_alg"`
			AK            string `json:"tpm_ak"`
			EK            string `json:"tpm_ek"`
			RuntimePolicy string `json:"runtime_policy"`
			List          string `json:"ima_measurement_list"`
		}
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if list := read(t, "stock-6.1/boot1/cut4/ascii_runtime_measurements"); got.Type != "tpm" || got.Data.List != string(list) || got.Data.HashAlg != "sha256" || got.Data.RuntimePolicy != `{"a":"b"}` {
		t.Errorf("%.300s", text)
	}
	parts := strings.Split(strings.TrimPrefix(got.Data.Quote, "r"), ":")
	var raw [3][]byte
	for i, p := range parts {
		if raw[i], err = base64.StdEncoding.DecodeString(p); err != nil {
			t.Fatal(err)
		}
	}
	q, err := e.AK.Verify(raw[0], raw[1])
	if err != nil {
		t.Fatal(err)
	}
	if nonce := base64.StdEncoding.EncodeToString(q.ExtraData); got.Data.Nonce != nonce {
		t.Errorf("nonce %s, want %s", got.Data.Nonce, nonce)
	}
	if got.Data.AK != base64.StdEncoding.EncodeToString(append([]byte{0, byte(len(e.AK.Raw))}, e.AK.Raw...)) || got.Data.EK == "" {
		t.Errorf("tpm_ak is %s", got.Data.AK)
	}
	// The file of values, read as tpm2-tools writes it.
	b, values := raw[2], sha256.New()
	if n := binary.LittleEndian.Uint32(b); n != 2 {
		t.Errorf("%d banks", n)
	}
	b = b[4+16*8:]
	count := binary.LittleEndian.Uint32(b)
	for b = b[4:]; count > 0; count-- {
		b = b[4:]
		for range 8 {
			n := binary.LittleEndian.Uint16(b)
			values.Write(b[2 : 2+n])
			b = b[66:]
		}
	}
	if len(b) > 0 || !bytes.Equal(values.Sum(nil), q.PCRDigest) {
		t.Errorf("%d bytes left over, the values have digest %x, quoted is %x", len(b), values.Sum(nil), q.PCRDigest)
	}
}

// TestKeylimeRefused: what Keylime's verifier would misread or refuse is refused here,
// with the reason.
func TestKeylimeRefused(t *testing.T) {
	e, all := keylimeCut(t, "stock-6.1/boot1", "cut4")
	for want, change := range map[string]func(*KeylimeEvidence, *Record){
		"template ima-ngv2":  func(_ *KeylimeEvidence, r *Record) { r.Template = []byte("ima-ngv2") },
		"it is of PCR 11":    func(_ *KeylimeEvidence, r *Record) { r.PCR = 11 },
		"no length":          func(_ *KeylimeEvidence, r *Record) { r.Data = []byte{1} },
		"no value of sha1:0": func(e *KeylimeEvidence, _ *Record) { e.Values = func(ima.Slot) []byte { return nil } },
		"and it takes the same": func(e *KeylimeEvidence, _ *Record) {
			e.Attest = bytes.Replace(e.Attest, []byte{0, 4, 3, 0xff, 0x07, 0}, []byte{0, 4, 3, 0, 0x04, 0}, 1)
		},
		"does not select PCR 10": func(e *KeylimeEvidence, _ *Record) {
			e.Attest = bytes.ReplaceAll(e.Attest, []byte{3, 0xff, 0x07, 0}, []byte{3, 0xff, 0, 0})
		},
		"the last bank quoted is": func(e *KeylimeEvidence, _ *Record) {
			e.Attest = bytes.Replace(e.Attest, []byte{0, 0x0b, 3}, []byte{0, 0x0c, 3}, 1)
		},
	} {
		x, inner, r := e, *all[3].Record, *all[3]
		r.Record = &inner
		change(&x, &r)
		_, err := writeKeylime(t, x, []*Record{&r})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	for _, name := range []string{"/a\nb", "/\xff"} {
		var unfit *UnfitError
		if _, err := writeKeylime(t, e, named(t, name)); !errors.As(err, &unfit) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestStatement: the statement has the form of in-toto's, version 1.
func TestStatement(t *testing.T) {
	text, err := NewStatement(Verification{Verdict: "verified", Verifier: "test"}, NewSubject("evidence.tar", sha256.Sum256(nil)))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"evidence.tar","digest":{"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}],"predicateType":"` + PredicateType + `","predicate":{"verdict":"verified","verifier":"test",`
	if !strings.HasPrefix(string(text), want) {
		t.Errorf("%s", text)
	}
}
