// Signatures: Ed25519 and ECDSA by WebCrypto, ML-DSA-44 by noble, RSA here.
//
// Node 18 has WebCrypto's Ed25519, yet no global crypto. A browser gives WebCrypto
// to pages from https and from this machine only, so a page from anywhere else
// cannot verify, and says so. WebCrypto's RSA-PSS wants the length of the salt,
// which a TPM does not tell, and not each implementation takes every exponent, so
// RSA's public operation is done here.

import { ml_dsa44 } from './vendor/noble.js';
import { bankNamed } from './hash.js';
import { concat, equal, parseHex } from './text.js';

const crypto = globalThis.crypto ?? (await import('node:crypto')).webcrypto;

function subtle() {
  if (!crypto?.subtle) throw new Error('this page cannot check signatures: open it by https, or from localhost');
  return crypto.subtle;
}

/** @param {Uint8Array} key 32 bytes @param {Uint8Array} message @param {Uint8Array} signature */
export async function verifyEd25519(key, message, signature) {
  if (signature.length !== 64) return false;
  const api = subtle();
  try {
    const k = await api.importKey('raw', key, { name: 'Ed25519' }, false, ['verify']);
    return await api.verify({ name: 'Ed25519' }, k, signature, message);
  } catch (e) {
    if (/** @type {Error} */ (e).name === 'NotSupportedError') throw new Error('this browser has no Ed25519: use a newer one');
    return false; // the key is no point of the curve
  }
}

/** @param {Uint8Array} key 1,312 bytes @param {Uint8Array} message @param {Uint8Array} signature */
export function verifyMLDSA44(key, message, signature) {
  return signature.length === 2420 && key.length === 1312 && ml_dsa44.verify(signature, message, key);
}

/** The curves: WebCrypto's name, size of a coordinate, and y² = x³ - 3x + b mod p with base point of order n. */
export const CURVES = {
  P256: {
    name: 'P-256', size: 32,
    p: 0xffffffff00000001000000000000000000000000ffffffffffffffffffffffffn,
    b: 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn,
  },
  P384: {
    name: 'P-384', size: 48,
    p: 0xfffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffffffn,
    b: 0xb3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875ac656398d8a2ed19d2a85c8edd3ec2aefn,
  },
  P521: {
    name: 'P-521', size: 66,
    p: 2n ** 521n - 1n,
    b: 0x51953eb9618e1c9a1f929a21a0b68540eea2da725b99b315f3b8b489918ef109e156193951ec7e937b1652c0bd3bb1bf073573df883d2c34f1ef451fd46b503f00n,
  },
};

/** @typedef {{name: string, size: number, p: bigint, b: bigint}} Curve */

/** A big-endian integer. @param {Uint8Array} b */
export function integer(b) {
  let s = '0x0';
  for (const x of b) s += x.toString(16).padStart(2, '0');
  return BigInt(s);
}

/** An integer in so many bytes, big-endian. @param {bigint} n @param {number} size */
export const integerBytes = (n, size) => parseHex(n.toString(16).padStart(2 * size, '0'));

/** Whether x and y are coordinates of a point of the curve. @param {Curve} curve @param {bigint} x @param {bigint} y */
export function onCurve({ p, b }, x, y) {
  return x < p && y < p && (y * y - (x * x * x - 3n * x + b)) % p === 0n;
}

/**
 * @param {Curve} curve @param {bigint} x @param {bigint} y of the public key
 * @param {string} hash a bank's name @param {Uint8Array} message @param {bigint} r @param {bigint} s
 */
export async function verifyECDSA(curve, x, y, hash, message, r, s) {
  const limit = 1n << BigInt(8 * curve.size);
  if (r <= 0n || s <= 0n || r >= limit || s >= limit || !onCurve(curve, x, y)) return false;
  const point = concat(Uint8Array.of(4), integerBytes(x, curve.size), integerBytes(y, curve.size));
  const api = subtle();
  const key = await api.importKey('raw', point, { name: 'ECDSA', namedCurve: curve.name }, false, ['verify']);
  const signature = concat(integerBytes(r, curve.size), integerBytes(s, curve.size));
  return api.verify({ name: 'ECDSA', hash: { name: hash.replace('sha', 'SHA-') } }, key, signature, message);
}

/** @param {bigint} base @param {bigint} exponent @param {bigint} modulus */
function power(base, exponent, modulus) {
  let result = 1n;
  for (; exponent; exponent >>= 1n) {
    if (exponent & 1n) result = (result * base) % modulus;
    base = (base * base) % modulus;
  }
  return result;
}

/** DER of DigestInfo before the digest. RFC 8017, section 9.2. @type {Record<string, string>} */
const DIGEST_INFO = {
  sha256: '3031300d060960864801650304020105000420',
  sha384: '3041300d060960864801650304020205000430',
  sha512: '3051300d060960864801650304020305000440',
};

/** What RSA's public operation gives, in so many bytes, or undefined. */
function recover(/** @type {bigint} */ n, /** @type {bigint} */ e, /** @type {Uint8Array} */ signature, /** @type {number} */ size) {
  const s = integer(signature);
  const length = (n.toString(2).length + 7) >> 3;
  if (signature.length !== length || s >= n) return undefined;
  const m = power(s, e, n);
  return m < 1n << BigInt(8 * size) ? integerBytes(m, size) : undefined;
}

/**
 * RSASSA-PKCS1-v1_5, RFC 8017 section 8.2.2.
 * @param {bigint} n @param {bigint} e @param {string} hash @param {Uint8Array} message @param {Uint8Array} signature
 */
export function verifyPKCS1(n, e, hash, message, signature) {
  const digest = /** @type {import('./hash.js').Bank} */ (bankNamed(hash)).hash(message);
  const suffix = concat(Uint8Array.of(0), parseHex(DIGEST_INFO[hash]), digest);
  const size = signature.length;
  const em = recover(n, e, signature, size);
  if (!em || size < suffix.length + 10) return false;
  const want = new Uint8Array(size).fill(0xff);
  want.set([0, 1]);
  want.set(suffix, size - suffix.length);
  return equal(em, want);
}

/**
 * RSASSA-PSS with MGF1 by the same hash and a salt of any length, or of the one
 * given, RFC 8017 section 9.1.2.
 * @param {bigint} n @param {bigint} e @param {string} hash @param {Uint8Array} message @param {Uint8Array} signature
 * @param {number} [saltLength]
 */
export function verifyPSS(n, e, hash, message, signature, saltLength) {
  const h = /** @type {import('./hash.js').Bank} */ (bankNamed(hash));
  const bits = n.toString(2).length - 1;
  const size = (bits + 7) >> 3;
  const em = recover(n, e, signature, size);
  if (!em || size < h.size + 2 || em[size - 1] !== 0xbc) return false;
  const db = em.slice(0, size - h.size - 1);
  const digest = em.subarray(db.length, size - 1);
  const free = 8 * size - bits;
  if (db[0] >> (8 - free)) return false;
  for (let i = 0, at = 0; at < db.length; i++) {
    const mask = h.hash(concat(digest, integerBytes(BigInt(i), 4)));
    for (let j = 0; j < mask.length && at < db.length; j++, at++) db[at] ^= mask[j];
  }
  db[0] &= 0xff >> free;
  const one = db.findIndex((x) => x !== 0);
  if (one < 0 || db[one] !== 1) return false;
  const salt = db.subarray(one + 1);
  if (saltLength !== undefined && salt.length !== saltLength) return false;
  return equal(digest, h.hash(concat(new Uint8Array(8), h.hash(message), salt)));
}
