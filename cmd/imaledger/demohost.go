package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/agent"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/tpm"
	"github.com/imaledger/imaledger/tpm/ima"
	"github.com/imaledger/imaledger/tpm/quote"
)

// The lists are real: their README says where they come from.
//
//go:embed lists/*.gz
var demoLists embed.FS

// A demoTPM is what a demoHost needs of its TPM.
type demoTPM interface {
	AK() ([]byte, error)
	Quote(nonce []byte, selection ima.Selection) (attest, signature []byte, err error)
	ReadPCRs(selection ima.Selection) (ima.Values, error)
	Extend(pcr int, digests map[ima.Bank][]byte) error
	Close() error
}

// A demoHost plays a machine: it extends its TPM's registers with the records
// of a real list, as the kernel did, and submits segments.
type demoHost struct {
	name  string
	tpm   demoTPM
	swtpm *tpm.Swtpm // nil for a software quoter
	ak    *quote.AK
	ek    []byte // TPMT_PUBLIC, nil for a software quoter

	source   []byte // the list as it was recorded
	list     []byte // the list of this boot
	extended int    // bytes of it that are in the registers
	sealed   int    // bytes of it that are in segments
	last     *ledger.Segment
	head     ledger.Hash
	sequence uint64
}

// demoSelection: the registers that the lists extend in both banks, and PCR 0 to
// 9, which boot_aggregate is made of, in the stronger one.
var demoSelection = ima.Selection{{Bank: ima.SHA1, PCRs: []int{10, 11}}, {Bank: ima.SHA256, PCRs: []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}}}

// newDemoHost starts a machine's TPM: swtpm where it is installed.
func newDemoHost(dir, name, list string, now func() time.Time) (*demoHost, error) {
	h := &demoHost{name: name}
	var err error
	if h.source, err = readDemoList(list); err != nil {
		return nil, err
	}
	if tpm.SwtpmAvailable() {
		if h.swtpm, err = tpm.StartSwtpm(filepath.Join(dir, "tpm-"+name)); err != nil {
			return nil, err
		}
		if err = h.openDevice(); err != nil {
			return nil, errors.Join(err, h.swtpm.Stop())
		}
	} else if h.tpm, err = tpm.NewSoftware(rand.Reader, now); err != nil {
		return nil, err
	}
	public, err := h.tpm.AK()
	if err != nil {
		return nil, errors.Join(err, h.close())
	}
	h.ak, err = quote.ParseAK(public)
	return h, err
}

func (h *demoHost) openDevice() error {
	d, err := tpm.Open(h.swtpm.Socket())
	if err != nil {
		return err
	}
	h.tpm = d
	h.ek, err = d.EK()
	return err
}

func (h *demoHost) close() error {
	err := h.tpm.Close()
	if h.swtpm != nil {
		err = errors.Join(err, h.swtpm.Stop())
	}
	return err
}

func readDemoList(name string) ([]byte, error) {
	f, err := demoLists.Open("lists/" + name + ".gz")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// enrol has the ledger's registrar enrol the host's AK.
func (h *demoHost) enrol(ctx context.Context, d *demo) error {
	request := client.EnrolRequest{Host: h.name, AKPublic: h.ak.Raw, EKPublic: h.ek}
	challenge, accepted, err := d.client.Enrol(ctx, request, demoWait)
	if err == nil && challenge != nil {
		device, ok := h.tpm.(*tpm.Device)
		if !ok {
			return fmt.Errorf("enrol %s: the ledger challenges a key that no TPM holds", h.name)
		}
		answer, aerr := challenge.Answer(device.ActivateCredential)
		if aerr != nil {
			return fmt.Errorf("enrol %s: %w", h.name, aerr)
		}
		accepted, err = d.client.Activate(ctx, answer, demoWait)
	}
	if err != nil {
		return fmt.Errorf("enrol %s: %w", h.name, err)
	}
	entry, err := ledger.ParseEntry(accepted.Entry)
	if err != nil {
		return err
	}
	e, ok := entry.(*ledger.Enrolment)
	if !ok {
		return fmt.Errorf("enrol %s: the ledger answers with a %s", h.name, entry.Format())
	}
	var evidence bytes.Buffer
	if err := d.client.Addendum(ctx, e.Evidence.Digest, ledger.MaxEnrolmentEvidence, &evidence); err != nil {
		return fmt.Errorf("enrol %s: evidence: %w", h.name, err)
	}
	d.keep(ledger.FolderEvidence, evidence.Bytes())
	h.head, h.sequence = d.entry(accepted.Entry), e.Sequence+1
	return nil
}

// boot starts the machine, again if it ran before: the TPM is reset, the list
// begins anew.
func (h *demoHost) boot() error {
	if h.list != nil {
		if err := h.powerCycle(); err != nil {
			return err
		}
	}
	pcrs, err := h.tpm.ReadPCRs(demoSelection)
	if err != nil {
		return err
	}
	h.list, err = ownBootAggregate(h.source, pcrs)
	h.extended, h.sealed = 0, 0
	return err
}

func (h *demoHost) powerCycle() error {
	if s, ok := h.tpm.(*tpm.Software); ok {
		s.Reset()
		return nil
	}
	if err := errors.Join(h.tpm.Close(), h.swtpm.Power(tpm.Reboot)); err != nil {
		return err
	}
	return h.openDevice()
}

// ownBootAggregate gives a recorded list the boot_aggregate of this machine's
// PCR 0 to 9, which no TPM can be set to: the recorded one is of the machine
// that was recorded. All other records stay as the kernel wrote them.
func ownBootAggregate(list []byte, pcrs ima.Values) ([]byte, error) {
	var own []byte
	for r := ima.NewReader(bytes.NewReader(list), ima.Format{Bank: ima.SHA1}); ; {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return own, nil
		}
		if err != nil {
			return nil, err
		}
		raw := bytes.Clone(rec.Raw)
		if alg, digest, ok := rec.BootAggregate(); ok {
			want, known := ima.BootAggregate(alg, func(s ima.Slot) []byte { return pcrs[s] })
			if !known {
				return nil, fmt.Errorf("boot_aggregate of bank %s, which is not quoted", alg)
			}
			copy(raw[bytes.Index(raw, digest):], want)
			stored := ima.SHA1.New()
			stored.Write(raw[len(raw)-len(rec.Data):])
			stored.Sum(raw[:4])
		}
		own = append(own, raw...)
	}
}

// measure extends the registers with the next n records, as the kernel does when
// it lists them. It returns how many there were.
func (h *demoHost) measure(n int) (int, error) {
	r := ima.NewReader(bytes.NewReader(h.list[h.extended:]), ima.Format{Bank: ima.SHA1})
	for done := range n {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return done, nil
		}
		if err != nil {
			return done, err
		}
		h.extended += len(rec.Raw)
		if !ima.Attestable(rec.PCR) {
			continue
		}
		err = h.tpm.Extend(int(rec.PCR), map[ima.Bank][]byte{ima.SHA1: rec.Sum(ima.SHA1, ima.StyleDigest), ima.SHA256: rec.Sum(ima.SHA256, ima.StyleDigest)})
		if err != nil {
			return done, err
		}
	}
	return n, nil
}

// seal takes a quote, then the list, makes a segment of what the quote covers
// and submits it. excess more records are measured between the two.
func (h *demoHost) seal(ctx context.Context, d *demo, excess int) (*ledger.Segment, error) {
	anchor, err := d.client.Checkpoint(ctx)
	if err != nil {
		return nil, err
	}
	checkpoint, err := d.trust.Policy.Verify(anchor)
	if err != nil {
		return nil, fmt.Errorf("the ledger's checkpoint: %w", err)
	}
	head := ledger.Head{
		Log: checkpoint.Origin, Host: h.name, AK: ledger.Name(h.ak.Name), Sequence: h.sequence, Previous: h.head,
		Anchor: ledger.Anchor{Size: checkpoint.Size, Root: checkpoint.Root, Note: sha256.Sum256(anchor)},
	}
	nonce := head.Nonce()
	attest, signature, err := h.tpm.Quote(nonce[:], demoSelection)
	if err != nil {
		return nil, err
	}
	known, err := h.tpm.ReadPCRs(demoSelection)
	if err != nil {
		return nil, err
	}
	if _, err := h.measure(excess); err != nil {
		return nil, err
	}
	s, err := agent.Assemble(agent.Input{
		Head: head, Attest: attest, Signature: signature, Hash: ima.Bank(h.ak.HashAlg), Format: ima.Format{Bank: ima.SHA1},
		List: bytes.NewReader(h.list[h.sealed:h.extended]), Known: known, Previous: h.last,
	})
	if err != nil {
		return nil, fmt.Errorf("%s #%d: %w", h.name, h.sequence, err)
	}
	payload := slices.Clone(h.list[h.sealed : h.sealed+int(s.Payload.Size)])
	if err := d.submit(ctx, s, payload, anchor); err != nil {
		return nil, fmt.Errorf("%s #%d: %w", h.name, h.sequence, err)
	}
	h.sealed += len(payload)
	h.head, h.last, h.sequence = ledger.LeafHash(s.Marshal()), s, h.sequence+1
	return s, nil
}
