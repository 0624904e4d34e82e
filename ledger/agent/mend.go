package agent

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/imaledger/imaledger/ledger/client"
)

// mend says what a person can do, where the error does not say it itself.
func mend(err error) string {
	var refused *client.Problem
	var network net.Error
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "make room on the disk of the agent's directory, or stop the agent, move the directory to another disk and name it in the configuration; the kernel keeps its records meanwhile. Then it goes on by itself, or at once with imaledger-agent resume"
	case errors.Is(err, syscall.EROFS):
		return "the disk of the agent's directory is read-only, mostly after an error of the disk: see the kernel's log, mount it for writing; then it goes on by itself, or at once with imaledger-agent resume"
	case errors.Is(err, os.ErrPermission):
		return "the agent must run as root and own its directory"
	case errors.Is(err, ErrSpoolFull):
		return "find out why receipts do not come, which is another of these problems; or give more room with spool-limit, 0 for all there is"
	case errors.Is(err, ErrNotExtended):
		return NoTPMDriver
	case errors.Is(err, ErrSplit):
		return "keep the two checkpoints in the directory's folder evidence, and tell the ledger's operator and the auditors: together they prove that the log signed two histories. Records stay in the kernel"
	case errors.Is(err, ErrLedger):
		return "the ledger's answer does not fit the trust folder: is the policy that of this ledger, and are its witnesses running? An agent has the folder as it was when it was started: restart it after a change. Records stay in the kernel until the two fit"
	case errors.As(err, &certificate):
		return "the ledger's TLS certificate is not accepted: is this host's clock right? It says " + time.Now().UTC().Format(time.RFC3339) + ". If it is, the certificate is another's, has expired, or comes from an authority that this machine does not know"
	case errors.As(err, &refused):
		return mendRefusal(refused)
	case errors.As(err, &network), errors.Is(err, ErrUnwitnessed):
		return later
	}
	return ""
}

// NoTPMDriver is what to do about ErrNotExtended.
const NoTPMDriver = "boot a kernel that has the TPM's driver built in and not as a module (CONFIG_TCG_TIS=y, CONFIG_TCG_CRB=y): nothing that this boot measures can be sealed"

const (
	later  = "the ledger or its witnesses cannot be reached now; it is tried again, and records are kept meanwhile"
	anew   = "stop the agent, move its directory away and start it: it goes on from what the log has and the kernel lists"
	refuse = "the ledger refuses this, and says why; its findings are listed in FORMAT.md"
)

// mendRefusal says what to do about a ledger's no.
func mendRefusal(p *client.Problem) string {
	switch {
	case p.Status >= 500, p.Status == http.StatusTooManyRequests, p.Status == http.StatusRequestTimeout:
		return later
	case p.Successor != nil:
		return fmt.Sprintf("the log has ended, and %s at %s follows: give the agent that URL, the trust folder of that log, and another directory, since this one is the old log's", p.Successor.Log, p.Successor.URL)
	case p.Status == http.StatusConflict:
		return "the log has another entry of this host there: the agent's directory is an older copy, or another machine has this one's name or a copy of its disk. Two machines need two names; on the one that is right, " + anew
	case p.Status == http.StatusRequestEntityTooLarge:
		return "the ledger, or a proxy before it, takes no upload of this size: have it take 1 GiB (in nginx, client_max_body_size)"
	case p.Status == http.StatusUnprocessableEntity:
		return refuse + ". It will refuse the same again, and what comes after it waits. When the cause is mended, " + anew
	}
	return refuse
}
