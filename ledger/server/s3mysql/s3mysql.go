// Package s3mysql keeps a ledger in an object store and a database, so that several
// front ends can share it: Tessera's driver for S3 and MySQL, or what speaks their
// protocols, Ceph's RGW and MariaDB among them.
//
// The log has a bucket of its own, at its root: with a prefix in front, Tessera's
// driver does not find again what it wrote before its database was lost, and jams.
// The checkpoints of days, evidence and the names of holds stand beside it, under
// history/, evidence/ and holds/: that one of several creates a file is sure only
// without versioning, which has Ceph's RGW 16 pass over the condition. Addenda are in a second bucket, which has
// versioning, and object locks if the ledger sets them. The database holds what
// gives entries their order, and entries for the second or so until they are in the
// log's bucket: an entry is durable when the database says so.
//
// It is a package of its own so that what else links package server links no cloud.
package s3mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/go-sql-driver/mysql"
	"github.com/transparency-dev/tessera"
	driver "github.com/transparency-dev/tessera/storage/aws"
)

// Config says where a ledger is.
type Config struct {
	LogBucket     string // of this log alone, without versioning
	PayloadBucket string // with versioning; and with object lock, if Lock is set

	// AWS has region and credentials; default: what the environment says, as for any
	// program of AWS.
	AWS       *aws.Config `json:"-"`
	Endpoint  string      // URL of an object store that is not AWS; default: AWS
	PathStyle bool        // bucket names stand in the path, not in the host's name

	// DSN is the database's, as go-sql-driver/mysql writes it, its password included.
	// Give all front ends of a ledger the same node of a cluster: on two of Galera's,
	// one of two transactions at a time is undone and run again.
	DSN string

	// Lock, if not empty, keeps addenda from being deleted by anybody for LockDays:
	// GOVERNANCE, which a privileged user can lift, or COMPLIANCE, which nobody can.
	// What an erasure names is then deleted after that.
	Lock     types.ObjectLockRetentionMode
	LockDays int
}

// maxConns bounds the connections of one front end to the database, twice: Tessera
// has a pool of its own.
const maxConns = 32

// A Store is a ledger's storage. Its parts have what server.Storage wants.
type Store struct {
	Log     *Bucket
	Files   *Bucket
	Addenda *Addenda
	DB      *Database
	Locks   bool // whether the payloads' bucket has object lock, so that Addenda can hold

	config Config
	dsn    string
	sdk    aws.Config
}

// Open connects to the object store and the database, makes the tables that are
// missing, and refuses either if it is not set up to keep what it is given. The
// buckets must exist. The context is for the opening only.
func Open(ctx context.Context, c Config) (*Store, error) {
	s := &Store{config: c}
	if c.LogBucket == "" || c.PayloadBucket == "" || c.LogBucket == c.PayloadBucket {
		return nil, errors.New("two buckets are needed: one for the log alone, one for payloads")
	}
	if c.AWS != nil {
		s.sdk = *c.AWS
	} else {
		sdk, err := config.LoadDefaultConfig(ctx)
		if err != nil {
			return nil, fmt.Errorf("S3: %w", err)
		}
		s.sdk = sdk
	}
	if s.sdk.Region == "" {
		s.sdk.Region = "us-east-1" // a store that is not AWS takes any
	}
	if s.sdk.HTTPClient == nil {
		s.sdk.HTTPClient = httpClient()
	}
	client := s3.NewFromConfig(s.sdk, s.options)
	s.Log = &Bucket{client, c.LogBucket}
	s.Files = s.Log
	s.Addenda = &Addenda{bucket: &Bucket{client, c.PayloadBucket}, lock: c.Lock, days: c.LockDays}
	if err := s.checkBuckets(ctx); err != nil {
		return nil, err
	}
	db, dsn, err := openDatabase(ctx, c.DSN)
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	s.DB, s.dsn = db, dsn
	return s, nil
}

// Close ends what Open began, but for the drivers that were asked for.
func (s *Store) Close() error { return s.DB.close() }

// httpClient has deadlines for everything but a body: a store that is away must not
// hold what waits for it for ever.
func httpClient() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = (&net.Dialer{Timeout: 5 * time.Second}).DialContext
	t.MaxIdleConnsPerHost = 64
	t.ResponseHeaderTimeout = 30 * time.Second
	return &http.Client{Transport: t}
}

func (s *Store) options(o *s3.Options) {
	o.UsePathStyle = s.config.PathStyle
	if s.config.Endpoint != "" {
		o.BaseEndpoint = aws.String(s.config.Endpoint)
	}
	o.APIOptions = append(o.APIOptions, answerEmptyDeletes)
}

// Driver returns what Tessera integrates and publishes by.
func (s *Store) Driver(ctx context.Context, client *http.Client) (tessera.Driver, error) {
	return driver.New(ctx, driver.Config{
		SDKConfig: &s.sdk, S3Options: s.options, Bucket: s.config.LogBucket, DSN: s.dsn, MaxOpenConns: maxConns, MaxIdleConns: maxConns, HTTPClient: client,
	})
}

// checkBuckets makes sure that the payloads' bucket keeps versions, and locks if it
// is to.
func (s *Store) checkBuckets(ctx context.Context) error {
	for _, b := range []string{s.config.LogBucket, s.config.PayloadBucket} {
		if _, err := s.Log.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &b}); err != nil {
			return fmt.Errorf("bucket %s: %w; make it first, and let this ledger read, write and list it", b, err)
		}
	}
	v, err := s.Log.client.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &s.config.PayloadBucket})
	if err != nil {
		return fmt.Errorf("bucket %s: versioning: %w", s.config.PayloadBucket, err)
	}
	if v.Status != types.BucketVersioningStatusEnabled {
		return fmt.Errorf("bucket %s does not keep versions: enable versioning, so that nobody who holds the ledger's key can replace a payload for good", s.config.PayloadBucket)
	}
	if v, err = s.Log.client.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &s.config.LogBucket}); err != nil {
		return fmt.Errorf("bucket %s: versioning: %w", s.config.LogBucket, err)
	}
	if v.Status == types.BucketVersioningStatusEnabled {
		return fmt.Errorf("bucket %s keeps versions, and its checkpoint is written each second: give the log a bucket without", s.config.LogBucket)
	}
	l, err := s.Log.client.GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: &s.config.PayloadBucket})
	s.Locks = err == nil && l.ObjectLockConfiguration != nil && l.ObjectLockConfiguration.ObjectLockEnabled == types.ObjectLockEnabledEnabled
	if s.config.Lock == "" {
		if n := status(err); err == nil || n == http.StatusNotFound || n == http.StatusNotImplemented {
			return nil
		}
		return fmt.Errorf("bucket %s: object lock: %w", s.config.PayloadBucket, err)
	}
	if !s.Locks {
		return fmt.Errorf("bucket %s has no object lock, which %s for %d days needs: make the bucket with object lock enabled: %w", s.config.PayloadBucket, s.config.Lock, s.config.LockDays, errors.Join(err))
	}
	return nil
}

// openDatabase opens the database with the settings that the ledger needs of a
// connection, and returns the data source's name with them, for Tessera.
func openDatabase(ctx context.Context, dsn string) (*Database, string, error) {
	c, err := mysql.ParseDSN(dsn)
	if err != nil {
		return nil, "", fmt.Errorf("data source name: %w", err)
	}
	if c.DBName == "" {
		return nil, "", errors.New("data source name: no database: USER:PASSWORD@tcp(HOST:3306)/DATABASE")
	}
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	if c.ReadTimeout == 0 {
		c.ReadTimeout = time.Minute // more than InnoDB waits for a lock
	}
	if c.WriteTimeout == 0 {
		c.WriteTimeout = 30 * time.Second
	}
	c.InterpolateParams = true
	plain, err := sql.Open("mysql", c.FormatDSN())
	if err != nil {
		return nil, "", err
	}
	defer plain.Close()
	settings, err := checkServer(ctx, plain)
	if err != nil {
		return nil, "", err
	}
	if c.Params == nil {
		c.Params = make(map[string]string)
	}
	maps.Copy(c.Params, settings)
	pool, err := sql.Open("mysql", c.FormatDSN())
	if err != nil {
		return nil, "", err
	}
	pool.SetMaxOpenConns(maxConns)
	pool.SetMaxIdleConns(maxConns)
	d := newDatabase(pool)
	if err := d.makeTables(ctx); err != nil {
		return nil, "", errors.Join(err, d.close())
	}
	return d, c.FormatDSN(), nil
}
