package s3mysql_test

import (
	"bytes"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/server/s3mysql"
	"github.com/imaledger/imaledger/ledger/server/s3mysql/s3mysqltest"
)

func open(t *testing.T, c s3mysql.Config) *s3mysql.Store {
	t.Helper()
	s, err := s3mysql.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestStore(t *testing.T) {
	servers := s3mysqltest.Start(t)
	testRefused(t, servers)
	testLocked(t, servers.Config(t))
}

func client(c s3mysql.Config) *s3.Client {
	return s3.NewFromConfig(*c.AWS, func(o *s3.Options) { o.UsePathStyle, o.BaseEndpoint = true, &c.Endpoint })
}

// testRefused: what cannot keep a ledger is refused with what to change.
func testRefused(t *testing.T, servers *s3mysqltest.Servers) {
	c := servers.Config(t)
	refused := func(want string, change func(c *s3mysql.Config)) {
		t.Helper()
		changed := c
		change(&changed)
		if s, err := s3mysql.Open(t.Context(), changed); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
			if err == nil {
				s.Close()
			}
		}
	}
	plain := "plain-bucket"
	if _, err := client(c).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &plain}); err != nil {
		t.Fatal(err)
	}
	refused("two buckets", func(c *s3mysql.Config) { c.PayloadBucket = c.LogBucket })
	refused("make it first", func(c *s3mysql.Config) { c.LogBucket = "there-is-none" })
	refused("enable versioning", func(c *s3mysql.Config) { c.PayloadBucket = plain })
	refused("a bucket without", func(c *s3mysql.Config) {
		c.LogBucket, c.PayloadBucket = c.PayloadBucket, servers.Config(t).PayloadBucket
	})
	refused("no database", func(c *s3mysql.Config) { c.DSN = c.DSN[:strings.LastIndexByte(c.DSN, '/')+1] })
	db, err := sql.Open("mysql", c.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, s := range []struct{ setting, value, back, want string }{
		{"innodb_flush_log_at_trx_commit", "2", "1", "innodb_flush_log_at_trx_commit is 2"},
		{"max_allowed_packet", "1048576", "16777216", "max_allowed_packet is 1048576"},
	} {
		if _, err := db.ExecContext(t.Context(), "SET GLOBAL "+s.setting+" = "+s.value); err != nil {
			t.Fatal(err)
		}
		refused(s.want, func(*s3mysql.Config) {})
		if _, err := db.ExecContext(t.Context(), "SET GLOBAL "+s.setting+" = "+s.back); err != nil {
			t.Fatal(err)
		}
	}
}

// testLocked: what is locked stays; and what was replaced by a stranger is not read.
func testLocked(t *testing.T, c s3mysql.Config) {
	client := client(c)
	put := func(a *s3mysql.Addenda, content string) ledger.Hash {
		t.Helper()
		digest := ledger.Hash(sha256.Sum256([]byte(content)))
		if created, err := a.Put(digest, strings.NewReader(content), 100); err != nil || !created {
			t.Fatalf("%v, %v", created, err)
		}
		return digest
	}
	// A stranger with the front ends' credentials replaces a payload, or deletes it.
	free := open(t, c)
	digest := put(free.Addenda, "a record")
	key := aws.String(ledger.AddendumPath(digest))
	if _, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &c.PayloadBucket, Key: key, Body: strings.NewReader("a forgery")}); err != nil {
		t.Fatal(err)
	}
	r, found, err := free.Addenda.Open(digest)
	if err != nil || !found {
		t.Fatal(found, err)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(r); err == nil {
		t.Errorf("read %q", &b)
	}
	r.Close()
	versions, err := client.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: &c.PayloadBucket, Prefix: key})
	if err != nil || len(versions.Versions) != 2 {
		t.Errorf("the record is not kept beside the forgery: %v", err)
	}

	c.Lock, c.LockDays = types.ObjectLockRetentionModeGovernance, 1
	locked := open(t, c)
	digest = put(locked.Addenda, "a locked record")
	if err := locked.Addenda.Delete(digest); err == nil {
		t.Error("a locked payload was deleted")
	}
	if _, found, err := locked.Addenda.Size(digest); err != nil || !found {
		t.Errorf("a locked payload is gone: %v, %v", found, err)
	}
	head, err := client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &c.PayloadBucket, Key: aws.String(ledger.AddendumPath(digest))})
	if err != nil || head.ObjectLockMode != types.ObjectLockModeGovernance || head.ObjectLockRetainUntilDate == nil {
		t.Errorf("%+v, %v", head, err)
	}
}

// TestDeadlock: what the database undoes for the sake of another transaction is done
// after that.
func TestDeadlock(t *testing.T) {
	servers := s3mysqltest.Start(t)
	c := servers.Config(t)
	db, err := sql.Open("mysql", c.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	store := open(t, c)
	ctx, digest := t.Context(), ledger.Hash{1}
	other, err := db.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Rollback()
	run := func(statement string, args ...any) {
		t.Helper()
		if _, err := other.ExecContext(ctx, statement, args...); err != nil {
			t.Fatal(err)
		}
	}
	// Of two transactions, the one that has written less is undone.
	for i := range 100 {
		run("INSERT INTO ImaledgerHead (name, leaf, idx) VALUES (?, REPEAT('x', 32), 0)", i)
	}
	run("INSERT INTO ImaledgerWithheld (digest, owner, since) VALUES (?, 'other', NOW(6))", digest[:])
	done := make(chan error, 1)
	go func() {
		next, ok, err := store.DB.Withhold(ctx, digest)
		if err == nil && (!ok || next != 7) {
			err = fmt.Errorf("%v, %d places", ok, next)
		}
		done <- err
	}()
	for waiting := 0; waiting == 0; {
		time.Sleep(200 * time.Millisecond) // InnoDB tells what it knew if asked more often
		if err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'").Scan(&waiting); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-done:
			t.Fatalf("it did not wait: %v", err)
		default:
		}
	}
	run("UPDATE SeqCoord SET next = 7 WHERE id = 0")
	run("DELETE FROM ImaledgerWithheld WHERE digest = ?", digest[:])
	if err := other.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
