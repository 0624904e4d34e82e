// Certificates of endorsement keys, and the path from one to a vendor's root:
// FORMAT.md, section 8.3 step 6; RFC 5280.

import { BIT_STRING, INTEGER, OID, Reader, SEQUENCE, parseBits, parseInteger, parseOID, parseTime } from './der.js';
import { ALTERNATIVE_NAME, DIRECTORY_ATTRIBUTES, readExtensions } from './extension.js';
import { CURVES, integer, onCurve, verifyECDSA, verifyEd25519, verifyPKCS1, verifyPSS } from './signature.js';
import { FormatError, equal } from './text.js';

/** @typedef {import('./signature.js').Curve} Curve */
/**
 * @typedef {{kind: 'rsa', n: bigint, e: bigint} | {kind: 'ec', curve: Curve, x: bigint, y: bigint} | {kind: 'ed25519', key: Uint8Array} | {kind: 'other'}} PublicKey
 *
 * @typedef {object} Certificate
 * @property {Uint8Array} raw
 * @property {Uint8Array} tbs what is signed
 * @property {Uint8Array} issuer DER of the name
 * @property {Uint8Array} subject
 * @property {bigint} notBefore Unix seconds
 * @property {bigint} notAfter
 * @property {PublicKey} key
 * @property {{oid: string, parameters: Reader}} algorithm
 * @property {Uint8Array} signature
 * @property {boolean} v3
 * @property {boolean} ca
 * @property {bigint} [pathLength]
 * @property {number} [usage] key usage, digitalSignature is bit 0
 * @property {string[]} [extended] key usage
 * @property {string[]} unknown critical extensions that are not understood
 * @property {boolean} namesTPM whether the alternative name is a TPM's
 */

/** @type {Record<string, Curve>} */
const CURVE_OIDS = { '1.2.840.10045.3.1.7': CURVES.P256, '1.3.132.0.34': CURVES.P384, '1.3.132.0.35': CURVES.P521 };

/** @param {Reader} r */
function readAlgorithm(r) {
  const a = r.enter(SEQUENCE);
  return { oid: parseOID(a.next(OID).content), parameters: a };
}

/** @param {Reader} info SubjectPublicKeyInfo @returns {PublicKey} */
function readKey(info) {
  const { oid, parameters } = readAlgorithm(info);
  const { bytes, unused } = parseBits(info.next(BIT_STRING).content);
  info.end();
  if (unused) throw new FormatError('malformed public key');
  // RFC 4055 allows RSAES-OAEP here, and TPM vendors use it for EKs.
  if (oid === '1.2.840.113549.1.1.1' || oid === '1.2.840.113549.1.1.7') {
    const outer = new Reader(bytes);
    const r = outer.enter(SEQUENCE);
    const key = { kind: /** @type {'rsa'} */ ('rsa'), n: parseInteger(r.next(INTEGER).content), e: parseInteger(r.next(INTEGER).content) };
    r.end();
    outer.end();
    if (key.n <= 0n || key.e <= 0n) throw new FormatError('malformed public key');
    return key;
  }
  if (oid === '1.2.840.10045.2.1') {
    const curve = CURVE_OIDS[parseOID(parameters.next(OID).content)];
    if (!curve) return { kind: 'other' };
    if (bytes[0] !== 4 || bytes.length !== 1 + 2 * curve.size) throw new FormatError('malformed public key');
    const [x, y] = [bytes.subarray(1, 1 + curve.size), bytes.subarray(1 + curve.size)].map(integer);
    if (!onCurve(curve, x, y)) throw new FormatError('the public key is no point of its curve');
    return { kind: 'ec', curve, x, y };
  }
  if (oid === '1.3.101.112' && bytes.length === 32) return { kind: 'ed25519', key: bytes };
  return { kind: 'other' };
}

/** @param {Uint8Array} der @returns {Certificate} */
export function parseCertificate(der) {
  const whole = new Reader(der);
  const outer = whole.enter(SEQUENCE);
  whole.end();
  const tbs = outer.next(SEQUENCE);
  const algorithm = readAlgorithm(outer);
  const signature = parseBits(outer.next(BIT_STRING).content);
  outer.end();
  const r = new Reader(tbs.content);
  const version = r.has(0xa0) ? parseInteger(r.enter(0xa0).next(INTEGER).content) : 0n;
  r.next(INTEGER); // serial number
  const inner = r.next(SEQUENCE).raw;
  const issuer = r.next(SEQUENCE).raw;
  const validity = r.enter(SEQUENCE);
  const notBefore = parseTime(validity.next());
  const notAfter = parseTime(validity.next());
  validity.end();
  const subject = r.next(SEQUENCE).raw;
  const key = readKey(r.enter(SEQUENCE));
  /** @type {Certificate} */
  const c = {
    raw: der, tbs: tbs.raw, issuer, subject, notBefore, notAfter, key, algorithm,
    signature: signature.unused ? new Uint8Array(0) : signature.bytes, // none ends within a byte
    v3: version === 2n, ca: false, unknown: [], namesTPM: false,
  };
  if (!equal(inner, outerAlgorithm(der))) throw new FormatError('the two signature algorithms differ');
  while (r.has(0x81) || r.has(0x82)) r.next();
  if (r.has(0xa3)) {
    const wrapper = r.enter(0xa3);
    readExtensions(c, wrapper.enter(SEQUENCE));
    wrapper.end();
  }
  r.end();
  return c;
}

/** @param {Uint8Array} der */
function outerAlgorithm(der) {
  const outer = new Reader(der).enter(SEQUENCE);
  outer.next(SEQUENCE);
  return outer.next(SEQUENCE).raw;
}

/** @type {Record<string, string>} */
const HASHES = { '2.16.840.1.101.3.4.2.1': 'sha256', '2.16.840.1.101.3.4.2.2': 'sha384', '2.16.840.1.101.3.4.2.3': 'sha512' };
/** @type {Record<string, string>} */
const RSA = { '1.2.840.113549.1.1.11': 'sha256', '1.2.840.113549.1.1.12': 'sha384', '1.2.840.113549.1.1.13': 'sha512' };
/** @type {Record<string, string>} */
const ECDSA = { '1.2.840.10045.4.3.2': 'sha256', '1.2.840.10045.4.3.3': 'sha384', '1.2.840.10045.4.3.4': 'sha512' };

/** RSASSA-PSS-params: one hash for all, RFC 4055. @param {Reader} r @returns {{hash: string, salt: number}} */
function readPSS(r) {
  const p = r.enter(SEQUENCE);
  const hash = HASHES[readAlgorithm(p.enter(0xa0)).oid];
  const mgf = readAlgorithm(p.enter(0xa1));
  const inner = HASHES[readAlgorithm(mgf.parameters).oid];
  const salt = p.has(0xa2) ? Number(parseInteger(p.enter(0xa2).next(INTEGER).content)) : 20;
  if (!hash || hash !== inner || mgf.oid !== '1.2.840.113549.1.1.8') throw new FormatError('unknown parameters of RSASSA-PSS');
  return { hash, salt };
}

/** Whether the issuer's key signed a certificate. One whose signature has not its form has none. @param {Certificate} c @param {Certificate} issuer */
async function signedBy(c, issuer) {
  try {
    return await verifySignature(c, issuer);
  } catch (e) {
    if (e instanceof FormatError) return false;
    throw e;
  }
}

/** @param {Certificate} c @param {Certificate} issuer */
async function verifySignature(c, issuer) {
  const { key } = issuer;
  const { oid, parameters } = c.algorithm;
  if (key.kind === 'rsa' && RSA[oid]) return verifyPKCS1(key.n, key.e, RSA[oid], c.tbs, c.signature);
  if (key.kind === 'rsa' && oid === '1.2.840.113549.1.1.10') {
    const { hash, salt } = readPSS(new Reader(parameters.bytes.subarray(parameters.at)));
    return verifyPSS(key.n, key.e, hash, c.tbs, c.signature, salt);
  }
  if (key.kind === 'ec' && ECDSA[oid]) {
    const s = new Reader(c.signature).enter(SEQUENCE);
    const [r1, s1] = [s.next(INTEGER), s.next(INTEGER)].map((e) => parseInteger(e.content));
    s.end();
    return verifyECDSA(key.curve, key.x, key.y, ECDSA[oid], c.tbs, r1, s1);
  }
  return key.kind === 'ed25519' && oid === '1.3.101.112' && verifyEd25519(key.key, c.tbs, c.signature);
}

const KEY_ENCIPHERMENT = 1 << 2;
const KEY_AGREEMENT = 1 << 4;
const KEY_CERT_SIGN = 1 << 5;
const EK_CERTIFICATE = '2.23.133.8.1';

/** @param {Certificate} c @param {bigint} at */
const valid = (c, at) => c.notBefore <= at && at <= c.notAfter && !c.unknown.length;

/** Whether issuer may have issued c, with so many certificates of CAs below it. */
async function issued(/** @type {Certificate} */ issuer, /** @type {Certificate} */ c, /** @type {number} */ below, /** @type {bigint} */ at) {
  return equal(issuer.subject, c.issuer) && issuer.v3 && issuer.ca && valid(issuer, at) &&
    (issuer.usage === undefined || (issuer.usage & KEY_CERT_SIGN) !== 0) &&
    (issuer.pathLength === undefined || BigInt(below) <= issuer.pathLength) &&
    signedBy(c, issuer);
}

/**
 * Whether a path leads from c to a root. Those of others that are used are few, so
 * each order is tried.
 * @param {Certificate} c @param {Certificate[]} others @param {Certificate[]} roots @param {bigint} at @param {number} below
 * @returns {Promise<boolean>}
 */
async function leadsToRoot(c, others, roots, at, below = 0) {
  for (const root of roots) if (await issued(root, c, below, at)) return true;
  for (const next of others) {
    if (next !== c && (await issued(next, c, below, at)) &&
        (await leadsToRoot(next, others.filter((o) => o !== next), roots, at, below + 1))) return true;
  }
  return false;
}

/**
 * What is wrong with the certificates of an EK, or undefined.
 * @param {Uint8Array[]} chain DER, the EK's first @param {import('./key.js').PublicArea} ek @param {Certificate[]} roots
 * @returns {Promise<string | undefined>}
 */
export async function checkCertificates(chain, ek, roots) {
  if (!chain.length) return 'there is no certificate';
  const [first, ...others] = chain.map(parseCertificate);
  const { key } = first;
  const same = ek.kind === 'rsa' ? key.kind === 'rsa' && key.n === ek.n && key.e === ek.e
    : key.kind === 'ec' && key.curve === ek.curve && key.x === ek.x && key.y === ek.y;
  if (!same) return 'the first certificate has another public key than the EK';
  if (first.ca) return "the first certificate is a CA's";
  const need = ek.kind === 'rsa' ? KEY_ENCIPHERMENT : KEY_AGREEMENT;
  if (first.usage !== undefined && !(first.usage & need)) return 'the key usage of the first certificate is not that of an EK';
  if (first.extended && !first.extended.includes(EK_CERTIFICATE)) return `the extended key usage of the first certificate is not ${EK_CERTIFICATE}`;
  const at = first.notBefore;
  // What the EK profile demands of the EK's own certificate.
  first.unknown = first.unknown.filter((oid) => oid !== DIRECTORY_ATTRIBUTES && !(oid === ALTERNATIVE_NAME && first.namesTPM));
  if (!valid(first, at)) return `the first certificate is valid at no time, or has a critical extension that is not understood: ${first.unknown}`;
  if (!(await leadsToRoot(first, others, roots, at))) return 'no path leads from the first certificate to a root of the trust folder';
  return undefined;
}

