package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/tpm/ima"
)

// What scripts may execute and call. Linux has more.
var (
	programs = map[string]func(){"imaledger": main, "sigstore-kms-test": pluginMain}
	scripted = map[string]func(ts *testscript.TestScript, neg bool, args []string){
		"exits": scriptExits, "flip": scriptFlip, "slice": scriptSlice, "records": scriptRecords, "gunzip": scriptGunzip, "mode": scriptMode,
		"ledger": scriptLedger, "cheat": scriptCheat, "capture": scriptCapture, "liar": scriptLiar,
	}
)

func TestMain(m *testing.M) { testscript.Main(m, programs) }

// TestScript runs the tool as a user does: a process of its own, files, exit
// codes. Scripts find $RECORDINGS (of real kernels), $VECTORS (evidence bundles)
// and $BIN, a folder with imaledger, the plugin sigstore-kms-test and, on Linux, offline,
// which runs a program that must not ask for a socket.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			for name, dir := range map[string]string{"RECORDINGS": recordings, "VECTORS": "../../ledger/testdata/vectors"} {
				absolute, err := filepath.Abs(dir)
				if err != nil {
					return err
				}
				env.Setenv(name, absolute)
			}
			bin, _, _ := strings.Cut(env.Getenv("PATH"), string(filepath.ListSeparator)) // where Main put it
			env.Setenv("BIN", bin)
			env.Values[scriptedLedgerKey{}] = new(*scriptedLedger)
			return nil
		},
		Cmds: scripted,
	})
}

// scriptExits is exec with an exit code: exits CODE PROGRAM ARG...
func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := cli.ExitOK
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// scriptFlip alters a byte of a file: flip FILE OFFSET, from the end if negative.
func scriptFlip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: flip FILE OFFSET")
	}
	name := ts.MkAbs(args[0])
	b := scriptRead(ts, name)
	at, err := strconv.Atoi(args[1])
	ts.Check(err)
	if at < 0 {
		at += len(b)
	}
	b[at] ^= 1
	ts.Check(os.WriteFile(name, b, 0o600))
}

// scriptSlice copies bytes: slice SOURCE FROM TO TARGET; TO may be "end".
func scriptSlice(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: slice SOURCE FROM TO TARGET")
	}
	b := scriptRead(ts, ts.MkAbs(args[0]))
	from, to := scriptRange(ts, args[1]+"-"+args[2], len(b))
	ts.Check(os.WriteFile(ts.MkAbs(args[3]), b[from:to], 0o600))
}

// scriptRecords makes a list of another's records: records SOURCE TARGET
// RANGE..., a range being FROM-TO without TO, which may be "end".
func scriptRecords(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: records SOURCE TARGET RANGE...")
	}
	var all [][]byte
	for r := ima.NewReader(bytes.NewReader(scriptRead(ts, ts.MkAbs(args[0]))), ima.Format{Bank: ima.SHA1}); ; {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		ts.Check(err)
		all = append(all, bytes.Clone(rec.Raw))
	}
	var list []byte
	for _, arg := range args[2:] {
		from, to := scriptRange(ts, arg, len(all))
		list = append(list, bytes.Join(all[from:to], nil)...)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), list, 0o600))
}

func scriptGunzip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: gunzip SOURCE TARGET")
	}
	z, err := gzip.NewReader(bytes.NewReader(scriptRead(ts, ts.MkAbs(args[0]))))
	ts.Check(err)
	b, err := io.ReadAll(z)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), b, 0o600))
}

// scriptMode asks for a file's permissions: mode FILE 0600.
func scriptMode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mode FILE PERMISSIONS")
	}
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	if got := fmt.Sprintf("%#o", info.Mode()); got != args[1] {
		ts.Fatalf("%s has mode %s, want %s", args[0], got, args[1])
	}
}

// scriptCapture sets a variable to what a regular expression's group finds in the
// last command's output: capture NAME REGEXP.
func scriptCapture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: capture NAME REGEXP")
	}
	m := regexp.MustCompile(args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(m) < 2 {
		ts.Fatalf("%s is not in the output", args[1])
	}
	ts.Setenv(args[0], m[1])
}

func scriptRead(ts *testscript.TestScript, name string) []byte {
	b, err := os.ReadFile(name)
	ts.Check(err)
	return b
}

func scriptRange(ts *testscript.TestScript, text string, size int) (from, to int) {
	first, last, _ := strings.Cut(text, "-")
	from, err := strconv.Atoi(first)
	ts.Check(err)
	to = size
	if last != "end" {
		to, err = strconv.Atoi(last)
		ts.Check(err)
	}
	if from < 0 || from > to || to > size {
		ts.Fatalf("%s is no range of %d", text, size)
	}
	return from, to
}
