// Checkpoints and receipts against a policy: FORMAT.md, section 8.1 step 3.

import { parseCheckpoint } from '../checkpoint.js';
import { verifyLine } from '../cosignature.js';
import { rootFromPath } from '../merkle.js';
import { ED25519, names } from '../note.js';
import { parseProof } from '../proof.js';
import { FormatError, equal, noun, parseHex } from '../text.js';

/**
 * @typedef {object} Verified a checkpoint that a log of the policy signed and the quorum has cosigned
 * @property {import('../checkpoint.js').Checkpoint} checkpoint
 * @property {string[]} unknown names of the keys of lines that the policy does not name
 * @property {bigint} notBefore Unix seconds, 0n where there is no bound
 * @property {bigint} notAfter
 *
 * @typedef {Verified & {index: bigint, path: Uint8Array[]}} Receipt
 */

/** A check failed: code says which. */
export class CheckError extends Error {
  /** @param {string} code @param {string} text */
  constructor(code, text) {
    super(text);
    this.code = code;
  }
}

/** Parses, or throws a CheckError with the code. @template T @param {string} code @param {() => T} parse @returns {T} */
export function parsed(code, parse) {
  try {
    return parse();
  } catch (e) {
    if (e instanceof FormatError) throw new CheckError(code, e.message);
    throw e;
  }
}

/**
 * @param {import('../policy.js').Policy} policy @param {Uint8Array} bytes a signed checkpoint
 * @returns {Promise<Verified>}
 */
export async function verifyCheckpoint(policy, bytes) {
  const c = parsed('checkpoint-malformed', () => parseCheckpoint(bytes));
  if (!policy.logs.some((k) => k.name === c.origin)) throw new CheckError('checkpoint-unknown-log', `the policy names no log ${c.origin}`);
  let signed = false;
  let whole = false; // whether the log has signed all lines of the text
  /** @type {import('../policy.js').Cosignature[]} */
  const cosignatures = [];
  const unknown = [];
  let bad = '';
  for (const line of c.lines) {
    const log = policy.logs.find((k) => names(line, k));
    const witness = [...policy.witnesses.values()].find((w) => names(line, w.key));
    if (log) {
      if (!(await verifyLine(c, log, line.signature)).ok) {
        throw new CheckError('checkpoint-signature', `the line by the log's key ${log.name} does not verify`);
      }
      // What one log says of another counts for nothing.
      signed ||= log.name === c.origin;
      whole ||= log.name === c.origin && log.type === ED25519;
    }
    if (witness) {
      const { ok, time } = await verifyLine(c, witness.key, line.signature);
      if (ok) cosignatures.push({ witness, time });
      else bad ||= witness.key.name;
    }
    if (!log && !witness) unknown.push(line.name);
  }
  if (!signed) throw new CheckError('checkpoint-signature', `no line is by a key of the log ${c.origin}`);
  if (c.extensions.length && !whole) throw new CheckError('checkpoint-signature', 'it has extension lines, which an ML-DSA-44 signature does not cover');
  if (bad) throw new CheckError('cosignature-invalid', `the line by the witness ${bad} does not verify`);
  if (!policy.meets(new Set(cosignatures.map((s) => s.witness.name)))) {
    throw new CheckError('quorum-not-met', `the quorum ${policy.quorum} is not met by ${cosignatures.length} ${noun(cosignatures.length, 'cosignature')}`);
  }
  return { checkpoint: c, unknown, notBefore: policy.notBefore(cosignatures), notAfter: policy.notAfter(cosignatures) };
}

/**
 * Verifies a proof. One of a bundle has no extra data, since nothing vouches for it.
 * @param {import('../policy.js').Policy} policy @param {string} leaf hash @param {Uint8Array} bytes a tlog-proof
 * @param {boolean} [extra] whether extra data is let pass
 * @returns {Promise<Receipt>}
 */
export async function verifyReceipt(policy, leaf, bytes, extra = false) {
  const proof = parsed('proof-malformed', () => parseProof(bytes));
  if (proof.extra && !extra) {
    parsed('checkpoint-malformed', () => parseCheckpoint(proof.checkpoint)); // its form comes first
    throw new CheckError('proof-malformed', 'the proof has extra data, for which nothing vouches');
  }
  const verified = await verifyCheckpoint(policy, proof.checkpoint);
  const root = rootFromPath(proof.index, verified.checkpoint.size, parseHex(leaf), proof.path);
  if (!root || !equal(root, verified.checkpoint.root)) {
    throw new CheckError('proof-inclusion', `the path does not lead from the entry at ${proof.index} to the root of ${verified.checkpoint.size}`);
  }
  return { ...verified, index: proof.index, path: proof.path };
}
