// Measurement lists: FORMAT.md, section 12.1.

import { FormatError } from './text.js';

const MAX_NAME = 255; // bytes of a template's name; FORMAT.md, section 10
const MAX_DATA = 1 << 24; // bytes of template data
const MAX_PCR = 63; // what a rule of the kernel's policy can name

/**
 * @typedef {object} Record
 * @property {Uint8Array} raw
 * @property {number} pcr
 * @property {Uint8Array} digest as stored
 * @property {boolean} violation
 * @property {Uint8Array} name of the template
 * @property {Uint8Array} data as it stands in the list
 *
 * @typedef {{bank: import('./hash.js').Bank, littleEndian: boolean}} Format
 */

/** @param {Uint8Array} b */
const zero = (b) => b.every((x) => x === 0);

/** Whether the template is the legacy one, which has its own form. @param {Uint8Array} name */
export const isLegacy = (name) => name.length === 3 && name[0] === 0x69 && name[1] === 0x6d && name[2] === 0x61;

/** Reads records from bytes that come in pieces. */
export class ListReader {
  /** @param {Format} format */
  constructor(format) {
    this.format = format;
    this.rest = new Uint8Array(0);
  }

  /**
   * Adds a piece, and gives the records that are whole by now.
   * @param {Uint8Array} piece
   * @returns {Generator<Record>}
   */
  *add(piece) {
    let b = piece;
    if (this.rest.length) {
      b = new Uint8Array(this.rest.length + piece.length);
      b.set(this.rest);
      b.set(piece, this.rest.length);
    }
    let at = 0;
    for (let r = this.#record(b, at); r; r = this.#record(b, at)) {
      at += r.raw.length;
      yield r;
    }
    this.rest = b.slice(at);
  }

  end() {
    if (this.rest.length) throw new FormatError('the list ends within a record');
  }

  /**
   * The record at a place, undefined where it is not whole.
   * @param {Uint8Array} b @param {number} start
   * @returns {Record | undefined}
   */
  #record(b, start) {
    const { bank, littleEndian } = this.format;
    const view = new DataView(b.buffer, b.byteOffset, b.length);
    let at = start;
    /** Room for n bytes more. @param {number} n */
    const room = (n) => at + n <= b.length;
    const u32 = () => view.getUint32((at += 4) - 4, littleEndian);
    /** @param {number} n */
    const take = (n) => b.subarray(at, (at += n));

    if (!room(4 + bank.size + 4)) return undefined;
    const pcr = u32();
    if (pcr > MAX_PCR) throw new FormatError(`want a PCR of 0 to 63, not ${pcr}`);
    const digest = take(bank.size);
    const nameLength = u32();
    if (nameLength > MAX_NAME) throw new FormatError('want a template name of at most 255 bytes');
    if (!room(nameLength)) return undefined;
    const name = take(nameLength);
    const from = at;
    let data;
    if (isLegacy(name)) {
      if (!room(24)) return undefined;
      at += 20;
      const length = u32();
      if (length > MAX_NAME) throw new FormatError('want a file name of at most 255 bytes');
      if (!room(length)) return undefined;
      if (take(length).includes(0)) throw new FormatError('want no zero byte in a file name of template ima');
      data = b.subarray(from, at);
    } else {
      if (!room(4)) return undefined;
      const length = u32();
      if (length > MAX_DATA) throw new FormatError('want template data of at most 2^24 bytes');
      if (!room(length)) return undefined;
      data = take(length);
    }
    return { raw: b.subarray(start, at), pcr, digest, violation: zero(digest), name, data };
  }
}

/** The one record that bytes are. @param {Uint8Array} raw @param {Format} format */
export function parseRecord(raw, format) {
  const reader = new ListReader(format);
  const records = [...reader.add(raw)];
  reader.end();
  if (records.length !== 1) throw new FormatError('want one record');
  return records[0];
}

/** What is hashed of a record. @param {Record} r */
export function hashed(r) {
  if (!isLegacy(r.name)) return r.data;
  const d = new Uint8Array(276);
  d.set(r.data.subarray(0, 20));
  d.set(r.data.subarray(24), 20);
  return d;
}
