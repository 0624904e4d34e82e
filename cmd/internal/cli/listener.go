package cli

import (
	"net"
	"net/netip"
	"slices"
	"sync"
)

// LimitConnections returns a listener that has at most max connections from one
// address at a time, and closes those beyond at once. IPv6 addresses count by
// their /64; those of this machine, and of proxies, do not count. 0 is no limit.
//
// Idle connections are cheap, and end by themselves; this keeps one peer from
// taking every file descriptor meanwhile.
func LimitConnections(l net.Listener, max int, proxies []netip.Prefix) net.Listener {
	if max <= 0 {
		return l
	}
	return &limitedListener{Listener: l, max: max, proxies: proxies, n: make(map[string]int)}
}

type limitedListener struct {
	net.Listener
	max     int
	proxies []netip.Prefix

	mu sync.Mutex
	n  map[string]int
}

// Accept implements net.Listener.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		key, counts := l.key(c.RemoteAddr())
		if !counts {
			return c, nil
		}
		if l.enter(key) {
			return &countedConn{Conn: c, leave: sync.OnceFunc(func() { l.leave(key) })}, nil
		}
		c.Close()
	}
}

// key returns what a connection counts for, and whether it counts.
func (l *limitedListener) key(a net.Addr) (key string, counts bool) {
	at, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return "", false // a socket in the file system
	}
	addr := at.Addr().Unmap().WithZone("")
	if addr.IsLoopback() || slices.ContainsFunc(l.proxies, func(p netip.Prefix) bool { return p.Contains(addr) }) {
		return "", false
	}
	if addr.Is6() {
		if prefix, err := addr.Prefix(64); err == nil {
			return prefix.String(), true
		}
	}
	return addr.String(), true
}

func (l *limitedListener) enter(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.n[key] >= l.max {
		return false
	}
	l.n[key]++
	return true
}

func (l *limitedListener) leave(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.n[key]--; l.n[key] == 0 {
		delete(l.n, key)
	}
}

type countedConn struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *countedConn) Close() error {
	c.leave()
	return c.Conn.Close()
}
