package s3mysql

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/transparency-dev/tessera/api/layout"
)

// A Bucket is small files by name: server.Files.
type Bucket struct {
	client *s3.Client
	name   string
}

// anyVersion stands for whatever object there may be, in a condition.
var anyVersion = aws.String("*")

func (b *Bucket) fail(doing, key string, err error) error {
	if err == nil {
		return nil
	}
	return &requestError{fmt.Errorf("%s s3://%s/%s: %w", doing, b.name, key, err)}
}

// A requestError is a request that was not done. It is temporary if the store was
// not there, or says that it cannot now.
type requestError struct{ err error }

func (e *requestError) Error() string { return e.err.Error() }
func (e *requestError) Unwrap() error { return e.err }

func (e *requestError) Temporary() bool {
	s := status(e.err)
	return s >= http.StatusInternalServerError || s == http.StatusTooManyRequests || s == 0 && !errors.Is(e.err, fs.ErrNotExist) && !errors.Is(e.err, fs.ErrExist)
}

// status returns the HTTP status of an answer that is an error, 0 where there was
// no answer.
func status(err error) int {
	var r *smithyhttp.ResponseError
	if errors.As(err, &r) {
		return r.HTTPStatusCode()
	}
	return 0
}

// missing reports whether an error says that there is no such object.
func missing(err error) bool {
	var none *types.NoSuchKey
	var head *types.NotFound
	var api smithy.APIError
	return errors.As(err, &none) || errors.As(err, &head) || status(err) == http.StatusNotFound && !(errors.As(err, &api) && api.ErrorCode() == "NoSuchBucket")
}

// exists reports whether an error says that there is an object where none was to be.
func exists(err error) bool { return status(err) == http.StatusPreconditionFailed }

func (b *Bucket) Read(ctx context.Context, name string) ([]byte, error) {
	o, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.name, Key: &name})
	if missing(err) {
		return nil, b.fail("read", name, fs.ErrNotExist)
	}
	if err != nil {
		return nil, b.fail("read", name, err)
	}
	defer o.Body.Close()
	content, err := io.ReadAll(o.Body)
	return content, b.fail("read", name, err)
}

func (b *Bucket) Write(ctx context.Context, name string, content []byte) error {
	_, err := b.client.PutObject(ctx, b.put(name, content))
	return b.fail("write", name, err)
}

func (b *Bucket) Create(ctx context.Context, name string, content []byte) error {
	in := b.put(name, content)
	in.IfNoneMatch = anyVersion
	for {
		_, err := b.client.PutObject(ctx, in)
		switch {
		case exists(err):
			return b.fail("create", name, fs.ErrExist)
		case status(err) != http.StatusConflict:
			return b.fail("create", name, err)
		}
		// S3 says so where another is being written at the same time.
		select {
		case <-time.After(50 * time.Millisecond):
			in.Body = bytes.NewReader(content)
		case <-ctx.Done():
			return b.fail("create", name, err)
		}
	}
}

func (b *Bucket) put(name string, content []byte) *s3.PutObjectInput {
	// As Tessera has it, for those who read the log from the bucket.
	cache, media := "max-age=604800,immutable", "application/octet-stream"
	if name == layout.CheckpointPath {
		cache, media = "no-cache", "text/plain; charset=utf-8"
	}
	return &s3.PutObjectInput{
		Bucket: &b.name, Key: &name, Body: bytes.NewReader(content), ContentLength: aws.Int64(int64(len(content))), CacheControl: &cache, ContentType: &media,
	}
}

func (b *Bucket) List(ctx context.Context, prefix string) (names []string, err error) {
	pages := s3.NewListObjectsV2Paginator(b.client, &s3.ListObjectsV2Input{Bucket: &b.name, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, b.fail("list", prefix, err)
		}
		for _, o := range page.Contents {
			names = append(names, *o.Key)
		}
	}
	return names, nil
}

func (b *Bucket) Remove(ctx context.Context, name string) error {
	_, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.name, Key: &name})
	if missing(err) {
		return nil
	}
	return b.fail("remove", name, err)
}
