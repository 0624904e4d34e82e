// Public areas of attestation and endorsement keys: FORMAT.md, section 12.2.

import { bankOf } from './hash.js';
import { CURVES, integer, onCurve } from './signature.js';
import { FormatError, concat, hex } from './text.js';
import { TPMReader } from './tpm.js';

const MAX_PUBLIC = 1024; // bytes; FORMAT.md, section 10
export const NULL_ALG = 0x0010;
export const ECDSA = 0x0018;
export const RSASSA = 0x0014;
export const RSAPSS = 0x0016;
const SIGNING_HASHES = [0x0b, 0x0c, 0x0d];

/** Bits of objectAttributes that both keys have set, and that neither has. */
const SET = (1 << 1) | (1 << 4) | (1 << 5) | (1 << 16);
const CLEAR = (1 << 11) | (1 << 19);
const DECRYPT = 1 << 17;
const SIGN = 1 << 18;
const RESERVED = ~0x000f0ff6; // all bits but those that TPM 2.0 Part 2, 8.3.2 names

/**
 * @typedef {object} PublicArea
 * @property {'rsa' | 'ec'} kind
 * @property {import('./hash.js').Bank} nameAlg
 * @property {string} name in hex
 * @property {number} scheme NULL_ALG for an EK
 * @property {number} hash of the scheme
 * @property {bigint} n
 * @property {bigint} e
 * @property {import('./signature.js').Curve} curve
 * @property {bigint} x
 * @property {bigint} y
 * @property {number} size bytes of the modulus or of a coordinate
 */

/** The key, whatever stands around it in the public area. @param {PublicArea} k */
export const keyOf = (k) => (k.kind === 'rsa' ? `${k.n}` : `${k.curve.name} ${k.x} ${k.y}`);

/** @param {number} alg */
function hashOf(alg) {
  if (!SIGNING_HASHES.includes(alg)) throw new FormatError('want SHA-256, SHA-384 or SHA-512');
  return /** @type {import('./hash.js').Bank} */ (bankOf(alg));
}

/** @param {TPMReader} r @param {boolean} want whether a cipher is wanted */
function readSymmetric(r, want) {
  const alg = r.u16();
  if (!want && alg === NULL_ALG) return;
  if (!want || alg !== 0x0006) throw new FormatError('want AES for an EK, and no cipher for an AK');
  if (![128, 256].includes(r.u16())) throw new FormatError('want AES of 128 or 256 bits');
  r.want16(0x0043, 'mode of the cipher');
}

/** @param {TPMReader} r @param {boolean} want @param {number[]} schemes */
function readScheme(r, want, schemes) {
  const scheme = r.u16();
  if (!want && scheme === NULL_ALG) return { scheme, hash: NULL_ALG };
  if (!want || !schemes.includes(scheme)) throw new FormatError('want a scheme for an AK, and none for an EK');
  const hash = r.u16();
  hashOf(hash);
  return { scheme, hash };
}

/** @param {TPMReader} r @param {boolean} ak */
function readECC(r, ak) {
  readSymmetric(r, !ak);
  const scheme = readScheme(r, ak, [ECDSA]);
  const curve = { 3: CURVES.P256, 4: CURVES.P384 }[r.u16()];
  if (!curve) throw new FormatError('want P-256 or P-384');
  r.want16(NULL_ALG, 'kdf');
  const coordinates = [r.sized(), r.sized()];
  if (coordinates.some((c) => c.length > curve.size)) throw new FormatError('want coordinates of the size of the curve');
  const [x, y] = coordinates.map(integer);
  if (!onCurve(curve, x, y)) throw new FormatError('the point is not on its curve');
  return { kind: 'ec', ...scheme, curve, x, y, size: curve.size };
}

/** @param {TPMReader} r @param {boolean} ak */
function readRSA(r, ak) {
  readSymmetric(r, !ak);
  const scheme = readScheme(r, ak, [RSASSA, RSAPSS]);
  const bits = r.u16();
  if (![2048, 3072, 4096].includes(bits)) throw new FormatError('want 2,048, 3,072 or 4,096 bits');
  const exponent = r.u32();
  if (exponent && exponent !== 65537) throw new FormatError('want the exponent 65537');
  const modulus = r.sized();
  if (modulus.length * 8 !== bits || modulus[0] < 0x80 || !(modulus[modulus.length - 1] & 1)) throw new FormatError('the modulus has not the size that the key states');
  return { kind: 'rsa', ...scheme, n: integer(modulus), e: 65537n, size: modulus.length };
}

/** A TPMT_PUBLIC. @param {Uint8Array} bytes @param {boolean} ak whether it is to be an AK, else an EK @returns {PublicArea} */
function parsePublic(bytes, ak) {
  if (bytes.length > MAX_PUBLIC) throw new FormatError('want at most 1,024 bytes');
  const r = new TPMReader(bytes);
  const type = r.u16();
  const nameAlg = hashOf(r.u16());
  const attributes = r.u32();
  if ((attributes & SET) !== SET || attributes & CLEAR || attributes & RESERVED ||
      !(attributes & DECRYPT) !== ak || !(attributes & SIGN) === ak) {
    throw new FormatError(`the attributes are not those of an ${ak ? 'AK' : 'EK'}`);
  }
  const authPolicy = r.sized();
  if (authPolicy.length && authPolicy.length !== nameAlg.size) throw new FormatError('want a policy of the size of nameAlg');
  if (type !== 0x0001 && type !== 0x0023) throw new FormatError('want RSA or ECC');
  const key = type === 0x0001 ? readRSA(r, ak) : readECC(r, ak);
  r.end();
  const name = hex(bytes.subarray(2, 4)) + hex(nameAlg.hash(bytes));
  return { ...key, nameAlg, name };
}

/** @param {Uint8Array} bytes */
export const parseAK = (bytes) => parsePublic(bytes, true);
/** @param {Uint8Array} bytes */
export const parseEK = (bytes) => parsePublic(bytes, false);

const ENDORSEMENT = Uint8Array.of(0x40, 0, 0, 0x0b);

/** The name of a primary key of the endorsement hierarchy, qualified, in hex. @param {PublicArea} key */
export function qualifiedName(key) {
  const name = Uint8Array.from(key.name.match(/../g) ?? [], (x) => parseInt(x, 16));
  return key.name.slice(0, 4) + hex(key.nameAlg.hash(concat(ENDORSEMENT, name)));
}
