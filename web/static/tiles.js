// A log's tree, read from its tiles: c2sp.org/tlog-tiles. What is read is believed
// by nobody: paths are verified against a checkpoint's root.

import { nodeHash } from './verify/hash.js';
import { NetError, getBytes, statusOf } from './net.js';

const WIDTH = 256; // hashes of a tile, entries of a bundle
const HASH = 32;
const KEPT = 64; // tiles and bundles, of a tree that may have many
const MAX_ENTRIES = WIDTH * 65537; // bytes of a bundle: each entry has two of its length

/** @param {number} n */
function number(n) {
  const parts = [String(n % 1000).padStart(3, '0')];
  for (n = Math.floor(n / 1000); n > 0; n = Math.floor(n / 1000)) parts.unshift('x' + String(n % 1000).padStart(3, '0'));
  return parts.join('/');
}

/** The largest power of two below n. @param {number} n */
function split(n) {
  let k = 1;
  while (2 * k < n) k *= 2;
  return k;
}

export class Tree {
  /** @param {number} size */
  constructor(size) {
    this.size = size;
    /** @type {Map<string, Promise<Uint8Array>>} */
    this.tiles = new Map();
  }

  /** A tile, or bundle of entries, whose full one may be there in place of a part. @param {string} kind @param {number} n @param {number} width @param {number} max */
  #read(kind, n, width, max) {
    const path = `tile/${kind}/${number(n)}`;
    let tile = this.tiles.get(path);
    if (!tile) {
      const whole = () => getBytes(path, max);
      tile = width === WIDTH ? whole() : getBytes(`${path}.p/${width}`, max).catch((e) => (statusOf(e) === 404 ? whole() : Promise.reject(e)));
      this.tiles.set(path, tile);
      if (this.tiles.size > KEPT) this.tiles.delete(/** @type {string} */ (this.tiles.keys().next().value));
      tile.catch(() => this.tiles.delete(path));
    }
    return tile;
  }

  /** The hash of the complete subtree of a level. @param {number} level @param {number} index */
  async node(level, index) {
    const tileLevel = Math.floor(level / 8);
    const span = 2 ** (level % 8);
    const first = index * span;
    const n = Math.floor(first / WIDTH);
    const width = Math.min(WIDTH, Math.floor(this.size / WIDTH ** tileLevel) - n * WIDTH);
    const tile = await this.#read(String(tileLevel), n, width, WIDTH * HASH);
    const at = (first % WIDTH) * HASH;
    if (tile.length < at + span * HASH) throw new NetError(`tile/${tileLevel}/${number(n)}`, 200, 'the tile is too short');
    let hashes = Array.from({ length: span }, (_, i) => tile.subarray(at + i * HASH, at + (i + 1) * HASH));
    while (hashes.length > 1) hashes = hashes.filter((_, i) => i % 2 === 0).map((left, i) => nodeHash(left, hashes[2 * i + 1]));
    return hashes[0];
  }

  /** The hash over the leaves from lo to hi. @param {number} lo @param {number} hi @returns {Promise<Uint8Array>} */
  async range(lo, hi) {
    const level = Math.log2(hi - lo);
    if (Number.isInteger(level) && lo % (hi - lo) === 0) return this.node(level, lo / (hi - lo));
    const k = split(hi - lo);
    const [left, right] = await Promise.all([this.range(lo, lo + k), this.range(lo + k, hi)]);
    return nodeHash(left, right);
  }

  /** The inclusion path of an entry, its sibling first. RFC 6962, section 2.1.1. @param {number} index @returns {Promise<Uint8Array[]>} */
  async path(index, lo = 0, hi = this.size) {
    if (hi - lo === 1) return [];
    const k = split(hi - lo);
    const left = index < lo + k;
    const [below, sibling] = await Promise.all([
      left ? this.path(index, lo, lo + k) : this.path(index, lo + k, hi),
      left ? this.range(lo + k, hi) : this.range(lo, lo + k),
    ]);
    return [...below, sibling];
  }

  /** The path from an older tree to this one. RFC 6962, section 2.1.2. @param {number} older @returns {Promise<Uint8Array[]>} */
  async consistency(older) {
    if (older === 0 || older === this.size) return [];
    return this.#proof(older, 0, this.size, true);
  }

  /** @param {number} m @param {number} lo @param {number} hi @param {boolean} whole @returns {Promise<Uint8Array[]>} */
  async #proof(m, lo, hi, whole) {
    if (m === hi - lo) return whole ? [] : [await this.range(lo, hi)];
    const k = split(hi - lo);
    if (m <= k) return [...await this.#proof(m, lo, lo + k, whole), await this.range(lo + k, hi)];
    return [...await this.#proof(m - k, lo + k, hi, false), await this.range(lo, lo + k)];
  }

  /** The entries of the bundle that one stands in, by their indexes. @param {number} index @returns {Promise<Map<number, Uint8Array>>} */
  async entries(index) {
    const n = Math.floor(index / WIDTH);
    const width = Math.min(WIDTH, this.size - n * WIDTH);
    const b = await this.#read('entries', n, width, MAX_ENTRIES);
    const view = new DataView(b.buffer, b.byteOffset, b.length);
    const list = new Map();
    for (let at = 0, i = 0; i < width; i++) {
      const length = at + 2 <= b.length ? view.getUint16(at) : 1 << 16;
      if (at + 2 + length > b.length) throw new NetError(`tile/entries/${number(n)}`, 200, 'the bundle of entries is too short');
      list.set(n * WIDTH + i, b.subarray(at + 2, at + 2 + length));
      at += 2 + length;
    }
    return list;
  }
}
