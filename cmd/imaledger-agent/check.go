package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger/agent"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/tpm/ima"
	"github.com/imaledger/imaledger/tpm/quote"
	"github.com/imaledger/imaledger/tpm/securityfs"
)

// A finding is one thing that a host needs.
type finding struct {
	What string `json:"what"`
	OK   bool   `json:"ok"`
	Text string `json:"text"`
	Mend string `json:"mend,omitempty"`
}

// A checker looks at all that a host needs, and does not end at the first lack.
type checker struct {
	o      *options
	found  []finding
	listed uint64 // records that the kernel has
}

func (c *checker) ok(what, format string, args ...any) {
	c.found = append(c.found, finding{What: what, OK: true, Text: fmt.Sprintf(format, args...)})
}

// lack notes what is missing. The mend is that of the error where it has one.
func (c *checker) lack(what string, err error, mend string) {
	var e *cli.Error
	if errors.As(err, &e) && e.Hint != "" {
		mend = e.Hint
	}
	c.found = append(c.found, finding{What: what, Text: err.Error(), Mend: mend})
}

// check says whether this host can be used. It changes nothing.
func check(ctx context.Context, o *options, stdout io.Writer) error {
	c := &checker{o: o}
	c.kernel()
	c.tpm()
	c.state()
	c.ledger(ctx)
	if o.json {
		b, err := json.MarshalIndent(c.found, "", "  ")
		if err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%s\n", b)
	}
	lacks := 0
	for _, f := range c.found {
		word := "ok     "
		if !f.OK {
			word = "LACKING"
			lacks++
		}
		if o.json {
			continue
		}
		fmt.Fprintf(stdout, "%s  %-6s  %s\n", word, f.What, strings.ReplaceAll(f.Text, "\n", "; "))
		if f.Mend != "" {
			fmt.Fprintf(stdout, "                 -> %s\n", f.Mend)
		}
	}
	if lacks > 0 {
		return cli.Exit(cli.ExitUndecided)
	}
	return nil
}

func (c *checker) kernel() {
	source, err := securityfs.Open(c.o.securityfs)
	if err != nil {
		mend := "boot a kernel with CONFIG_IMA=y, as distributions ship it, and mount securityfs: mount -t securityfs securityfs /sys/kernel/security"
		if errors.Is(err, securityfs.ErrNotRoot) {
			mend = "run it as root"
		}
		c.lack("kernel", err, mend)
		return
	}
	d, err := c.o.deletion(source.Flavour())
	if err != nil {
		c.lack("kernel", err, "")
		return
	}
	n, err := source.Count()
	if err != nil {
		c.lack("kernel", err, "run it as root")
		return
	}
	c.listed = n
	how := map[agent.Deletion]string{
		agent.DeleteStaged: "receipted records are staged and deleted",
		agent.DeleteCount:  "receipted records are deleted by number",
		agent.DeleteNever:  "nothing is deleted, so the list grows until the next boot; deleting needs Linux 7.2 with CONFIG_IMA_STAGING",
	}[d]
	c.ok("kernel", "%s listed; %s", audit.Count(n, "record"), how)
	if n <= 1 {
		c.lack("policy", errors.New("IMA measures nothing but the boot"), "boot with ima_policy=tcb, or load a policy of your own with rules that begin with \"measure\"")
	}
}

func (c *checker) tpm() {
	d, err := c.o.device()
	if err != nil {
		c.lack("tpm", err, "")
		return
	}
	defer d.close() // it was only looked at
	banks, err := d.Banks()
	if err != nil {
		mend := "without a TPM nothing can be quoted: enable it in the firmware's setup (fTPM or PTT), or give the virtual machine one (swtpm)"
		if errors.Is(err, os.ErrPermission) {
			mend = "run it as root, or as a member of group tss"
		}
		c.lack("tpm", err, mend)
		return
	}
	selection, err := agent.Selection(banks, nil, nil)
	if err != nil {
		c.lack("tpm", err, "turn on the SHA-256 bank in the firmware's setup")
		return
	}
	begun := time.Now()
	public, err := d.AK()
	if err != nil {
		c.lack("tpm", fmt.Errorf("attestation key: %w", err), "")
		return
	}
	kind := "ECC P-256"
	if isRSA(public) {
		kind = "RSA 2048"
	}
	derived := time.Since(begun)
	begun = time.Now()
	if _, _, err := d.Quote(make([]byte, 32), selection); err != nil {
		c.lack("tpm", fmt.Errorf("quote: %w", err), "")
		return
	}
	names := make([]string, len(banks))
	for i, b := range banks {
		names[i] = b.String()
	}
	c.ok("tpm", "banks %s; %s key derived in %d ms, quote in %d ms", strings.Join(names, ", "), kind, derived.Milliseconds(), time.Since(begun).Milliseconds())
	switch values, err := d.ReadPCRs(selection); {
	case err != nil:
		c.lack("tpm", err, "")
	case c.listed > 0 && !extended(values):
		c.lack("kernel", agent.ErrNotExtended, agent.NoTPMDriver)
	}
	switch _, err := d.EKCertificate(); {
	case err == nil:
		c.ok("ek", "the TPM holds its vendor's certificate: grade certificate, if the vendor's root is in the trust folder")
	case errors.Is(err, quote.ErrNoCertificate):
		c.ok("ek", "no certificate of the vendor in the TPM: the ledger's operator can pin its key, or enrol it at first use")
	default:
		c.lack("ek", err, "")
	}
}

// extended reports whether the register that IMA extends has been.
func extended(values ima.Values) bool {
	for slot, value := range values {
		if slot.PCR == ima.DefaultPCR && len(bytes.Trim(value, "\x00")) > 0 {
			return true
		}
	}
	return false
}

func (c *checker) state() {
	dir := c.o.state
	for {
		_, err := os.Stat(dir)
		if !errors.Is(err, os.ErrNotExist) || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir) // it will be made there
	}
	if dir == c.o.state {
		if err := agent.CheckOwner(dir); err != nil {
			c.lack("state", err, "")
			return
		}
	}
	f, err := os.CreateTemp(dir, ".check-*")
	if err != nil {
		c.lack("state", err, "the agent's directory must be on a disk that outlives a reboot, and be root's: --state DIR")
		return
	}
	if err := errors.Join(f.Close(), os.Remove(f.Name())); err != nil {
		c.lack("state", err, "")
		return
	}
	c.ok("state", "%s can be written", c.o.state)
}

// quietLog is the age of the newest checkpoint from which on the clock is doubted.
const quietLog = 48 * time.Hour

func (c *checker) ledger(ctx context.Context) {
	config, err := c.o.agentConfig()
	if err != nil {
		c.lack("ledger", err, "")
		return
	}
	origin := config.Trust.Policy.Origin()
	if origin == "" {
		c.lack("trust", agent.ErrPolicy, "keep the lines \"log\" of one origin in the policy of "+c.o.trust)
		return
	}
	c.ok("trust", "log %s, %d of its witnesses demanded", origin, config.Trust.Policy.QuorumSize())
	raw, err := config.Ledger.Checkpoint(ctx)
	if err != nil {
		c.lack("ledger", err, "is the URL right, is the ledger running, has it had its first moments to publish a checkpoint, and is the clock right? It says "+time.Now().UTC().Format(time.RFC3339))
		return
	}
	checkpoint, err := config.Trust.Policy.Verify(raw)
	if err != nil {
		c.lack("ledger", err, "the ledger's checkpoint does not fit the trust folder: is it this ledger's, and are its witnesses running?")
		return
	}
	c.ok("ledger", "%s has %s", c.o.ledger, audit.Count(checkpoint.Size, "entry"))
	witnessed := config.Trust.Policy.NotAfter(checkpoint)
	if witnessed == 0 {
		return
	}
	switch age := time.Since(time.Unix(int64(witnessed), 0)); {
	case age < -5*time.Minute:
		c.lack("clock", fmt.Errorf("it says %s, and witnesses saw the log at %s", time.Now().UTC().Format(time.RFC3339), audit.Time(witnessed)), "set the clock; TLS needs it, segments do not")
	case age > quietLog:
		c.lack("clock", fmt.Errorf("it says %s, and witnesses saw the log last at %s", time.Now().UTC().Format(time.RFC3339), audit.Time(witnessed)), "set the clock, or find out why the log stands still")
	default:
		c.ok("clock", "witnesses saw the log at %s", audit.Time(witnessed))
	}
}
