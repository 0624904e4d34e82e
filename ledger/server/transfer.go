package server

import (
	"io"
	"net/http"
	"time"
)

const (
	// DefaultStall is how long a transfer has for each minTransfer bytes: less
	// than 1 KiB a second is no upload that ends, but a connection held open.
	// One that was cut off is resumed.
	DefaultStall = 30 * time.Second
	minTransfer  = 32 << 10
)

// patientReader reads a body however long it takes, as long as it gets on.
type patientReader struct {
	body    io.Reader
	control *http.ResponseController
	stall   time.Duration
	left    int // bytes until the deadline moves
}

// bodyError is one of the connection, not of the storage.
type bodyError struct{ err error }

func (e *bodyError) Error() string { return e.err.Error() }
func (e *bodyError) Unwrap() error { return e.err }

func (p *patientReader) Read(b []byte) (int, error) {
	if p.left <= 0 {
		// Not every ResponseWriter has deadlines; the server's own then stand. The
		// answer comes after the body, so its deadline moves too.
		_ = p.control.SetReadDeadline(time.Now().Add(p.stall))
		_ = p.control.SetWriteDeadline(time.Now().Add(2*p.stall + MaxWait))
		p.left = minTransfer
	}
	n, err := p.body.Read(b)
	p.left -= n
	if err != nil && err != io.EOF {
		err = &bodyError{err}
	}
	return n, err
}

// patientWriter writes an answer however long it takes, as long as it is read.
type patientWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration
	left    int
}

func (p *patientWriter) Write(b []byte) (int, error) {
	if p.left <= 0 {
		_ = p.control.SetWriteDeadline(time.Now().Add(p.stall))
		p.left = minTransfer
	}
	n, err := p.ResponseWriter.Write(b)
	p.left -= n
	return n, err
}
