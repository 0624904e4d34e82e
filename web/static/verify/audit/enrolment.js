// An enrolment against the rules and its evidence: FORMAT.md, section 8.3.

import { checkCertificates } from '../certificate.js';
import { parseEvidence } from '../evidence.js';
import { keyOf, parseAK, parseEK } from '../key.js';
import { signedBy } from '../statement.js';
import { FormatError, noun } from '../text.js';

/**
 * @typedef {import('../statement.js').Statement & {leaf: string}} Enrolment
 * @typedef {import('./report.js').Report} Report
 */

/** Parses, and notes what is wrong. @template T @param {() => T} parse @param {(what: string) => void} wrong @returns {T | undefined} */
function attempt(parse, wrong) {
  try {
    return parse();
  } catch (e) {
    if (!(e instanceof FormatError)) throw e;
    wrong(e.message);
    return undefined;
  }
}

/** Steps 2 and 3. @param {Report} report @param {string} subject @param {Enrolment} e @param {import('./chain.js').Chains} chains */
function checkKeys(report, subject, e, chains) {
  report.check('8.3.2', subject, 'the AK can sign nothing but what its TPM says');
  const ak = attempt(() => parseAK(e['ak-public']), (what) => report.add('ak-attributes', what, e.leaf));
  if (ak && ak.name !== e.ak) report.add('enrolment-evidence-invalid', `the name of the public area is ${ak.name}`, e.leaf);
  report.check('8.3.3', subject, "the AK and the EK are no other host's");
  const other = chains.aks.get(e.ak) ?? e.host;
  if (other !== e.host) report.add('ak-reused', `the AK is enrolled for ${other}`, e.leaf);
  const owner = chains.eks.get(e.ek) ?? e.host;
  if (e.ek && owner !== e.host) report.add('ek-reused', `the EK is enrolled for ${owner}`, e.leaf);
}

/**
 * Step 6, and step 3 for the EK's key: the host writes what stands around it.
 * @param {Enrolment} e @param {Uint8Array} bytes @param {import('../trust.js').Trust} trust @param {(key: string) => void} found
 * @returns {Promise<string | undefined>}
 */
async function wrongEvidence(e, bytes, trust, found) {
  if (BigInt(bytes.length) !== e.evidence.size) return `the evidence has the size ${bytes.length}, not ${e.evidence.size}`;
  const evidence = parseEvidence(bytes);
  if (!evidence.ek) return e.grade === 'software' ? undefined : `grade ${e.grade} wants an EK`;
  if (e.grade === 'software') return 'grade software has no EK';
  const ek = parseEK(evidence.ek);
  found(keyOf(ek));
  if (ek.name !== e.ek) return `the name of the EK is ${ek.name}`;
  if (evidence.activations.length < trust.rules.threshold) return `of ${trust.rules.threshold} ${noun(trust.rules.threshold, 'activation')} it has ${evidence.activations.length}`;
  return e.grade === 'certificate' ? checkCertificates(evidence.certificates, ek, trust.roots) : undefined;
}

/**
 * Steps 2 to 6. Returns what tells the EK's key, where the evidence has one.
 * @param {Report} report @param {string} subject @param {Enrolment} e @param {import('../trust.js').Trust} trust
 * @param {import('./chain.js').Chains} chains @param {Uint8Array | undefined} evidence
 */
export async function checkEnrolment(report, subject, e, trust, chains, evidence) {
  checkKeys(report, subject, e, chains);
  report.check('8.3.4', subject, 'as many registrars have signed as the rules demand');
  const signers = await signedBy(e, trust.rules.registrars);
  if (!signers) report.add('enrolment-unsigned', 'a line by a registrar does not verify', e.leaf);
  else if (signers.length < trust.rules.threshold) {
    report.add('enrolment-unsigned', `of ${trust.rules.threshold} ${noun(trust.rules.threshold, 'registrar')} that the rules demand, ${signers.length} signed`, e.leaf);
  }
  report.check('8.3.5', subject, 'the rules accept the grade');
  if (!trust.rules.grades.includes(e.grade)) report.add('enrolment-grade', `the rules do not accept grade ${e.grade}`, e.leaf);
  report.check('8.3.6', subject, 'the evidence bears the enrolment out');
  if (!evidence) {
    report.add('enrolment-evidence-missing', `evidence/${e.evidence.digest} is not at hand`, e.leaf);
    return undefined;
  }
  let wrong;
  let ekKey;
  try {
    wrong = await wrongEvidence(e, evidence, trust, (key) => {
      ekKey = key;
      const owner = chains.eks.get(key) ?? e.host;
      if (owner !== e.host) report.add('ek-reused', `the EK's key is enrolled for ${owner}`, e.leaf);
    });
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    wrong = error.message;
  }
  if (wrong) report.add('enrolment-evidence-invalid', wrong, e.leaf);
  return ekKey;
}
