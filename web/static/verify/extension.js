// Extensions of certificates, as far as a path and an EK need them: RFC 5280,
// section 4.2; TCG EK Credential Profile, section 3.

import { BIT_STRING, BOOLEAN, INTEGER, OCTET_STRING, OID, Reader, SEQUENCE, SET, parseBits, parseBoolean, parseInteger, parseOID } from './der.js';
import { FormatError } from './text.js';

/** @typedef {import('./certificate.js').Certificate} Certificate */

export const ALTERNATIVE_NAME = '2.5.29.17';
export const DIRECTORY_ATTRIBUTES = '2.5.29.9';
const DIRECTORY_NAME = 0xa4;
const OTHER_NAMES = [0x81, 0x82, 0x86, 0x87]; // mail, host, URI, IP
const TPM_NAMES = ['2.23.133.2.1', '2.23.133.2.2', '2.23.133.2.3'];

/** @param {Certificate} _ @param {Reader} r */
const passed = (_, r) => (r.next(), true);

/** @type {Record<string, (c: Certificate, r: Reader) => boolean>} whether an extension is understood */
const EXTENSIONS = {
  '2.5.29.19'(c, r) {
    const b = r.enter(SEQUENCE);
    if (b.has(BOOLEAN)) c.ca = parseBoolean(b.next(BOOLEAN).content);
    if (b.has(INTEGER)) c.pathLength = parseInteger(b.next(INTEGER).content);
    b.end();
    return true;
  },
  '2.5.29.15'(c, r) {
    const { bytes } = parseBits(r.next(BIT_STRING).content);
    c.usage = 0;
    for (let i = 0; i < 9; i++) if ((bytes[i >> 3] ?? 0) & (0x80 >> (i & 7))) c.usage |= 1 << i;
    return true;
  },
  '2.5.29.37'(c, r) {
    const list = r.enter(SEQUENCE);
    c.extended = [];
    while (!list.empty) c.extended.push(parseOID(list.next(OID).content));
    return true;
  },
  [ALTERNATIVE_NAME](c, r) {
    const names = r.enter(SEQUENCE);
    const list = [];
    while (!names.empty) list.push(names.next());
    c.namesTPM = list.length === 1 && list[0].tag === DIRECTORY_NAME && namesTPM(list[0].content);
    return list.some((n) => OTHER_NAMES.includes(n.tag));
  },
  // What tells of issuers and policies, and rules no path out.
  '2.5.29.14': passed,
  '2.5.29.31': passed,
  '2.5.29.32': passed,
  '2.5.29.35': passed,
  '1.3.6.1.5.5.7.1.1': passed,
};

/** Whether a directory name has a TPM's manufacturer, model and version. @param {Uint8Array} der */
function namesTPM(der) {
  const outer = new Reader(der);
  const name = outer.enter(SEQUENCE);
  outer.end();
  const have = new Set();
  while (!name.empty) {
    const set = name.enter(SET);
    while (!set.empty) have.add(parseOID(set.enter(SEQUENCE).next(OID).content));
  }
  return TPM_NAMES.every((oid) => have.has(oid));
}

/** @param {Certificate} c @param {Reader} list */
export function readExtensions(c, list) {
  const seen = new Set();
  while (!list.empty) {
    const e = list.enter(SEQUENCE);
    const oid = parseOID(e.next(OID).content);
    const critical = e.has(BOOLEAN) && parseBoolean(e.next(BOOLEAN).content);
    const value = new Reader(e.next(OCTET_STRING).content);
    e.end();
    if (seen.has(oid)) throw new FormatError('an extension stands twice');
    seen.add(oid);
    const known = Object.hasOwn(EXTENSIONS, oid);
    const understood = known && EXTENSIONS[oid](c, value);
    if (known) value.end();
    if (critical && !understood) c.unknown.push(oid);
  }
}
