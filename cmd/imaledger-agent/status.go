package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger/agent"
	"github.com/imaledger/imaledger/ledger/audit"
)

const statusFile = "status"

// writeStatus leaves the status where everybody may read it.
func (o *options) writeStatus(s *agent.Status) error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(o.runFile(statusFile), append(b, '\n'))
}

// replaceFile writes a file that others read at any time.
func replaceFile(path string, content []byte) error {
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, err = temp.Write(content)
	err = errors.Join(err, temp.Chmod(0o644), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	return nil
}

func status(_ context.Context, o *options, stdout io.Writer) error {
	b, err := os.ReadFile(o.runFile(statusFile))
	if errors.Is(err, os.ErrNotExist) {
		return cli.WithHint(cli.Undecidedf("no status in %s: the agent has made no round since this host was started", o.run), "systemctl status %s, or %s once", name, name)
	}
	if err != nil {
		return cli.Usagef("%w", err)
	}
	var s agent.Status
	if err := json.Unmarshal(b, &s); err != nil {
		return cli.Undecidedf("%s: %w", o.runFile(statusFile), err)
	}
	if o.json {
		_, err = stdout.Write(b)
	} else {
		if _, ok := o.running(); !ok {
			fmt.Fprintf(stdout, "the agent does not run now; this is what it left\n")
		}
		err = printStatus(stdout, &s)
	}
	if err == nil && len(s.Problems) > 0 {
		return cli.Exit(cli.ExitUndecided)
	}
	return err
}

// printStatus is the status for people.
func printStatus(out io.Writer, s *agent.Status) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(what, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", what, fmt.Sprintf(format, args...)) }
	line("host", "%s, in %s", s.Host, s.Log)
	line("as of", "%s", s.Time.Format("2006-01-02 15:04:05 MST"))
	grade := s.Grade
	if grade == "" {
		grade = "not enrolled"
	}
	line("enrolment", "%s", grade)
	passed := ""
	if s.PassedOver > 0 {
		passed = fmt.Sprintf(", %d before a gap", s.PassedOver)
	}
	line("records", "%d in this boot's list: %d receipted, %d not in a segment yet%s", s.Listed, s.Receipted, s.Unsealed, passed)
	line("kernel", "%s, %d of them staged; %d deleted", audit.Count(s.Kernel, "record"), s.Staged, s.Deleted)
	line("spool", "%d of %s without a receipt, %d of %d bytes", s.Pending, audit.Count(s.Segments, "entry"), s.SpoolBytes, s.SpoolLimit)
	if s.List != "" {
		line("list", "%s", s.List)
	}
	if r := s.Receipt; r != nil {
		line("last receipt", "#%d, %s%s", r.Sequence, audit.Count(r.Records, "record"), bracket(r))
	}
	for _, p := range s.Problems {
		line("problem", "%s: %s", p.Doing, strings.ReplaceAll(p.Error, "\n", "; "))
		if p.Mend != "" {
			line("", "  -> %s", p.Mend)
		}
	}
	return w.Flush()
}

func bracket(r *agent.LastReceipt) string {
	if r.NotAfter == 0 {
		return ""
	}
	return fmt.Sprintf(", quoted after %s and before %s", audit.Time(r.NotBefore), audit.Time(r.NotAfter))
}

// sentence is the status in a line.
func sentence(s *agent.Status) string {
	if len(s.Problems) > 0 {
		p := s.Problems[0]
		return fmt.Sprintf("%s to submit; %s: %s", audit.Count(s.Pending, "entry"), p.Doing, strings.ReplaceAll(p.Error, "\n", "; "))
	}
	return fmt.Sprintf("%s listed, %d receipted, %d in the kernel", audit.Count(s.Listed, "record"), s.Receipted, s.Kernel)
}

// notify tells systemd, where that started the agent (sd_notify(3)).
func notify(state string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	if strings.HasPrefix(path, "@") {
		path = "\x00" + path[1:]
	}
	conn, err := net.Dial("unixgram", path)
	if err != nil {
		return err
	}
	_, err = conn.Write([]byte(state))
	return errors.Join(err, conn.Close())
}

// writeMetrics writes the file for node_exporter's textfile collector.
func (o *options) writeMetrics(s *agent.Status) error {
	if o.metrics == "" {
		return nil
	}
	var b strings.Builder
	gauge := func(name, help string, v any) {
		fmt.Fprintf(&b, "# HELP imaledger_agent_%s %s\n# TYPE imaledger_agent_%s gauge\nimaledger_agent_%s %v\n", name, help, name, name, v)
	}
	gauge("round_timestamp_seconds", "When the last round ended.", s.Time.Unix())
	gauge("problems", "Parts of the last round that failed.", len(s.Problems))
	gauge("listed_records", "Records in the list of this boot.", s.Listed)
	gauge("kernel_records", "Records in kernel memory.", s.Kernel)
	gauge("unsealed_records", "Records in no segment.", s.Unsealed)
	gauge("passed_over_records", "Records that were listed before a gap was closed, and are in no segment.", s.PassedOver)
	gauge("receipted_records", "Records of this boot with a verified receipt.", s.Receipted)
	gauge("pending_entries", "Entries of the host's chain without a receipt.", s.Pending)
	gauge("spool_bytes", "Bytes of records without a receipt.", s.SpoolBytes)
	gauge("spool_limit_bytes", "Where reading from the kernel stops.", s.SpoolLimit)
	if s.Receipt != nil {
		gauge("receipt_not_after_timestamp_seconds", "When witnesses had seen the newest segment that has a receipt.", s.Receipt.NotAfter)
	}
	return replaceFile(o.metrics, []byte(b.String()))
}
