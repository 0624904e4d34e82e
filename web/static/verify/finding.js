// Findings: FORMAT.md, section 9.

export const NOTED = 'noted';
export const CONTRADICTED = 'contradicted';
export const UNDECIDED = 'undecided';

/** Class and meaning of each code. @type {Record<string, [string, string]>} */
export const CODES = {
  'bundle-damaged': [CONTRADICTED, "the bundle's bytes are not those that its manifest and its form state"],
  'bundle-forged': [CONTRADICTED, 'a file of the bundle is not what its name says, although the manifest vouches for it'],
  'bundle-unreferenced': [CONTRADICTED, 'a file of the bundle is named by no entry, so nothing vouches for it'],
  'entry-malformed': [CONTRADICTED, 'an entry is not in the one form that the formats allow'],
  'entry-missing': [UNDECIDED, 'an entry that another one refers to is not at hand'],
  'entry-wrong-log': [CONTRADICTED, 'an entry was made for another log than the one it stands in'],
  'proof-malformed': [CONTRADICTED, 'a proof is not in the form of c2sp.org/tlog-proof'],
  'proof-missing': [UNDECIDED, 'an entry has no proof that the log includes it'],
  'proof-inclusion': [CONTRADICTED, "the proof does not lead from the entry to the checkpoint's root"],
  'checkpoint-malformed': [CONTRADICTED, 'a checkpoint is not in the form of c2sp.org/tlog-checkpoint'],
  'checkpoint-signature': [CONTRADICTED, "a checkpoint's log signature is missing or does not verify"],
  'checkpoint-unknown-log': [CONTRADICTED, 'a checkpoint is of a log that the policy does not name'],
  'cosignature-invalid': [CONTRADICTED, 'a line by a witness of the policy does not verify'],
  'quorum-not-met': [UNDECIDED, 'fewer witnesses than the policy demands have cosigned the checkpoint'],
  'signature-unknown': [NOTED, 'a checkpoint has signature lines by keys that the policy does not name; nothing vouches for those lines'],
  'checkpoint-stale': [UNDECIDED, 'the newest checkpoint is older than the trust folder allows, or its age is not known'],
  'log-split': [CONTRADICTED, 'the log signed two histories'],
  'log-tiles': [CONTRADICTED, 'what the log serves does not lead to the root that it signed'],
  'log-rollback': [UNDECIDED, 'the log shows an older checkpoint than it has shown before'],
  'index-order': [CONTRADICTED, "the log has a host's entries in another order than the host's chain"],
  'log-frozen': [CONTRADICTED, 'the log went on after the entry that ended it'],
  'search-foreign': [CONTRADICTED, 'an answer to a search names a record that is not there, or not what was asked for'],
  'search-omitted': [CONTRADICTED, 'an answer to a search leaves out a record that the log has'],
  'anchor-missing': [UNDECIDED, 'the checkpoint that a segment is anchored to is not at hand'],
  'anchor-mismatch': [CONTRADICTED, "a segment's anchor does not name the checkpoint it is kept with"],
  'anchor-after-leaf': [CONTRADICTED, 'a segment is anchored to a tree that had it already'],
  'time-order': [CONTRADICTED, 'an entry was witnessed before the checkpoint that it is anchored to'],
  'time-unbounded': [NOTED, 'the policy demands no witness, so nothing brackets the time'],
  'enrolment-unsigned': [CONTRADICTED, 'fewer registrars than the trust folder demands have signed an enrolment'],
  'enrolment-grade': [CONTRADICTED, 'the trust folder does not accept the grade of an enrolment'],
  'enrolment-evidence-invalid': [CONTRADICTED, 'what stands behind an enrolment does not bear it out'],
  'enrolment-evidence-missing': [UNDECIDED, 'what stands behind an enrolment is not at hand'],
  'ak-attributes': [CONTRADICTED, 'an AK is not a restricted signing key that cannot leave its TPM'],
  'ak-not-enrolled': [CONTRADICTED, 'a segment names an AK that the host is not enrolled with'],
  'ak-reused': [CONTRADICTED, 'one AK is enrolled for two hosts'],
  'ek-reused': [CONTRADICTED, 'one EK is enrolled for two hosts'],
  'statement-unsigned': [CONTRADICTED, 'a statement is not signed by an operator of the trust folder'],
  'statement-invalid': [CONTRADICTED, 'a statement goes against the policy, the hold or the entries before it'],
  'quote-malformed': [CONTRADICTED, 'a quote or its signature is not what a TPM makes'],
  'quote-signature': [CONTRADICTED, 'the AK did not sign the quote'],
  'quote-nonce': [CONTRADICTED, "the quote was not made for this segment's head"],
  'quote-signer': [CONTRADICTED, 'the quote does not name the AK under the endorsement hierarchy'],
  'quote-selection': [CONTRADICTED, 'the quote does not cover the registers that the segment speaks of'],
  'quote-values': [CONTRADICTED, 'the register values in the segment are not those that the quote is over'],
  'bank-weak': [CONTRADICTED, 'only SHA-1 binds the records, and the trust folder does not allow it'],
  'payload-missing': [UNDECIDED, "a segment's records are not at hand, and no erasure accounts for it"],
  'payload-erased': [UNDECIDED, "a segment's records were erased by policy"],
  'payload-digest': [CONTRADICTED, "a segment's records are not the bytes that its leaf names"],
  'list-malformed': [CONTRADICTED, "a segment's records cannot be read as a measurement list"],
  'record-digest': [CONTRADICTED, "a record's stored digest is not that of its data"],
  'replay-mismatch': [CONTRADICTED, 'the records, replayed, do not give the quoted register values'],
  'body-mismatch': [CONTRADICTED, "a field of the segment's body is not what its records give"],
  'record-unattested': [NOTED, 'a record names a register that the kernel cannot extend, so no quote covers it'],
  'chain-broken': [CONTRADICTED, "an entry does not name the host's entry before it"],
  'chain-fork': [CONTRADICTED, 'two entries follow one'],
  'base-mismatch': [CONTRADICTED, 'a segment does not begin with the register values that the one before ended with'],
  'join-invalid': [CONTRADICTED, 'a segment joins the one before in a way that the quotes rule out'],
  'counter-rollback': [CONTRADICTED, "the TPM's reset or restart counter went back"],
  'clock-rollback': [CONTRADICTED, "the TPM's clock went back within one boot"],
  'zero-base': [CONTRADICTED, 'a segment begins at zero in a boot that has begun before'],
  'boot-aggregate': [CONTRADICTED, 'boot_aggregate is not that of the quoted PCR 0 to 9'],
  'boot-aggregate-absent': [CONTRADICTED, "a boot's first record is not boot_aggregate"],
  'boot-unquoted': [UNDECIDED, 'boot_aggregate cannot be checked: the quote lacks registers that it is made of'],
  'boot-skipped': [NOTED, 'the TPM was reset between two boots: nothing attests what ran there'],
  'gap': [UNDECIDED, 'records between two segments are missing'],
  'gap-acknowledged': [NOTED, 'records between two segments are missing, and an operator has acknowledged it'],
  'kexec': [NOTED, 'a kernel was started by another one: a second boot_aggregate, the TPM not reset'],
  'history-partial': [NOTED, "the host's history before the first entry shown is not part of this evidence"],
};

/**
 * @typedef {object} Finding
 * @property {string} code
 * @property {string} subject host and sequence, file, record: as exact as is known
 * @property {string} text what was found there, with the values that disagree
 * @property {string} [entry] leaf hash of the entry that it is about
 */

/** @param {{code: string}} f */
export const classOf = (f) => CODES[f.code][0];

/** The verdict: verified, or the worst class. @param {{code: string}[]} list */
export function verdict(list) {
  const classes = new Set(list.map(classOf));
  return [CONTRADICTED, UNDECIDED].find((c) => classes.has(c)) ?? 'verified';
}
