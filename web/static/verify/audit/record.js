// One record of a segment against its leaf: FORMAT.md, section 8.7.

import { parseRecord } from '../list.js';
import { rootFromPath } from '../merkle.js';
import { leafHash } from '../hash.js';
import { extendable } from '../pcr.js';
import { Replayer, dataDigest, extension } from '../replay.js';
import { banksOf } from '../segment.js';
import { equal, hex } from '../text.js';
import { CheckError, parsed } from './receipt.js';

/** @typedef {import('./report.js').Report} Report */

/** Whether those that change no register have no digests. @param {import('../recordproof.js').RecordProof} p */
function sealedForm(p) {
  const size = p.banks.reduce((n, b) => n + b.size, 1);
  for (let at = 0; at < p.sealed.length; at += size) {
    if (!extendable(p.sealed[at]) && p.sealed.subarray(at + 1, at + size).some((x) => x)) return false;
  }
  return true;
}

/**
 * Replays the sealed records, and at index the disclosed one.
 * @param {import('../recordproof.js').RecordProof} p @param {import('./segment.js').Segment} s @param {import('../list.js').Record} record
 */
function replaySealed(p, s, record) {
  const replayer = new Replayer(s.base);
  const size = p.banks.reduce((n, b) => n + b.size, 1);
  const disclose = () => {
    if (extendable(record.pcr)) for (const { bank, style } of s.styles) replayer.extend(bank, record.pcr, extension(record, bank, style));
  };
  for (let i = 0; i * size < p.sealed.length; i++) {
    if (BigInt(i) === p.index) disclose();
    let at = i * size;
    const pcr = p.sealed[at++];
    for (const bank of p.banks) {
      const digest = p.sealed.subarray(at, (at += bank.size));
      if (extendable(pcr)) replayer.extend(bank, pcr, digest);
    }
  }
  if (p.index === p.count) disclose();
  return replayer.differing(s.end);
}

/** @param {import('../recordproof.js').RecordProof} p @param {import('./segment.js').Segment} s */
function check(p, s) {
  if (p.leaf !== s.leaf) throw new CheckError('proof-inclusion', `the proof is for segment ${p.leaf}`);
  if (p.index >= s.count) throw new CheckError('proof-inclusion', `index ${p.index} is not below ${s.count}`);
  const record = parsed('list-malformed', () => parseRecord(p.record, s.list));
  if (!p.banks.length) {
    const root = rootFromPath(p.index, s.count, leafHash(p.record), p.path);
    if (!root || hex(root) !== s.records) throw new CheckError('proof-inclusion', 'the path does not lead from the record to the root over the records');
    return record;
  }
  const banks = banksOf(s.base);
  if (p.count !== s.count - 1n || p.banks.length !== banks.length || p.banks.some((b, i) => b !== banks[i])) {
    throw new CheckError('list-malformed', 'the sealed records are not the others of the segment, in the banks of base');
  }
  if (!sealedForm(p)) throw new CheckError('list-malformed', 'a sealed record changes no register, and has digests');
  const style = s.styles.find((x) => x.bank === s.list.bank)?.style ?? 'digest';
  if (!record.violation && !equal(record.digest, dataDigest(record, s.list.bank, style))) {
    throw new CheckError('record-digest', "the record's stored digest is not that of its data");
  }
  const [wrong] = replaySealed(p, s, record);
  if (wrong) throw new CheckError('replay-mismatch', `the records give another value of ${wrong.bank.name}:${wrong.index} than the quoted`);
  return record;
}

/**
 * Checks a record proof against the segment that it names, which the caller has
 * verified in all but its payload.
 * @param {Report} report @param {import('./segment.js').Segment} s @param {import('../recordproof.js').RecordProof} p
 * @returns {{index: bigint, record: import('../list.js').Record, sealed: boolean, bound: boolean} | undefined} index in the boot
 */
export function checkRecord(report, s, p) {
  report.check('8.7', `${s.host} ${s.sequence}`, 'the record is one of the segment');
  try {
    const record = check(p, s);
    return { index: s.first + p.index, record, sealed: p.banks.length > 0, bound: !record.violation && extendable(record.pcr) };
  } catch (e) {
    if (!(e instanceof CheckError)) throw e;
    report.add(e.code, e.message, s.leaf);
    return undefined;
  } finally {
    report.done();
  }
}
