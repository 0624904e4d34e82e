package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/imaledger/imaledger/ledger"
)

// A Registrar speaks to a registrar that is a service of its own.
type Registrar struct {
	Client Client
	Token  string // what the registrar knows the ledger by
}

// Name returns the registrar's URL.
func (r *Registrar) Name() string { return r.Client.Base }

// Begin asks for a credential of the registrar's.
func (r *Registrar) Begin(ctx context.Context, request EnrolRequest) (*Challenge, error) {
	c := &Challenge{}
	if err := r.post(ctx, "/registrar/begin", request, c); err != nil {
		return nil, err
	}
	want := 1
	if len(request.EKPublic) == 0 {
		want = 0
	}
	if c.Session == "" || len(c.Credentials) != want {
		return nil, fmt.Errorf("registrar: %d credentials, want %d", len(c.Credentials), want)
	}
	return c, nil
}

// Sign asks for the registrar's signature.
func (r *Registrar) Sign(ctx context.Context, request RegistrarSign) (ledger.Signature, error) {
	var s RegistrarSignature
	err := r.post(ctx, "/registrar/sign", request, &s)
	return ledger.Signature{Name: s.Name, Hash: s.Hash, Sig: s.Sig}, err
}

func (r *Registrar) post(ctx context.Context, path string, request, answer any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	c := Client{Base: r.Client.Base, HTTP: r.Client.HTTP, Token: r.Token}
	_, b, err := c.small(ctx, http.MethodPost, path, body, 0, http.StatusOK)
	if err == nil {
		err = json.Unmarshal(b, answer)
	}
	return err
}
