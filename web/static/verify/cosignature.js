// Signatures on checkpoints, by logs and by witnesses: c2sp.org/tlog-cosignature.

import { COSIGNATURE, ED25519, MLDSA44 } from './note.js';
import { verifyEd25519, verifyMLDSA44 } from './signature.js';
import { MAX_NUMBER, bytesOf, concat } from './text.js';

/** @param {bigint} n */
function uint64(n) {
  const b = new Uint8Array(8);
  new DataView(b.buffer).setBigUint64(0, n);
  return b;
}

/** A string with its length before it, one byte. @param {string} s */
function opaque(s) {
  const b = new TextEncoder().encode(s);
  return concat(Uint8Array.of(b.length), b);
}

/**
 * Verifies a line by a key on a checkpoint. The time is in Unix seconds, and 0n
 * where the signature states none.
 * @param {import('./checkpoint.js').Checkpoint} c @param {import('./note.js').Key} key @param {Uint8Array} signature
 * @returns {Promise<{ok: boolean, time: bigint}>}
 */
export async function verifyLine(c, key, signature) {
  const no = { ok: false, time: 0n };
  if (key.type === ED25519) return { ok: await verifyEd25519(key.key, c.text, signature), time: 0n };
  if (signature.length < 8) return no;
  const time = new DataView(signature.buffer, signature.byteOffset).getBigUint64(0);
  if (time > MAX_NUMBER) return no;
  const rest = signature.subarray(8);
  if (key.type === COSIGNATURE) {
    const message = concat(bytesOf(`cosignature/v1\ntime ${time}\n`), c.text);
    return { ok: await verifyEd25519(key.key, message, rest), time };
  }
  if (key.type !== MLDSA44) return no;
  const message = concat(
    bytesOf('subtree/v1\n\0'), opaque(key.name), uint64(time), opaque(c.origin), uint64(0n), uint64(c.size), c.root);
  return { ok: verifyMLDSA44(key.key, message, rest), time };
}
