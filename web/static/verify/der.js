// A strict reader of DER, as much as certificates need. X.690.

import { FormatError } from './text.js';

export const SEQUENCE = 0x30;
export const SET = 0x31;
export const INTEGER = 0x02;
export const BOOLEAN = 0x01;
export const BIT_STRING = 0x03;
export const OCTET_STRING = 0x04;
export const OID = 0x06;
export const UTC_TIME = 0x17;
export const GENERALIZED_TIME = 0x18;

/** Elements of DER, one after the other. */
export class Reader {
  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }

  get empty() {
    return this.at === this.bytes.length;
  }

  /** @param {number} tag */
  has(tag) {
    return !this.empty && this.bytes[this.at] === tag;
  }

  /**
   * The next element, which must have this tag.
   * @param {number} [tag]
   * @returns {{tag: number, content: Uint8Array, raw: Uint8Array}}
   */
  next(tag) {
    const { bytes, at } = this;
    if (at + 2 > bytes.length || (tag !== undefined && bytes[at] !== tag) || (bytes[at] & 0x1f) === 0x1f) {
      throw new FormatError('malformed DER');
    }
    let length = bytes[at + 1];
    let start = at + 2;
    if (length & 0x80) {
      const n = length & 0x7f;
      if (n < 1 || n > 3 || start + n > bytes.length) throw new FormatError('malformed DER');
      length = bytes.subarray(start, start + n).reduce((sum, b) => sum * 256 + b, 0);
      if (length < 0x80 || length < 256 ** (n - 1)) throw new FormatError('malformed DER');
      start += n;
    }
    if (start + length > bytes.length) throw new FormatError('malformed DER');
    this.at = start + length;
    return { tag: bytes[at], content: bytes.subarray(start, this.at), raw: bytes.subarray(at, this.at) };
  }

  /** A reader of the content of the next element. @param {number} tag */
  enter(tag) {
    return new Reader(this.next(tag).content);
  }

  end() {
    if (!this.empty) throw new FormatError('malformed DER');
  }
}

/** @param {Uint8Array} b content of an INTEGER @returns {bigint} */
export function parseInteger(b) {
  if (!b.length || (b.length > 1 && ((b[0] === 0 && b[1] < 0x80) || (b[0] === 0xff && b[1] >= 0x80)))) {
    throw new FormatError('malformed DER');
  }
  let n = b[0] & 0x80 ? -1n : 0n;
  for (const x of b) n = (n << 8n) | BigInt(x);
  return n;
}

/** @param {Uint8Array} b content of an OBJECT IDENTIFIER */
export function parseOID(b) {
  /** @type {bigint[]} */
  const arcs = [];
  let n = 0n;
  b.forEach((x, i) => {
    if (n === 0n && x === 0x80 && (i === 0 || b[i - 1] < 0x80)) throw new FormatError('malformed DER');
    n = (n << 7n) | BigInt(x & 0x7f);
    if (x & 0x80) return;
    arcs.push(n);
    n = 0n;
  });
  if (!b.length || b[b.length - 1] & 0x80) throw new FormatError('malformed DER');
  const first = arcs[0] < 40n ? 0n : arcs[0] < 80n ? 1n : 2n;
  return [first, arcs[0] - 40n * first, ...arcs.slice(1)].join('.');
}

/** @param {Uint8Array} b content of a BIT STRING @returns {{bytes: Uint8Array, unused: number}} */
export function parseBits(b) {
  if (!b.length || b[0] > 7 || (b.length === 1 && b[0]) || b[b.length - 1] & ((1 << b[0]) - 1)) {
    throw new FormatError('malformed DER');
  }
  return { bytes: b.subarray(1), unused: b[0] };
}

/** @param {Uint8Array} b content of a BOOLEAN */
export function parseBoolean(b) {
  if (b.length !== 1 || (b[0] !== 0 && b[0] !== 0xff)) throw new FormatError('malformed DER');
  return b[0] === 0xff;
}

/** A Time. @param {{tag: number, content: Uint8Array}} element @returns {bigint} Unix seconds */
export function parseTime({ tag, content }) {
  let s = String.fromCharCode(...content);
  if (tag === UTC_TIME && /^\d{12}Z$/.test(s)) s = (s < '5' ? '20' : '19') + s;
  else if (tag !== GENERALIZED_TIME || !/^\d{14}Z$/.test(s)) throw new FormatError('malformed time');
  const [y, mo, d, h, mi, se] = [s.slice(0, 4), ...(s.slice(4).match(/\d\d/g) ?? [])].map(Number);
  const date = new Date(0);
  date.setUTCFullYear(y, mo - 1, d);
  date.setUTCHours(h, mi, se);
  if (date.getUTCMonth() !== mo - 1 || date.getUTCDate() !== d || h > 23 || mi > 59 || se > 59) throw new FormatError('malformed time');
  return BigInt(date.getTime()) / 1000n;
}
