package main

// about says what a command does, before its flags.
var about = map[string]string{
	"init": `Makes what a new ledger needs: keys of the log, a registrar and an operator beside the
configuration file, the trust folder, and the configuration with every option in it.
Nothing that exists is overwritten. It prints the log's verifier key, which witnesses
are given.

Example:
  imaledgerd init --origin ledger.example/2026 --grade certificate \
      --witness "w1 w1.example+12345678+ABC... https://w1.example/" \
      --witness "w2 w2.example+9abcdef0+DEF... https://w2.example/" \
      --witness "w3 w3.example+13579bdf+GHI... https://w3.example/"
`,
	"serve": `Runs a ledger in one directory, or, with --storage, as one of several front ends
that share it; the directory is then this one's alone, and may be lost. It prints the log's verifier key and the URL that
it listens on.

The trust folder is the one that auditors have: "policy" names this log's key and
its witnesses, with their URLs; "rules" names the registrars. What an auditor with
that folder would refuse is not admitted.

` + aboutKeys,
	"registrar": `Runs a registrar of somebody else's ledger, whose trust folder demands several. It
makes an activation of its own with each host's TPM, by its own trust folder and
list of EKs, and signs what it has seen. It prints its name and the URL that it
listens on: the ledger has that URL as a --registrar, and both have the token.

` + aboutKeys,
	"check": `Reads every tile and entry against the published checkpoint, judges every entry as
an auditor does, and reads every addendum against its digest. It changes nothing, and
the ledger may be running. Exit codes: 0 sound, 1 something was altered or has
decayed, 2 wrong usage, 3 something is missing that no erasure accounts for.

Example:
  imaledgerd check --dir /var/lib/imaledgerd --trust /etc/imaledger/trust
`,
	"backup": `Copies a ledger as of its newest cosigned checkpoint; it may be running. The copy is
verified as it is made. A second backup to the same directory adds what is new, and
deletes the payloads that were erased since. Keys are not in it: keep the log's key
elsewhere, and the configuration and the trust folder with it.

Example:
  imaledgerd backup --to /srv/backup/imaledgerd
`,
	"restore": `Copies a backup into the directory of a ledger, which must be empty. The ledger then
starts only if its witnesses have seen no more of the log than the backup has: a log
that forgets what it signed would give its indices away a second time. Where they
have seen more, look for a newer backup. Where there is none the log has ended: keep
what there is for auditors, and start a new log under another origin, to which hosts
enrol again.

Example:
  imaledgerd restore --from /srv/backup/imaledgerd --dir /var/lib/imaledgerd
`,
	"migrate": `Copies a ledger from a directory to --storage, or from --storage to a directory, as of
its newest cosigned checkpoint, and verifies all of it on the way: entries by the
checkpoint, addenda by their digests. It may be run while the ledger is served, and
again: what is there already is not copied twice. The last time is when no front end
runs any more. The copy starts once its witnesses have said that they have seen no
more of the log.

Example:
  imaledgerd migrate --from /var/lib/imaledgerd --storage s3://log/payloads --database /etc/imaledger/dsn
`,
	"rebuild": `Makes tiles and the tree's state again from the entries, and writes those files that
are missing or differ. It refuses entries that do not give the published checkpoint.
The ledger must not be running. All else that a ledger knows it reads from the
entries at each start.

Example:
  imaledgerd rebuild --dir /var/lib/imaledgerd
`,
}
