// Evidence bundles: FORMAT.md, section 6. No byte of a bundle is free.

import { newSHA256 } from './sha.js';
import { FormatError, Lines, MAX_PAYLOAD, binaryString, bytesOf, equal, hex, parseHash, parseNumber } from './text.js';

/** Folders, and bytes of a file in each. FORMAT.md, section 10. @type {Record<string, number>} */
const FOLDERS = { anchors: 1 << 20, evidence: MAX_PAYLOAD, leaves: 49152, payloads: MAX_PAYLOAD, proofs: 1 << 20 };
const MAX_FILES = 262144;
const MAX_MANIFEST = MAX_FILES * 170; // bytes: a line has at most 170
const BLOCK = 512;
const CHUNK = 1 << 20; // bytes read at once

/**
 * Where bytes come from: a file that the viewer chose, or memory.
 * @typedef {{size: number, read(start: number, end: number): Promise<Uint8Array>}} Source
 */

/** @param {Blob | Uint8Array} from @returns {Source} */
export function sourceOf(from) {
  if (from instanceof Uint8Array) return { size: from.length, read: async (start, end) => from.subarray(start, end) };
  return { size: from.size, read: async (start, end) => new Uint8Array(await from.slice(start, end).arrayBuffer()) };
}

/**
 * Reads a part of a source piece by piece.
 * @param {Source} source @param {number} start @param {number} size
 */
export async function* chunks(source, start, size) {
  for (let at = start; at < start + size; at += CHUNK) yield source.read(at, Math.min(at + CHUNK, start + size));
}

/** A bundle is not in its one form; code is bundle-damaged or bundle-forged. */
export class BundleError extends Error {
  /** @param {string} file @param {string} what @param {string} [code] */
  constructor(file, what, code = 'bundle-damaged') {
    super(what);
    this.file = file;
    this.code = code;
  }
}

/** The one header of a file. @param {string} name @param {number} size */
export function tarHeader(name, size) {
  const b = new Uint8Array(BLOCK);
  /** @param {number} at @param {string} s */
  const put = (at, s) => b.set(bytesOf(s), at);
  put(0, name);
  put(100, '0000444\0' + '0000000\0'.repeat(2) + size.toString(8).padStart(11, '0') + '\0' + '0'.repeat(11) + '\0');
  put(148, ' '.repeat(8) + '0');
  put(257, 'ustar\x0000');
  put(329, '0000000\0'.repeat(2));
  put(148, b.reduce((sum, x) => sum + x, 0).toString(8).padStart(6, '0') + '\0 ');
  return b;
}

/** @typedef {{name: string, folder: string, hash: string, size: number, digest: string, at: number}} File at is its offset in the bundle */

/** @param {string} s @returns {File} */
function parseFile(s) {
  const [name, size, digest, ...more] = s.split(' ');
  const [folder, hash] = name.split('/');
  if (digest === undefined || more.length || !Object.hasOwn(FOLDERS, folder) || name !== `${folder}/${hash}`) {
    throw new FormatError('want a folder and a hash, a size, and a SHA-256');
  }
  const n = parseNumber(size);
  if (n > BigInt(FOLDERS[folder])) throw new FormatError(`want at most ${FOLDERS[folder]} bytes in a file of ${folder}`);
  return { name, folder, hash: parseHash(hash), size: Number(n), digest: parseHash(digest), at: 0 };
}

/** @param {Uint8Array} bytes @returns {File[]} */
export function parseManifest(bytes) {
  const lines = new Lines(binaryString(bytes));
  lines.take('imaledger/evidence/v1');
  if (lines.lines.length - 1 > MAX_FILES) throw new FormatError('want at most 262,144 files');
  const files = lines.all('file', parseFile);
  lines.end();
  if (files.some((f, i) => i > 0 && f.name <= files[i - 1].name)) throw new FormatError('want files in their order, none twice');
  return files;
}

/** @param {Source} source @param {number} at @param {Uint8Array} want @param {string} file @param {string} what */
async function expect(source, at, want, file, what) {
  if (!equal(await source.read(at, at + want.length), want)) throw new BundleError(file, what);
  return at + want.length;
}

const padding = (/** @type {number} */ size) => new Uint8Array((BLOCK - (size % BLOCK)) % BLOCK);

/** The manifest, whose size is the one thing that its header states. @param {Source} source */
async function readManifest(source) {
  const header = await source.read(0, BLOCK);
  const size = parseInt(binaryString(header.subarray(124, 135)), 8);
  if (!(size <= MAX_MANIFEST && size <= source.size)) throw new BundleError('manifest', 'the first file is no manifest');
  let at = await expect(source, 0, tarHeader('manifest', size), 'manifest', 'the tar header is not the one that the format fixes');
  const bytes = await source.read(at, at + size);
  at = await expect(source, at + size, padding(size), 'manifest', 'the padding is not zeros');
  try {
    return { files: parseManifest(bytes), at };
  } catch (e) {
    if (e instanceof FormatError) throw new BundleError('manifest', e.message);
    throw e;
  }
}

/**
 * Checks the whole form of a bundle, and returns its files by name. Throws a
 * BundleError for one that is not in its form.
 * @param {Source} source
 * @param {(done: number, total: number) => void} [progress] in bytes
 * @returns {Promise<Map<string, File>>}
 */
export async function openBundle(source, progress) {
  let { files, at } = await readManifest(source);
  for (const f of files) {
    at = await expect(source, at, tarHeader(f.name, f.size), f.name, 'the tar header is not the one that the format fixes');
    f.at = at;
    if (at + f.size > source.size) throw new BundleError(f.name, 'the file is cut short');
    const whole = newSHA256();
    const leaf = newSHA256().update(Uint8Array.of(0));
    for await (const chunk of chunks(source, at, f.size)) {
      whole.update(chunk);
      if (f.folder === 'leaves') leaf.update(chunk);
      progress?.(at, source.size);
    }
    if (hex(whole.digest()) !== f.digest) throw new BundleError(f.name, 'the file has not the SHA-256 that the manifest states');
    const named = f.folder === 'proofs' ? f.hash : f.folder === 'leaves' ? hex(leaf.digest()) : f.digest;
    if (named !== f.hash) throw new BundleError(f.name, 'the file is not what its name says', 'bundle-forged');
    at = await expect(source, at + f.size, padding(f.size), f.name, 'the padding is not zeros');
  }
  at = await expect(source, at, new Uint8Array(2 * BLOCK), 'end', 'want two blocks of zeros at the end');
  if (at !== source.size) throw new BundleError('end', 'want nothing after the two blocks of zeros');
  return new Map(files.map((f) => [f.name, f]));
}
