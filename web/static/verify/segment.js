// The leaf of a segment: FORMAT.md, section 2.

import { hex } from './text.js';
import { sha256 } from './hash.js';
import { byRegister, parseBank, parsePCR, register, sorted } from './pcr.js';
import {
  FormatError, Lines, MAX_PAYLOAD, MAX_STRUCTURE, addendumOf, base64Of, binaryString, oneOf, parseHash, parseHost,
  parseName, parseNumber, parseOrigin,
} from './text.js';

export const MAX_SEGMENT = 16384; // bytes of a leaf; FORMAT.md, section 10
const FORMAT = 'imaledger/segment/v1';
const REASONS = ['kexec-lost', 'trimmed', 'resumed', 'tpm-clear', 'first-seen', 'state-lost', 'extended', 'unknown'];

/**
 * @typedef {import('./hash.js').Bank} Bank
 * @typedef {import('./pcr.js').PCR} PCR
 * @typedef {'digest' | 'padded' | 'padded-ff'} Style
 * @typedef {object} Segment
 * @property {'segment'} kind
 * @property {string} log
 * @property {string} host
 * @property {string} ak
 * @property {bigint} sequence
 * @property {string} previous leaf hash
 * @property {{size: bigint, root: string, digest: string}} anchor
 * @property {string} nonce SHA-256 of the head, in hex
 * @property {'continues' | 'boot' | 'gap'} join
 * @property {string} reason of a gap
 * @property {bigint} first
 * @property {bigint} count
 * @property {{bank: Bank, littleEndian: boolean}} list
 * @property {{bank: Bank, style: Style}[]} styles
 * @property {{size: bigint, digest: string}} payload
 * @property {string} records root over the records
 * @property {PCR[]} base
 * @property {PCR[]} end
 * @property {PCR[]} other
 * @property {Uint8Array} quote TPMS_ATTEST
 * @property {Uint8Array} signature TPMT_SIGNATURE
 * @property {string[]} addenda digests that the trailer has
 */

/** @param {string} s */
function parseAnchor(s) {
  const fields = s.split(' ');
  if (fields.length !== 3) throw new FormatError('want a size and two hashes');
  return { size: parseNumber(fields[0]), root: parseHash(fields[1]), digest: parseHash(fields[2]) };
}

/** @param {string} s @returns {{join: any, reason: string}} */
function parseJoin(s) {
  if (s === 'continues' || s === 'boot') return { join: s, reason: '' };
  if (!s.startsWith('gap ')) throw new FormatError('want continues, boot, or gap and a reason');
  return { join: 'gap', reason: oneOf(...REASONS)(s.slice(4)) };
}

/** @param {string} s */
function parseList(s) {
  const m = /^(\S+) (le|be)$/.exec(s);
  if (!m) throw new FormatError('want a bank, and le or be');
  return { bank: parseBank(m[1]), littleEndian: m[2] === 'le' };
}

/** @param {string} s @returns {{bank: Bank, style: any}} */
function parseStyle(s) {
  const m = /^(\S+) (digest|padded|padded-ff)$/.exec(s);
  if (!m) throw new FormatError('want a bank, and digest, padded or padded-ff');
  const bank = parseBank(m[1]);
  if (bank.name === 'sha1' && m[2] !== 'digest') throw new FormatError('the style of sha1 is digest');
  return { bank, style: m[2] };
}

/** The banks of a list of registers, in its order. @param {PCR[]} list */
export const banksOf = (list) => [...new Set(list.map((r) => r.bank))];

/** @param {Segment} s */
function checkRegisters(s) {
  if (!s.base.length) throw new FormatError('want a line base');
  if (![s.base, s.end, s.other].every(sorted)) throw new FormatError('want registers in their order, none twice');
  if (s.base.map(register).join() !== s.end.map(register).join()) throw new FormatError('base and end want the same registers');
  const covered = byRegister(s.end);
  if (s.other.some((r) => covered.has(register(r)))) throw new FormatError('a register stands in end and in other');
  if (banksOf(s.base).join() !== s.styles.map((x) => x.bank).join() ||
      banksOf(s.base).some((b, i) => b !== s.styles[i].bank)) {
    throw new FormatError('want a style for each bank of base, in their order');
  }
}

/** @param {Uint8Array} bytes the text @returns {Segment} */
export function parseSegment(bytes) {
  const lines = new Lines(binaryString(bytes));
  lines.take(FORMAT);
  /** @type {any} */
  const s = { kind: 'segment' };
  s.log = lines.next('log', parseOrigin);
  s.host = lines.next('host', parseHost);
  s.ak = lines.next('ak', parseName);
  s.sequence = lines.next('sequence', parseNumber);
  if (s.sequence === 0n) throw new FormatError('a segment has a sequence from 1', 5);
  s.previous = lines.next('previous', parseHash);
  s.anchor = lines.next('anchor', parseAnchor);
  const head = lines.lines.slice(0, lines.at).reduce((n, line) => n + line.length + 1, 0);
  s.nonce = hex(sha256(bytes.subarray(0, head)));
  Object.assign(s, lines.next('join', parseJoin));
  s.first = lines.next('first', parseNumber);
  s.count = lines.next('count', parseNumber);
  s.list = lines.next('list', parseList);
  s.styles = lines.all('style', parseStyle);
  s.payload = lines.next('payload', addendumOf(MAX_PAYLOAD));
  s.records = lines.next('records', parseHash);
  s.base = lines.all('base', parsePCR);
  s.end = lines.all('end', parsePCR);
  s.other = lines.all('other', parsePCR);
  s.quote = lines.next('quote', base64Of(MAX_STRUCTURE));
  s.signature = lines.next('signature', base64Of(MAX_STRUCTURE));
  lines.end();
  checkRegisters(s);
  s.addenda = [s.payload.digest, s.anchor.digest];
  return s;
}
