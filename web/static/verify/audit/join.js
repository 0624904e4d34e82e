// How a segment joins the one before it: FORMAT.md, section 8.5.

import { byRegister, register } from '../pcr.js';
import { equal, hex } from '../text.js';

/**
 * @typedef {import('../segment.js').Segment & {leaf: string}} Segment
 * @typedef {{segment: Segment, quote: import('../quote.js').Quote, ek: string | undefined, notBefore?: bigint}} Quoted
 * @typedef {import('./report.js').Report} Report
 */

/** @param {Uint8Array} b */
const zero = (b) => b.every((x) => x === 0);

/** @param {import('../pcr.js').PCR[]} list */
const zeroThroughout = (list) => list.every((r) => zero(r.value));

/** J3: what a boot owes. @param {Report} report @param {Segment} s */
function checkBoot(report, s) {
  if (!zeroThroughout(s.base)) report.add('base-mismatch', 'a boot begins at zero, and base does not', s.leaf);
  if (s.first !== 0n) report.add('body-mismatch', `first is ${s.first}, and 0 in a boot's first segment`, s.leaf);
}

/** J2. @param {Report} report @param {Quoted} now @param {Quoted} was */
function checkContinues(report, { segment: s, quote, ek }, { segment: w, quote: before, ek: ekBefore }) {
  if (ek !== ekBefore) report.add('join-invalid', `it continues under another TPM: EK ${ekBefore ?? 'none'}, then ${ek ?? 'none'}`, s.leaf);
  if (quote.resetCount !== before.resetCount) {
    report.add('join-invalid', `it continues, and the TPM was reset: resetCount ${before.resetCount}, then ${quote.resetCount}`, s.leaf);
  }
  const quoted = byRegister([...w.end, ...w.other]);
  for (const r of s.base) {
    const last = quoted.get(register(r));
    if (last ? !equal(last.value, r.value) : !zero(r.value)) {
      report.add('base-mismatch', `${register(r)} begins at ${hex(r.value)}, and ended at ${last ? hex(last.value) : 'zero'}`, s.leaf);
    }
  }
  const covered = byRegister([...s.end, ...s.other]);
  for (const r of w.end) {
    if (!covered.has(register(r))) report.add('quote-selection', `${register(r)} is quoted no more`, s.leaf);
  }
  if (s.first !== w.first + w.count) report.add('body-mismatch', `first is ${s.first}, not ${w.first + w.count}`, s.leaf);
}

/** J4. @param {Report} report @param {Quoted} now @param {Quoted} was */
function checkGap(report, { segment: s }, { segment: w }) {
  if (zeroThroughout(s.base) && !zeroThroughout(w.end)) {
    report.add('zero-base', 'base is zero throughout in a boot that has begun before', s.leaf);
  }
  if (s.first < w.first + w.count) report.add('body-mismatch', `first is ${s.first}, and at least ${w.first + w.count}`, s.leaf);
}

/**
 * @param {Report} report @param {Quoted} now @param {Quoted | undefined} was
 * @param {{enrolled: boolean, partial: boolean}} since whether an enrolment stands between the two, and
 *   whether the host's history is shown from its middle
 */
export function checkJoin(report, now, was, { enrolled, partial }) {
  const { segment: s, quote: q } = now;
  if (s.join === 'gap') report.add('gap', `records ${was ? `between #${was.segment.sequence} and` : 'before'} #${s.sequence} are missing: the host says ${s.reason}`, s.leaf);
  if (!was) {
    if (s.join === 'boot') checkBoot(report, s);
    if (s.join === 'continues' && !partial) report.add('join-invalid', 'it continues, and there is no segment before it', s.leaf);
    return;
  }
  const before = was.quote;
  const sameReset = q.resetCount === before.resetCount;
  const cleared = s.join === 'gap' && s.reason === 'tpm-clear' && enrolled;
  if (!cleared) {
    if (q.resetCount < before.resetCount) report.add('counter-rollback', `resetCount ${before.resetCount}, then ${q.resetCount}`, s.leaf);
    if (sameReset && q.restartCount < before.restartCount) {
      report.add('counter-rollback', `restartCount ${before.restartCount}, then ${q.restartCount}`, s.leaf);
    }
    if (sameReset && q.clock < before.clock) report.add('clock-rollback', `clock ${before.clock}, then ${q.clock}`, s.leaf);
  }
  const later = q.resetCount > before.resetCount || (sameReset && q.restartCount > before.restartCount);
  if (s.join === 'continues') checkContinues(report, now, was);
  if (s.join === 'boot') {
    if (!later) report.add('zero-base', 'it is a boot, and neither counter of the TPM is higher', s.leaf);
    checkBoot(report, s);
  }
  if (s.join === 'gap' && !later && !cleared) checkGap(report, now, was);
  if (q.resetCount > before.resetCount + 1) {
    report.add('boot-skipped', `the TPM was reset ${q.resetCount - before.resetCount} times`, s.leaf);
  }
}
