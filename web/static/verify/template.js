// The fields of template data: FORMAT.md, sections 12.1 and 12.3.

import { BANKS } from './hash.js';
import { isLegacy } from './list.js';
import { extendable } from './pcr.js';
import { binaryString, equal } from './text.js';

/** @type {Record<string, string>} */
const TEMPLATES = {
  'ima-ng': 'd-ng|n-ng',
  'ima-sig': 'd-ng|n-ng|sig',
  'ima-ngv2': 'd-ngv2|n-ng',
  'ima-sigv2': 'd-ngv2|n-ng|sig',
  'ima-buf': 'd-ng|n-ng|buf',
  'ima-modsig': 'd-ng|n-ng|sig|d-modsig|modsig',
  'evm-sig': 'd-ng|n-ng|evmsig|xattrnames|xattrlengths|xattrvalues|iuid|igid|imode',
};
const MAX_FIELDS = 15; // that a format of its own may name

/** A digest with its algorithm: each word ends in a colon. @param {Uint8Array} v @param {number} words */
function digest(v, words) {
  if (!v.length) return {};
  const zero = v.indexOf(0);
  const parts = binaryString(v.subarray(0, Math.max(zero, 0))).split(':');
  if (zero < 0 || parts.length !== words + 1 || parts[words] !== '' || parts[words - 1] === '') return undefined;
  return { alg: parts[words - 1], digest: v.subarray(zero + 1) };
}

/** A string with one NUL, at its end. @param {Uint8Array} v */
const string = (v) => (v.indexOf(0) === v.length - 1 ? { path: binaryString(v.subarray(0, -1)) } : undefined);
const opaque = () => ({});
/** Nothing, or so many bytes. @param {number} size */
const sized = (size) => (/** @type {Uint8Array} */ v) => (v.length && v.length !== size ? undefined : {});

/** @typedef {{alg?: string, digest?: Uint8Array, path?: string, buffer?: boolean}} Fields */

/** What a field says, undefined where it has not its form. @type {Record<string, (v: Uint8Array) => Fields | undefined>} */
const FIELDS = {
  d: (v) => ({ 0: {}, 16: { alg: 'md5', digest: v }, 20: { alg: 'sha1', digest: v } })[v.length],
  n: string,
  'd-ng': (v) => digest(v, 1),
  'd-ngv2': (v) => digest(v, 2),
  'n-ng': string,
  sig: opaque,
  buf: (v) => ({ buffer: v.length > 0 }),
  'd-modsig': (v) => digest(v, 1) && {},
  modsig: opaque,
  evmsig: opaque,
  iuid: sized(4),
  igid: sized(4),
  imode: sized(2),
  xattrnames: opaque,
  xattrlengths: opaque,
  xattrvalues: opaque,
};

/** Whether there is a length for each name, and the values have those lengths. @param {Map<string, Uint8Array>} raw @param {boolean} littleEndian */
function xattrsFit(raw, littleEndian) {
  const names = binaryString(raw.get('xattrnames') ?? new Uint8Array(0)).replace(/\0$/, '');
  if (!names) return true;
  const lengths = raw.get('xattrlengths') ?? new Uint8Array(0);
  const view = new DataView(lengths.buffer, lengths.byteOffset, lengths.length);
  let sum = 0;
  for (let at = 0; at + 4 <= lengths.length; at += 4) sum += view.getUint32(at, littleEndian);
  return lengths.length === 4 * names.split('|').length && sum === (raw.get('xattrvalues')?.length ?? 0);
}

/** The fields that a template's name stands for, undefined if it is none of the kernel's. @param {Uint8Array} template */
export function namesOf(template) {
  const name = binaryString(template);
  const list = (Object.hasOwn(TEMPLATES, name) ? TEMPLATES[name] : name).split('|');
  return list.length <= MAX_FIELDS && list.every((f) => Object.hasOwn(FIELDS, f)) ? list : undefined;
}

/** Data as a row of fields, undefined where it is none. @param {Uint8Array} data @param {boolean} littleEndian */
export function valuesOf(data, littleEndian) {
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  const list = [];
  for (let at = 0; at < data.length; ) {
    const end = at + 4 > data.length ? Infinity : at + 4 + view.getUint32(at, littleEndian);
    if (end > data.length || list.length === MAX_FIELDS) return undefined;
    list.push(data.subarray(at + 4, end));
    at = end;
  }
  return list;
}

/**
 * What a record's data says, undefined where it has not the fields that its
 * template's name stands for.
 * @param {import('./list.js').Record} r @param {boolean} littleEndian
 * @returns {Fields | undefined}
 */
function fieldsOf(r, littleEndian) {
  if (isLegacy(r.name)) return { alg: 'sha1', digest: r.data.subarray(0, 20), path: binaryString(r.data.subarray(24)) };
  const names = namesOf(r.name);
  const values = valuesOf(r.data, littleEndian);
  if (!names || values?.length !== names.length) return undefined;
  const raw = new Map(names.map((name, i) => [name, values[i]]));
  /** @type {Fields} */
  const fields = {};
  for (const [i, name] of names.entries()) {
    const said = FIELDS[name](values[i]);
    if (!said) return undefined;
    Object.assign(fields, said);
  }
  return xattrsFit(raw, littleEndian) ? fields : undefined;
}

/** Banks by the kernel's names of their algorithms. */
const KERNEL = new Map(BANKS.map((b) => [b.name.replace('sm3_256', 'sm3').replace('sha3_', 'sha3-'), b]));

/** @typedef {{bank: import('./hash.js').Bank, digest: Uint8Array}} Aggregate */

/**
 * The digest of a record that is boot_aggregate, or undefined. What no register
 * binds is none, nor is a buffer of that name, which any process can have measured.
 * @param {import('./list.js').Record} r @param {boolean} littleEndian
 * @returns {Aggregate | undefined}
 */
export function bootAggregate(r, littleEndian) {
  if (r.violation || !extendable(r.pcr)) return undefined;
  const f = fieldsOf(r, littleEndian);
  if (!f || f.buffer || (f.path !== 'boot_aggregate' && f.path !== 'boot_aggregate_late')) return undefined;
  const bank = KERNEL.get(f.alg ?? '');
  return bank && f.digest?.length === bank.size ? { bank, digest: f.digest } : undefined;
}

/**
 * Whether a boot_aggregate is that of the quoted values; undefined where they are
 * not all quoted.
 * @param {Aggregate} a @param {Map<string, import('./pcr.js').PCR>} quoted
 */
export function checkAggregate({ bank, digest }, quoted) {
  const count = bank.name === 'sha1' ? 8 : 10;
  const values = Array.from({ length: count }, (_, pcr) => quoted.get(`${bank.name}:${pcr}`)?.value);
  if (values.includes(undefined)) return undefined;
  const all = new Uint8Array(count * bank.size);
  values.forEach((v, i) => all.set(/** @type {Uint8Array} */ (v), i * bank.size));
  return equal(bank.hash(all), digest);
}
