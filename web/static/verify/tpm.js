// What a TPM writes: integers are big-endian, and a TPM2B has its size before it.

import { FormatError } from './text.js';

export class TPMReader {
  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.at = 0;
  }

  /** @param {number} n */
  take(n) {
    if (this.at + n > this.bytes.length) throw new FormatError('the structure is cut short');
    this.at += n;
    return this.bytes.subarray(this.at - n, this.at);
  }

  u8() {
    return this.take(1)[0];
  }

  u16() {
    this.take(2);
    return this.view.getUint16(this.at - 2);
  }

  u32() {
    this.take(4);
    return this.view.getUint32(this.at - 4);
  }

  u64() {
    this.take(8);
    return this.view.getBigUint64(this.at - 8);
  }

  sized() {
    return this.take(this.u16());
  }

  /** @param {number} value @param {string} what */
  want16(value, what) {
    if (this.u16() !== value) throw new FormatError(`${what} is not 0x${value.toString(16).padStart(4, '0')}`);
  }

  end() {
    if (this.at !== this.bytes.length) throw new FormatError('something follows the structure');
  }
}
