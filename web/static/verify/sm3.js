// SM3, GB/T 32905-2016: the one hash of a TPM's banks that no library brings.

const rotl = (/** @type {number} */ x, /** @type {number} */ n) => (x << n) | (x >>> (32 - n));

/** @param {Int32Array} v the state @param {DataView} view @param {number} at of a block of 64 bytes */
function compress(v, view, at) {
  const w = new Int32Array(68);
  for (let j = 0; j < 16; j++) w[j] = view.getInt32(at + 4 * j);
  for (let j = 16; j < 68; j++) {
    const x = w[j - 16] ^ w[j - 9] ^ rotl(w[j - 3], 15);
    w[j] = x ^ rotl(x, 15) ^ rotl(x, 23) ^ rotl(w[j - 13], 7) ^ w[j - 6];
  }
  let [a, b, c, d, e, f, g, h] = v;
  for (let j = 0; j < 64; j++) {
    const early = j < 16;
    const ss1 = rotl((rotl(a, 12) + e + rotl(early ? 0x79cc4519 : 0x7a879d8a, j % 32)) | 0, 7);
    const ff = early ? a ^ b ^ c : (a & b) | (a & c) | (b & c);
    const gg = early ? e ^ f ^ g : (e & f) | (~e & g);
    const tt1 = (ff + d + (ss1 ^ rotl(a, 12)) + (w[j] ^ w[j + 4])) | 0;
    const tt2 = (gg + h + ss1 + w[j]) | 0;
    [d, c, b, a] = [c, rotl(b, 9), a, tt1];
    [h, g, f, e] = [g, rotl(f, 19), e, tt2 ^ rotl(tt2, 9) ^ rotl(tt2, 17)];
  }
  [a, b, c, d, e, f, g, h].forEach((x, i) => (v[i] ^= x));
}

/** @param {Uint8Array} b @returns {Uint8Array} 32 bytes */
export function sm3(b) {
  const padded = new Uint8Array(((b.length + 72) >> 6) << 6);
  padded.set(b);
  padded[b.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setBigUint64(padded.length - 8, BigInt(b.length) * 8n);
  const v = Int32Array.of(0x7380166f, 0x4914b2b9, 0x172442d7, 0xda8a0600, 0xa96f30bc, 0x163138aa, 0xe38dee4d, 0xb0fb0e4e);
  for (let at = 0; at < padded.length; at += 64) compress(v, view, at);
  const out = new DataView(new ArrayBuffer(32));
  v.forEach((x, i) => out.setInt32(4 * i, x));
  return new Uint8Array(out.buffer);
}
