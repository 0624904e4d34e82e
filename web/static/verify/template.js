// The fields of template data, as far as boot_aggregate needs them: FORMAT.md,
// sections 12.1 and 12.3.

import { BANKS } from './hash.js';
import { isLegacy } from './list.js';
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

/** The kernel's names of algorithms. @type {Record<string, string>} */
const KERNEL = { sm3: 'sm3_256', 'sha3-256': 'sha3_256', 'sha3-384': 'sha3_384', 'sha3-512': 'sha3_512' };

/**
 * The fields of a record's data, or undefined where it has not those that its
 * template's name stands for.
 * @param {import('./list.js').Record} r @param {boolean} littleEndian
 * @returns {Map<string, Uint8Array> | undefined}
 */
function fieldsOf(r, littleEndian) {
  const name = binaryString(r.name);
  const list = TEMPLATES[name] ?? (name.includes('|') ? name : undefined);
  if (list === undefined) return undefined;
  const view = new DataView(r.data.buffer, r.data.byteOffset, r.data.length);
  const fields = new Map();
  let at = 0;
  for (const field of list.split('|')) {
    if (at + 4 > r.data.length) return undefined;
    const length = view.getUint32(at, littleEndian);
    at += 4;
    if (at + length > r.data.length) return undefined;
    fields.set(field, r.data.subarray(at, at + length));
    at += length;
  }
  return at === r.data.length ? fields : undefined;
}

/** d-ng or d-ngv2: [type ':'] algorithm ':' 00 digest. @param {Map<string, Uint8Array>} fields */
function digestOf(fields) {
  const field = fields.get('d-ng') ?? fields.get('d-ngv2');
  if (!field) return undefined;
  const zero = field.indexOf(0);
  const m = /^(?:[a-z]+:)?([a-z0-9-]+):$/.exec(binaryString(field.subarray(0, Math.max(zero, 0))));
  return m ? { alg: m[1], digest: field.subarray(zero + 1) } : undefined;
}

/**
 * The digest of a record that is boot_aggregate, or undefined.
 * @param {import('./list.js').Record} r @param {boolean} littleEndian
 * @returns {{alg: string, digest: Uint8Array} | undefined} alg by the kernel's name
 */
export function bootAggregate(r, littleEndian) {
  if (isLegacy(r.name)) return isBoot(r.data.subarray(24)) ? { alg: 'sha1', digest: r.data.subarray(0, 20) } : undefined;
  const fields = fieldsOf(r, littleEndian);
  const name = fields?.get('n-ng');
  if (!fields || !name?.length || name[name.length - 1] !== 0 || !isBoot(name.subarray(0, -1))) return undefined;
  return digestOf(fields);
}

/** @param {Uint8Array} name */
const isBoot = (name) => ['boot_aggregate', 'boot_aggregate_late'].includes(binaryString(name));

/**
 * Whether a boot_aggregate is that of the quoted values; undefined where they are
 * not all quoted.
 * @param {{alg: string, digest: Uint8Array}} a @param {Map<string, import('./pcr.js').PCR>} quoted
 */
export function checkAggregate({ alg, digest }, quoted) {
  const bank = BANKS.find((b) => b.name === (KERNEL[alg] ?? alg));
  if (!bank) return undefined;
  const count = bank.name === 'sha1' ? 8 : 10;
  const values = Array.from({ length: count }, (_, pcr) => quoted.get(`${bank.name}:${pcr}`)?.value);
  if (values.includes(undefined)) return undefined;
  const all = new Uint8Array(count * bank.size);
  values.forEach((v, i) => all.set(/** @type {Uint8Array} */ (v), i * bank.size));
  return equal(bank.hash(all), digest);
}
