//go:build guest

package main

import (
	"fmt"
	"os"
)

// cutVariable names the step at which the agent stands still, for the test to cut
// the power. It is in no agent but those that are built for this.
const cutVariable = "IMALEDGER_CUT"

func step() func(string) {
	return func(s string) {
		if s == os.Getenv(cutVariable) {
			fmt.Printf("cut: %s\n", s)
			select {}
		}
	}
}
