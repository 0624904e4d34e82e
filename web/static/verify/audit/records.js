// A segment's records against its leaf: FORMAT.md, section 8.2 steps 11 to 14.

import { ListReader } from '../list.js';
import { RecordTree } from '../merkle.js';
import { DEFAULT_PCR, byRegister, extendable } from '../pcr.js';
import { Replayer, dataDigest, extension } from '../replay.js';
import { newSHA256 } from '../sha.js';
import { bootAggregate, checkAggregate } from '../template.js';
import { FormatError, equal, hex, noun } from '../text.js';

/** @typedef {import('../segment.js').Segment & {leaf: string}} Segment */

/**
 * What the records gave: count, and of them those that are violations, that no
 * register binds, and that are a second boot_aggregate.
 * @typedef {{count: bigint, violations: number, unattested: number, kexecs: number}} Counts
 */

const MAX_KEXECS = 100; // that are findings each; root can make millions

/** Names registers in findings. @param {Iterable<number>} pcrs */
const listed = (pcrs) => [...pcrs].sort((a, b) => a - b).join(', ');

/** One walk over the records, and what each step needs of it. */
class Walk {
  /** @param {Segment} s */
  constructor(s) {
    this.s = s;
    this.stated = new Set(s.base.map((r) => r.index));
    this.listStyle = s.styles.find((x) => x.bank === s.list.bank)?.style ?? 'digest';
    this.replayer = new Replayer(s.base);
    this.tree = new RecordTree();
    /** @type {Counts} */
    this.counts = { count: 0n, violations: 0, unattested: 0, kexecs: 0 };
    this.wrongDigests = /** @type {bigint[]} */ ([]);
    this.named = /** @type {Set<number>} */ (new Set());
    this.unextendable = /** @type {Set<number>} */ (new Set());
    this.lastBound = true;
    this.kexecs = /** @type {bigint[]} */ ([]);
    /** @type {import('../template.js').Aggregate | undefined} */
    this.first = undefined;
  }

  /** @param {import('../list.js').Record} r */
  record(r) {
    const { s, counts } = this;
    this.tree.add(r.raw);
    if (r.violation) counts.violations++;
    else if (!equal(r.digest, dataDigest(r, s.list.bank, this.listStyle))) this.wrongDigests.push(counts.count);
    const boot = bootAggregate(r, s.list.littleEndian);
    if (counts.count === 0n && s.join === 'boot') this.first = boot;
    else if (boot) {
      counts.kexecs++;
      if (this.kexecs.length < MAX_KEXECS) this.kexecs.push(s.first + counts.count);
    }
    this.lastBound = extendable(r.pcr);
    if (!this.lastBound) {
      counts.unattested++;
      this.unextendable.add(r.pcr);
    } else {
      this.named.add(r.pcr);
      if (this.stated.has(r.pcr)) {
        for (const { bank, style } of s.styles) this.replayer.extend(bank, r.pcr, extension(r, bank, style));
      }
    }
    counts.count++;
  }
}

/**
 * The registers of base that the records do not account for.
 * @param {Walk} walk @param {Segment | undefined} was
 */
function unaccounted({ s, stated, named }, was, /** @type {boolean} */ partial) {
  if (s.join === 'gap' || (!was && partial)) return stated.has(DEFAULT_PCR) ? [] : [DEFAULT_PCR];
  const want = new Set([DEFAULT_PCR, ...named]);
  if (s.join === 'continues') for (const r of was?.end ?? []) want.add(r.index);
  return [...[...stated].filter((pcr) => !want.has(pcr)), ...[...want].filter((pcr) => !stated.has(pcr) && !named.has(pcr))];
}

/**
 * @param {import('./report.js').Report} report @param {Segment} s
 * @param {{size: number, pieces: AsyncIterable<Uint8Array>}} payload
 * @param {{was: Segment | undefined, partial: boolean, progress?: (records: number) => void}} context
 * @returns {Promise<Counts | undefined>} undefined where the payload is not that of the leaf, or no list
 */
export async function checkRecords(report, s, payload, { was, partial, progress }) {
  const subject = report.current?.subject ?? '';
  report.check('8.2.11', subject, 'the records are the bytes that the leaf names');
  const digest = newSHA256();
  const reader = new ListReader(s.list);
  const walk = new Walk(s);
  let malformed = '';
  for await (const piece of payload.pieces) {
    digest.update(piece);
    if (malformed) continue;
    try {
      for (const r of reader.add(piece)) walk.record(r);
      progress?.(Number(walk.counts.count));
    } catch (e) {
      if (!(e instanceof FormatError)) throw e;
      malformed = e.message;
    }
  }
  if (BigInt(payload.size) !== s.payload.size || hex(digest.digest()) !== s.payload.digest) {
    report.add('payload-digest', `the records have ${payload.size} ${noun(payload.size, 'byte')}, and not the size and SHA-256 that the leaf states`, s.leaf);
    return undefined;
  }
  report.check('8.2.12', subject, 'the records are a measurement list, and the body is what they give');
  if (!malformed && reader.rest.length) malformed = 'the list ends within a record';
  if (malformed) {
    report.add('list-malformed', `after record ${walk.counts.count}: ${malformed}`, s.leaf);
  }
  checkEach(report, walk);
  if (!malformed) checkBody(report, walk, was, partial);
  if (!malformed) report.check('8.2.13', subject, 'the records, replayed, give the quoted values');
  for (const r of malformed ? [] : walk.replayer.differing(s.end)) {
    report.add('replay-mismatch', `the records give another value of ${r.bank.name}:${r.index} than the quoted ${hex(r.value)}`, s.leaf);
  }
  report.check('8.2.14', subject, 'boot_aggregate stands where a boot begins, and is that of the quoted registers');
  if (s.join === 'boot' && !(malformed && !walk.counts.count)) checkBootAggregate(report, s, walk.first);
  for (const at of walk.kexecs) report.add('kexec', `record ${at} is a boot_aggregate: another kernel was started`, s.leaf);
  return walk.counts;
}

/** What is asked of each record, also of those before one that cannot be read. @param {import('./report.js').Report} report @param {Walk} walk */
function checkEach(report, walk) {
  const { s, counts, named, stated, unextendable } = walk;
  for (const i of walk.wrongDigests.slice(0, 1)) {
    report.add('record-digest', `record ${i}, and ${walk.wrongDigests.length - 1} more: the stored digest is not that of the data`, s.leaf);
  }
  const missing = [...named].filter((pcr) => !stated.has(pcr));
  if (missing.length) report.add('quote-selection', `records name PCR ${listed(missing)}, which base does not state`, s.leaf);
  if (unextendable.size) report.add('record-unattested', `${counts.unattested} ${noun(counts.unattested, 'record names', 'records name')} PCR ${listed(unextendable)}`, s.leaf);
}

/** What the body owes the whole list. @param {import('./report.js').Report} report @param {Walk} walk @param {Segment | undefined} was @param {boolean} partial */
function checkBody(report, walk, was, partial) {
  const { s, counts } = walk;
  if (counts.count !== s.count) report.add('body-mismatch', `count is ${s.count}, and the records are ${counts.count}`, s.leaf);
  if (hex(walk.tree.root()) !== s.records) report.add('body-mismatch', 'records is not the root over the records', s.leaf);
  if (!walk.lastBound) report.add('body-mismatch', 'the last record is one that no register binds', s.leaf);
  const extra = unaccounted(walk, was, partial);
  if (extra.length) report.add('body-mismatch', `the records do not give the registers of base: PCR ${listed(extra)}`, s.leaf);
}

/** @param {import('./report.js').Report} report @param {Segment} s @param {Walk['first']} first */
function checkBootAggregate(report, s, first) {
  if (!first) {
    report.add('boot-aggregate-absent', 'the first record of the boot is not boot_aggregate', s.leaf);
    return;
  }
  const ok = checkAggregate(first, byRegister([...s.end, ...s.other]));
  if (ok === undefined) report.add('boot-unquoted', `boot_aggregate is by ${first.bank.name}, and the registers it is made of are not all quoted`, s.leaf);
  if (ok === false) report.add('boot-aggregate', `boot_aggregate is not that of the quoted registers of ${first.bank.name}`, s.leaf);
}
