// What each line of a segment's leaf means, and which steps of FORMAT.md section 8
// look at it.

/** @type {[RegExp, string, string[]][]} */
const LINES = [
  [/^imaledger\//, 'The format and its version.', ['8.1.2']],
  [/^log /, 'The log that this was made for: in another it proves nothing.', ['8.1.3']],
  [/^host /, 'The host\'s name, as it was enrolled.', ['8.2.1', '8.2.4']],
  [/^ak /, 'The TPM\'s name for the key that signed the quote.', ['8.2.2', '8.2.3', '8.2.5']],
  [/^sequence /, 'The place in the host\'s chain; its first enrolment is 0.', ['8.2.1']],
  [/^previous /, 'Leaf hash of the host\'s entry before: with it the TPM signs the order.', ['8.2.1']],
  [/^anchor /, 'The newest checkpoint that the host had verified: size, root, SHA-256. Its witnesses\' times are those before which the TPM did not sign. Here the head ends, whose SHA-256 the TPM signed.', ['8.1.5', '8.2.4']],
  [/^join continues/, 'It goes on where the segment before ended, in the same boot.', ['8.2.9']],
  [/^join boot/, 'It begins a boot: the registers begin at zero.', ['8.2.9', '8.2.14']],
  [/^join gap/, 'Records before it are missing. It is declared, and stays visible.', ['8.2.9']],
  [/^first /, 'Index in this boot of the first record.', ['8.2.9']],
  [/^count /, 'How many records.', ['8.2.12']],
  [/^list /, 'The kernel\'s list that the records come from: whose digests they store, and the byte order.', ['8.2.12']],
  [/^style sha1 /, 'How the kernel extends this bank. SHA-1 alone would be too weak to bind records.', ['8.2.7']],
  [/^style /, 'How the kernel extends this bank.', ['8.2.7', '8.2.13']],
  [/^payload /, 'Size and SHA-256 of the records.', ['8.2.10', '8.2.11']],
  [/^records /, 'RFC 6962 root over the records, so that one can be proven alone.', ['8.2.12']],
  [/^base /, 'A register before the first record.', ['8.2.6', '8.2.9', '8.2.13']],
  [/^end /, 'The register after the last record, as the TPM quoted it.', ['8.2.6', '8.2.8', '8.2.13']],
  [/^other .*:[0-9] /, 'Another quoted register; PCR 0 to 9 are what boot_aggregate is made of.', ['8.2.6', '8.2.8', '8.2.14']],
  [/^other /, 'Another quoted register.', ['8.2.6', '8.2.8']],
  [/^quote /, 'What the TPM signed: TPMS_ATTEST.', ['8.2.3', '8.2.4', '8.2.5', '8.2.6', '8.2.8']],
  [/^signature /, 'The TPM\'s signature: TPMT_SIGNATURE.', ['8.2.3']],
];

/** @param {string} line */
export function meaningOf(line) {
  const [, means, steps] = LINES.find(([form]) => form.test(line)) ?? [/^/, '', []];
  return { means, steps };
}
