// The check of an evidence bundle, as a stranger makes it: with the trust folder
// alone. FORMAT.md, section 8.1.

import { BundleError, openBundle, sourceOf } from '../bundle.js';
import { parseEntry } from '../entry.js';
import { MAX_STATEMENT } from '../statement.js';
import { FormatError, noun } from '../text.js';
import { Hosts } from './host.js';
import { Places } from './place.js';
import { Report, subjectOf } from './report.js';
import { Statements } from './statement.js';
import { checkFrozen, checkSuccession } from './succession.js';

/**
 * @typedef {import('../entry.js').Entry} Entry
 * @typedef {import('../bundle.js').File} File
 *
 * @typedef {object} Listener
 * @property {(step: import('./report.js').Step) => void} [step] after each check
 * @property {(part: string, done: number, total: number) => void} [progress] of bytes of the bundle or records of a segment
 * @property {bigint} [now] time of the check, Unix seconds; without it nothing is said of age
 *
 * @typedef {object} Result
 * @property {'verified' | 'contradicted' | 'undecided'} class
 * @property {import('../finding.js').Finding[]} findings
 * @property {import('./facts.js').Facts[]} segments what holds of those whose quote verifies
 * @property {number} entries
 * @property {{log: string, size: bigint, witnessed: bigint} | undefined} newest checkpoint
 * @property {{from: string, size: bigint, to: string, url: string}[]} successions
 * @property {import('./across.js').History} history what other bundles can contradict
 */

/** Bytes of a small file that are read at most: over it, no format allows them. */
const MAX_SMALL = (1 << 20) + 1;

/** How far a quorum's clocks may be ahead, in seconds. */
const MAX_SKEW = 300n;

class Check {
  /** @param {import('../trust.js').Trust} trust @param {import('../bundle.js').Source} source @param {Map<string, File>} files @param {Listener} listener */
  constructor(trust, source, files, listener) {
    this.trust = trust;
    this.source = source;
    this.files = files;
    this.now = listener.now;
    this.report = new Report(listener.step);
    this.leaves = 0;
    /** @type {Map<string, Entry>} by leaf hash, in the order of the manifest */
    this.entries = new Map();
    const read = (/** @type {string} */ name) => this.read(name);
    this.places = new Places(this.report, trust.policy, read);
    this.statements = new Statements(this, trust);
    this.hosts = new Hosts({ ...this, read, listener });
    /** @type {Result['successions']} */
    this.successions = [];
    /** Sizes of final trees, by origin. @type {Map<string, bigint>} */
    this.ends = new Map();
  }

  /** The bytes of a file that is not large, undefined where it is not at hand. @param {string} name */
  async read(name) {
    const f = this.files.get(name);
    return f && this.source.read(f.at, f.at + Math.min(f.size, MAX_SMALL));
  }

  /** A segment that the log is proven to have, for statements. @param {string} leaf */
  segment(leaf) {
    const e = this.places.receipts.has(leaf) ? this.entries.get(leaf) : undefined;
    return e?.kind === 'segment' ? e : undefined;
  }

  /** When an entry came into the log, for statements. @param {string} leaf */
  bounds(leaf) {
    const { anchors, receipts } = this.places;
    return { notBefore: anchors.get(leaf)?.notBefore ?? 0n, notAfter: receipts.get(leaf)?.notAfter ?? 0n };
  }

  async run() {
    const { report, places, entries } = this;
    await this.readEntries();
    for (const e of entries.values()) await places.checkReceipt(e);
    for (const e of entries.values()) if (e.kind === 'segment') await places.checkAnchor(e);
    places.checkSplit();
    for (const s of places.ordered(entries.values(), (e) => !('sequence' in e))) {
      await this.statements.check(report, subjectOf(s), s);
    }
    await this.hosts.check();
    this.checkFiles();
    this.checkEnds();
    this.checkAge();
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

  /** Section 7, max-age: apart from all else, which gives the same answer whenever it is asked. */
  checkAge() {
    const { maxAge } = this.trust.rules;
    if (this.now === undefined || !maxAge || !this.leaves) return;
    this.report.check('7', 'bundle', 'the newest checkpoint is as new as the trust folder demands');
    const vouched = [...this.places.receipts.values()].reduce((t, r) => (r.notBefore > t ? r.notBefore : t), 0n);
    if (!vouched || vouched > this.now + MAX_SKEW || this.now > vouched + maxAge) {
      this.report.add('checkpoint-stale', vouched ? `a quorum of witnesses saw the newest checkpoint ${this.now - vouched} ${noun(this.now - vouched, 'second')} ago, and the trust folder allows ${maxAge}`
        : 'no quorum of witnesses states when it saw the newest checkpoint');
    }
  }

  /** Steps 9 and 10. */
  checkEnds() {
    const { report, statements } = this;
    const { receipts, checkpoints } = this.places;
    for (const s of statements.valid.values()) {
      if (s.kind === 'freeze') {
        report.check('8.1.9', subjectOf(s), 'the log did not go on after it');
        const size = checkFrozen(report, s, receipts.get(s.leaf), checkpoints);
        const before = this.ends.get(s.log);
        if (size && !(before && before <= size)) this.ends.set(s.log, size);
      } else if (s.kind === 'succession') {
        report.check('8.1.10', subjectOf(s), 'the log that it follows ended, and names it');
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
    return {
      class: this.report.verdict(),
      findings: this.report.findings,
      segments: this.hosts.segments,
      entries: this.leaves,
      newest: this.places.newest(),
      successions: this.successions,
      history: { roots: this.places.trees.roots, nodes: this.places.trees.nodes, sequences: this.hosts.sequences, ends: this.ends },
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
    return { class: report.verdict(), findings: report.findings, segments: [], entries: 0, newest: undefined, successions: [], history: { roots: new Map(), nodes: new Map(), sequences: new Map(), ends: new Map() } };
  }
}
