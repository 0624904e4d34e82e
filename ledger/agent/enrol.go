package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/tpm/quote"
)

// Enrol enrols the host, if its AK is not enrolled.
func (a *Agent) Enrol(ctx context.Context) error {
	a.problem = make(map[string]error)
	a.try("tpm", a.loadAK)
	if a.ak != nil {
		a.try("enrol", func() error { return a.ensureEnrolled(ctx) })
		a.try("submit", func() error { return a.submitPending(ctx, nil) })
	}
	return a.problems()
}

// enrol has the ledger's registrars enrol the host's AK. The enrolment goes on
// from the host's chain; the receipt of it gives the first checkpoint.
func (a *Agent) enrol(ctx context.Context) error {
	if err := a.submitPending(ctx, nil); err != nil {
		return err // the enrolment names the entry before it
	}
	request := client.EnrolRequest{Host: a.Host, AKPublic: a.ak.Raw}
	tpm, hasEK := a.TPM.(Enroller)
	if hasEK {
		var err error
		if request.EKPublic, err = tpm.EK(); err != nil {
			return err
		}
		// Without a certificate the ledger may know the EK itself. One that only
		// cannot be read now must not cost the host its grade.
		cert, err := tpm.EKCertificate()
		switch {
		case err == nil:
			request.EKCertificates = [][]byte{cert}
		case errors.Is(err, quote.ErrNoCertificate):
			a.Logger.Info("agent: no EK certificate", "reason", err)
		default:
			return err
		}
	}
	challenge, accepted, err := a.Ledger.Enrol(ctx, request, a.Wait)
	if err == nil && challenge != nil {
		if !hasEK {
			return errors.New("the ledger challenges a key that no TPM holds")
		}
		answer, aerr := challenge.Answer(tpm.ActivateCredential)
		if aerr != nil {
			return aerr
		}
		a.Step("activated")
		accepted, err = a.Ledger.Activate(ctx, answer, a.Wait)
	}
	if err != nil {
		return err
	}
	return a.enrolled(ctx, accepted)
}

// enrolled takes an enrolment into the chain.
func (a *Agent) enrolled(ctx context.Context, accepted *client.Accepted) error {
	entry, err := ledger.ParseEntry(accepted.Entry)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrLedger, err)
	}
	e, ok := entry.(*ledger.Enrolment)
	if !ok || e.Log != a.log || e.Host != a.Host || e.AK != ledger.Name(a.ak.Name) {
		return fmt.Errorf("%w: it enrolled something else", ErrLedger)
	}
	disbelief := a.disbelief(e)
	switch {
	case disbelief != nil && (a.chain.empty || e.Sequence > a.chain.next()):
		return disbelief
	case e.Sequence > a.chain.next() && a.spool.state.List == 0: // nothing here is its own; or the power was cut in this
		a.Logger.Warn("agent: the host's chain has entries that this directory lacks", "sequence", e.Sequence)
		if err := a.recoverChain(ctx, e.Sequence, e.Previous); err != nil {
			return fmt.Errorf("the host's directory was lost, and its chain cannot be had from the ledger: %w", err)
		}
	case ledger.LeafHash(accepted.Entry) == a.chain.leaf:
		return disbelief // it was enrolled with these keys already
	case e.Sequence != a.chain.next() || e.Sequence > 0 && e.Previous != a.chain.leaf:
		return fmt.Errorf("%w: the enrolment is #%d of the host's chain, want #%d after %x; is there another host of this name?", ErrLedger, e.Sequence, a.chain.next(), a.chain.leaf[:6])
	}
	if err := a.chain.addEntry(e.Sequence, accepted.Entry, e); err != nil {
		return err
	}
	a.Step("enrolled")
	return errors.Join(disbelief, a.submitPending(ctx, nil))
}

// disbelief says why an enrolment is not believed. Segments under such a one prove
// nothing, and their records would be deleted.
func (a *Agent) disbelief(e *ledger.Enrolment) error {
	by, err := ledger.SignedBy(e, a.Trust.Registrars...)
	if err == nil && len(by) < a.Trust.Threshold {
		err = fmt.Errorf("%d registrars of the trust folder have signed it, which demands %d", len(by), a.Trust.Threshold)
	}
	if err != nil {
		return fmt.Errorf("%w: the enrolment: %w", ErrLedger, err)
	}
	return nil
}

// ensureEnrolled enrols the host, if its AK is not the one that it is enrolled with, or
// that enrolment is not believed any more, since the trust folder is another one.
func (a *Agent) ensureEnrolled(ctx context.Context) error {
	if !a.enrolledAK() {
		return a.enrol(ctx)
	}
	disbelief := a.disbelief(a.chain.enrolment)
	if disbelief == nil || time.Now().Before(a.renew) {
		return disbelief
	}
	a.renew = time.Now().Add(renewal)
	return a.enrol(ctx)
}

// renewal is how long the ledger is not asked again for an enrolment that is believed:
// where it has no such registrar, each answer is an entry of the log.
const renewal = time.Hour

// enrolledAK reports whether the AK is the one that the host is enrolled with.
func (a *Agent) enrolledAK() bool {
	e := a.chain.enrolment
	return e != nil && e.AK == ledger.Name(a.ak.Name)
}

// believed reports whether the trust folder bears the host's enrolment out.
func (a *Agent) believed() bool {
	e := a.chain.enrolment
	return e != nil && a.disbelief(e) == nil
}
