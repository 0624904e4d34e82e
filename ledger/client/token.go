package client

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"
)

// An uploadToken is what the ledger gave last: it says in whose name addenda are
// uploaded. It comes with the answer to an entry that a host's TPM has signed.
//
// It is shown until the ledger says no, and Upload then gets another one. When it
// expires is not looked at: a host's clock may be wrong by years.
type uploadToken struct {
	mu    sync.Mutex
	token string
}

// note keeps a token that an answer has.
func (u *uploadToken) note(h http.Header) {
	if token := h.Get("Upload-Token"); token != "" {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.token = token
	}
}

func (u *uploadToken) get() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.token
}

// uploads reports whether a request is one that an upload token is for.
func uploads(method, path string) bool {
	return method == http.MethodPut || method == http.MethodHead || strings.HasPrefix(path, "/leaf") || strings.HasPrefix(path, "/host/")
}

// Upload uploads the addenda of an entry. Where the ledger does not know who does,
// it is shown the entry first: that one names what is not there yet, its TPM has
// signed it, and the answer, though it is a refusal, has a token. submit is
// SubmitLeaf of the Client that upload uses.
func Upload(ctx context.Context, entry []byte, submit func(context.Context, []byte, time.Duration) (*Accepted, error), upload func() error) error {
	err := upload()
	if !isProblem(err, http.StatusUnauthorized) {
		return err
	}
	_, err = submit(ctx, entry, 0)
	if p := (*Problem)(nil); errors.As(err, &p) && len(p.Missing) > 0 {
		return upload()
	}
	return err
}
