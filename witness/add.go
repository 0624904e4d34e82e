package witness

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

// Why a request is refused. http.go maps each to its status code.
var (
	errMalformed    = errors.New("malformed request")
	errUnknownLog   = errors.New("unknown log")
	errSignature    = errors.New("not signed by the log")
	errInconsistent = errors.New("not consistent with the checkpoint cosigned before")
	errUnavailable  = errors.New("cannot cosign now")
)

// conflictError is a request whose old size is not that of the latest cosigned checkpoint.
type conflictError struct{ old, latest uint64 }

func (e *conflictError) Error() string {
	return "old size " + strconv.FormatUint(e.old, 10) + " is not that of the latest cosigned checkpoint, " + strconv.FormatUint(e.latest, 10)
}

// addCheckpoint does what add-checkpoint asks for and gives the cosignatures'
// lines. When it returns nil the checkpoint is on disk.
func (w *Witness) addCheckpoint(body []byte) (string, error) {
	r, err := parseRequest(body)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errMalformed, err)
	}
	c := r.checkpoint
	// SPEC: If the checkpoint origin is unknown, the witness MUST respond with a
	// SPEC: "404 Not Found" HTTP status code.
	log, trusted, err := w.known(c.origin)
	if err != nil {
		return "", err
	}
	// SPEC: The witness MUST respond with a "403 Forbidden" HTTP status code if
	// SPEC: either no signature from a trusted key for the origin is present, or a
	// SPEC: signature line's key name and ID match a trusted key but the signature
	// SPEC: itself fails to verify
	before := log.verified.Load()
	if before != nil && before.by != trusted {
		before = nil
	}
	signatures, err := c.verify(trusted.Keys, before)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errSignature, err)
	}
	// Copies: parts of the request would keep all of it in memory.
	log.verified.Store(&verified{trusted, strings.Clone(c.text), strings.Clone(signatures)})
	// SPEC: The old size MUST be equal to or lower than the checkpoint size.
	// SPEC: Otherwise, the witness MUST respond with a "400 Bad Request" HTTP status code.
	if r.old > c.size {
		return "", fmt.Errorf("%w: old size %d is above the checkpoint's, %d", errMalformed, r.old, c.size)
	}

	// SPEC: Note that checking the old size against the latest checkpoint and
	// SPEC: persisting the new checkpoint must be performed atomically
	// The lock is held from reading the state until it is on disk; the lock on the
	// directory keeps other processes out.
	log.mu.Lock()
	defer log.mu.Unlock()
	if err := w.rolledBack(log, c); err != nil {
		return "", err
	}
	latest, now := log.latest, w.now()
	if err := r.check(latest); err != nil {
		var conflict *conflictError
		if !errors.As(err, &conflict) || c.size == latest.size {
			w.keepEvidence(log, trusted, r)
		}
		if limited := log.limits.Load().take(false, now); limited != nil {
			return "", limited
		}
		return "", err
	}
	if err := log.limits.Load().take(c.size > latest.size, now); err != nil {
		return "", err
	}
	// A cosignature says that this was the largest tree as of its time. One with
	// an earlier time than the last would contradict that one.
	if last := max(latest.time, w.floor); now.Unix() < 0 || uint64(now.Unix()) < last {
		return "", fmt.Errorf("%w: the clock says %d, and the last cosignature is of %d: set the clock", errUnavailable, now.Unix(), last)
	}
	next := latestCheckpoint{c.size, c.root, uint64(now.Unix())}
	raw := c.text + "\n" + signatures
	if same, found := strings.CutPrefix(log.raw, raw); found && next == latest && strings.Count(same, "\n") == len(w.keys) {
		// The same statement of the same second was made, is in the state, and was given out.
		if err := w.state.touch(next.time); err != nil {
			return "", err
		}
		return same, nil
	}
	var cosignatures strings.Builder
	for _, k := range w.keys {
		line, err := k.cosign(c, now)
		if err != nil {
			return "", fmt.Errorf("%w: %w", errUnavailable, err)
		}
		cosignatures.WriteString(line)
	}
	raw += cosignatures.String()
	// SPEC: If all the checks above pass, the witness MUST update its record of the
	// SPEC: latest cosigned checkpoint and respond with a "200 Success" HTTP status code.
	// SPEC: The witness MUST persist the new checkpoint before responding.
	if latest.time != 0 && latest.size == c.size {
		// Size and root are on disk; a later time of the same tree need not be.
		err = w.state.touch(next.time)
	} else {
		err = w.state.put(log.origin, raw, next.time)
	}
	if err != nil {
		return "", err
	}
	log.latest, log.raw = next, raw
	return cosignatures.String(), nil
}

// latestCheckpoint is what the witness remembers of a log.
type latestCheckpoint struct {
	size uint64
	root hash
	time uint64 // of the cosignature, in seconds since 1970; 0 if there is none
}

// check holds a request, whose signature is verified, against what the witness
// cosigned before.
func (r *request) check(latest latestCheckpoint) error {
	c := r.checkpoint
	// SPEC: The witness MUST check that the old size matches the size of the latest
	// SPEC: checkpoint it cosigned for the checkpoint's origin (or zero if it never
	// SPEC: cosigned a checkpoint for that origin). If it doesn't match, the witness MUST
	// SPEC: respond with a "409 Conflict" HTTP status code.
	if r.old != latest.size {
		return &conflictError{r.old, latest.size}
	}
	// SPEC: A checkpoint of size zero MUST have the root hash of the empty tree, which
	// SPEC: RFC 6962, Section 2.1 defines as the hash of the empty string. Otherwise,
	// SPEC: the witness MUST respond with a "422 Unprocessable Entity" HTTP status code.
	if c.size == 0 && c.root != emptyRoot() {
		return fmt.Errorf("%w: size 0 without the root of the empty tree", errInconsistent)
	}
	// SPEC: If the old size is zero, the consistency proof MUST be empty [...].
	// SPEC: Otherwise, the consistency proof lines MUST encode a Merkle Consistency
	// SPEC: Proof from the old size to the checkpoint size according to RFC 6962,
	// SPEC: Section 2.1.2.
	// SPEC: If the proof is not empty when the old size is zero, or if a Merkle
	// SPEC: Consistency Proof doesn't verify, the witness MUST respond with a "422
	// SPEC: Unprocessable Entity" HTTP status code.
	if r.old == 0 && len(r.proof) > 0 {
		return fmt.Errorf("%w: a consistency proof from the empty tree has no lines", errInconsistent)
	}
	// SPEC: If the old size matches the checkpoint size, the witness MUST check that
	// SPEC: the root hashes are also identical. If they don't match, the witness MUST
	// SPEC: respond with a "422 Unprocessable Entity" HTTP status code.
	if r.old == c.size && c.root != latest.root {
		return fmt.Errorf("%w: another root at the same size %d: the log shows two histories", errInconsistent, c.size)
	}
	if r.old > 0 {
		err := proof.VerifyConsistency(rfc6962.DefaultHasher, r.old, c.size, r.proof, latest.root[:], c.root[:])
		if err != nil {
			return fmt.Errorf("%w: proof from %d to %d: %w", errInconsistent, r.old, c.size, err)
		}
	}
	return nil
}

func emptyRoot() hash { return sha256.Sum256(nil) }
