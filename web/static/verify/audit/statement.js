// Statements of operators, each against those before it: FORMAT.md, section 8.4.

import { signedBy } from '../statement.js';
import { binaryString, noun } from '../text.js';

const DAY = 86400n; // seconds

/**
 * @typedef {import('../statement.js').Statement & {leaf: string}} Statement
 * @typedef {import('./report.js').Report} Report
 * @typedef {{notBefore: bigint, notAfter: bigint}} Bounds Unix seconds, 0n where nothing bounds
 *
 * @typedef {object} Log what statements refer to
 * @property {(leaf: string) => import('./segment.js').Segment | undefined} segment that the log is proven to have
 * @property {(leaf: string) => Bounds} bounds
 */

export class Statements {
  /** @param {Log} log @param {import('../trust.js').Trust} trust */
  constructor(log, { policy, rules }) {
    this.log = log;
    this.rules = rules;
    this.logs = new Set(policy.logs.map((k) => k.name));
    this.texts = new Set();
    /** @type {Map<string, Statement>} those that state something, by leaf hash */
    this.valid = new Map();
    /** @type {Statement | undefined} the retention policy in force */
    this.policy = undefined;
    /** @type {Map<string, Statement>} holds in force */
    this.holds = new Map();
    /** @type {Map<string, {payload: string, erasure: Statement, policy: Statement | undefined}>} by the segment's leaf hash */
    this.erased = new Map();
    /** @type {Map<string, Statement>} of gaps, by the entry's leaf hash */
    this.acknowledged = new Map();
    /** @type {Map<string, string[]>} operators that signed, by leaf hash */
    this.signers = new Map();
  }

  /** @param {Report} report @param {string} subject @param {Statement} s */
  async check(report, subject, s) {
    const since = report.findings.length;
    report.check('8.4', subject, 'an operator has signed it, and it goes with the statements before it');
    const signers = await signedBy(s, this.rules.operators);
    if (!signers?.length) {
      report.add('statement-unsigned', signers ? 'no operator has signed it' : 'a line by an operator does not verify', s.leaf);
    }
    this.signers.set(s.leaf, signers ?? []);
    const text = binaryString(s.text);
    if (this.texts.has(text)) report.add('statement-invalid', 'it was stated before', s.leaf);
    this[/** @type {'erasure'} */ (CHECKS[s.kind])]?.(report, s);
    if (report.contradicted(since) || !this.logs.has(s.log)) return;
    this.texts.add(text);
    this.valid.set(s.leaf, s);
    this.#commit(s);
  }

  /** @param {Statement} s */
  #commit(s) {
    if (s.kind === 'retention') this.policy = s;
    if (s.kind === 'hold') this.holds.set(s.leaf, s);
    if (s.kind === 'release') this.holds.delete(s.hold);
    if (s.kind === 'acknowledgement' && s.finding === 'gap') this.acknowledged.set(s.entry, s);
    if (s.kind === 'erasure') {
      const policy = this.valid.get(s.retention);
      for (const [leaf, payload] of s.erased) this.erased.set(leaf, { payload, erasure: s, policy });
    }
  }

  /** @param {Report} report @param {Statement} s */
  retention(report, s) {
    if (this.policy && s.policy <= this.policy.policy) {
      report.add('statement-invalid', `policy ${s.policy} comes after policy ${this.policy.policy}`, s.leaf);
    }
  }

  /** @param {Report} report @param {Statement} s */
  appraisal(report, s) {
    const e = this.log.segment(s.segment);
    if (e && e.host !== s.host) report.add('statement-invalid', `${s.segment} is a segment of ${e.host}`, s.leaf);
  }

  /** @param {Report} report @param {Statement} s */
  erasure(report, s) {
    const named = this.valid.get(s.retention);
    if (named?.kind !== 'retention') report.add('entry-missing', `the policy ${s.retention} is not at hand`, s.leaf);
    else if (named !== this.policy) report.add('statement-invalid', `the policy ${named.policy} is not in force`, s.leaf);
    for (const [leaf, payload] of s.erased) {
      const why = this.#keeps(leaf, payload, this.log.bounds(s.leaf).notAfter);
      if (why) report.add('statement-invalid', `segment ${leaf}: ${why}`, s.leaf);
    }
  }

  /** Why a segment's records may not be erased by a time. @param {string} leaf @param {string} payload @param {bigint} by */
  #keeps(leaf, payload, by) {
    const segment = this.log.segment(leaf);
    if (!segment) return undefined;
    if (segment.payload.digest !== payload) return 'it has not this payload';
    if (!this.policy) return undefined;
    const { notBefore, notAfter } = this.log.bounds(leaf);
    const { days } = this.policy;
    if (days === undefined) return 'the policy keeps records forever';
    if (by && notBefore && by < notBefore + days * DAY) return `it is not ${days} ${noun(days, 'day')} old`;
    for (const h of this.holds.values()) {
      // A time that nothing bounds from below is not below 0.
      if ((h.host === '*' || h.host === segment.host) && h.from <= notBefore && notAfter && notAfter <= h.to) return `the hold ${h.leaf} covers it`;
    }
    return undefined;
  }
}

/** @type {Record<string, string>} the kinds that must go with what is before them */
const CHECKS = { retention: 'retention', erasure: 'erasure', appraisal: 'appraisal' };
