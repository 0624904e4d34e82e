// Quotes and their signatures: FORMAT.md, section 12.2.

import { bankOf } from './hash.js';
import { ECDSA, RSAPSS, RSASSA } from './key.js';
import { integer, verifyECDSA, verifyPKCS1, verifyPSS } from './signature.js';
import { FormatError } from './text.js';
import { TPMReader } from './tpm.js';

const MAX_ATTEST = 1024; // bytes, and of a signature; FORMAT.md, section 10
const MAX_BANKS = 16;
const MAX_HASHED = 66; // bytes of an algorithm and its digest

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
  if (signer.length > MAX_HASHED || nonce.length > MAX_HASHED) throw new FormatError('want at most 66 bytes of a name and of a nonce');
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
  if (digest.length > 64) throw new FormatError('want a digest of at most 64 bytes');
  r.end();
  return { attest, signer, nonce, clock, resetCount, restartCount, selection, digest };
}

/**
 * A TPMT_SIGNATURE: parts are r and s of ECDSA, or RSA's signature.
 * @param {Uint8Array} bytes
 */
export function parseSignature(bytes) {
  if (bytes.length > MAX_ATTEST) throw new FormatError('want at most 1,024 bytes');
  const r = new TPMReader(bytes);
  const scheme = r.u16();
  if (![ECDSA, RSASSA, RSAPSS].includes(scheme)) throw new FormatError('want ECDSA, RSASSA or RSAPSS');
  const hash = r.u16();
  const parts = scheme === ECDSA ? [r.sized(), r.sized()] : [r.sized()];
  r.end();
  if (parts.some((p) => p.length > (scheme === ECDSA ? 48 : 512))) throw new FormatError('the signature is longer than any key makes');
  return { scheme, hash, parts };
}

/**
 * Whether the key made a signature, in the scheme of its public area.
 * @param {import('./key.js').PublicArea} key @param {ReturnType<typeof parseSignature>} signature @param {Uint8Array} message
 */
export async function verifyQuote(key, { scheme, hash, parts }, message) {
  if (scheme !== key.scheme || hash !== key.hash) return false;
  const { name } = /** @type {import('./hash.js').Bank} */ (bankOf(key.hash));
  if (scheme === ECDSA) {
    return parts.every((p) => p.length <= key.size) && verifyECDSA(key.curve, key.x, key.y, name, message, integer(parts[0]), integer(parts[1]));
  }
  const verify = scheme === RSASSA ? verifyPKCS1 : verifyPSS;
  return verify(key.n, key.e, name, message, parts[0]);
}
