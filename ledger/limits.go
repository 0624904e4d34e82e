package ledger

// Limits of the formats. Each is checked before memory is taken for what it
// bounds.
const (
	// MaxLeaf is a segment leaf's size in bytes. One with two banks and PCR 0
	// to 10 has 3 KiB; an RSA-4096 signature adds 700 bytes. A log entry could
	// have 65,535, but a host's chain is read leaf by leaf by everyone.
	MaxLeaf = 16 << 10
	// MaxStatement is a signed statement's size in bytes: an erasure names up
	// to MaxErased payloads, and there can be several signatures.
	MaxStatement = 48 << 10
	// MaxEnrolmentEvidence is the size in bytes of what stands behind an
	// enrolment: an EK certificate chain and the activation's transcript.
	MaxEnrolmentEvidence = 64 << 10
	// MaxPayload is a segment's size in bytes. The kernel refuses to carry a
	// list over half of memory; an agent cuts long before this.
	MaxPayload = 1 << 30
	// MaxOrigin and MaxHost are in bytes. 253 is the longest DNS name.
	MaxOrigin = 255
	MaxHost   = 253
	// MaxText bounds a sentence for people, in bytes.
	MaxText = 512
	// MaxAttest is a TPMS_ATTEST's size in bytes: that of a quote over all
	// banks a TPM may have stays below 400.
	MaxAttest = 1 << 10
	// MaxSignature is a TPMT_SIGNATURE's size in bytes: RSA-4096 has 518.
	MaxSignature = 1 << 10
	// MaxPublic is a TPMT_PUBLIC's size in bytes: RSA-4096 has about 570.
	MaxPublic = 1 << 10
	// MaxCertificate is an X.509 certificate's size in bytes.
	MaxCertificate = 8 << 10
	// MaxCertificates bounds an EK certificate chain.
	MaxCertificates = 8
	// MaxErased bounds the payloads that one erasure names.
	MaxErased = 256
	// MaxSignatures bounds the signatures on a statement.
	MaxSignatures = 16
	// MaxPCRs is the number of PCRs in a bank that a quote can select
	// (TPM 2.0 PC client: 24).
	MaxPCRs = 24
)
