// The check of an evidence bundle, as a stranger makes it: with the trust folder
// alone. FORMAT.md, section 8.1.

import { BundleError, chunks, openBundle, sourceOf } from '../bundle.js';
import { parseEntry } from '../entry.js';
import { MAX_STATEMENT } from '../statement.js';
import { FormatError, hex } from '../text.js';
import { Chains } from './chain.js';
import { checkEnrolment } from './enrolment.js';
import { factsOf } from './facts.js';
import { CheckError, verifyCheckpoint, verifyReceipt } from './receipt.js';
import { checkRecords } from './records.js';
import { Report } from './report.js';
import { checkQuote } from './segment.js';
import { Statements } from './statement.js';
import { checkFrozen, checkSuccession } from './succession.js';

/**
 * @typedef {import('../entry.js').Entry} Entry
 * @typedef {import('./receipt.js').Receipt} Receipt
 * @typedef {import('./receipt.js').Verified} Verified
 * @typedef {import('../bundle.js').File} File
 *
 * @typedef {object} Listener
 * @property {(step: import('./report.js').Step) => void} [step] after each check
 * @property {(part: string, done: number, total: number) => void} [progress] of bytes of the bundle or records of a segment
 *
 * @typedef {object} Result
 * @property {'verified' | 'contradicted' | 'undecided'} class
 * @property {import('../finding.js').Finding[]} findings
 * @property {import('./facts.js').Facts[]} segments what holds of those whose quote verifies
 * @property {number} entries
 * @property {{log: string, size: bigint, witnessed: bigint} | undefined} newest checkpoint
 * @property {{from: string, size: bigint, to: string, url: string}[]} successions
 */

/** Bytes of a small file that are read at most: over it, no format allows them. */
const MAX_SMALL = (1 << 20) + 1;

/** @param {bigint} a @param {bigint} b */
const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

/** @param {Entry} e */
export const subjectOf = (e) => ('sequence' in e ? `${e.host} ${e.sequence}` : `${e.kind} ${e.leaf.slice(0, 12)}`);

class Check {
  /** @param {import('../trust.js').Trust} trust @param {import('../bundle.js').Source} source @param {Map<string, File>} files @param {Listener} listener */
  constructor(trust, source, files, listener) {
    this.trust = trust;
    this.source = source;
    this.files = files;
    this.listener = listener;
    this.report = new Report(listener.step);
    this.leaves = 0;
    /** @type {Map<string, Entry>} by leaf hash, in the order of the manifest */
    this.entries = new Map();
    /** @type {Map<string, Receipt>} by leaf hash */
    this.receipts = new Map();
    /** @type {Map<string, Verified>} of a segment's anchor, by the segment's leaf hash */
    this.anchors = new Map();
    /** @type {import('../checkpoint.js').Checkpoint[]} that verified */
    this.checkpoints = [];
    this.chains = new Chains();
    this.statements = new Statements({
      segment: (leaf) => {
        const e = this.receipts.has(leaf) ? this.entries.get(leaf) : undefined;
        return e?.kind === 'segment' ? /** @type {any} */ (e) : undefined;
      },
      bounds: (leaf) => ({ notBefore: this.anchors.get(leaf)?.notBefore ?? 0n, notAfter: this.receipts.get(leaf)?.notAfter ?? 0n }),
    }, trust);
    /** @type {import('./facts.js').Facts[]} */
    this.segments = [];
    /** @type {Result['successions']} */
    this.successions = [];
  }

  /** The bytes of a file that is not large, undefined where it is not at hand. @param {string} name */
  async read(name) {
    const f = this.files.get(name);
    return f && this.source.read(f.at, f.at + Math.min(f.size, MAX_SMALL));
  }

  async run() {
    const { report } = this;
    await this.readEntries();
    for (const e of this.entries.values()) await this.checkReceipt(e);
    for (const e of this.entries.values()) if (e.kind === 'segment') await this.checkAnchor(e);
    this.checkSplit();
    for (const s of this.ordered((e) => !('sequence' in e))) await this.statements.check(report, subjectOf(s), /** @type {any} */ (s));
    await this.checkHosts();
    this.checkFiles();
    this.checkEnds();
    report.done();
    return this.result();
  }

  /** Step 2. */
  async readEntries() {
    for (const f of this.files.values()) {
      if (f.folder !== 'leaves') continue;
      this.leaves++;
      this.report.check('8.1.2', f.name, 'the entry is in its one form');
      try {
        if (f.size > MAX_STATEMENT) throw new FormatError('the entry is larger than any may be');
        this.entries.set(f.hash, parseEntry(await this.source.read(f.at, f.at + f.size)));
      } catch (e) {
        if (!(e instanceof FormatError)) throw e;
        this.report.add('entry-malformed', e.message, f.hash);
      }
    }
  }

  /** Notes a checkpoint that verified. @param {Entry} e @param {Verified} v */
  accept(e, v) {
    this.checkpoints.push(v.checkpoint);
    for (const name of v.unknown) this.report.add('signature-unknown', `a line is by ${name}`, e.leaf);
  }

  /** Step 3. @param {Entry} e */
  async checkReceipt(e) {
    const { report, trust } = this;
    report.check('8.1.3', subjectOf(e), 'the log includes the entry, and enough witnesses have seen that');
    if (!trust.policy.logs.some((k) => k.name === e.log)) report.add('entry-wrong-log', `the policy names no log ${e.log}`, e.leaf);
    const proof = await this.read(`proofs/${e.leaf}`);
    if (!proof) {
      report.add('proof-missing', `proofs/${e.leaf} is not at hand`, e.leaf);
      return;
    }
    try {
      const receipt = await verifyReceipt(trust.policy, e.leaf, proof);
      this.receipts.set(e.leaf, receipt);
      this.accept(e, receipt);
      const { origin } = receipt.checkpoint;
      if (origin !== e.log) report.add('entry-wrong-log', `the entry is for ${e.log}, and stands in ${origin}`, e.leaf);
      if (!receipt.notAfter) report.add('time-unbounded', 'no cosignature that the policy demands states a time', e.leaf);
    } catch (error) {
      if (!(error instanceof CheckError)) throw error;
      report.add(error.code, error.message, e.leaf);
    }
  }

  /** Step 5. @param {import('./segment.js').Segment} s */
  async checkAnchor(s) {
    const { report } = this;
    report.check('8.1.5', subjectOf(s), 'the checkpoint that the segment is anchored to is older');
    const receipt = this.receipts.get(s.leaf);
    const anchor = await this.readAnchor(s);
    if (receipt && s.anchor.size > receipt.index) {
      report.add('anchor-after-leaf', `the anchor is of ${s.anchor.size}, and the index is ${receipt.index}`, s.leaf);
    }
    if (!anchor) return;
    this.anchors.set(s.leaf, anchor);
    if (receipt?.notAfter && anchor.notBefore > receipt.notAfter) {
      report.add('time-order', `witnessed at ${receipt.notAfter}, and the anchor at ${anchor.notBefore}`, s.leaf);
    }
  }

  /** The anchor, where it is the one that the segment names. @param {import('./segment.js').Segment} s */
  async readAnchor(s) {
    const bytes = await this.read(`anchors/${s.anchor.digest}`);
    if (!bytes) {
      this.report.add('anchor-missing', `anchors/${s.anchor.digest} is not at hand`, s.leaf);
      return undefined;
    }
    try {
      const v = await verifyCheckpoint(this.trust.policy, bytes);
      this.accept(s, v);
      const { origin, size, root } = v.checkpoint;
      if (origin !== s.log) this.report.add('entry-wrong-log', `the segment is for ${s.log}, and its anchor of ${origin}`, s.leaf);
      else if (size === s.anchor.size && hex(root) === s.anchor.root) return v;
      else this.report.add('anchor-mismatch', `the anchor is of ${size}, and the segment names ${s.anchor.size}, or it has another root`, s.leaf);
    } catch (error) {
      if (!(error instanceof CheckError)) throw error;
      this.report.add(error.code, error.message, s.leaf);
    }
    return undefined;
  }

  /** Step 3, of all checkpoints. */
  checkSplit() {
    this.report.check('8.1.3', 'log', 'no two checkpoints of one size have two roots');
    /** @type {Map<string, string>} */
    const roots = new Map();
    for (const c of this.checkpoints) {
      const key = `${c.origin} ${c.size}`;
      const root = hex(c.root);
      if ((roots.get(key) ?? root) !== root) this.report.add('log-split', `the log signed two trees of ${c.size}`, undefined, c.origin);
      roots.set(key, root);
    }
  }

  /** Entries in the order of their indexes, those whose proof fails after them. @param {(e: Entry) => boolean} which @param {(e: Entry) => bigint} [first] what they are ordered by before */
  ordered(which, first = () => 0n) {
    const index = (/** @type {Entry} */ e) => this.receipts.get(e.leaf)?.index ?? 1n << 64n;
    return [...this.entries.values()].filter(which)
      .sort((a, b) => compare(first(a), first(b)) || compare(index(a), index(b)) || (a.leaf < b.leaf ? -1 : 1));
  }

  /** Steps 4 and 6. */
  async checkHosts() {
    const hosts = new Set([...this.entries.values()].filter((e) => 'sequence' in e).map((e) => e.host));
    for (const name of [...hosts].sort()) {
      let last = -1n;
      const entries = this.ordered((e) => 'sequence' in e && e.host === name, (e) => /** @type {any} */ (e).sequence);
      for (const e of entries) {
        if (!(await this.checkHostEntry(/** @type {any} */ (e)))) continue;
        const index = this.receipts.get(e.leaf)?.index;
        this.report.check('8.1.6', subjectOf(e), 'the log has the entry after the one before it');
        if (index === undefined) continue;
        if (index <= last) this.report.add('index-order', `the index is ${index}, after ${last}`, e.leaf);
        last = index;
      }
    }
  }

  /** Whether the entry belongs to the chain. @param {import('./chain.js').HostEntry & any} e */
  async checkHostEntry(e) {
    const { report, chains } = this;
    const subject = subjectOf(e);
    const since = report.findings.length;
    const host = chains.host(e.host);
    report.check(e.kind === 'segment' ? '8.2.1' : '8.3.1', subject, "it names the host's entry before it");
    const inChain = host.check(report, e);
    let ekKey;
    if (e.kind === 'enrolment') {
      ekKey = await checkEnrolment(report, subject, e, this.trust, chains, await this.read(`evidence/${e.evidence.digest}`));
    } else {
      await this.checkSegment(subject, e, host, since, inChain);
    }
    if (!inChain) return false;
    host.commit(e);
    if (e.kind === 'enrolment') {
      if (!chains.aks.has(e.ak)) chains.aks.set(e.ak, e.host);
      for (const ek of [e.ek, ekKey]) if (ek && !chains.eks.has(ek)) chains.eks.set(ek, e.host);
    }
    return true;
  }

  /** @param {string} subject @param {import('./segment.js').Segment} s @param {import('./chain.js').Host} host @param {number} since @param {boolean} inChain */
  async checkSegment(subject, s, host, since, inChain) {
    const { report } = this;
    const quote = await checkQuote(report, subject, s, since, this.trust.rules, host);
    if (!quote) return;
    this.acknowledge(s, since);
    const counts = await this.checkPayload(subject, s, host);
    const facts = factsOf(s, quote, host, counts, this.receipts.get(s.leaf), this.anchors.get(s.leaf));
    if (!counts) facts.erased = this.erasureOf(s);
    facts.replayed &&= !report.contradicted(since);
    if (inChain) host.join({ segment: s, quote, notBefore: facts.notBefore });
    this.segments.push(facts);
  }

  /** Step 7. @param {import('./segment.js').Segment} s @param {number} since */
  acknowledge(s, since) {
    const word = this.statements.acknowledged.get(s.leaf);
    if (!word) return;
    for (const f of this.report.findings.slice(since)) {
      if (f.code !== 'gap') continue;
      f.code = 'gap-acknowledged';
      f.text += `; ${word.statement}`;
    }
  }

  /** The erasure that accounts for a segment's records. @param {import('./segment.js').Segment} s */
  erasureOf(s) {
    const erased = this.statements.erased.get(s.leaf);
    return erased?.payload === s.payload.digest ? erased : undefined;
  }

  /** 8.2 from step 10. @param {string} subject @param {import('./segment.js').Segment} s @param {import('./chain.js').Host} host */
  async checkPayload(subject, s, host) {
    const { report, source } = this;
    report.check('8.2.10', subject, 'the records are at hand');
    const f = this.files.get(`payloads/${s.payload.digest}`);
    if (f) {
      return checkRecords(report, s, { size: f.size, pieces: chunks(source, f.at, f.size) }, {
        was: host.was?.segment,
        partial: host.partial,
        progress: (records) => this.listener.progress?.(subject, records, Number(s.count)),
      });
    }
    const erased = this.erasureOf(s);
    if (erased) report.add('payload-erased', `erased under policy ${erased.policy?.policy ?? 'that is not at hand'}: ${erased.erasure.reason}`, s.leaf);
    else report.add('payload-missing', `payloads/${s.payload.digest} is not at hand, and no erasure accounts for it`, s.leaf);
    return undefined;
  }

  /** Step 8. */
  checkFiles() {
    const { report } = this;
    report.check('8.1.8', 'bundle', 'each file is named by an entry');
    const named = new Set();
    for (const e of this.entries.values()) {
      named.add(`leaves/${e.leaf}`).add(`proofs/${e.leaf}`);
      if (e.kind === 'segment') {
        const s = /** @type {import('../segment.js').Segment} */ (e);
        named.add(`payloads/${s.payload.digest}`).add(`anchors/${s.anchor.digest}`);
      } else for (const digest of e.addenda) named.add(`evidence/${digest}`);
    }
    for (const name of this.files.keys()) {
      if (!named.has(name)) report.add('bundle-unreferenced', 'no entry names this file', undefined, name);
    }
    if (!this.leaves) report.add('entry-missing', 'there is no entry');
  }

  /** Steps 9 and 10. */
  checkEnds() {
    const { report, receipts, statements, checkpoints } = this;
    for (const s of statements.valid.values()) {
      if (s.kind === 'freeze') {
        report.check('8.1.9', subjectOf(/** @type {any} */ (s)), 'the log did not go on after it');
        checkFrozen(report, s, receipts.get(s.leaf), checkpoints);
      } else if (s.kind === 'succession') {
        report.check('8.1.10', subjectOf(/** @type {any} */ (s)), 'the log that it follows ended, and names it');
        const found = checkSuccession(report, s, {
          receipt: receipts.get(s.leaf), freeze: this.entries.get(s.freeze), valid: statements.valid.has(s.freeze),
          frozen: receipts.get(s.freeze), logs: this.trust.policy.logs,
        });
        if (found) this.successions.push(found);
      }
    }
  }

  /** @returns {Result} */
  result() {
    const all = [...this.receipts.values(), ...this.anchors.values()];
    const newest = all.reduce((/** @type {Verified | undefined} */ a, b) => (a && a.checkpoint.size >= b.checkpoint.size ? a : b), undefined);
    return {
      class: this.report.verdict(),
      findings: this.report.findings,
      segments: this.segments,
      entries: this.leaves,
      newest: newest && { log: newest.checkpoint.origin, size: newest.checkpoint.size, witnessed: newest.notAfter },
      successions: this.successions,
    };
  }
}

/**
 * Checks a bundle against a trust folder.
 * @param {import('../trust.js').Trust} trust @param {Blob | Uint8Array} bundle @param {Listener} [listener]
 * @returns {Promise<Result>}
 */
export async function checkBundle(trust, bundle, listener = {}) {
  const source = sourceOf(bundle);
  const report = new Report(listener.step);
  report.check('8.1.1', 'bundle', 'each byte is one that the manifest or the form fixes');
  try {
    const files = await openBundle(source, (done, total) => listener.progress?.('bundle', done, total));
    report.done();
    return new Check(trust, source, files, listener).run();
  } catch (e) {
    if (!(e instanceof BundleError)) throw e;
    report.add(e.code, e.message, undefined, e.file);
    report.done();
    return { class: report.verdict(), findings: report.findings, segments: [], entries: 0, newest: undefined, successions: [] };
  }
}
