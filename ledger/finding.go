package ledger

import (
	"fmt"
	"strings"
)

// A Class says what a finding does to a verdict. The numbers are the exit codes
// of the commands; the worst finding decides, and Contradicted is worst.
type Class int

// The classes.
const (
	Noted        Class = 0 // worth knowing, contradicts nothing
	Contradicted Class = 1 // the evidence contradicts itself, or what it claims
	Undecided    Class = 3 // evidence is missing, erased, stale or unreachable
)

func (c Class) String() string {
	switch c {
	case Noted:
		return "noted"
	case Contradicted:
		return "contradicted"
	default:
		return "undecided"
	}
}

// A Code names a kind of finding. Codes never change their meaning; programs
// branch on them.
type Code string

// A Finding is something that a check found: what, where, and in a sentence.
type Finding struct {
	Code    Code   `json:"code"`
	Subject string `json:"subject"` // host and sequence, file, record: as exact as is known
	Text    string `json:"text"`    // a sentence for people, with the values that disagree
	Entry   string `json:"entry,omitempty"`
}

// Class returns the class of the finding's code.
func (f Finding) Class() Class { return f.Code.Class() }

func (f Finding) String() string {
	return fmt.Sprintf("%s: %s: %s [%s]", f.Class(), f.Subject, f.Text, f.Code)
}

// Subject is a finding's subject where that is an entry of a host's chain. What
// part of the entry it is follows after a comma.
func Subject(host string, sequence uint64) string { return fmt.Sprintf("%s #%d", host, sequence) }

// ParseSubject returns the entry of a host's chain that a subject is, or is a part
// of. ok is false for a subject that is something else.
func ParseSubject(subject string) (host string, sequence uint64, ok bool) {
	host, rest, _ := strings.Cut(subject, " #")
	number, _, _ := strings.Cut(rest, ",")
	sequence, err := ParseNumber(number)
	if err != nil || !ValidHost(host) {
		return "", 0, false
	}
	return host, sequence, true
}

// Class returns what the code does to a verdict; an unknown code contradicts.
func (c Code) Class() Class {
	if d, known := codes[c]; known {
		return d.class
	}
	return Contradicted
}

// Describe returns what the code means, in a sentence.
func (c Code) Describe() string { return codes[c].text }

// Codes returns every code.
func Codes() []Code {
	list := make([]Code, 0, len(codeTable))
	for _, d := range codeTable {
		list = append(list, d.code)
	}
	return list
}

// Worst returns the class of the worst finding.
func Worst(list []Finding) Class {
	worst := Noted
	for _, f := range list {
		switch c := f.Class(); {
		case c == Contradicted:
			return Contradicted
		case c == Undecided:
			worst = Undecided
		}
	}
	return worst
}

type codeDescription struct {
	code  Code
	class Class
	text  string
}

var codes = func() map[Code]codeDescription {
	m := make(map[Code]codeDescription, len(codeTable))
	for _, d := range codeTable {
		m[d.code] = d
	}
	return m
}()

// The codes. FORMAT.md lists the same table.
const (
	BundleDamaged      Code = "bundle-damaged"
	BundleForged       Code = "bundle-forged"
	BundleUnreferenced Code = "bundle-unreferenced"
	EntryMalformed     Code = "entry-malformed"
	EntryMissing       Code = "entry-missing"
	EntryWrongLog      Code = "entry-wrong-log"

	ProofMalformed      Code = "proof-malformed"
	ProofMissing        Code = "proof-missing"
	ProofInclusion      Code = "proof-inclusion"
	CheckpointMalformed Code = "checkpoint-malformed"
	CheckpointSignature Code = "checkpoint-signature"
	CheckpointUnknown   Code = "checkpoint-unknown-log"
	CosignatureInvalid  Code = "cosignature-invalid"
	QuorumNotMet        Code = "quorum-not-met"
	SignatureUnknown    Code = "signature-unknown"
	LogSplit            Code = "log-split"
	LogTiles            Code = "log-tiles"
	LogRollback         Code = "log-rollback"
	IndexOrder          Code = "index-order"
	LogFrozen           Code = "log-frozen"

	SearchForeign Code = "search-foreign"
	SearchOmitted Code = "search-omitted"

	AnchorMissing   Code = "anchor-missing"
	AnchorMismatch  Code = "anchor-mismatch"
	AnchorAfterLeaf Code = "anchor-after-leaf"
	TimeOrder       Code = "time-order"
	TimeUnbounded   Code = "time-unbounded"
	CheckpointStale Code = "checkpoint-stale"

	EnrolmentUnsigned        Code = "enrolment-unsigned"
	EnrolmentGrade           Code = "enrolment-grade"
	EnrolmentEvidenceInvalid Code = "enrolment-evidence-invalid"
	EnrolmentEvidenceMissing Code = "enrolment-evidence-missing"
	AKAttributes             Code = "ak-attributes"
	AKNotEnrolled            Code = "ak-not-enrolled"
	AKReused                 Code = "ak-reused"
	EKReused                 Code = "ek-reused"
	StatementUnsigned        Code = "statement-unsigned"
	StatementInvalid         Code = "statement-invalid"

	QuoteMalformed Code = "quote-malformed"
	QuoteSignature Code = "quote-signature"
	QuoteNonce     Code = "quote-nonce"
	QuoteSigner    Code = "quote-signer"
	QuoteSelection Code = "quote-selection"
	QuoteValues    Code = "quote-values"
	BankWeak       Code = "bank-weak"

	PayloadMissing   Code = "payload-missing"
	PayloadErased    Code = "payload-erased"
	PayloadDigest    Code = "payload-digest"
	ListMalformed    Code = "list-malformed"
	RecordDigest     Code = "record-digest"
	ReplayMismatch   Code = "replay-mismatch"
	BodyMismatch     Code = "body-mismatch"
	RecordUnattested Code = "record-unattested"

	ChainBroken         Code = "chain-broken"
	ChainFork           Code = "chain-fork"
	BaseMismatch        Code = "base-mismatch"
	JoinInvalid         Code = "join-invalid"
	CounterRollback     Code = "counter-rollback"
	ClockRollback       Code = "clock-rollback"
	ZeroBase            Code = "zero-base"
	BootAggregate       Code = "boot-aggregate"
	BootAggregateAbsent Code = "boot-aggregate-absent"
	BootUnquoted        Code = "boot-unquoted"
	BootSkipped         Code = "boot-skipped"
	Gap                 Code = "gap"
	GapAcknowledged     Code = "gap-acknowledged"
	Kexec               Code = "kexec"
	HistoryPartial      Code = "history-partial"
)

var codeTable = []codeDescription{
	{BundleDamaged, Contradicted, "the bundle's bytes are not those that its manifest and its form state"},
	{BundleForged, Contradicted, "a file of the bundle is not what its name says, although the manifest vouches for it"},
	{BundleUnreferenced, Contradicted, "a file of the bundle is named by no entry, so nothing vouches for it"},
	{EntryMalformed, Contradicted, "an entry is not in the one form that the formats allow"},
	{EntryMissing, Undecided, "an entry that another one refers to is not at hand"},
	{EntryWrongLog, Contradicted, "an entry was made for another log than the one it stands in"},

	{ProofMalformed, Contradicted, "a proof is not in the form of c2sp.org/tlog-proof"},
	{ProofMissing, Undecided, "an entry has no proof that the log includes it"},
	{ProofInclusion, Contradicted, "the proof does not lead from the entry to the checkpoint's root"},
	{CheckpointMalformed, Contradicted, "a checkpoint is not in the form of c2sp.org/tlog-checkpoint"},
	{CheckpointSignature, Contradicted, "a checkpoint's log signature is missing or does not verify"},
	{CheckpointUnknown, Contradicted, "a checkpoint is of a log that the policy does not name"},
	{CosignatureInvalid, Contradicted, "a line by a witness of the policy does not verify"},
	{QuorumNotMet, Undecided, "fewer witnesses than the policy demands have cosigned the checkpoint"},
	{SignatureUnknown, Noted, "a checkpoint has signature lines by keys that the policy does not name; nothing vouches for those lines"},
	{LogSplit, Contradicted, "the log signed two histories"},
	{LogTiles, Contradicted, "what the log serves does not lead to the root that it signed"},
	{LogRollback, Undecided, "the log shows an older checkpoint than it has shown before"},
	{IndexOrder, Contradicted, "the log has a host's entries in another order than the host's chain"},
	{LogFrozen, Contradicted, "the log went on after the entry that ended it"},

	{SearchForeign, Contradicted, "an answer to a search names a record that is not there, or not what was asked for"},
	{SearchOmitted, Contradicted, "an answer to a search leaves out a record that the log has"},

	{AnchorMissing, Undecided, "the checkpoint that a segment is anchored to is not at hand"},
	{AnchorMismatch, Contradicted, "a segment's anchor does not name the checkpoint it is kept with"},
	{AnchorAfterLeaf, Contradicted, "a segment is anchored to a tree that had it already"},
	{TimeOrder, Contradicted, "an entry was witnessed before the checkpoint that it is anchored to"},
	{TimeUnbounded, Noted, "the policy demands no witness, so nothing brackets the time"},
	{CheckpointStale, Undecided, "the newest checkpoint is older than the trust folder allows, or its age is not known"},

	{EnrolmentUnsigned, Contradicted, "fewer registrars than the trust folder demands have signed an enrolment"},
	{EnrolmentGrade, Contradicted, "the trust folder does not accept the grade of an enrolment"},
	{EnrolmentEvidenceInvalid, Contradicted, "what stands behind an enrolment does not bear it out"},
	{EnrolmentEvidenceMissing, Undecided, "what stands behind an enrolment is not at hand"},
	{AKAttributes, Contradicted, "an AK is not a restricted signing key that cannot leave its TPM"},
	{AKNotEnrolled, Contradicted, "a segment names an AK that the host is not enrolled with"},
	{AKReused, Contradicted, "one AK is enrolled for two hosts"},
	{EKReused, Contradicted, "one EK is enrolled for two hosts"},
	{StatementUnsigned, Contradicted, "a statement is not signed by an operator of the trust folder"},
	{StatementInvalid, Contradicted, "a statement goes against the policy, the hold or the entries before it"},

	{QuoteMalformed, Contradicted, "a quote or its signature is not what a TPM makes"},
	{QuoteSignature, Contradicted, "the AK did not sign the quote"},
	{QuoteNonce, Contradicted, "the quote was not made for this segment's head"},
	{QuoteSigner, Contradicted, "the quote does not name the AK under the endorsement hierarchy"},
	{QuoteSelection, Contradicted, "the quote does not cover the registers that the segment speaks of"},
	{QuoteValues, Contradicted, "the register values in the segment are not those that the quote is over"},
	{BankWeak, Contradicted, "only SHA-1 binds the records, and the trust folder does not allow it"},

	{PayloadMissing, Undecided, "a segment's records are not at hand, and no erasure accounts for it"},
	{PayloadErased, Undecided, "a segment's records were erased by policy"},
	{PayloadDigest, Contradicted, "a segment's records are not the bytes that its leaf names"},
	{ListMalformed, Contradicted, "a segment's records cannot be read as a measurement list"},
	{RecordDigest, Contradicted, "a record's stored digest is not that of its data"},
	{ReplayMismatch, Contradicted, "the records, replayed, do not give the quoted register values"},
	{BodyMismatch, Contradicted, "a field of the segment's body is not what its records give"},
	{RecordUnattested, Noted, "a record names a register that the kernel cannot extend, so no quote covers it"},

	{ChainBroken, Contradicted, "an entry does not name the host's entry before it"},
	{ChainFork, Contradicted, "two entries follow one"},
	{BaseMismatch, Contradicted, "a segment does not begin with the register values that the one before ended with"},
	{JoinInvalid, Contradicted, "a segment joins the one before in a way that the quotes rule out"},
	{CounterRollback, Contradicted, "the TPM's reset or restart counter went back"},
	{ClockRollback, Contradicted, "the TPM's clock went back within one boot"},
	{ZeroBase, Contradicted, "a segment begins at zero in a boot that has begun before"},
	{BootAggregate, Contradicted, "boot_aggregate is not that of the quoted PCR 0 to 9"},
	{BootAggregateAbsent, Contradicted, "a boot's first record is not boot_aggregate"},
	{BootUnquoted, Undecided, "boot_aggregate cannot be checked: the quote lacks registers that it is made of"},
	{BootSkipped, Noted, "the TPM was reset between two boots: nothing attests what ran there"},
	{Gap, Undecided, "records between two segments are missing"},
	{GapAcknowledged, Noted, "records between two segments are missing, and an operator has acknowledged it"},
	{Kexec, Noted, "a kernel was started by another one: a second boot_aggregate, the TPM not reset"},
	{HistoryPartial, Noted, "the host's history before the first entry shown is not part of this evidence"},
}
