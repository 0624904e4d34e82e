// Signed statements: FORMAT.md, section 3. The grammar stands here as there.

import { ED25519, names, parseKey, parseLines } from './note.js';
import { verifyEd25519 } from './signature.js';
import { MAX_EVIDENCE } from './evidence.js';
import { CODES } from './finding.js';
import {
  FormatError, Lines, MAX_PAYLOAD, MAX_STRUCTURE, addendumOf, base64Of, binaryString, oneOf, parseHash, parseHost,
  parseName, parseNumber, parseOrigin, parseText,
} from './text.js';

export const MAX_STATEMENT = 49152; // bytes; FORMAT.md, section 10
const MAX_SIGNATURES = 16;
const MAX_ERASED = 256; // payloads of one erasure

export const GRADES = ['certificate', 'pinned', 'first-use', 'software'];

/**
 * The fields of each kind are those of FORMAT.md, under its names.
 * @typedef {{kind: string, log: string, text: Uint8Array, lines: import('./note.js').Line[], addenda: string[], [field: string]: any}} Statement
 */

/** @param {(s: string) => any} parse */
const orNone = (parse) => (/** @type {string} */ s) => (s === 'none' ? undefined : parse(s));

/** @param {(s: string) => any} first @param {(s: string) => any} second */
const pair = (first, second) => (/** @type {string} */ s) => {
  const [a, b, ...more] = s.split(' ');
  if (b === undefined || more.length) throw new FormatError('want two fields');
  return [first(a), second(b)];
};

/** @param {string} s */
function parseURL(s) {
  if (!/^https?:\/\//.test(parseText(s))) throw new FormatError('want a URL that begins with https:// or http://');
  return s;
}

/** @param {string} s */
function parseDays(s) {
  if (s === 'forever') return undefined;
  const days = parseNumber(s);
  if (days === 0n) throw new FormatError('want forever, or a number of days from 1');
  return days;
}

/** @param {Statement} s */
function checkEnrolment(s) {
  if ((s.previous === undefined) !== (s.sequence === 0n)) throw new FormatError('previous is none if and only if sequence is 0');
  if ((s.ek === undefined) !== (s.grade === 'software')) throw new FormatError('ek is none if and only if the grade is software');
}

/** @param {Statement} s */
function checkErasure(s) {
  if (!s.erased.length || s.erased.length > MAX_ERASED) throw new FormatError(`want 1 to ${MAX_ERASED} lines erased`);
  const leaves = s.erased.map((/** @type {string[]} */ e) => e[0]);
  if (leaves.some((leaf, i) => i > 0 && leaf <= leaves[i - 1])) throw new FormatError('want segments in their order, none twice');
}

/**
 * Of each kind: its fields in order, those that are addenda, those that may stand
 * on many lines, and what its fields owe each other.
 * @type {Record<string, {fields: [string, (s: string) => any][], addenda: string[], many?: string, check?: (s: Statement) => void}>}
 */
export const STATEMENTS = {
  enrolment: {
    fields: [
      ['log', parseOrigin], ['host', parseHost], ['sequence', parseNumber], ['previous', orNone(parseHash)],
      ['ek', orNone(parseName)], ['ak', parseName], ['ak-public', base64Of(MAX_STRUCTURE)], ['grade', oneOf(...GRADES)],
      ['evidence', addendumOf(MAX_EVIDENCE)],
    ],
    addenda: ['evidence'],
    check: checkEnrolment,
  },
  retention: {
    fields: [
      ['log', parseOrigin], ['policy', parseNumber], ['days', parseDays], ['appraisal', oneOf('required', 'none')],
      ['statement', parseText], ['time', parseNumber],
    ],
    addenda: [],
  },
  erasure: {
    fields: [
      ['log', parseOrigin], ['retention', parseHash], ['erased', pair(parseHash, parseHash)], ['reason', parseText],
      ['time', parseNumber],
    ],
    addenda: [],
    many: 'erased',
    check: checkErasure,
  },
  hold: {
    fields: [
      ['log', parseOrigin], ['host', (s) => (s === '*' ? s : parseHost(s))], ['from', parseNumber], ['to', parseNumber],
      ['reason', parseText], ['time', parseNumber],
    ],
    addenda: [],
    check(s) {
      if (s.from > s.to) throw new FormatError('a hold ends before it begins');
    },
  },
  release: {
    fields: [['log', parseOrigin], ['hold', parseHash], ['reason', parseText], ['time', parseNumber]],
    addenda: [],
  },
  appraisal: {
    fields: [
      ['log', parseOrigin], ['host', parseHost], ['segment', parseHash], ['verdict', oneOf('passed', 'failed')],
      ['policy', parseHash], ['report', addendumOf(MAX_PAYLOAD)], ['time', parseNumber],
    ],
    addenda: ['report'],
  },
  acknowledgement: {
    fields: [
      ['log', parseOrigin], ['host', parseHost], ['entry', parseHash], ['finding', oneOf(...Object.keys(CODES))],
      ['statement', parseText], ['time', parseNumber],
    ],
    addenda: [],
  },
  freeze: {
    fields: [
      ['log', parseOrigin], ['successor', (s) => parseKey(s, [1, 6])], ['url', parseURL], ['reason', parseText],
      ['time', parseNumber],
    ],
    addenda: [],
    check(s) {
      if (parseOrigin(s.successor.name) === s.log) throw new FormatError('a log cannot follow itself');
    },
  },
  succession: {
    fields: [
      ['log', parseOrigin], ['predecessor', parseOrigin], ['freeze', parseHash], ['final', pair(parseNumber, parseHash)],
      ['reason', parseText], ['time', parseNumber],
    ],
    addenda: [],
    check(s) {
      if (s.predecessor === s.log) throw new FormatError('a log cannot follow itself');
      if (s.final[0] === 0n) throw new FormatError('a tree that ends in an entry is not empty');
    },
  },
};

/**
 * @param {string} kind @param {Uint8Array} bytes text, empty line and signature lines
 * @returns {Statement}
 */
export function parseStatement(kind, bytes) {
  let end = 0;
  while (end + 1 < bytes.length && !(bytes[end] === 0x0a && bytes[end + 1] === 0x0a)) end++;
  if (end + 1 >= bytes.length) throw new FormatError('want an empty line and signature lines');
  const text = bytes.subarray(0, end + 1);
  const { fields, addenda, many, check } = STATEMENTS[kind];
  const lines = new Lines(binaryString(text));
  lines.take(`imaledger/${kind}/v1`);
  /** @type {any} */
  const s = { kind, text };
  for (const [key, parse] of fields) s[key] = key === many ? lines.all(key, parse) : lines.next(key, parse);
  lines.end();
  check?.(s);
  s.lines = parseLines(bytes.subarray(end + 2));
  if (s.lines.length > MAX_SIGNATURES) throw new FormatError('want at most 16 signature lines');
  const keys = s.lines.map((l) => `${l.name}+${l.id}`);
  if (new Set(keys).size !== keys.length) throw new FormatError('two signature lines are by one key');
  s.addenda = addenda.map((key) => s[key].digest);
  return s;
}

/**
 * The names of those of the keys that have signed, or undefined if a line by one
 * of them fails.
 * @param {Statement} s @param {import('./note.js').Key[]} keys of type Ed25519
 * @returns {Promise<string[] | undefined>}
 */
export async function signedBy(s, keys) {
  const signers = [];
  for (const key of keys) {
    const line = s.lines.find((l) => names(l, key));
    if (!line) continue;
    if (key.type !== ED25519 || !(await verifyEd25519(key.key, s.text, line.signature))) return undefined;
    signers.push(key.name);
  }
  return signers;
}
