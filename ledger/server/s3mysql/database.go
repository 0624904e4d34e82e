package s3mysql

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	driver "github.com/transparency-dev/tessera/storage/aws"

	"github.com/imaledger/imaledger/ledger"
)

// Head is server.Head: the newest entry of a chain.
type Head = struct {
	Leaf  ledger.Hash
	Index uint64
}

// A Database is where front ends meet: server.Sequencer and server.Tree. Its tables
// stand beside Tessera's, so that one transaction gives an entry its place and its
// chain the end.
type Database struct {
	pool  *sql.DB
	owner string // of what this process withholds
	queue chan *request
	ctx   context.Context
	end   context.CancelFunc
	ended chan struct{}
}

func newDatabase(pool *sql.DB) *Database {
	d := &Database{pool: pool, owner: rand.Text(), queue: make(chan *request), ended: make(chan struct{})}
	d.ctx, d.end = context.WithCancel(context.Background())
	go d.work()
	return d
}

func (d *Database) close() error {
	d.end()
	<-d.ended
	return d.pool.Close()
}

// minPacket is the least that a server must take in one statement: a batch of
// entries, each byte of which may be escaped, and some room.
const minPacket = 3 * maxBatchBytes

// checkServer makes sure that a server keeps what it has committed. It returns the
// settings that the ledger needs of a connection to it.
func checkServer(ctx context.Context, db *sql.DB) (settings map[string]string, err error) {
	var version string
	var flush, syncBinlog, packet int64
	var binlog bool
	err = db.QueryRowContext(ctx, "SELECT VERSION(), @@innodb_flush_log_at_trx_commit, @@log_bin, @@sync_binlog, @@max_allowed_packet").
		Scan(&version, &flush, &binlog, &syncBinlog, &packet)
	switch {
	case err != nil:
		return nil, err
	case flush != 1:
		return nil, fmt.Errorf("innodb_flush_log_at_trx_commit is %d: a power cut would lose entries that were acknowledged; set it to 1", flush)
	case binlog && syncBinlog != 1:
		return nil, fmt.Errorf("the binary log is on and sync_binlog is %d: a power cut would lose what replicas have not seen; set it to 1", syncBinlog)
	case packet < minPacket:
		return nil, fmt.Errorf("max_allowed_packet is %d bytes; set it to %d or more", packet, minPacket)
	}
	// Under REPEATABLE READ the integration of entries, which waits for the object
	// store, locks the gap in which the next ones are written.
	settings = map[string]string{"transaction_isolation": "'READ-COMMITTED'"}
	if strings.Contains(version, "MariaDB") {
		settings = map[string]string{"tx_isolation": "'READ-COMMITTED'"}
	}
	var galera string
	switch err := db.QueryRowContext(ctx, "SHOW VARIABLES LIKE 'wsrep_on'").Scan(new(string), &galera); {
	case err == nil && galera == "ON":
		// A node shows what was committed on others some moments later, unless it is
		// told to wait: then a front end sees all that was committed anywhere before.
		settings["wsrep_sync_wait"] = "1"
	case err != nil && !errors.Is(err, sql.ErrNoRows):
		return nil, err
	}
	return settings, nil
}

// tables are those of the ledger, and those of Tessera's that a log needs to begin
// with, as Tessera makes them.
var tables = []string{
	// Where chains end. No chain's name is longer than a host's.
	`CREATE TABLE IF NOT EXISTS ImaledgerHead (name VARBINARY(255) NOT NULL, leaf BINARY(32) NOT NULL, idx BIGINT UNSIGNED NOT NULL, PRIMARY KEY (name)) ENGINE=InnoDB`,
	// Addenda that are about to be removed.
	`CREATE TABLE IF NOT EXISTS ImaledgerWithheld (digest BINARY(32) NOT NULL, owner VARBINARY(64) NOT NULL, since DATETIME(6) NOT NULL, PRIMARY KEY (digest)) ENGINE=InnoDB`,
	`CREATE TABLE IF NOT EXISTS Tessera (id INT UNSIGNED NOT NULL, compatibilityVersion BIGINT UNSIGNED NOT NULL, PRIMARY KEY (id)) ENGINE=InnoDB`,
	`CREATE TABLE IF NOT EXISTS SeqCoord (id INT UNSIGNED NOT NULL, next BIGINT UNSIGNED NOT NULL, PRIMARY KEY (id)) ENGINE=InnoDB`,
	`CREATE TABLE IF NOT EXISTS Seq (id INT UNSIGNED NOT NULL, seq BIGINT UNSIGNED NOT NULL, v LONGBLOB, PRIMARY KEY (id, seq)) ENGINE=InnoDB`,
	`CREATE TABLE IF NOT EXISTS IntCoord (id INT UNSIGNED NOT NULL, seq BIGINT UNSIGNED NOT NULL, rootHash TINYBLOB NOT NULL, PRIMARY KEY (id)) ENGINE=InnoDB`,
	`CREATE TABLE IF NOT EXISTS PubCoord (id INT UNSIGNED NOT NULL, publishedAt BIGINT NOT NULL, size BIGINT UNSIGNED, PRIMARY KEY (id)) ENGINE=InnoDB`,
	`INSERT IGNORE INTO SeqCoord (id, next) VALUES (0, 0)`,
	`INSERT IGNORE INTO PubCoord (id, publishedAt, size) VALUES (0, 0, 0)`,
}

// schemaVersion is the version of Tessera's tables that this package writes to.
const schemaVersion = 1

func (d *Database) makeTables(ctx context.Context) error {
	if driver.SchemaCompatibilityVersion != schemaVersion {
		return fmt.Errorf("the version of Tessera's tables is %d, and this program knows %d", driver.SchemaCompatibilityVersion, schemaVersion)
	}
	for _, statement := range tables {
		if err := d.exec(ctx, statement); err != nil {
			return fmt.Errorf("make tables: %w", err)
		}
	}
	if err := d.exec(ctx, "INSERT IGNORE INTO Tessera (id, compatibilityVersion) VALUES (0, ?)", schemaVersion); err != nil {
		return err
	}
	var version int
	if err := d.pool.QueryRowContext(ctx, "SELECT compatibilityVersion FROM Tessera WHERE id = 0").Scan(&version); err != nil {
		return err
	}
	if version != schemaVersion {
		return fmt.Errorf("the tables have version %d, and this program knows %d", version, schemaVersion)
	}
	return nil
}

// transact runs f in a transaction that holds the right to give entries places, with
// the next one. Whatever it reads, no other front end changes until it ends. One on
// another node of a Galera cluster may; if both have written one row, only one of them
// is committed, and the other run again.
func (d *Database) transact(ctx context.Context, f func(tx *sql.Tx, next uint64) error) error {
	return again(ctx, func() error { return d.transactOnce(ctx, f) })
}

// again runs what is one transaction until it was not undone for the sake of another.
func again(ctx context.Context, transaction func() error) error {
	const deadlock = 1213 // ER_LOCK_DEADLOCK, also for a conflict between Galera's nodes
	for {
		err := transaction()
		var e *mysql.MySQLError
		if !errors.As(err, &e) || e.Number != deadlock {
			return err
		}
		select {
		case <-time.After(deadlockInterval):
		case <-ctx.Done():
			return err
		}
	}
}

// deadlockInterval is when a transaction is run again: the other has been committed.
const deadlockInterval = 10 * time.Millisecond

// exec runs a statement that is a transaction by itself.
func (d *Database) exec(ctx context.Context, statement string, args ...any) error {
	return again(ctx, func() error {
		_, err := d.pool.ExecContext(ctx, statement, args...)
		return err
	})
}

func (d *Database) transactOnce(ctx context.Context, f func(tx *sql.Tx, next uint64) error) error {
	tx, err := d.pool.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	var next uint64
	if err := tx.QueryRowContext(ctx, "SELECT next FROM SeqCoord WHERE id = 0 FOR UPDATE").Scan(&next); err != nil {
		return err
	}
	if err := f(tx, next); err != nil {
		return err
	}
	return tx.Commit()
}

type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// readHeads reads the ends of the named chains, of all for none.
func readHeads(ctx context.Context, q querier, names ...string) (map[string]Head, error) {
	query, args := "SELECT name, leaf, idx FROM ImaledgerHead", make([]any, len(names))
	if len(names) > 0 {
		query += " WHERE name IN (?" + strings.Repeat(",?", len(names)-1) + ")"
	}
	for i, n := range names {
		args[i] = []byte(n)
	}
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	heads := make(map[string]Head)
	for rows.Next() {
		var name, leaf []byte
		var index uint64
		if err := rows.Scan(&name, &leaf, &index); err != nil {
			return nil, err
		}
		if len(leaf) != len(ledger.Hash{}) {
			return nil, fmt.Errorf("table ImaledgerHead: %s ends in a leaf of %d bytes", name, len(leaf))
		}
		heads[string(name)] = Head{ledger.Hash(leaf), index}
	}
	return heads, rows.Err()
}

// Heads returns where chains end, and how many places were given.
func (d *Database) Heads(ctx context.Context, names ...string) (heads map[string]Head, next uint64, err error) {
	// The places first: they are then no more than what the heads tell of.
	if err := d.pool.QueryRowContext(ctx, "SELECT next FROM SeqCoord WHERE id = 0").Scan(&next); err != nil {
		return nil, 0, err
	}
	heads, err = readHeads(ctx, d.pool, names...)
	return heads, next, err
}

// withheldFor is after how long somebody else may remove what a process that has
// ended was removing. A removal takes seconds, and has deadlines.
const withheldFor = 10 * time.Minute

// Withhold keeps entries that need an addendum from getting a place.
func (d *Database) Withhold(ctx context.Context, digest ledger.Hash) (next uint64, ok bool, err error) {
	err = d.transact(ctx, func(tx *sql.Tx, places uint64) error {
		next = places
		if _, err := tx.ExecContext(ctx, "DELETE FROM ImaledgerWithheld WHERE digest = ? AND since < NOW(6) - INTERVAL ? SECOND", digest[:], int(withheldFor/time.Second)); err != nil {
			return err
		}
		r, err := tx.ExecContext(ctx, "INSERT IGNORE INTO ImaledgerWithheld (digest, owner, since) VALUES (?, ?, NOW(6))", digest[:], []byte(d.owner))
		if err != nil {
			return err
		}
		n, err := r.RowsAffected()
		if ok = n == 1; err != nil || !ok {
			return err
		}
		// Galera lets nothing but written rows decide between two nodes: one that gives
		// a place at the same time has written this row.
		for _, change := range []string{"next + 1", "next - 1"} {
			if _, err := tx.ExecContext(ctx, "UPDATE SeqCoord SET next = "+change+" WHERE id = 0"); err != nil {
				return err
			}
		}
		return nil
	})
	return next, ok && err == nil, err
}

// Release ends what Withhold began.
func (d *Database) Release(ctx context.Context, digest ledger.Hash) error {
	return d.exec(ctx, "DELETE FROM ImaledgerWithheld WHERE digest = ? AND owner = ?", digest[:], []byte(d.owner))
}

// State returns the tree as far as it is integrated.
func (d *Database) State(ctx context.Context) (size uint64, root []byte, err error) {
	err = d.pool.QueryRowContext(ctx, "SELECT seq, rootHash FROM IntCoord WHERE id = 0").Scan(&size, &root)
	if errors.Is(err, sql.ErrNoRows) {
		err = errNoState
	}
	return size, root, err
}

// Set has the log go on from a tree whose tiles and entries are in the bucket.
func (d *Database) Set(ctx context.Context, size uint64, root []byte, heads map[string]Head) error {
	return d.transact(ctx, func(tx *sql.Tx, next uint64) error {
		if next > size {
			return fmt.Errorf("the database has given away %d places, and the tree has %d entries: a front end has to put the others in first", next, size)
		}
		for _, s := range []struct {
			statement string
			args      []any
		}{
			{"UPDATE SeqCoord SET next = ? WHERE id = 0", []any{size}},
			{"REPLACE INTO IntCoord (id, seq, rootHash) VALUES (0, ?, ?)", []any{size, root}},
			{"UPDATE PubCoord SET publishedAt = 0, size = ? WHERE id = 0", []any{size}},
			{"DELETE FROM Seq", nil},
			{"DELETE FROM ImaledgerHead", nil},
		} {
			if _, err := tx.ExecContext(ctx, s.statement, s.args...); err != nil {
				return err
			}
		}
		for names := range slices.Chunk(slices.Sorted(maps.Keys(heads)), 1000) {
			if err := writeHeads(ctx, tx, names, heads); err != nil {
				return err
			}
		}
		return nil
	})
}

func writeHeads(ctx context.Context, tx *sql.Tx, names []string, heads map[string]Head) error {
	if len(names) == 0 {
		return nil
	}
	var args []any
	for _, n := range names {
		h := heads[n]
		args = append(args, []byte(n), h.Leaf[:], h.Index)
	}
	_, err := tx.ExecContext(ctx, "INSERT INTO ImaledgerHead (name, leaf, idx) VALUES (?,?,?)"+strings.Repeat(",(?,?,?)", len(names)-1)+
		" ON DUPLICATE KEY UPDATE leaf = VALUES(leaf), idx = VALUES(idx)", args...)
	return err
}
