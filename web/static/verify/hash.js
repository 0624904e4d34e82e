// The banks of a TPM, their hashes, and RFC 6962 hashing. FORMAT.md, section 1.
//
// A list of a million records is some ten million short hashes, so hashing is
// synchronous, and not WebCrypto's.

import { sha1, sha256 } from './sha.js';
import { sha384, sha512, sha3_256, sha3_384, sha3_512 } from './vendor/noble.js';
import { sm3 } from './sm3.js';
import { hex } from './text.js';

export { sha1, sha256, sha384, sha512 };

/** @typedef {{name: string, alg: number, size: number, hash: (b: Uint8Array) => Uint8Array}} Bank */

/** @type {Bank[]} in the order of their TPM_ALG_ID */
export const BANKS = [
  { name: 'sha1', alg: 0x04, size: 20, hash: sha1 },
  { name: 'sha256', alg: 0x0b, size: 32, hash: sha256 },
  { name: 'sha384', alg: 0x0c, size: 48, hash: sha384 },
  { name: 'sha512', alg: 0x0d, size: 64, hash: sha512 },
  { name: 'sm3_256', alg: 0x12, size: 32, hash: sm3 },
  { name: 'sha3_256', alg: 0x27, size: 32, hash: sha3_256 },
  { name: 'sha3_384', alg: 0x28, size: 48, hash: sha3_384 },
  { name: 'sha3_512', alg: 0x29, size: 64, hash: sha3_512 },
];

const byName = new Map(BANKS.map((b) => [b.name, b]));
const byAlg = new Map(BANKS.map((b) => [b.alg, b]));

/** @param {string} name @returns {Bank | undefined} */
export const bankNamed = (name) => byName.get(name);
/** @param {number} alg a TPM_ALG_ID @returns {Bank | undefined} */
export const bankOf = (alg) => byAlg.get(alg);

/** RFC 6962: SHA-256 over 00 and the leaf. @param {Uint8Array} leaf */
export function leafHash(leaf) {
  const b = new Uint8Array(leaf.length + 1);
  b.set(leaf, 1);
  return sha256(b);
}

/** The leaf hash of an entry, in hex. @param {Uint8Array} entry */
export const entryHash = (entry) => hex(leafHash(entry));

/** RFC 6962: SHA-256 over 01 and two nodes. @param {Uint8Array} left @param {Uint8Array} right */
export function nodeHash(left, right) {
  const b = new Uint8Array(65);
  b[0] = 1;
  b.set(left, 1);
  b.set(right, 33);
  return sha256(b);
}
