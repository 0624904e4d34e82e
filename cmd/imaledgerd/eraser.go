package main

import (
	"flag"
	"time"

	"github.com/imaledger/imaledger/ledger/server"
)

// eraserOptions are how the ledger erases by itself.
type eraserOptions struct {
	key      string
	interval time.Duration
}

func (e *eraserOptions) flags(fs *flag.FlagSet) {
	fs.StringVar(&e.key, "eraser-key", "", "private `key` of an operator, as --registrar has them: erase by it what the stated retention policy no longer keeps")
	fs.DurationVar(&e.interval, "erase-interval", server.DefaultEraseInterval, "`time` between looking for records to erase")
}

// eraser reads the key into the configuration.
func (o *options) eraser(c *server.Config) (err error) {
	c.EraseInterval = o.erase.interval
	if o.erase.key != "" {
		c.Eraser, err = o.readRegistrar(o.erase.key)
	}
	return err
}
