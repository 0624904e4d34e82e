// What holds of a segment: the values that its verification has proven.

import { byRegister, register } from '../pcr.js';
import { hex } from '../text.js';

/**
 * @typedef {object} Facts
 * @property {string} log
 * @property {string} host
 * @property {bigint} sequence
 * @property {string} leaf
 * @property {string} join
 * @property {bigint} first index in the boot of the first record
 * @property {bigint} count
 * @property {boolean} replayed whether the records were at hand and give the quoted values
 * @property {number} violations records whose contents no register binds
 * @property {number} unattested records that no register binds at all
 * @property {number} kexecs
 * @property {{payload: string, erasure: any, policy: any} | undefined} erased
 * @property {Record<string, string>} base register to value
 * @property {Record<string, string>} end
 * @property {number} resetCount
 * @property {number} restartCount
 * @property {bigint} clock milliseconds, the TPM's
 * @property {string} grade how the AK was enrolled
 * @property {bigint | undefined} index in the log
 * @property {bigint} notBefore Unix seconds: the quote is not older; 0n where nothing bounds
 * @property {bigint} notAfter the quote is not newer
 * @property {bigint} recordsNotBefore the records are not older than the quote before, which was over the registers of base
 */

/** @param {import('../pcr.js').PCR[]} list */
const values = (list) => Object.fromEntries(list.map((r) => [register(r), hex(r.value)]));

/** Whether a segment quoted each of some registers. @param {import('./segment.js').Segment} was @param {import('../pcr.js').PCR[]} list */
function covers(was, list) {
  const quoted = byRegister([...was.end, ...was.other]);
  return list.every((r) => quoted.has(register(r)));
}

/**
 * @param {import('./segment.js').Segment} s @param {import('../quote.js').Quote} quote @param {import('./chain.js').Host} host
 * @param {import('./records.js').Counts | undefined} counts
 * @param {import('./receipt.js').Receipt | undefined} receipt @param {import('./receipt.js').Verified | undefined} anchor
 * @returns {Facts}
 */
export function factsOf(s, quote, host, counts, receipt, anchor) {
  return {
    log: s.log,
    host: s.host,
    sequence: s.sequence,
    leaf: s.leaf,
    join: s.reason ? `${s.join} ${s.reason}` : s.join,
    first: s.first,
    count: s.count,
    replayed: counts !== undefined,
    violations: counts?.violations ?? 0,
    unattested: counts?.unattested ?? 0,
    kexecs: counts?.kexecs ?? 0,
    erased: undefined,
    base: values(s.base),
    end: values(s.end),
    resetCount: quote.resetCount,
    restartCount: quote.restartCount,
    clock: quote.clock,
    grade: host.enrolment.grade,
    index: receipt?.index,
    notBefore: anchor?.notBefore ?? 0n,
    notAfter: receipt?.notAfter ?? 0n,
    recordsNotBefore: s.join === 'continues' && host.was && covers(host.was.segment, s.base) ? host.was.notBefore ?? 0n : 0n,
  };
}
