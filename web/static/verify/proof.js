// Proofs of inclusion: c2sp.org/tlog-proof.

import { FormatError, base64Of, binaryString, parseBase64, parseNumber } from './text.js';

export const MAX_PROOF = 1 << 20; // bytes; FORMAT.md, section 10
const MAX_PATH = 63; // hashes: the height of a tree of 2^63 leaves
const MAX_EXTRA = 65536; // bytes

/**
 * A proof in the form it has before its checkpoint, and the checkpoint's bytes.
 * @param {Uint8Array} bytes
 * @returns {{extra: Uint8Array | undefined, index: bigint, path: Uint8Array[], checkpoint: Uint8Array}}
 */
export function parseProof(bytes) {
  if (bytes.length > MAX_PROOF) throw new FormatError('want a proof of at most 2^20 bytes');
  let end = 0;
  while (end + 1 < bytes.length && !(bytes[end] === 0x0a && bytes[end + 1] === 0x0a)) end++;
  if (end + 1 >= bytes.length) throw new FormatError('want an empty line before the checkpoint');
  const lines = binaryString(bytes.subarray(0, end)).split('\n');
  if (lines.shift() !== 'c2sp.org/tlog-proof@v1') throw new FormatError('want c2sp.org/tlog-proof@v1', 1);
  const extra = lines[0]?.startsWith('extra ') ? base64Of(MAX_EXTRA)(/** @type {string} */ (lines.shift()).slice(6)) : undefined;
  const index = lines.shift();
  if (!index?.startsWith('index ')) throw new FormatError('want the index');
  if (lines.length > MAX_PATH) throw new FormatError('want at most 63 hashes');
  const path = lines.map((line) => {
    const hash = parseBase64(line);
    if (hash.length !== 32) throw new FormatError('want hashes of 32 bytes');
    return hash;
  });
  return { extra, index: parseNumber(index.slice(6)), path, checkpoint: bytes.subarray(end + 2) };
}
