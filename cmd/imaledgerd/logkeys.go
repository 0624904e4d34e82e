package main

import (
	"flag"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger/server"
)

// logKeys are the keys that sign checkpoints beside --key.
type logKeys struct{ additional cli.Strings }

func (k *logKeys) flags(fs *flag.FlagSet) {
	fs.Var(&k.additional, "additional-key", "private `key` that signs checkpoints beside --key: one of ML-DSA-44, or the one before or after in a rotation; may be repeated")
}

// readLogKeys reads the keys into the configuration.
func (o *options) readLogKeys(c *server.Config) (err error) {
	if c.Signer, err = o.readKey(o.origin, o.key); err != nil {
		return err
	}
	for _, key := range o.logKeys.additional {
		s, err := o.readKey(o.origin, key)
		if err != nil {
			return err
		}
		c.MoreSigners = append(c.MoreSigners, s)
	}
	return nil
}
