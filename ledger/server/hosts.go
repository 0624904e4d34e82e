package server

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
)

// hostStates are what a list of hosts can be narrowed to.
var hostStates = map[string]func(*client.ListedHost) bool{
	"":         func(*client.ListedHost) bool { return true },
	"gap":      func(h *client.ListedHost) bool { return h.Gaps > 0 },
	"conflict": func(h *client.ListedHost) bool { return h.Conflicts > 0 },
	"erased":   func(h *client.ListedHost) bool { return h.Erased > 0 },
	"enrolled": func(h *client.ListedHost) bool { return h.Segments == 0 },
	"whole":    func(h *client.ListedHost) bool { return h.Segments > 0 && h.Gaps+h.Conflicts+h.Erased == 0 },
}

// getHosts lists hosts: ?query= a part of the name, ?state= one of hostStates,
// ?sort=newest by the index of the newest entry, else by name, ?after= what next
// says, ?limit= at most so many. Where entries are private a caller is told of the
// hosts whose entries he may read, as if there were no others.
func (s *Server) getHosts(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	limit, err := pageLimit(query.Get("limit"))
	if err != nil {
		return err
	}
	part, sort, after := query.Get("query"), query.Get("sort"), query.Get("after")
	in, known := hostStates[query.Get("state")]
	switch {
	case !known:
		return badRequest("state: %.32q is none; want gap, conflict, erased, enrolled or whole", query.Get("state"))
	case sort != "" && sort != "name" && sort != "newest":
		return badRequest("sort: %.32q is no order; want name or newest", sort)
	case len(part) > ledger.MaxHost:
		return badRequest("query: more than %d bytes; no host has such a name", ledger.MaxHost)
	}
	before := uint64(0)
	if sort == "newest" && after != "" {
		if before, err = strconv.ParseUint(after, 10, 63); err != nil {
			return badRequest("after: %.32q is no index of the log", after)
		}
	}
	mayRead, err := s.readableHosts(r)
	if err != nil {
		return err
	}
	conflicts := s.conflictsByHost()
	list := slices.DeleteFunc(s.chains.listed(part), func(h client.ListedHost) bool {
		h.Conflicts = conflicts[h.Host]
		return !in(&h) || !mayRead(h.Host)
	})
	answer := client.HostList{Total: uint64(len(list)), Hosts: []client.ListedHost{}}
	if sort == "newest" {
		slices.SortFunc(list, func(a, b client.ListedHost) int { return cmp.Compare(b.Index, a.Index) })
	}
	for i, h := range list {
		if sort == "newest" && after != "" && h.Index >= before || sort != "newest" && h.Host <= after {
			continue
		}
		if len(answer.Hosts) == limit {
			answer.Next = list[i-1].Host
			if sort == "newest" {
				answer.Next = strconv.FormatUint(list[i-1].Index, 10)
			}
			query.Set("after", answer.Next)
			w.Header().Set("Link", fmt.Sprintf("<%s>; rel=\"next\"", (&url.URL{Path: "/hosts", RawQuery: query.Encode()}).String()))
			break
		}
		h.Conflicts = conflicts[h.Host]
		answer.Hosts = append(answer.Hosts, h)
	}
	writeJSON(w, http.StatusOK, "application/json", answer)
	return nil
}

// readableHosts returns which hosts a caller is told of.
func (s *Server) readableHosts(r *http.Request) (func(host string) bool, error) {
	if !s.config.PrivateEntries {
		return func(string) bool { return true }, nil
	}
	c, err := s.caller(r)
	switch {
	case err != nil:
		return nil, err
	case c.grant != nil:
		return c.grant.reads, nil
	case c.uploader != "":
		return func(host string) bool { return host == c.uploader }, nil
	}
	return nil, errNoCredentials
}

// conflictsByHost counts the entries that were refused because another stands in
// their place, of those that a host's TPM has signed.
func (s *Server) conflictsByHost() map[string]uint64 {
	n := make(map[string]uint64)
	for _, one := range s.refused.newest() {
		if one.Conflict && one.Signed {
			n[one.Host]++
		}
	}
	return n
}
