// Checkpoints: c2sp.org/tlog-checkpoint.

import { sha256 } from './hash.js';
import { parseNote, utf8 } from './note.js';
import { FormatError, equal, parseBase64, parseNumber } from './text.js';

/** Bytes of a checkpoint that is anchored to. FORMAT.md, section 10. */
export const MAX_CHECKPOINT = 1 << 20;

/**
 * @typedef {{origin: string, size: bigint, root: Uint8Array, extensions: string[], text: Uint8Array, lines: import('./note.js').Line[]}} Checkpoint
 */

/** @param {Uint8Array} bytes @returns {Checkpoint} */
export function parseCheckpoint(bytes) {
  if (bytes.length > MAX_CHECKPOINT) throw new FormatError('want a checkpoint of at most 2^20 bytes');
  const { text, lines } = parseNote(bytes);
  const [origin, size, root, ...extensions] = utf8(text).slice(0, -1).split('\n');
  if (!origin || size === undefined || root === undefined || extensions.includes('')) {
    throw new FormatError('want an origin, a size, a root, and no empty line');
  }
  const hash = parseBase64(root);
  if (hash.length !== 32) throw new FormatError('want a root of 32 bytes');
  if (parseNumber(size) === 0n && !equal(hash, sha256(new Uint8Array(0)))) throw new FormatError('the root is not that of the empty tree');
  return { origin, size: parseNumber(size), root: hash, extensions, text, lines };
}

