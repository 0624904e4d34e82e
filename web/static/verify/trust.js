// The trust folder: FORMAT.md, section 7. What a verifier believes beforehand.

import { parseCertificate } from './certificate.js';
import { ED25519, parseKey, samePublicKey } from './note.js';
import { parsePolicy } from './policy.js';
import { GRADES } from './statement.js';
import { FormatError, binaryString, oneOf, parseBase64, parseNumber, parseText } from './text.js';

const MAX_RULES = 65536; // bytes
const MAX_ROOTS = 1 << 20; // bytes of all together
const MAX_KEYS = 64; // of registrars, and of operators
const MAX_WITNESSES = 256;
const MAX_MAX_AGE = 100n * 366n * 24n * 60n * 60n; // seconds: what is longer is a mistake in the unit
const SOFTWARE = 'software because ';

/**
 * @typedef {object} Rules
 * @property {import('./note.js').Key[]} registrars
 * @property {number} threshold registrars that must have signed an enrolment
 * @property {import('./note.js').Key[]} operators
 * @property {string[]} grades accepted
 * @property {string} reason why grade software is accepted
 * @property {boolean} allowSHA1
 * @property {Map<string, string>} witnessedBy who runs a witness, by its name in the policy
 * @property {number} independent operators who must stand behind a checkpoint, 0 if that is not asked
 * @property {bigint} maxAge seconds, 0n for any
 *
 * @typedef {object} Trust
 * @property {import('./policy.js').Policy} policy
 * @property {Rules} rules
 * @property {import('./certificate.js').Certificate[]} roots of TPM vendors
 */

/** @param {Rules} r @param {string} vkey */
function addKey(r, vkey) {
  const key = parseKey(vkey, [ED25519]);
  if (Math.max(r.registrars.length, r.operators.length) >= MAX_KEYS) throw new FormatError('want at most 64 keys of a kind');
  for (const k of [...r.registrars, ...r.operators]) {
    if (k.name === key.name) throw new FormatError('this key name is named twice');
    if (samePublicKey(k, key)) throw new FormatError('this public key is named twice');
  }
  return key;
}

/** @type {Record<string, (r: Rules, value: string) => void>} */
const LINES = {
  registrar: (r, value) => r.registrars.push(addKey(r, value)),
  operator: (r, value) => r.operators.push(addKey(r, value)),
  registrars(r, value) {
    if (r.threshold) throw new FormatError('registrars stands twice');
    if (!/^[1-9][0-9]{0,8}$/.test(value)) throw new FormatError('want a number from 1');
    r.threshold = Number(value);
  },
  grade(r, value) {
    const software = value.startsWith(SOFTWARE);
    const grade = software ? 'software' : oneOf(...GRADES.slice(0, 3))(value);
    if (r.grades.includes(grade)) throw new FormatError('this grade stands twice');
    if (software) r.reason = parseText(value.slice(SOFTWARE.length));
    r.grades.push(grade);
  },
  allow(r, value) {
    oneOf('sha1')(value);
    if (r.allowSHA1) throw new FormatError('this line stands twice');
    r.allowSHA1 = true;
  },
  witness(r, value) {
    const by = value.indexOf(' by ');
    const name = value.slice(0, by);
    if (by < 1 || name.includes(' ')) throw new FormatError('want witness <name> by <operator>');
    const operator = parseText(value.slice(by + 4));
    if (r.witnessedBy.has(name)) throw new FormatError('this witness stands twice');
    if (r.witnessedBy.size === MAX_WITNESSES) throw new FormatError('want at most 256 witnesses');
    r.witnessedBy.set(name, operator);
  },
  independent(r, value) {
    if (r.independent) throw new FormatError('independent stands twice');
    const n = parseNumber(value);
    if (!n) throw new FormatError('want a number from 1');
    r.independent = Number(n < 257n ? n : 257n);
  },
  'max-age'(r, value) {
    if (r.maxAge) throw new FormatError('max-age stands twice');
    r.maxAge = parseNumber(value);
    if (!r.maxAge || r.maxAge > MAX_MAX_AGE) throw new FormatError('want seconds from 1, and not more than a hundred years');
  },
};

/** @param {Uint8Array} bytes @returns {Rules} */
export function parseRules(bytes) {
  if (bytes.length > MAX_RULES) throw new FormatError('want rules of at most 65,536 bytes');
  /** @type {Rules} */
  const r = { registrars: [], threshold: 0, operators: [], grades: [], reason: '', allowSHA1: false, witnessedBy: new Map(), independent: 0, maxAge: 0n };
  const lines = binaryString(bytes).split('\n');
  if (lines.pop() !== '') throw new FormatError('want lines that end in LF', lines.length + 1);
  lines.forEach((line, i) => {
    if (i === 0) {
      if (line !== 'imaledger/trust/v1') throw new FormatError('want imaledger/trust/v1', 1);
      return;
    }
    if (/[^\x20-\x7e]/.test(line)) throw new FormatError('want printable ASCII', i + 1);
    if (line === '' || line.startsWith('#')) return;
    const space = line.indexOf(' ');
    const key = line.slice(0, space);
    if (space < 0 || !Object.hasOwn(LINES, key)) throw new FormatError('want registrar, registrars, operator, grade, allow, witness, independent or max-age', i + 1);
    try {
      LINES[key](r, line.slice(space + 1));
    } catch (e) {
      if (e instanceof FormatError) throw new FormatError(e.message, i + 1);
      throw e;
    }
  });
  if (!r.threshold || r.threshold > r.registrars.length) throw new FormatError('want registrars, and a number of them that there are');
  if (!r.grades.length) throw new FormatError('want a line grade');
  return r;
}

/** Certificates in PEM. @param {Uint8Array} bytes */
export function parsePEM(bytes) {
  const text = binaryString(bytes);
  const blocks = [...text.matchAll(/-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----/g)];
  if (!blocks.length) throw new FormatError('want certificates in PEM');
  return blocks.map((b) => parseCertificate(parseBase64(b[1].replace(/\s/g, ''))));
}

/**
 * @param {Uint8Array} policy @param {Uint8Array} rules @param {Uint8Array[]} roots PEM
 * @returns {Trust}
 */
export function parseTrust(policy, rules, roots) {
  if (roots.reduce((n, r) => n + r.length, 0) > MAX_ROOTS) throw new FormatError('want roots of at most 2^20 bytes together');
  const trust = { policy: parsePolicy(policy), rules: parseRules(rules), roots: roots.flatMap(parsePEM) };
  const { witnessedBy, independent, maxAge } = trust.rules;
  trust.policy.demand(witnessedBy, independent);
  if (maxAge && trust.policy.quorum === 'none') throw new FormatError('max-age: the policy demands no witness, so that no time is known');
  return trust;
}
