// The chains of a bundle's hosts: FORMAT.md, section 8.1 steps 4, 6 and 7, and
// what of 8.2 and 8.3 goes from one entry to the next.

import { chunks } from '../bundle.js';
import { Chains } from './chain.js';
import { checkEnrolment } from './enrolment.js';
import { factsOf } from './facts.js';
import { checkRecords } from './records.js';
import { subjectOf } from './report.js';
import { checkQuote } from './segment.js';

/** @typedef {import('../entry.js').Entry} Entry */

/** A host has a chain in each log. @param {Entry} e */
const chainOf = (e) => `${e.log} ${e.host}`;

export class Hosts {
  /**
   * @param {object} context
   * @param {import('./report.js').Report} context.report
   * @param {import('../trust.js').Trust} context.trust
   * @param {import('../bundle.js').Source} context.source
   * @param {Map<string, import('../bundle.js').File>} context.files
   * @param {(name: string) => Promise<Uint8Array | undefined>} context.read
   * @param {Map<string, Entry>} context.entries
   * @param {import('./place.js').Places} context.places
   * @param {import('./statement.js').Statements} context.statements
   * @param {import('./bundle.js').Listener} context.listener
   */
  constructor({ report, trust, source, files, read, entries, places, statements, listener }) {
    Object.assign(this, { report, trust, source, files, read, entries, places, statements, listener });
    this.chains = new Chains();
    /** @type {import('./facts.js').Facts[]} */
    this.segments = [];
    /** Which entry has each place of each chain. @type {Map<string, string>} leaf hashes by log, host and sequence */
    this.sequences = new Map();
  }

  /** Steps 4 and 6. */
  async check() {
    const chains = new Set([...this.entries.values()].filter((e) => 'sequence' in e).map(chainOf));
    for (const chain of [...chains].sort()) {
      let last = -1n;
      const entries = this.places.ordered(this.entries.values(), (e) => 'sequence' in e && chainOf(e) === chain, (e) => e.sequence);
      for (const e of entries) {
        this.sequences.set(`${chain} ${e.sequence}`, e.leaf);
        if (!(await this.checkHostEntry(e))) continue;
        const index = this.places.receipts.get(e.leaf)?.index;
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
    const host = chains.host(chainOf(e));
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
    const facts = factsOf(s, quote, host, counts, this.places.receipts.get(s.leaf), this.places.anchors.get(s.leaf));
    if (!counts) facts.erased = this.erasureOf(s);
    facts.replayed &&= !report.contradicted(since);
    if (inChain) host.join({ segment: s, quote, notBefore: facts.notBefore, ek: host.enrolment.ek });
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
}
