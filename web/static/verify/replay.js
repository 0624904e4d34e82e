// Replay of records onto register values: FORMAT.md, section 2 and 12.1.

import { sha1 } from './hash.js';
import { hashed } from './list.js';
import { register } from './pcr.js';
import { concat } from './text.js';

/**
 * What a record extends a bank with.
 * @param {import('./list.js').Record} r @param {import('./hash.js').Bank} bank @param {import('./segment.js').Style} style
 */
export function extension(r, bank, style) {
  const out = new Uint8Array(bank.size);
  if (r.violation) return out.fill(0xff, 0, style === 'padded' ? 20 : bank.size);
  return dataDigest(r, bank, style);
}

/** The digest of a record's data, whatever is stored. @param {import('./list.js').Record} r @param {import('./hash.js').Bank} bank @param {string} style */
export function dataDigest(r, bank, style) {
  if (style === 'digest') return bank.hash(hashed(r));
  const out = new Uint8Array(bank.size);
  out.set(sha1(hashed(r)));
  return out;
}

export class Replayer {
  /** @param {import('./pcr.js').PCR[]} base */
  constructor(base) {
    /** @type {Map<string, Uint8Array>} */
    this.values = new Map(base.map((r) => [register(r), r.value]));
  }

  /** TPM2_PCR_Extend, of a register that is replayed. @param {import('./hash.js').Bank} bank @param {number} pcr @param {Uint8Array} digest */
  extend(bank, pcr, digest) {
    const key = `${bank.name}:${pcr}`;
    const old = this.values.get(key);
    if (old) this.values.set(key, bank.hash(concat(old, digest)));
  }

  /** The registers of a list whose values are not the replayed ones. @param {import('./pcr.js').PCR[]} end */
  differing(end) {
    return end.filter((r) => {
      const value = this.values.get(register(r));
      return !value || value.some((x, i) => x !== r.value[i]);
    });
  }
}
