package main

import (
	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
)

func verdict(r *audit.Report) string { return verdictOf(r.Class()) }

// verdictOf names a class as a verdict.
func verdictOf(c ledger.Class) string {
	if c == ledger.Noted {
		return "verified"
	}
	return c.String()
}

// exitWith ends a command that has printed what it found, err being that of the
// printing.
func exitWith(err error, class ledger.Class) error {
	if err != nil || class == ledger.Noted {
		return err
	}
	return cli.Exit(int(class))
}
