// Where in the log entries stand, and between which times: FORMAT.md, section 8.1
// steps 3 and 5.

import { hex } from '../text.js';
import { CheckError, verifyCheckpoint, verifyReceipt } from './receipt.js';
import { subjectOf } from './report.js';
import { Trees } from './tree.js';

/**
 * @typedef {import('../entry.js').Entry} Entry
 * @typedef {import('./receipt.js').Receipt} Receipt
 * @typedef {import('./receipt.js').Verified} Verified
 */

export class Places {
  /**
   * @param {import('./report.js').Report} report @param {import('../policy.js').Policy} policy
   * @param {(name: string) => Promise<Uint8Array | undefined>} read a file of the bundle
   */
  constructor(report, policy, read) {
    this.report = report;
    this.policy = policy;
    this.read = read;
    /** @type {Map<string, Receipt>} by leaf hash */
    this.receipts = new Map();
    /** @type {Map<string, Verified>} of a segment's anchor, by the segment's leaf hash */
    this.anchors = new Map();
    /** @type {import('../checkpoint.js').Checkpoint[]} that verified */
    this.checkpoints = [];
    this.trees = new Trees();
  }

  /** Notes a checkpoint that verified. @param {Entry} e @param {Verified} v */
  accept(e, v) {
    this.checkpoints.push(v.checkpoint);
    for (const name of v.unknown) this.report.add('signature-unknown', `a line is by ${name}`, e.leaf);
  }

  /** Step 3. @param {Entry} e */
  async checkReceipt(e) {
    const { report, policy } = this;
    report.check('8.1.3', subjectOf(e), 'the log includes the entry, and enough witnesses have seen that');
    if (!policy.logs.some((k) => k.name === e.log)) report.add('entry-wrong-log', `the policy names no log ${e.log}`, e.leaf);
    const proof = await this.read(`proofs/${e.leaf}`);
    if (!proof) {
      report.add('proof-missing', `proofs/${e.leaf} is not at hand`, e.leaf);
      return;
    }
    try {
      const receipt = await verifyReceipt(policy, e.leaf, proof);
      this.receipts.set(e.leaf, receipt);
      this.accept(e, receipt);
      if (this.trees.climb(e.leaf, receipt)) report.add('log-split', 'its proof rules out what another one proves', e.leaf);
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
      const v = await verifyCheckpoint(this.policy, bytes);
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
    this.report.check('8.1.3', 'log', 'no tree of a log rules out another');
    for (const c of this.checkpoints) {
      if (Trees.note(this.trees.roots, `${c.origin} ${c.size}`, c.root)) this.report.add('log-split', `the log signed two trees of ${c.size}`, undefined, c.origin);
    }
    for (const tree of this.trees.ruledOut()) this.report.add('log-split', 'the proofs give another root of this tree', undefined, tree);
  }

  /** Entries in the order of their indexes, those whose proof fails after them. @param {Iterable<Entry>} entries @param {(e: Entry) => boolean} which @param {(e: Entry) => bigint} [first] what they are ordered by before */
  ordered(entries, which, first = () => 0n) {
    const index = (/** @type {Entry} */ e) => this.receipts.get(e.leaf)?.index ?? 1n << 64n;
    return [...entries].filter(which)
      .sort((a, b) => compare(first(a), first(b)) || compare(index(a), index(b)) || (a.leaf < b.leaf ? -1 : 1));
  }

  /** The newest checkpoint of those that verified. */
  newest() {
    const all = [...this.receipts.values(), ...this.anchors.values()];
    const v = all.reduce((/** @type {Verified | undefined} */ a, b) => (a && a.checkpoint.size >= b.checkpoint.size ? a : b), undefined);
    return v && { log: v.checkpoint.origin, size: v.checkpoint.size, witnessed: v.notAfter };
  }
}

/** @param {bigint} a @param {bigint} b */
const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
