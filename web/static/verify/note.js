// Signed notes and their keys: c2sp.org/signed-note.

import { sha256 } from './hash.js';
import { FormatError, bytesOf, concat, equal, hex, parseBase64 } from './text.js';

export const ED25519 = 0x01;
export const COSIGNATURE = 0x04;
export const MLDSA44 = 0x06;

/** @type {Record<number, number>} size of the public key by type */
const KEY_SIZE = { [ED25519]: 32, [COSIGNATURE]: 32, [MLDSA44]: 1312 };

const MAX_NAME = 255; // bytes
/** What Unicode calls a space, or a control character. */
const SPACE = /[\p{Cc} \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/u;

const encoder = new TextEncoder();

/** @typedef {{name: string, id: string, type: number, key: Uint8Array, vkey: string}} Key id is the key ID in hex */
/** @typedef {{name: string, id: string, signature: Uint8Array}} Line a signature line */

/** @param {string} name */
export function validKeyName(name) {
  return name !== '' && !SPACE.test(name) && !name.includes('+') && encoder.encode(name).length <= MAX_NAME;
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** @param {Uint8Array} b */
export function utf8(b) {
  try {
    return decoder.decode(b);
  } catch {
    throw new FormatError('want UTF-8');
  }
}

/**
 * A verifier key: name+key ID+base64(type ‖ public key).
 * @param {string} vkey @param {number[]} types that are allowed
 * @returns {Key}
 */
export function parseKey(vkey, types) {
  const first = vkey.indexOf('+');
  const second = vkey.indexOf('+', first + 1);
  if (first < 0 || second < 0) throw new FormatError('want a verifier key: name, key ID and key, with + between');
  const name = vkey.slice(0, first);
  const id = vkey.slice(first + 1, second);
  if (!validKeyName(name)) throw new FormatError('want a key name with no space');
  const body = parseBase64(vkey.slice(second + 1));
  const type = body[0];
  if (!types.includes(type)) throw new FormatError(`a key of type 0x${hex(body.subarray(0, 1))} cannot sign this`);
  if (body.length !== 1 + KEY_SIZE[type]) throw new FormatError('the public key has not the size of its type');
  const sum = sha256(concat(encoder.encode(name + '\n'), body));
  if (id !== hex(sum.subarray(0, 4))) throw new FormatError('the key ID is not that of this name and key');
  return { name, id, type, key: body.subarray(1), vkey };
}

const DASH = '\u2014 ';
const MAX_LINES = 100; // FORMAT.md, section 10

/**
 * Signature lines, the last one's LF included.
 * @param {Uint8Array} bytes
 * @returns {Line[]}
 */
export function parseLines(bytes) {
  const text = utf8(bytes);
  if (!text.endsWith('\n')) throw new FormatError('want signature lines that end in LF');
  const lines = text.slice(0, -1).split('\n');
  if (lines.length > MAX_LINES) throw new FormatError('want at most 100 signature lines');
  return lines.map((line) => {
    const [name, base64, ...more] = line.slice(DASH.length).split(' ');
    if (!line.startsWith(DASH) || base64 === undefined || more.length || !validKeyName(name)) {
      throw new FormatError('want signature lines: em dash, key name, base64');
    }
    const b = parseBase64(base64);
    if (b.length < 5) throw new FormatError('want a key ID of four bytes and a signature');
    return { name, id: hex(b.subarray(0, 4)), signature: b.subarray(4) };
  });
}

/**
 * A note's text, with its final LF, and its signature lines.
 * @param {Uint8Array} note
 * @returns {{text: Uint8Array, lines: Line[]}}
 */
export function parseNote(note) {
  if (note.some((b) => (b < 0x20 && b !== 0x0a) || b === 0x7f)) throw new FormatError('want no control character');
  let split = -1;
  for (let i = note.length - 2; i >= 0 && split < 0; i--) if (note[i] === 0x0a && note[i + 1] === 0x0a) split = i;
  if (split < 0) throw new FormatError('want a text, an empty line and signature lines');
  utf8(note.subarray(0, split));
  return { text: note.subarray(0, split + 1), lines: parseLines(note.subarray(split + 2)) };
}

/** Whether a line names a key. @param {Line} line @param {Key} key */
export const names = (line, key) => line.name === key.name && line.id === key.id;

/** Whether two keys have one public key, whatever they are called. @param {Key} a @param {Key} b */
export const samePublicKey = (a, b) => equal(a.key, b.key);

/** @param {string} s a binary string @returns {string} as UTF-8 */
export const textOf = (s) => utf8(bytesOf(s));
