// SHA-1 and SHA-256, FIPS 180-4: two hashes and more of each record, a million
// records a list. A library's object a hash costs five times as much here.

/** The first 32 bits of the fraction of a root of n. @param {number} n @param {bigint} k the root's degree */
function fraction(n, k) {
  const target = BigInt(n) << (32n * k);
  let root = 0n;
  for (let bit = 1n << 37n; bit; bit >>= 1n) if ((root | bit) ** k <= target) root |= bit;
  return Number(BigInt.asIntN(32, root));
}

const primes = /** @type {number[]} */ ([]);
for (let n = 2; primes.length < 64; n++) if (primes.every((p) => n % p)) primes.push(n);
const K = Int32Array.from(primes, (p) => fraction(p, 3n));
const IV = Int32Array.from(primes.slice(0, 8), (p) => fraction(p, 2n));

const w = new Int32Array(80); // the schedule of the block at hand

/** @param {Int32Array} v @param {Uint8Array} b @param {number} at */
function compress256(v, b, at) {
  for (let i = 0; i < 16; i++, at += 4) w[i] = (b[at] << 24) | (b[at + 1] << 16) | (b[at + 2] << 8) | b[at + 3];
  for (let i = 16; i < 64; i++) {
    const x = w[i - 15];
    const y = w[i - 2];
    w[i] = (w[i - 16] + w[i - 7] +
      (((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3)) +
      (((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10))) | 0;
  }
  let a = v[0], b1 = v[1], c = v[2], d = v[3], e = v[4], f = v[5], g = v[6], h = v[7];
  for (let i = 0; i < 64; i++) {
    const t1 = (h + (((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7))) +
      ((e & f) ^ (~e & g)) + K[i] + w[i]) | 0;
    const t2 = ((((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10))) +
      ((a & b1) ^ (a & c) ^ (b1 & c))) | 0;
    h = g;
    g = f;
    f = e;
    e = (d + t1) | 0;
    d = c;
    c = b1;
    b1 = a;
    a = (t1 + t2) | 0;
  }
  v[0] += a;
  v[1] += b1;
  v[2] += c;
  v[3] += d;
  v[4] += e;
  v[5] += f;
  v[6] += g;
  v[7] += h;
}

/** @param {Int32Array} v @param {Uint8Array} m @param {number} at */
function compress1(v, m, at) {
  for (let i = 0; i < 16; i++, at += 4) w[i] = (m[at] << 24) | (m[at + 1] << 16) | (m[at + 2] << 8) | m[at + 3];
  for (let i = 16; i < 80; i++) {
    const x = w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16];
    w[i] = (x << 1) | (x >>> 31);
  }
  let a = v[0], b = v[1], c = v[2], d = v[3], e = v[4];
  for (let i = 0; i < 80; i++) {
    const f = i < 20 ? ((b & c) | (~b & d)) + 0x5a827999 : i < 40 ? (b ^ c ^ d) + 0x6ed9eba1
      : i < 60 ? ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc : (b ^ c ^ d) + 0xca62c1d6;
    const t = (((a << 5) | (a >>> 27)) + f + e + w[i]) | 0;
    e = d;
    d = c;
    c = (b << 30) | (b >>> 2);
    b = a;
    a = t;
  }
  v[0] += a;
  v[1] += b;
  v[2] += c;
  v[3] += d;
  v[4] += e;
}

/** A hash of blocks of 64 bytes, fed piece by piece. */
class Hasher {
  /** @param {Int32Array} iv @param {typeof compress256} compress */
  constructor(iv, compress) {
    this.iv = iv;
    this.compress = compress;
    this.v = new Int32Array(iv.length);
    this.block = new Uint8Array(64);
    this.reset();
  }

  reset() {
    this.v.set(this.iv);
    this.length = 0;
    return this;
  }

  /** @param {Uint8Array} b */
  update(b) {
    const { block, v, compress } = this;
    const have = this.length & 63;
    this.length += b.length;
    let at = 0;
    if (have) {
      at = Math.min(64 - have, b.length);
      block.set(at === b.length ? b : b.subarray(0, at), have);
      if (have + at < 64) return this;
      compress(v, block, 0);
    }
    for (; at + 64 <= b.length; at += 64) compress(v, b, at);
    if (at < b.length) block.set(at ? b.subarray(at) : b);
    return this;
  }

  /** The digest; after it the hasher must be reset. @returns {Uint8Array} */
  digest() {
    const { block, v, compress, length } = this;
    let at = length & 63;
    block[at++] = 0x80;
    if (at > 56) {
      block.fill(0, at);
      compress(v, block, 0);
      at = 0;
    }
    block.fill(0, at);
    const bits = length * 8;
    for (let i = 0, n = Math.floor(bits / 2 ** 32); i < 4; i++) block[59 - i] = n >>> (8 * i);
    for (let i = 0; i < 4; i++) block[63 - i] = (bits % 2 ** 32) >>> (8 * i);
    compress(v, block, 0);
    const out = new Uint8Array(4 * v.length);
    for (let i = 0; i < v.length; i++) {
      out[4 * i] = v[i] >>> 24;
      out[4 * i + 1] = v[i] >>> 16;
      out[4 * i + 2] = v[i] >>> 8;
      out[4 * i + 3] = v[i];
    }
    return out;
  }
}

const IV1 = Int32Array.of(0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0);

/** SHA-256 that is fed piece by piece. */
export const newSHA256 = () => new Hasher(IV, compress256);

const shared256 = newSHA256();
const shared1 = new Hasher(IV1, compress1);

/** @param {Uint8Array} b */
export const sha256 = (b) => shared256.reset().update(b).digest();
/** @param {Uint8Array} b */
export const sha1 = (b) => shared1.reset().update(b).digest();
