package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// restoredMark is the file that Restore leaves in a ledger's storage. A ledger
// that has it starts only once its witnesses have said what they have seen.
const restoredMark = "restored"

// checkWitnessed compares the log with what its witnesses have seen of it.
//
// A log that was restored from an older copy would give away its indices a second
// time, for other entries. It would not get its checkpoints cosigned, but hosts
// would be told that their entries are durable. So it does not start, if any
// witness shows a checkpoint by the log's own key that the log does not have:
// nobody can forge one, so that no witness can stop an honest log.
//
// A witness that is away, or shows nothing, keeps no log from starting, but for
// one that was just restored: those who did not answer must not be enough to have
// cosigned, by themselves, what the copy lacks.
func (s *Server) checkWitnessed(ctx context.Context) error {
	_, err := s.storage.Files.Read(ctx, restoredMark)
	restored := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var (
		mu     sync.Mutex
		wg     sync.WaitGroup
		errs   []error
		silent []string
	)
	for _, w := range s.log.witnesses.list {
		wg.Go(func() {
			answered, err := s.compare(ctx, w)
			var broken *integrityError
			if !answered && restored && !errors.As(err, &broken) {
				answered, err = s.probe(ctx, w)
			}
			mu.Lock()
			defer mu.Unlock()
			if errors.As(err, &broken) {
				errs = append(errs, err)
			}
			if !answered {
				s.config.Logger.Debug("a witness does not show what it has seen", "witness", w.name, "error", err)
				silent = append(silent, w.name)
			}
		})
	}
	wg.Wait()
	if len(errs) > 0 || !restored {
		return errors.Join(errs...)
	}
	if policy := s.config.Trust.Policy; policy.QuorumSize() > 0 && policy.Meets(silent...) {
		return fmt.Errorf("the ledger was restored, and the witnesses that do not answer (%s) could have cosigned entries that it lacks: it starts when enough of them answer, or when the file %s of its storage is removed by hand",
			strings.Join(silent, ", "), restoredMark)
	}
	return s.storage.Files.Remove(ctx, restoredMark)
}

// compare reads the checkpoint that a witness last cosigned, and holds it to the
// log. answered is false where the witness shows none that this log signed.
func (s *Server) compare(ctx context.Context, w *witnessState) (answered bool, err error) {
	origin := sha256.Sum256([]byte(s.Origin()))
	address := w.url.JoinPath(fmt.Sprintf("%x", origin), "checkpoint").String()
	status, raw, err := fetchFrom(ctx, http.MethodGet, address, "")
	if err != nil || status != http.StatusOK {
		return false, errors.Join(err, fmt.Errorf("%s: status %d", address, status))
	}
	seen, err := s.config.Trust.Policy.VerifyUnwitnessed(raw)
	if err != nil {
		return false, fmt.Errorf("%s: %w", address, err)
	}
	if seen.Origin != s.Origin() {
		return false, fmt.Errorf("%s: checkpoint of another log", address)
	}
	// Read after the checkpoint, so that the log cannot seem to be behind what it
	// signed just now.
	size, err := s.log.reader.IntegratedSize(ctx)
	if err != nil {
		return false, err
	}
	if seen.Size > size {
		return true, &integrityError{fmt.Errorf("witness %s has cosigned %d entries of this log, signed by its key, and the log has %d: it was restored from an older copy, or another process runs on a copy; restore a newer one, or start a new log under another origin", w.name, seen.Size, size)}
	}
	root, found, err := s.log.root(ctx, seen.Size)
	if err != nil {
		return false, err
	}
	if found && root != seen.Root {
		return true, &integrityError{fmt.Errorf("witness %s has cosigned root %x of the first %d entries of this log, signed by its key, and the log has %x: these are two logs with one key", w.name, seen.Root, seen.Size, root)}
	}
	return true, nil
}

// probe offers the published checkpoint to a witness that shows none. Its answer
// says how much it has seen; nothing proves that.
func (s *Server) probe(ctx context.Context, w *witnessState) (answered bool, err error) {
	published, err := s.publishedHead(ctx)
	if err != nil || published == nil {
		return false, err
	}
	status, body, err := fetchFrom(ctx, http.MethodPost, w.endpoint, "old 0\n\n"+string(published.Raw))
	switch {
	case err != nil:
		return false, err
	case status == http.StatusOK:
		return true, nil // it knew nothing of the log, or has it as it is
	case status != http.StatusConflict:
		return false, fmt.Errorf("%s: status %d", w.endpoint, status)
	}
	size, err := strconv.ParseUint(strings.TrimSpace(string(body)), 10, 63)
	if err != nil {
		return false, fmt.Errorf("%s: 409: %w", w.endpoint, err)
	}
	if size > published.Size {
		return true, &integrityError{fmt.Errorf("witness %s says that it has cosigned %d entries of this log, and the copy that was restored has %d: restore a newer one, or start a new log under another origin", w.name, size, published.Size)}
	}
	return true, nil
}

func fetchFrom(ctx context.Context, method, address, content string) (status int, body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, witnessTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(content))
	if err != nil {
		return 0, nil, err
	}
	resp, err := http.DefaultTransport.RoundTrip(req) // which follows no redirect
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxWitnessAnswer))
	return resp.StatusCode, body, err
}

// watchWitnesses looks, while the ledger runs, whether a witness that will not
// cosign can show why.
func (s *Server) watchWitnesses() {
	for {
		select {
		case <-s.log.ctx.Done():
			return
		case w := <-s.log.witnesses.suspects:
			_, err := s.compare(s.log.ctx, w)
			var broken *integrityError
			if errors.As(err, &broken) {
				s.fail(err)
				return
			}
		}
	}
}
