// Registers, and lists of them: FORMAT.md, section 1.

import { bankNamed } from './hash.js';
import { FormatError, parseHex } from './text.js';

/** @typedef {{bank: import('./hash.js').Bank, index: number, value: Uint8Array}} PCR a register and its value */

export const DEFAULT_PCR = 10;

/** Whether a kernel at locality 0 can extend it. @param {number} pcr */
export const extendable = (pcr) => pcr <= 16 || pcr === 23;

/** A register as texts name it. @param {{bank: {name: string}, index: number}} r */
export const register = (r) => `${r.bank.name}:${r.index}`;

/** @param {string} s @returns {import('./hash.js').Bank} */
export function parseBank(s) {
  const bank = bankNamed(s);
  if (!bank) throw new FormatError(`no bank is called ${s}`);
  return bank;
}

/** @param {string} s @returns {PCR} */
export function parsePCR(s) {
  const m = /^([a-z0-9_]+):(0|[1-9]|1[0-9]|2[0-3]) ([0-9a-f]+)$/.exec(s);
  if (!m) throw new FormatError('want bank:index, index 0 to 23, and a value in hex');
  const bank = parseBank(m[1]);
  const value = parseHex(m[3]);
  if (value.length !== bank.size) throw new FormatError(`want a value of ${bank.size} bytes`);
  return { bank, index: Number(m[2]), value };
}

/** By the bank's TPM_ALG_ID, then by index. @param {PCR} a @param {PCR} b */
export const order = (a, b) => a.bank.alg - b.bank.alg || a.index - b.index;

/** Whether a list has its one order. @param {PCR[]} list */
export const sorted = (list) => list.every((r, i) => i === 0 || order(list[i - 1], r) < 0);

/** @param {PCR[]} list @returns {Map<string, PCR>} by register */
export const byRegister = (list) => new Map(list.map((r) => [register(r), r]));
