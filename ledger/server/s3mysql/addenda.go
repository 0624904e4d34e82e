package s3mysql

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/internal/payload"
)

const (
	addendaPrefix = "addenda/"
	// inMemory is up to how many bytes an addendum is gathered in memory before it
	// is written; a larger one in a file.
	inMemory = 1 << 20
	// smallTimeout is how long a request may take that moves no addendum.
	smallTimeout = 30 * time.Second
)

// Addenda are a bucket's objects, by the paths of c2sp.org/tlog-addenda: server.Addenda.
type Addenda struct {
	bucket *Bucket
	lock   types.ObjectLockRetentionMode
	days   int
}

func short() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), smallTimeout)
}

// Put writes an addendum once its bytes were held to the digest: not every store
// holds them to the checksum that it is given.
func (a *Addenda) Put(digest ledger.Hash, r io.Reader, max int64) (created bool, err error) {
	content, size, done, err := gather(digest, r, max)
	if err != nil {
		return false, fmt.Errorf("store addendum %x: %w", digest[:6], err)
	}
	defer done()
	// Before the condition, which not every store keeps where it keeps versions.
	if had, found, err := a.Size(digest); err != nil || found && had == size {
		return false, err
	}
	key := ledger.AddendumPath(digest)
	in := &s3.PutObjectInput{
		Bucket: &a.bucket.name, Key: &key, Body: content, ContentLength: &size, ContentType: aws.String("application/octet-stream"),
		ChecksumSHA256: aws.String(base64.StdEncoding.EncodeToString(digest[:])), IfNoneMatch: anyVersion,
	}
	if a.lock != "" {
		in.ObjectLockMode = types.ObjectLockMode(a.lock)
		in.ObjectLockRetainUntilDate = aws.Time(time.Now().AddDate(0, 0, a.days))
	}
	_, err = a.bucket.client.PutObject(context.Background(), in)
	if !exists(err) {
		return err == nil, a.bucket.fail("store", key, err)
	}
	had, found, err := a.Size(digest)
	if err != nil || found && had == size {
		return false, err
	}
	// What is there was cut off, by a store that promised more than it kept.
	if _, err = content.Seek(0, io.SeekStart); err == nil {
		in.IfNoneMatch = nil
		_, err = a.bucket.client.PutObject(context.Background(), in)
	}
	return !found && err == nil, a.bucket.fail("store", key, err)
}

// gather reads an addendum to where it can be sent from, and holds it to its digest.
func gather(digest ledger.Hash, r io.Reader, max int64) (content io.ReadSeeker, size int64, done func(), err error) {
	h := sha256.New()
	check := func(n int64, err error) error {
		switch {
		case err != nil:
			return err
		case n > max:
			return fmt.Errorf("%w of %d bytes", payload.ErrTooLarge, max)
		case ledger.Hash(h.Sum(nil)) != digest:
			return fmt.Errorf("%d bytes with SHA-256 %x: %w", n, h.Sum(nil), payload.ErrDigest)
		}
		return nil
	}
	// One byte over a limit is read, so that too much is told from enough.
	var b bytes.Buffer
	n, err := io.Copy(io.MultiWriter(&b, h), io.LimitReader(r, min(max, inMemory)+1))
	if err != nil || n <= inMemory || n > max {
		return bytes.NewReader(b.Bytes()), n, func() {}, check(n, err)
	}
	f, err := os.CreateTemp("", "imaledger-addendum-")
	if err != nil {
		return nil, 0, nil, err
	}
	done = func() { f.Close() }
	os.Remove(f.Name()) // it lives as long as it is open
	if _, err = f.Write(b.Bytes()); err == nil {
		var more int64
		more, err = io.Copy(io.MultiWriter(f, h), io.LimitReader(r, max+1-n))
		n += more
	}
	if err = check(n, err); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		done()
		return nil, 0, nil, err
	}
	return f, n, done, nil
}

// Open returns a reader that hashes as it reads.
func (a *Addenda) Open(digest ledger.Hash) (r io.ReadCloser, found bool, err error) {
	key := ledger.AddendumPath(digest)
	o, err := a.bucket.client.GetObject(context.Background(), &s3.GetObjectInput{Bucket: &a.bucket.name, Key: &key})
	if missing(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, a.bucket.fail("read", key, err)
	}
	if o.ContentLength == nil {
		o.Body.Close()
		return nil, false, a.bucket.fail("read", key, errors.New("the store does not say how long it is"))
	}
	return payload.NewReader(o.Body, *o.ContentLength, digest), true, nil
}

// Size returns an addendum's size in bytes.
func (a *Addenda) Size(digest ledger.Hash) (size int64, found bool, err error) {
	ctx, cancel := short()
	defer cancel()
	key := ledger.AddendumPath(digest)
	o, err := a.bucket.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &a.bucket.name, Key: &key})
	if missing(err) {
		return 0, false, nil
	}
	if err != nil || o.ContentLength == nil {
		return 0, false, a.bucket.fail("look for", key, errors.Join(err))
	}
	return *o.ContentLength, true, nil
}

// Delete removes an addendum and all that the bucket keeps of it. Where an object
// lock keeps it, that is an error, and it is to be tried again.
func (a *Addenda) Delete(digest ledger.Hash) error {
	ctx, cancel := short()
	defer cancel()
	key := ledger.AddendumPath(digest)
	pages := s3.NewListObjectVersionsPaginator(a.bucket.client, &s3.ListObjectVersionsInput{Bucket: &a.bucket.name, Prefix: &key})
	remove := func(version *string) error {
		_, err := a.bucket.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &a.bucket.name, Key: &key, VersionId: version})
		if missing(err) {
			return nil
		}
		return err
	}
	var errs []error
	var marks []*string
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return a.bucket.fail("list the versions of", key, err)
		}
		for _, v := range page.Versions {
			errs = append(errs, remove(v.VersionId))
		}
		for _, m := range page.DeleteMarkers {
			marks = append(marks, m.VersionId)
		}
	}
	// The marks last: they hide what could not be removed.
	if err := errors.Join(errs...); err != nil {
		return a.bucket.fail("delete", key, err)
	}
	for _, m := range marks {
		errs = append(errs, remove(m))
	}
	return a.bucket.fail("delete", key, errors.Join(errs...))
}

// Hold sets, or lifts, the legal hold of each version of an addendum: server.Holder.
func (a *Addenda) Hold(ctx context.Context, digest ledger.Hash, on bool) error {
	ctx, cancel := context.WithTimeout(ctx, smallTimeout)
	defer cancel()
	key := ledger.AddendumPath(digest)
	hold := &types.ObjectLockLegalHold{Status: types.ObjectLockLegalHoldStatusOff}
	if on {
		hold.Status = types.ObjectLockLegalHoldStatusOn
	}
	pages := s3.NewListObjectVersionsPaginator(a.bucket.client, &s3.ListObjectVersionsInput{Bucket: &a.bucket.name, Prefix: &key})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return a.bucket.fail("list the versions of", key, err)
		}
		for _, v := range page.Versions {
			_, err := a.bucket.client.PutObjectLegalHold(ctx, &s3.PutObjectLegalHoldInput{Bucket: &a.bucket.name, Key: &key, VersionId: v.VersionId, LegalHold: hold})
			if err != nil && !missing(err) {
				return a.bucket.fail("hold", key, err)
			}
		}
	}
	return nil
}

// List gives each addendum's digest.
func (a *Addenda) List() iter.Seq2[ledger.Hash, error] {
	return func(yield func(ledger.Hash, error) bool) {
		pages := s3.NewListObjectsV2Paginator(a.bucket.client, &s3.ListObjectsV2Input{Bucket: &a.bucket.name, Prefix: aws.String(addendaPrefix)})
		for pages.HasMorePages() {
			page, err := pages.NextPage(context.Background())
			if err != nil {
				yield(ledger.Hash{}, a.bucket.fail("list", addendaPrefix, err))
				return
			}
			for _, o := range page.Contents {
				var digest ledger.Hash
				name := (*o.Key)[strings.LastIndexByte(*o.Key, '/')+1:]
				if b, err := hex.DecodeString(name); err == nil && len(b) == len(digest) {
					digest = ledger.Hash(b)
				}
				if !yield(digest, nil) {
					return
				}
			}
		}
	}
}
