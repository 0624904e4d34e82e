// What a check gives as it goes: its steps, and what each found.

import { CONTRADICTED, classOf, verdict } from '../finding.js';

/**
 * @typedef {import('../finding.js').Finding} Finding
 * @typedef {object} Step one check that was made
 * @property {string} step of FORMAT.md, section 8: '8.2.4'
 * @property {string} subject
 * @property {string} what was checked, in words
 * @property {Finding[]} findings empty if the check passed
 */

/** What findings and steps call an entry. @param {import('../entry.js').Entry} e */
export const subjectOf = (e) => ('sequence' in e ? `${e.host} ${e.sequence}` : `${e.kind} ${e.leaf.slice(0, 12)}`);

export class Report {
  /** @param {(step: Step) => void} [onStep] called after each check, with what it found */
  constructor(onStep) {
    /** @type {Finding[]} */
    this.findings = [];
    this.onStep = onStep;
    /** @type {Step | undefined} */
    this.current = undefined;
  }

  /** Begins a check, which ends where the next begins. @param {string} step @param {string} subject @param {string} what */
  check(step, subject, what) {
    this.done();
    this.current = { step, subject, what, findings: [] };
  }

  /** Ends the check that was begun. */
  done() {
    if (this.current) this.onStep?.(this.current);
    this.current = undefined;
  }

  /** @param {string} code @param {string} text @param {string} [entry] leaf hash @param {string} [subject] if it is not the check's */
  add(code, text, entry, subject = this.current?.subject ?? '') {
    const finding = { code, subject, text, ...(entry && { entry }) };
    this.findings.push(finding);
    this.current?.findings.push(finding);
  }

  /** Whether a contradiction was found since there were so many findings. @param {number} since */
  contradicted(since) {
    return this.findings.slice(since).some((f) => classOf(f) === CONTRADICTED);
  }

  verdict() {
    return verdict(this.findings);
  }
}
