// Package s3mysqltest runs, for tests, an object store and a database on loopback
// that can be killed and started again: versitygw and MariaDB.
package s3mysqltest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	_ "github.com/go-sql-driver/mysql" // the database's

	"github.com/imaledger/imaledger/ledger/server/s3mysql"
)

// The keys of the object store, and the user of the database.
const (
	accessKey, secretKey = "testkey", "testsecret"
	dbUser, dbPassword   = "ledger", "secret"
)

// Servers are an object store and a database.
type Servers struct {
	dir       string
	endpoint  string // of the object store
	database  string // host and port
	gateway   []string
	mariadb   []string
	gatewayUp *process
	mariadbUp *process
	stores    atomic.Int64
}

// Start starts both in a directory of the test, and ends them with it.
func Start(t testing.TB) *Servers {
	t.Helper()
	dir, err := os.MkdirTemp("", "imaledger-stores-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &Servers{dir: dir, endpoint: freeAddress(t), database: freeAddress(t)}
	s.prepareGateway(t)
	s.prepareMariaDB(t)
	s.StartGateway(t)
	s.StartDatabase(t)
	return s
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// program finds a program in the path, or where make tools or Debian put it.
func program(t testing.TB, name string, more ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	for _, p := range append(more, "/usr/sbin/"+name) {
		if _, e := os.Stat(p); err != nil && e == nil {
			return p
		}
	}
	if err != nil {
		t.Fatalf("%v; make tools gets what the tests need", err)
	}
	return path
}

func (s *Servers) prepareGateway(t testing.TB) {
	t.Helper()
	for _, d := range []string{"s3", "iam", "versions"} {
		if err := os.MkdirAll(filepath.Join(s.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	s.gateway = []string{program(t, "versitygw", os.Getenv("IMALEDGER_VERSITYGW"), filepath.Join(cache, "imaledger", "versitygw")), "--port", s.endpoint, "--iam-dir", filepath.Join(s.dir, "iam"), "--quiet",
		"posix", "--versioning-dir", filepath.Join(s.dir, "versions"), filepath.Join(s.dir, "s3")}
}

func (s *Servers) prepareMariaDB(t testing.TB) {
	t.Helper()
	data := filepath.Join(s.dir, "db")
	if err := os.MkdirAll(data, 0o755); err != nil {
		t.Fatal(err)
	}
	as := "--user=" + s.own(t, data)
	install := exec.Command(program(t, "mariadb-install-db"), "--no-defaults", as, "--datadir="+data, "--auth-root-authentication-method=normal", "--skip-test-db")
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	init := filepath.Join(s.dir, "init.sql")
	statements := fmt.Sprintf("CREATE USER IF NOT EXISTS '%s'@'127.0.0.1' IDENTIFIED BY '%s';\nGRANT ALL ON *.* TO '%s'@'127.0.0.1';\n", dbUser, dbPassword, dbUser)
	if err := os.WriteFile(init, []byte(statements), 0o644); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(s.database)
	s.mariadb = []string{program(t, "mariadbd"), "--no-defaults", as, "--datadir=" + data, "--socket=" + filepath.Join(data, "s.sock"), "--pid-file=" + filepath.Join(data, "pid"),
		"--bind-address=127.0.0.1", "--port=" + port, "--skip-log-bin", "--skip-name-resolve", "--innodb-buffer-pool-size=128M", "--innodb-log-file-size=64M", "--init-file=" + init}
}

// own gives a directory to the user that the database runs as: it does not run as
// root.
func (s *Servers) own(t testing.TB, dir string) string {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if me.Uid != "0" {
		return me.Username
	}
	u, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	if err := errors.Join(os.Chmod(s.dir, 0o755), os.Chown(dir, uid, gid)); err != nil {
		t.Fatal(err)
	}
	return u.Username
}

// A process is one that ends with its test.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

func start(t testing.TB, env []string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(args[0], args[1:]...), done: make(chan struct{})}
	var out strings.Builder
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = append(os.Environ(), env...), &out, &out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			text := out.String()
			t.Logf("%s: …%s", filepath.Base(args[0]), text[max(0, len(text)-2000):])
		}
	})
	return p
}

func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// await waits until a server answers.
func (p *process) await(t testing.TB, what string, ready func() error) {
	t.Helper()
	var err error
	for range 600 {
		if err = ready(); err == nil {
			return
		}
		select {
		case <-p.done:
			t.Fatalf("%s has ended", what)
		case <-time.After(100 * time.Millisecond):
		}
	}
	t.Fatalf("%s: %v", what, err)
}

// StartGateway starts the object store on what it has stored.
func (s *Servers) StartGateway(t testing.TB) {
	t.Helper()
	s.gatewayUp = start(t, []string{"ROOT_ACCESS_KEY=" + accessKey, "ROOT_SECRET_KEY=" + secretKey}, s.gateway...)
	s.gatewayUp.await(t, "versitygw", func() error {
		r, err := http.Get("http://" + s.endpoint)
		if err == nil {
			r.Body.Close()
		}
		return err
	})
}

// KillGateway kills the object store with SIGKILL.
func (s *Servers) KillGateway() { s.gatewayUp.kill() }

// StartDatabase starts the database on what it has stored.
func (s *Servers) StartDatabase(t testing.TB) {
	t.Helper()
	s.mariadbUp = start(t, nil, s.mariadb...)
	db, err := sql.Open("mysql", s.dsn("mysql"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s.mariadbUp.await(t, "mariadbd", func() error { return db.PingContext(context.Background()) })
}

// KillDatabase kills the database with SIGKILL.
func (s *Servers) KillDatabase() { s.mariadbUp.kill() }

func (s *Servers) dsn(name string) string { return DSN(s.database, name) }

// DSN returns the name of a database at an address, for the tests' user.
func DSN(address, database string) string {
	return fmt.Sprintf("%s:%s@tcp(%s)/%s", dbUser, dbPassword, address, database)
}

// Endpoint returns the URL of the object store.
func (s *Servers) Endpoint() string { return "http://" + s.endpoint }

// Env is what a process is told to have the object store's keys.
func Env() []string {
	return []string{"AWS_ACCESS_KEY_ID=" + accessKey, "AWS_SECRET_ACCESS_KEY=" + secretKey, "AWS_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true"}
}

// Config makes two buckets and a database for a new ledger.
func (s *Servers) Config(t testing.TB) s3mysql.Config {
	t.Helper()
	return MakeStore(t, s.Endpoint(), s.dsn, fmt.Sprintf("ledger%d", s.stores.Add(1)))
}

// MakeStore makes two buckets and a database of a name, in any servers.
func MakeStore(t testing.TB, endpoint string, dsn func(database string) string, name string) s3mysql.Config {
	t.Helper()
	credentials := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: accessKey, SecretAccessKey: secretKey}, nil
	})
	c := s3mysql.Config{
		LogBucket: name + "-log", PayloadBucket: name + "-payloads", Endpoint: endpoint, PathStyle: true, DSN: dsn(name),
		AWS: &aws.Config{Region: "us-east-1", Credentials: credentials},
	}
	client := s3.NewFromConfig(*c.AWS, func(o *s3.Options) { o.UsePathStyle, o.BaseEndpoint = true, &endpoint })
	for _, b := range []string{c.LogBucket, c.PayloadBucket} {
		locked := b == c.PayloadBucket
		if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &b, ObjectLockEnabledForBucket: &locked}); err != nil {
			t.Fatal(err)
		}
	}
	// A bucket with object lock has versioning; not every store says so by itself.
	if _, err := client.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{
		Bucket: &c.PayloadBucket, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
	}); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("mysql", dsn("mysql"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	return c
}
