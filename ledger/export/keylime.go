package export

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/imaledger/imaledger/tpm/ima"
	"github.com/imaledger/imaledger/tpm/quote"
)

// KeylimeEvidence is a quote in the form that Keylime's verifier takes it in (its
// REST API, POST /verify/evidence, version 2.4 and later).
type KeylimeEvidence struct {
	Attest    []byte // TPMS_ATTEST
	Signature []byte // TPMT_SIGNATURE
	AK        *quote.AK
	EKPublic  []byte                // TPMT_PUBLIC
	Values    func(ima.Slot) []byte // of every quoted register
	Policy    []byte                // Keylime's runtime policy, which the verifier wants beside the evidence; nil for none
}

// ErrKeylime is evidence that is sound and that Keylime's verifier cannot check.
var ErrKeylime = errors.New("the verifier of Keylime cannot check it")

// keylimePCR is the one register whose records it takes.
const keylimePCR = ima.DefaultPCR

// keylime writes the object that is posted. The list stands in it as one string, so
// it is written record by record.
type keylime struct {
	w     io.Writer
	e     KeylimeEvidence
	begun bool
	buf   []byte
}

// NewKeylime returns a writer of what Keylime's verifier takes, or ErrKeylime where
// it could not check the quote.
func NewKeylime(w io.Writer, e KeylimeEvidence) (Writer, error) {
	q, err := quote.Parse(e.Attest)
	if err != nil {
		return nil, err
	}
	if err := keylimeSelects(q, e.AK); err != nil {
		return nil, err
	}
	return &keylime{w: w, e: e}, nil
}

// keylimeSelects: its checkquote takes the registers of one bank, that of the hash
// which the signature is by, and looks for the same ones in each bank quoted.
func keylimeSelects(q *quote.Quote, ak *quote.AK) error {
	last := q.Selection[len(q.Selection)-1]
	if last.Bank != ak.HashAlg {
		return fmt.Errorf("%w: the last bank quoted is %s, and the signature's hash is %s", ErrKeylime, ima.Bank(last.Bank), ima.Bank(ak.HashAlg))
	}
	for _, b := range q.Selection {
		if !slices.Equal(b.PCRs, last.PCRs) {
			return fmt.Errorf("%w: the quote selects PCR %v in bank %s and %v in bank %s, and it takes the same ones in each: the agent quotes so with quote all", ErrKeylime, b.PCRs, ima.Bank(b.Bank), last.PCRs, ima.Bank(last.Bank))
		}
	}
	if !slices.Contains(last.PCRs, keylimePCR) {
		return fmt.Errorf("%w: the quote does not select PCR %d", ErrKeylime, keylimePCR)
	}
	return nil
}

// keylimeTemplates are those that it parses (keylime/ima/ast.py).
var keylimeTemplates = []string{"ima", "ima-ng", "ima-sig", "ima-buf"}

func (k *keylime) Write(r *Record) error {
	unfit := func(what string) error { return &UnfitError{r.Number, "Keylime's evidence", what} }
	f, err := r.Fields()
	switch {
	case r.PCR != keylimePCR:
		return unfit(fmt.Sprintf("it is of PCR %d, and Keylime refuses all but PCR %d", r.PCR, keylimePCR))
	case !slices.Contains(keylimeTemplates, string(r.Template)):
		return unfit(fmt.Sprintf("Keylime reads no records of template %s", ima.Printable(r.Template)))
	case r.Order() != ima.LittleEndian:
		return unfit("Keylime takes every list for little-endian")
	case err != nil:
		return unfit(err.Error())
	case !utf8.Valid(f.Path) || strings.ContainsAny(string(f.Path), "\n"):
		return unfit("its file name " + ima.Printable(f.Path) + " has bytes that Keylime's list does not hold")
	}
	if err := k.begin(); err != nil {
		return err
	}
	if k.buf, err = r.AppendASCII(k.buf[:0], ima.SHA1, ima.StyleDigest); err != nil {
		return unfit(err.Error())
	}
	text, err := json.Marshal(string(k.buf))
	if err != nil {
		return err
	}
	_, err = k.w.Write(text[1 : len(text)-1])
	return err
}

func (k *keylime) begin() error {
	if k.begun {
		return nil
	}
	k.begun = true
	enc := base64.StdEncoding.EncodeToString
	q, err := quote.Parse(k.e.Attest)
	if err != nil {
		return err
	}
	values, err := k.pcrs(q)
	if err != nil {
		return err
	}
	data := struct {
		Quote   string `json:"quote"`
		Nonce   string `json:"nonce"` // base64, as Keylime's agents that push have it
		HashAlg string `json:"hash_alg"`
		AK      string `json:"tpm_ak"` // TPM2B_PUBLIC
		EK      string `json:"tpm_ek"`
		Policy  string `json:"runtime_policy,omitempty"`
	}{
		"r" + enc(k.e.Attest) + ":" + enc(k.e.Signature) + ":" + enc(values), enc(q.ExtraData), ima.Bank(k.e.AK.HashAlg).String(),
		enc(sized(k.e.AK.Raw)), enc(sized(k.e.EKPublic)), string(k.e.Policy),
	}
	text, err := json.Marshal(data)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(k.w, `{"type":"tpm","data":%s,"ima_measurement_list":"`, text[:len(text)-1])
	return err
}

func (k *keylime) Close() error {
	if err := k.begin(); err != nil {
		return err
	}
	_, err := io.WriteString(k.w, "\"}}\n")
	return err
}

// sized returns a TPM2B of its content.
func sized(b []byte) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...) }

// Sizes of tpm2-tools' file of register values: C structures as they stand in memory
// on a little-endian machine.
const (
	pcrSelections = 16 // of a TPML_PCR_SELECTION
	pcrDigests    = 8  // of a TPML_DIGEST
	pcrDigestSize = 64
)

// pcrs returns the values of the quoted registers in the form of tpm2-tools, which
// Keylime reads.
func (k *keylime) pcrs(q *quote.Quote) ([]byte, error) {
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(q.Selection)))
	var values [][]byte
	for i := range pcrSelections {
		var entry [8]byte // u16 bank, u8 size, 3 bytes of registers, 2 of padding
		if i < len(q.Selection) {
			s := q.Selection[i]
			binary.LittleEndian.PutUint16(entry[:], s.Bank)
			entry[2] = 3
			for _, pcr := range s.PCRs {
				entry[3+pcr/8] |= 1 << (pcr % 8)
				v := k.e.Values(ima.Slot{Bank: ima.Bank(s.Bank), PCR: pcr})
				if len(v) == 0 || len(v) > pcrDigestSize {
					return nil, fmt.Errorf("no value of %s:%d, which is quoted", ima.Bank(s.Bank), pcr)
				}
				values = append(values, v)
			}
		}
		b = append(b, entry[:]...)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32((len(values)+pcrDigests-1)/pcrDigests))
	for part := range slices.Chunk(values, pcrDigests) {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(part)))
		for i := range pcrDigests {
			var v []byte
			if i < len(part) {
				v = part[i]
			}
			b = binary.LittleEndian.AppendUint16(b, uint16(len(v)))
			b = append(append(b, v...), make([]byte, pcrDigestSize-len(v))...)
		}
	}
	return b, nil
}
