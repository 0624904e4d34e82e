// Quotes and their signatures: FORMAT.md, section 12.2.

import { bankOf } from './hash.js';
import { ECDSA, RSAPSS, RSASSA } from './key.js';
import { integer, verifyECDSA, verifyPKCS1, verifyPSS } from './signature.js';
import { FormatError } from './text.js';
import { TPMReader } from './tpm.js';

const MAX_ATTEST = 1024; // bytes, and of a signature; FORMAT.md, section 10
const MAX_BANKS = 16;

/**
 * @typedef {object} Quote
 * @property {Uint8Array} attest
 * @property {Uint8Array} signer qualified name
 * @property {Uint8Array} nonce extraData
 * @property {bigint} clock milliseconds
 * @property {number} resetCount
 * @property {number} restartCount
 * @property {{alg: number, pcrs: number[]}[]} selection
 * @property {Uint8Array} digest pcrDigest
 */

/** A TPMS_ATTEST of a quote. @param {Uint8Array} attest @returns {Quote} */
export function parseQuote(attest) {
  if (attest.length > MAX_ATTEST) throw new FormatError('want at most 1,024 bytes');
  const r = new TPMReader(attest);
  if (r.u32() !== 0xff544347) throw new FormatError('the TPM did not make this');
  r.want16(0x8018, 'type');
  const signer = r.sized();
  const nonce = r.sized();
  const clock = r.u64();
  const resetCount = r.u32();
  const restartCount = r.u32();
  if (r.u8() > 1) throw new FormatError('safe is neither 0 nor 1');
  r.u64(); // firmware version
  const n = r.u32();
  if (n < 1 || n > MAX_BANKS) throw new FormatError('want 1 to 16 banks');
  /** @type {Quote['selection']} */
  const selection = [];
  for (let i = 0; i < n; i++) {
    const alg = r.u16();
    if (r.u8() !== 3) throw new FormatError('want a selection of 3 bytes');
    const bits = r.take(3);
    const pcrs = Array.from({ length: 24 }, (_, pcr) => pcr).filter((pcr) => bits[pcr >> 3] & (1 << (pcr & 7)));
    if (!pcrs.length || selection.some((s) => s.alg === alg)) throw new FormatError('a selection is empty, or a bank stands twice');
    selection.push({ alg, pcrs });
  }
  const digest = r.sized();
  r.end();
  return { attest, signer, nonce, clock, resetCount, restartCount, selection, digest };
}

/**
 * A TPMT_SIGNATURE by a key: parts are r and s of ECDSA, or RSA's signature.
 * @param {Uint8Array} bytes @param {import('./key.js').PublicArea} key
 */
export function parseSignature(bytes, key) {
  if (bytes.length > MAX_ATTEST) throw new FormatError('want at most 1,024 bytes');
  const r = new TPMReader(bytes);
  r.want16(key.scheme, 'scheme');
  r.want16(key.hash, 'hash');
  const parts = key.scheme === ECDSA ? [r.sized(), r.sized()] : [r.sized()];
  r.end();
  if (parts.some((p) => !p.length || p.length > key.size) || (key.kind === 'rsa' && parts[0].length !== key.size)) {
    throw new FormatError('the signature has not the size that the key demands');
  }
  return parts;
}

/** @param {import('./key.js').PublicArea} key @param {Uint8Array[]} parts @param {Uint8Array} message */
export async function verifyQuote(key, parts, message) {
  const { name } = /** @type {import('./hash.js').Bank} */ (bankOf(key.hash));
  if (key.scheme === ECDSA) return verifyECDSA(key.curve, key.x, key.y, name, message, integer(parts[0]), integer(parts[1]));
  if (key.scheme === RSASSA) return verifyPKCS1(key.n, key.e, name, message, parts[0]);
  return key.scheme === RSAPSS && verifyPSS(key.n, key.e, name, message, parts[0]);
}
