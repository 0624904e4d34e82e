// A segment against its host's chain: FORMAT.md, section 8.2.

import { bankOf } from '../hash.js';
import { parseAK, qualifiedName } from '../key.js';
import { byRegister } from '../pcr.js';
import { parseQuote, parseSignature, verifyQuote } from '../quote.js';
import { banksOf } from '../segment.js';
import { FormatError, concat, equal, hex } from '../text.js';
import { checkJoin } from './join.js';

/**
 * @typedef {import('../segment.js').Segment & {leaf: string}} Segment
 * @typedef {import('../quote.js').Quote} Quote
 * @typedef {import('./report.js').Report} Report
 */

/** Step 2. @param {Report} report @param {Segment} s @param {import('../statement.js').Statement | undefined} enrolment */
function checkAK(report, s, enrolment) {
  if (!enrolment || enrolment.ak !== s.ak) {
    report.add('ak-not-enrolled', `the host is not enrolled with the AK ${s.ak}`, s.leaf);
    return undefined;
  }
  try {
    return parseAK(enrolment['ak-public']);
  } catch (e) {
    if (!(e instanceof FormatError)) throw e;
    report.add('ak-attributes', `the public area is no AK's: ${e.message}`, s.leaf);
    return undefined;
  }
}

/** Step 3. @param {Report} report @param {Segment} s @param {import('../key.js').PublicArea} ak @returns {Promise<Quote | undefined>} */
async function checkSignature(report, s, ak) {
  try {
    const quote = parseQuote(s.quote);
    const signature = parseSignature(s.signature);
    if (!(await verifyQuote(ak, signature, s.quote))) {
      report.add('quote-signature', 'the AK did not sign the quote, in its own scheme', s.leaf);
      return undefined;
    }
    if (quote.digest.length !== bankOf(ak.hash).size) throw new FormatError('pcrDigest has not the size of the hash of the scheme');
    return quote;
  } catch (e) {
    if (!(e instanceof FormatError)) throw e;
    report.add('quote-malformed', e.message, s.leaf);
  }
  return undefined;
}

/** Step 6. @param {Report} report @param {Segment} s @param {Quote} quote */
function checkSelection(report, s, quote) {
  const quoted = quote.selection.flatMap(({ alg, pcrs }) => pcrs.map((pcr) => `${bankOf(alg)?.name ?? alg}:${pcr}`));
  const covered = byRegister([...s.end, ...s.other]);
  const left = quoted.filter((r) => !covered.has(r));
  if (left.length) report.add('quote-selection', `the quote covers ${left.join(', ')}, and the segment does not state it`, s.leaf);
  const more = [...covered.keys()].filter((r) => !quoted.includes(r));
  if (more.length) report.add('quote-selection', `the segment states ${more.join(', ')}, and the quote does not cover it`, s.leaf);
  const base = byRegister(s.base);
  for (const bank of banksOf(s.base)) {
    for (const { index } of s.base) {
      if (!base.has(`${bank.name}:${index}`)) report.add('quote-selection', `base has no ${bank.name}:${index}`, s.leaf);
    }
  }
}

/** Step 8. @param {Report} report @param {Segment} s @param {Quote} quote @param {import('../key.js').PublicArea} ak */
function checkValues(report, s, quote, ak) {
  const covered = byRegister([...s.end, ...s.other]);
  const values = quote.selection.flatMap(({ alg, pcrs }) =>
    pcrs.map((pcr) => covered.get(`${bankOf(alg)?.name}:${pcr}`)?.value ?? new Uint8Array(0)));
  const digest = /** @type {import('../hash.js').Bank} */ (bankOf(ak.hash)).hash(concat(...values));
  if (!equal(digest, quote.digest)) report.add('quote-values', 'the values of end and other are not those that the quote is over', s.leaf);
}

/**
 * Steps 2 to 9. Returns the quote, or undefined where the verification ends.
 * @param {Report} report @param {string} subject @param {Segment} s @param {number} since findings before the segment's step 1
 * @param {import('../trust.js').Rules} rules @param {import('./chain.js').Host} host
 */
export async function checkQuote(report, subject, s, since, rules, host) {
  report.check('8.2.2', subject, 'the AK is the one that the host is enrolled with');
  const ak = checkAK(report, s, host.enrolment);
  if (!ak) return undefined;
  report.check('8.2.3', subject, 'the AK signed the quote');
  const quote = await checkSignature(report, s, ak);
  if (!quote) return undefined;
  report.check('8.2.4', subject, "the quote was made for this segment's head");
  if (hex(quote.nonce) !== s.nonce) report.add('quote-nonce', `extraData is ${hex(quote.nonce)}, and the head's SHA-256 ${s.nonce}`, s.leaf);
  report.check('8.2.5', subject, 'the AK is a primary key of the endorsement hierarchy');
  if (hex(quote.signer) !== qualifiedName(ak)) report.add('quote-signer', `qualifiedSigner is ${hex(quote.signer)}`, s.leaf);
  report.check('8.2.6', subject, 'the quote covers the registers that the segment speaks of');
  checkSelection(report, s, quote);
  report.check('8.2.7', subject, 'a hash stronger than SHA-1 binds the records');
  const strong = s.styles.some(({ bank, style }) => bank.name !== 'sha1' && style === 'digest');
  if (!strong && !rules.allowSHA1) report.add('bank-weak', 'only SHA-1 binds the records', s.leaf);
  if (report.contradicted(since)) return undefined;
  report.check('8.2.8', subject, 'the values in the segment are those that the quote is over');
  checkValues(report, s, quote, ak);
  if (report.contradicted(since)) return undefined;
  report.check('8.2.9', subject, 'the segment joins the one before it');
  checkJoin(report, { segment: s, quote, ek: host.enrolment.ek }, host.was, host);
  return quote;
}

