package server

import (
	"errors"
	"net/http"
	"strings"

	"github.com/imaledger/imaledger/ledger"
)

var (
	errNoCredentials = errors.New("this is not public: show a token (Authorization: Bearer) or a client certificate")
	errToldNobody    = errors.New("this token or certificate is not for this")
)

// anyone is the uploader where uploads are public. It is no host's name.
const anyone = "*"

// A caller is who makes a request, as far as it shows.
type caller struct {
	uploader string // the host, or operator, in whose name it may upload; empty for none
	grant    *grant // its line of the access list, nil for none
}

// caller finds out who makes a request. The error is that of a token which is
// nobody's; a request without any is a stranger's.
//
// A host is known by its upload token, or by a certificate of the operator's own
// authority over its name. Neither lets it state anything: that takes its TPM.
func (s *Server) caller(r *http.Request) (c caller, err error) {
	if scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "Bearer") {
		if strings.HasPrefix(token, tokenPrefix) {
			c.uploader, err = s.tokens.read(token)
			return c, err
		}
		if c.grant = s.access.Load().byToken(token); c.grant == nil {
			return c, errToldNobody
		}
		return c, nil
	}
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return c, nil
	}
	names := r.TLS.VerifiedChains[0][0].DNSNames
	if c.grant = s.access.Load().byCertificate(names); c.grant != nil {
		return c, nil
	}
	for _, name := range names {
		if s.chains.enrolment(name) != nil {
			c.uploader = name
			return c, nil
		}
	}
	return c, nil
}

// SetAccess replaces the access list, while the server runs.
func (s *Server) SetAccess(a *Access) { s.access.Store(a) }

// mayUpload returns in whose name a request uploads.
func (s *Server) mayUpload(r *http.Request) (uploader string, err error) {
	c, err := s.caller(r)
	switch {
	case err == nil && c.uploader != "":
		return c.uploader, nil
	case s.config.PublicUploads:
		return anyone, nil
	case err != nil:
		return "", err
	case c.grant != nil && c.grant.operator:
		return operatorUploader + c.grant.name, nil
	case c.grant != nil:
		return "", errToldNobody
	}
	return "", errNoCredentials
}

// mayRead reports whether a request may read what belongs to a host: empty stands
// for what may belong to any.
func (s *Server) mayRead(r *http.Request, host string) error {
	c, err := s.caller(r)
	switch {
	case err != nil:
		return err
	case host == "" && c.grant.readsAll(), host != "" && c.grant.reads(host):
		return nil
	case c.grant == nil:
		return errNoCredentials
	}
	return errToldNobody
}

// mayOperate reports whether a request is an operator's.
func (s *Server) mayOperate(r *http.Request) error {
	c, err := s.caller(r)
	switch {
	case err != nil:
		return err
	case c.grant == nil:
		return errNoCredentials
	case !c.grant.operator:
		return errToldNobody
	}
	return nil
}

// mayReadEntries reports whether a request may read entries of the log: everyone
// may, unless they are private. A host reads its own.
func (s *Server) mayReadEntries(r *http.Request, host string) error {
	if !s.config.PrivateEntries {
		return nil
	}
	if c, err := s.caller(r); err == nil && host != "" && c.uploader == host {
		return nil
	}
	return s.mayRead(r, host)
}

// throttle counts a request that anyone can make: for the host whose token it
// has, or else for its address.
func (s *Server) throttle(r *http.Request) error {
	if c, err := s.caller(r); err == nil && c.uploader != "" {
		return s.hostRate.take(c.uploader, "too many requests of this host")
	}
	return s.addressRate.check(s.address(r), "too many requests from this address were refused")
}

// blame notes what was refused, and counts it for the address that asked, unless
// it was a host that counts by itself.
func (s *Server) blame(r *http.Request, err error) {
	var refused *refusal
	if errors.As(err, &refused) && len(refused.Missing) == 0 {
		s.refused.add(refused, s.address(r))
		s.metrics.found(refused)
		var codes []ledger.Code
		for _, f := range refused.Findings {
			codes = append(codes, f.Code)
		}
		s.config.Logger.Info("refused", "request", requestID(r), "address", s.address(r), "entry", refused.subject, "findings", codes)
	}
	switch {
	case errors.As(err, &refused) && refused.uploader == "",
		errors.Is(err, errNoCredentials), errors.Is(err, errToldNobody), errors.Is(err, errUploadToken),
		errors.Is(err, errSession), errors.Is(err, errActivation):
		if c, err := s.caller(r); err != nil || c.uploader == "" {
			_ = s.addressRate.take(s.address(r), "")
		}
	}
}

// offerToken gives the caller a token for an uploader.
func (s *Server) offerToken(w http.ResponseWriter, uploader string) {
	if uploader == "" || uploader == anyone {
		return
	}
	token, expires := s.tokens.issue(uploader)
	w.Header().Set("Upload-Token", token)
	w.Header().Set("Upload-Token-Expires", expires.UTC().Format(http.TimeFormat))
}
