// Entries of the log: a text and its trailer. FORMAT.md, section 1.

import { entryHash } from './hash.js';
import { MAX_SEGMENT, parseSegment } from './segment.js';
import { MAX_STATEMENT, STATEMENTS, parseStatement } from './statement.js';
import { FormatError, concat, equal, parseHex } from './text.js';

/**
 * The one trailer of a text: the raw digests of its addenda, the offset of each in
 * the entry, their number.
 * @param {number} offset bytes before the trailer @param {string[]} digests in hex
 */
export function trailer(offset, digests) {
  const offsets = new DataView(new ArrayBuffer(4 * digests.length));
  digests.forEach((_, i) => offsets.setUint32(4 * i, offset + 32 * i));
  return concat(...digests.map(parseHex), new Uint8Array(offsets.buffer), Uint8Array.of(digests.length));
}

/**
 * @typedef {import('./segment.js').Segment | import('./statement.js').Statement} Body
 * @typedef {Body & {leaf: string}} Entry with its leaf hash, in hex
 */

/** @param {Uint8Array} bytes */
function kindOf(bytes) {
  const lf = bytes.subarray(0, 64).indexOf(0x0a);
  const m = /^imaledger\/([a-z]+)\/v1$/.exec(String.fromCharCode(...bytes.subarray(0, Math.max(lf, 0))));
  if (!m || (m[1] !== 'segment' && !Object.hasOwn(STATEMENTS, m[1]))) throw new FormatError('no entry begins like this', 1);
  return m[1];
}

/** Parses an entry, or throws a FormatError. @param {Uint8Array} bytes @returns {Entry} */
export function parseEntry(bytes) {
  const kind = kindOf(bytes);
  const limit = kind === 'segment' ? MAX_SEGMENT : MAX_STATEMENT;
  if (bytes.length > limit) throw new FormatError(`want at most ${limit} bytes`);
  const addenda = kind === 'segment' ? 2 : STATEMENTS[kind].addenda.length;
  const end = bytes.length - (36 * addenda + 1);
  if (end < 0) throw new FormatError('the trailer is cut short');
  const head = bytes.subarray(0, end);
  const body = kind === 'segment' ? parseSegment(head) : parseStatement(kind, head);
  if (!equal(bytes.subarray(end), trailer(end, body.addenda))) throw new FormatError('the trailer is not that of the text');
  return { ...body, leaf: entryHash(bytes) };
}
