package server

import (
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limits bound what one host, and one network address, can ask of a ledger. Zero
// is no limit.
type Limits struct {
	// Host is how many requests a second a host may make with its token, and Burst
	// how many at once: a host that was cut off for a day has much to submit.
	Host  float64
	Burst int
	// Pending is how many bytes a host may have uploaded that no entry names yet.
	Pending int64
	// Uploads is how many uploads a host may have under way.
	Uploads int
	// Address is how many requests a second from one network address may begin an
	// enrolment or be refused, and AddressBurst how many at once. IPv6 addresses
	// count by their /64. Requests with a host's token do not count here.
	Address      float64
	AddressBurst int
}

// DefaultLimits are those of imaledgerd.
func DefaultLimits() Limits {
	return Limits{Host: 50, Burst: 500, Pending: 2 << 30, Uploads: 8, Address: 2, AddressBurst: 200}
}

// maxBuckets bounds the memory of a limiter, some 10 MB.
const maxBuckets = 1 << 16

// A limitError asks to come again later.
type limitError struct {
	what  string
	after time.Duration
}

func (e *limitError) Error() string { return e.what }

// A limiter has a bucket for each key.
type limiter struct {
	rate  rate.Limit
	burst int
	now   func() time.Time

	mu      sync.Mutex
	buckets map[string]*rate.Limiter
	rest    *rate.Limiter // of all keys for which there is no room
}

// newLimiter returns a limiter, nil for no limit: all methods of that allow all.
func newLimiter(perSecond float64, burst int, now func() time.Time) *limiter {
	if perSecond <= 0 {
		return nil
	}
	burst = max(burst, 1)
	return &limiter{rate: rate.Limit(perSecond), burst: burst, now: now, buckets: make(map[string]*rate.Limiter), rest: rate.NewLimiter(rate.Limit(perSecond), burst)}
}

func (l *limiter) bucket(key string) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b := l.buckets[key]; b != nil {
		return b
	}
	if len(l.buckets) >= maxBuckets {
		for k, b := range l.buckets {
			if b.TokensAt(l.now()) >= float64(l.burst) { // as if it were new
				delete(l.buckets, k)
			}
		}
	}
	if len(l.buckets) >= maxBuckets {
		return l.rest
	}
	b := rate.NewLimiter(l.rate, l.burst)
	l.buckets[key] = b
	return b
}

// take counts one request, and refuses it where there were too many.
func (l *limiter) take(key, what string) error {
	if l == nil || l.bucket(key).AllowN(l.now(), 1) {
		return nil
	}
	return l.late(key, what)
}

// check refuses where take would, and counts nothing.
func (l *limiter) check(key, what string) error {
	if l == nil || l.bucket(key).TokensAt(l.now()) >= 1 {
		return nil
	}
	return l.late(key, what)
}

func (l *limiter) late(key, what string) error {
	missing := 1 - l.bucket(key).TokensAt(l.now())
	return &limitError{what, time.Duration(math.Ceil(missing/float64(l.rate))) * time.Second}
}

// counted bounds what is under way at once for each key.
type counted struct {
	max int // 0 for no limit
	mu  sync.Mutex
	n   map[string]int
}

func newCounted(max int) *counted { return &counted{max: max, n: make(map[string]int)} }

// enter counts one more, which leave must be called for.
func (c *counted) enter(key, what string) (leave func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.max > 0 && c.n[key] >= c.max {
		return nil, &limitError{fmt.Sprintf("%s, at most %d", what, c.max), time.Second}
	}
	c.n[key]++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.n[key]--; c.n[key] == 0 {
			delete(c.n, key)
		}
	}, nil
}

// address returns the network address that a request counts for: the connection's,
// or, where that is a proxy of the configuration, the one that the proxy names.
func (s *Server) address(r *http.Request) string {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	addr := at.Addr().Unmap()
	// The last one is by the nearest proxy; what stands before it anybody may have
	// written.
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && s.isProxy(addr); i-- {
		next, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		addr = next.Unmap()
	}
	if addr.Is6() {
		if prefix, err := addr.WithZone("").Prefix(64); err == nil {
			return prefix.String()
		}
	}
	return addr.String()
}

func (s *Server) isProxy(a netip.Addr) bool {
	for _, p := range s.config.Proxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
