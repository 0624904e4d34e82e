package carry

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
)

// A Summary is what Submit did.
type Summary struct {
	Challenges, Enrolments int
	Entries                int // with a proof now
	Waiting                int // entries that witnesses have not seen yet
}

// Submit does with a ledger what the agent of the folder's host would have done,
// and puts the answers into the folder. What was done before is not done again.
func Submit(ctx context.Context, dir string, c *client.Client, wait time.Duration) (*Summary, error) {
	s := &submitter{Folder: &Folder{dir}, client: c, wait: wait, sizes: make(map[uint64]bool), ends: make(map[uint64]bool)}
	if b, found, err := s.read(ledger.MaxCheckpoint, checkpointFile); err != nil {
		return nil, err
	} else if found {
		s.noteSize(b) // the host may trust it by now
	}
	err := errors.Join(s.enrolments(ctx), s.entries(ctx))
	return &s.summary, errors.Join(err, s.checkpoint(ctx))
}

type submitter struct {
	*Folder
	client  *client.Client
	wait    time.Duration
	summary Summary
	sizes   map[uint64]bool // of trees that the host may trust
	ends    map[uint64]bool // of trees that it will be asked to trust
}

// names lists the files of a folder without a suffix.
func (s *submitter) names(dir string) (list []string, err error) {
	files, err := os.ReadDir(s.path(dir))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	for _, f := range files {
		if b, err := hex.DecodeString(f.Name()); err == nil && len(b) == len(ledger.Hash{}) {
			list = append(list, f.Name())
		}
	}
	return list, err
}

// noteSize notes the size of a checkpoint, which a proof may stand before.
func (s *submitter) noteSize(checkpoint []byte) {
	if c, err := ledger.ParseCheckpoint(checkpoint); err == nil {
		s.sizes[c.Size] = true
	}
}

func (s *submitter) noteProof(proof []byte) {
	if p, err := ledger.ParseProof(proof); err == nil {
		s.noteSize(p.Checkpoint)
		if c, err := ledger.ParseCheckpoint(p.Checkpoint); err == nil {
			s.ends[c.Size] = true
		}
	}
}

func (s *submitter) enrolments(ctx context.Context) error {
	requests, err := s.names(enrolmentsDir)
	for _, name := range requests {
		if e := s.enrol(ctx, name); e != nil {
			err = errors.Join(err, fmt.Errorf("enrolment %.12s…: %w", name, e))
		}
	}
	return err
}

func (s *submitter) enrol(ctx context.Context, name string) error {
	if s.exists(enrolmentsDir, name+acceptedSuffix) {
		return nil
	}
	var activation client.Activation
	answered, err := s.readJSON(&activation, enrolmentsDir, name+activationSuffix)
	if err != nil {
		return err
	}
	var accepted *client.Accepted
	if answered {
		if accepted, err = s.client.Activate(ctx, activation, s.wait); err != nil {
			// A session takes one answer, and ends with time: the next challenge is
			// another one.
			return errors.Join(err, os.Remove(s.path(enrolmentsDir, name+activationSuffix)), os.Remove(s.path(enrolmentsDir, name+challengeSuffix)))
		}
	} else {
		var request client.EnrolRequest
		if _, err := s.readJSON(&request, enrolmentsDir, name); err != nil {
			return err
		}
		var challenge *client.Challenge
		if challenge, accepted, err = s.client.Enrol(ctx, request, s.wait); err != nil {
			return err
		}
		if challenge != nil {
			s.summary.Challenges++
			return s.writeJSON(challenge, enrolmentsDir, name+challengeSuffix)
		}
	}
	s.summary.Enrolments++
	leaf := ledger.LeafHash(accepted.Entry)
	if accepted.Proof == "" {
		if accepted.Proof, err = s.proof(ctx, leaf); err != nil {
			return err
		}
	}
	s.noteProof([]byte(accepted.Proof))
	if err := s.write(strings.NewReader(accepted.Proof), entriesDir, fmt.Sprintf("%x", leaf)+proofSuffix); err != nil {
		return err
	}
	return s.writeJSON(accepted, enrolmentsDir, name+acceptedSuffix)
}

func (s *submitter) proof(ctx context.Context, leaf ledger.Hash) (string, error) {
	a, err := s.client.Proof(ctx, leaf, s.wait)
	if err == nil && a.Proof == "" {
		err = errors.New("it is in the log, and the witnesses have not seen it yet: submit again later")
	}
	if err != nil {
		return "", err
	}
	return a.Proof, nil
}

// entries submits the host's entries in the order of its chain.
func (s *submitter) entries(ctx context.Context) error {
	names, err := s.names(entriesDir)
	if err != nil {
		return err
	}
	var segments []*ledger.Segment
	for _, name := range names {
		raw, _, err := s.read(ledger.MaxLeaf, entriesDir, name)
		if err != nil {
			return err
		}
		segment, err := ledger.ParseSegment(raw)
		if err != nil || fmt.Sprintf("%x", ledger.LeafHash(raw)) != name {
			return fmt.Errorf("%s: it is not the entry that it is named after: %v", s.path(entriesDir, name), err)
		}
		s.sizes[segment.Anchor.Size] = true
		segments = append(segments, segment)
	}
	slices.SortFunc(segments, func(a, b *ledger.Segment) int {
		return int(int64(a.Sequence) - int64(b.Sequence))
	})
	for _, segment := range segments {
		if err := s.submit(ctx, segment); err != nil {
			return fmt.Errorf("%s #%d: %w", segment.Host, segment.Sequence, err)
		}
	}
	return nil
}

func (s *submitter) submit(ctx context.Context, segment *ledger.Segment) error {
	raw := segment.Marshal()
	name := fmt.Sprintf("%x", ledger.LeafHash(raw))
	if proof, found, err := s.read(ledger.MaxProof, entriesDir, name+proofSuffix); err != nil || found {
		s.noteProof(proof)
		return err
	}
	if err := client.Upload(ctx, raw, s.client.SubmitLeaf, func() error {
		for _, digest := range segment.Addenda() {
			if err := s.putAddendum(ctx, digest); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	a, err := s.client.SubmitLeaf(ctx, raw, s.wait)
	if err != nil {
		return err
	}
	if a.Proof == "" {
		s.summary.Waiting++
		return nil
	}
	s.summary.Entries++
	s.noteProof([]byte(a.Proof))
	return s.write(strings.NewReader(a.Proof), entriesDir, name+proofSuffix)
}

func (s *submitter) putAddendum(ctx context.Context, digest ledger.Hash) error {
	name := fmt.Sprintf("%x", digest)
	file, err := os.Open(s.path(addendaDir, name))
	if errors.Is(err, os.ErrNotExist) {
		return nil // the ledger has it, or will say that it lacks it
	}
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	_, found, err := s.client.HasAddendum(ctx, digest)
	if err == nil && !found {
		err = s.client.PutAddendum(ctx, digest, info.Size(), file)
	}
	if err != nil {
		return err
	}
	// The stick may be small.
	return errors.Join(s.write(bytes.NewReader(nil), addendaDir, name+doneSuffix), os.Remove(s.path(addendaDir, name)))
}

// checkpoint brings the newest checkpoint, and what shows that it continues those
// that the host may trust.
func (s *submitter) checkpoint(ctx context.Context) error {
	raw, err := s.client.Checkpoint(ctx)
	if err != nil {
		return err
	}
	newest, err := ledger.ParseCheckpoint(raw)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	s.ends[newest.Size] = true
	for older := range s.sizes {
		for newer := range s.ends {
			if older == 0 || older >= newer || newer > newest.Size || s.exists(consistencyDir, pathName(older, newer)) {
				continue
			}
			path, err := s.client.ConsistencyPath(ctx, older, newer, newest)
			if err != nil {
				return err
			}
			if err := s.write(bytes.NewReader(marshalPath(path)), consistencyDir, pathName(older, newer)); err != nil {
				return err
			}
		}
	}
	return s.write(bytes.NewReader(raw), checkpointFile)
}
