package cli

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestRunPrintsTheErrorAndItsHint(t *testing.T) {
	dial := &net.OpError{Op: "dial", Err: errors.New("refused")}
	for _, test := range []struct {
		name   string
		err    error
		code   int
		stderr string
	}{
		{"done", nil, ExitOK, ""},
		{"help", fmt.Errorf("flags: %w", flag.ErrHelp), ExitOK, ""},
		{"usage", Usagef("no list given"), ExitUsage, "tool: no list given\n"},
		{"contradicted", Contradictedf("record %d was altered", 7), ExitContradicted, "tool: record 7 was altered\n"},
		{"undecided", Undecidedf("payload erased"), ExitUndecided, "tool: payload erased\n"},
		{"findings already printed", Exit(ExitContradicted), ExitContradicted, ""},
		{"hint keeps the code", WithHint(Contradictedf("forged"), "ask %s", "Ann"), ExitContradicted, "tool: forged\nhint: ask Ann\n"},
		{"hint below a wrap", fmt.Errorf("verify: %w", WithHint(Undecidedf("stale"), "fetch again")), ExitUndecided, "tool: verify: stale\nhint: fetch again\n"},
		{"an error of cobra", errors.New(`unknown command "vrify" for "imaledger"`), ExitUsage, "tool: unknown command \"vrify\" for \"imaledger\"\n"},
		{"a missing file", &fs.PathError{Op: "open", Path: "x", Err: fs.ErrNotExist}, ExitUsage, "tool: open x: file does not exist\n"},
		{"a missing file, as the kernel says it", openError("/none/x"), ExitUsage, "tool: open /none/x: no such file or directory\n"},
		{"a folder in a file", fmt.Errorf("key: %w", openError("/dev/null/x")), ExitUsage, "tool: key: open /dev/null/x: not a directory\n"},
		{"a full disk", fmt.Errorf("write: %w", syscall.ENOSPC), ExitUndecided, "tool: write: no space left on device\n"},
		{"a socket that is not there", dialError("/none/socket"), ExitUndecided, "tool: dial unix /none/socket: connect: no such file or directory\n"},
		{"the network", fmt.Errorf("submit: %w", dial), ExitUndecided, "tool: submit: dial: refused\n"},
		{"a deadline", context.DeadlineExceeded, ExitUndecided, "tool: context deadline exceeded\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var stderr bytes.Buffer
			run := func(context.Context, []string, io.Reader, io.Writer, io.Writer) error { return test.err }
			code := Run(t.Context(), "tool", run, nil, nil, nil, &stderr)
			if code != test.code || stderr.String() != test.stderr {
				t.Errorf("got code %d and %q, want code %d and %q", code, stderr.String(), test.code, test.stderr)
			}
		})
	}
}

func openError(name string) error {
	_, err := os.Open(name)
	return err
}

func dialError(name string) error {
	_, err := net.Dial("unix", name)
	return err
}

func TestWithHintKeepsNil(t *testing.T) {
	if err := WithHint(nil, "hint"); err != nil {
		t.Errorf("WithHint(nil) = %v", err)
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stderr bytes.Buffer
	run := func(ctx context.Context, _ []string, _ io.Reader, _, _ io.Writer) error {
		return fmt.Errorf("read list: %w", ctx.Err())
	}
	if code := Run(ctx, "tool", run, nil, nil, nil, &stderr); code != ExitUndecided || stderr.String() != "tool: interrupted\n" {
		t.Errorf("got code %d and %q", code, stderr.String())
	}
}

func TestParseFlags(t *testing.T) {
	for _, test := range []struct {
		args   string
		code   int
		stdout string
	}{
		{"-n 3", ExitOK, ""},
		{"-h", ExitOK, "Usage of tool:"},
		{"-version", ExitOK, "tool " + Version()},
		{"-m", ExitUsage, ""},
		{"-n x", ExitUsage, ""},
		{"-n 3 more", ExitUsage, ""},
	} {
		t.Run(test.args, func(t *testing.T) {
			var stdout bytes.Buffer
			fs := flag.NewFlagSet("tool", flag.ContinueOnError)
			fs.Int("n", 0, "a number")
			err := ParseFlags(fs, strings.Fields(test.args), &stdout)
			if Code(err) != test.code || !strings.HasPrefix(stdout.String(), test.stdout) {
				t.Errorf("got %v (code %d), stdout %q", err, Code(err), stdout.String())
			}
		})
	}
}

func TestLogFlags(t *testing.T) {
	fs := flag.NewFlagSet("tool", flag.ContinueOnError)
	logger := LogFlags(fs)
	if err := ParseFlags(fs, []string{"-log-level", "warn", "-log-json"}, io.Discard); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	l := logger(&out)
	l.Info("quiet")
	l.Warn("loud")
	if got := out.String(); strings.Contains(got, "quiet") || !strings.Contains(got, `"msg":"loud"`) {
		t.Errorf("logged %q", got)
	}
}

func TestVersion(t *testing.T) {
	revision := debug.BuildSetting{Key: "vcs.revision", Value: "0123456789abcdef0123"}
	modified := debug.BuildSetting{Key: "vcs.modified", Value: "true"}
	for want, info := range map[string]*debug.BuildInfo{
		"v1.2.3":                   {Main: debug.Module{Version: "v1.2.3"}},
		"devel":                    {Main: debug.Module{Version: "(devel)"}},
		"devel-0123456789ab-dirty": {Settings: []debug.BuildSetting{revision, modified}},
	} {
		if got := version(info); got != want {
			t.Errorf("version = %q, want %q", got, want)
		}
	}
}

// A request under way when the signal comes gets its answer.
func TestServeFinishesRequests(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		cancel()
		time.Sleep(50 * time.Millisecond) // Shutdown has begun by now
		io.WriteString(w, "done")
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() {
		served <- Serve(ctx, NewServer(handler, time.Second, time.Second, slog.New(slog.DiscardHandler)), listener)
	}()
	answer, err := http.Get("http://" + listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, err := io.ReadAll(answer.Body); err != nil || string(body) != "done" {
		t.Errorf("got %q, %v", body, err)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
}
