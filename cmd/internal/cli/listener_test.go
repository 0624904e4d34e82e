package cli

import (
	"errors"
	"net"
	"net/netip"
	"testing"
)

// A queue is a listener of connections that come from where a test says.
type queue chan net.Conn

func (q queue) Accept() (net.Conn, error) {
	c, ok := <-q
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (q queue) Close() error   { return nil }
func (q queue) Addr() net.Addr { return nil }

type fromConn struct {
	net.Conn
	from   string
	closed bool
}

func (c *fromConn) RemoteAddr() net.Addr { return c }
func (c *fromConn) Network() string      { return "tcp" }
func (c *fromConn) String() string       { return c.from }
func (c *fromConn) Close() error         { c.closed = true; return nil }

func TestLimitConnections(t *testing.T) {
	q := make(queue, 100)
	l := LimitConnections(q, 2, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")})
	// accept reports whether a connection from an address is taken.
	accept := func(from string) (net.Conn, bool) {
		t.Helper()
		c := &fromConn{from: from}
		q <- c
		q <- &fromConn{from: "@"} // of a socket in the file system, which always is
		got, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if got.RemoteAddr().String() == "@" {
			if !c.closed {
				t.Errorf("%s: neither taken nor closed", from)
			}
			return nil, false
		}
		if _, err := l.Accept(); err != nil {
			t.Fatal(err)
		}
		return got, true
	}
	var first net.Conn
	for i, test := range []struct {
		from string
		want bool
	}{
		{"192.0.2.1:1", true}, {"192.0.2.1:2", true}, {"192.0.2.1:3", false}, {"[::ffff:192.0.2.1]:4", false}, {"192.0.2.2:1", true},
		{"[2001:db8::1]:1", true}, {"[2001:db8::2]:1", true}, {"[2001:db8::3]:1", false}, {"[2001:db8:0:1::3]:1", true},
		{"10.1.2.3:1", true}, {"10.1.2.3:2", true}, {"10.1.2.3:3", true}, {"127.0.0.1:1", true}, {"127.0.0.1:2", true}, {"127.0.0.1:3", true},
	} {
		c, got := accept(test.from)
		if got != test.want {
			t.Errorf("%s: %v", test.from, got)
		}
		if i == 0 {
			first = c
		}
	}
	first.Close()
	first.Close() // counts once
	if _, ok := accept("192.0.2.1:5"); !ok {
		t.Error("one has gone, and no other is taken")
	}
	if _, ok := accept("192.0.2.1:6"); ok {
		t.Error("two have gone")
	}
	close(q)
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if LimitConnections(q, 0, nil) != net.Listener(q) {
		t.Error("no limit")
	}
}
