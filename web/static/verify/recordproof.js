// Record proofs: FORMAT.md, section 5.

import { parseBank } from './pcr.js';
import { FormatError, Lines, base64Of, binaryString, parseHash, parseHex, parseNumber } from './text.js';

const MAX_SEALED = 1n << 22n; // records; FORMAT.md, section 10
const MAX_RECORD = 17 << 20; // bytes
const MAX_PATH = 63; // hashes

/**
 * @typedef {object} RecordProof
 * @property {string} leaf of the segment
 * @property {bigint} index in the segment
 * @property {Uint8Array} record
 * @property {Uint8Array[]} path short form
 * @property {import('./hash.js').Bank[]} banks sealed form; empty in the short form
 * @property {bigint} count sealed form: number of records sealed
 * @property {Uint8Array} sealed
 */

/** Where the sealed bytes begin, or the end. @param {Uint8Array} bytes */
function sealedAt(bytes) {
  const key = [...'\nsealed '].map((c) => c.charCodeAt(0));
  for (let i = bytes.indexOf(0x0a); i >= 0; i = bytes.indexOf(0x0a, i + 1)) {
    if (key.every((c, j) => bytes[i + j] === c)) {
      const end = bytes.indexOf(0x0a, i + 1);
      return end < 0 ? bytes.length : end + 1;
    }
  }
  return bytes.length;
}

/** @param {Uint8Array} bytes @returns {RecordProof} */
export function parseRecordProof(bytes) {
  const at = sealedAt(bytes);
  const lines = new Lines(binaryString(bytes.subarray(0, at)));
  lines.take('imaledger/record/v1');
  const leaf = lines.next('leaf', parseHash);
  const index = lines.next('index', parseNumber);
  const record = lines.next('record', base64Of(MAX_RECORD));
  const path = lines.all('path', (s) => parseHex(parseHash(s)));
  if (path.length > MAX_PATH) throw new FormatError('want at most 63 hashes');
  const banks = path.length ? [] : lines.all('bank', parseBank);
  let count = 0n;
  if (banks.length) {
    if (banks.some((b, i) => i > 0 && b.alg <= banks[i - 1].alg)) throw new FormatError('want banks in their order, none twice');
    count = lines.next('sealed', parseNumber);
    if (count > MAX_SEALED) throw new FormatError('want at most 2^22 sealed records');
  }
  lines.end();
  const sealed = bytes.subarray(at);
  const size = banks.reduce((n, b) => n + b.size, 1);
  if (BigInt(sealed.length) !== count * BigInt(size)) throw new FormatError('the sealed records have not the size that their number demands');
  return { leaf, index, record, path, banks, count, sealed };
}
