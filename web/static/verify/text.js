// Strict reading of texts: FORMAT.md, section 1.
//
// Every NUMBER is a BigInt, since 2^63-1 is not exact in a JavaScript number.

/** A text, an entry or a structure is not in the one form that its format allows. */
export class FormatError extends Error {
  /** @param {string} what @param {number} [line] counted from 1; 0 where the fault is not in a line */
  constructor(what, line = 0) {
    super(line ? `line ${line}: ${what}` : what);
    this.name = 'FormatError';
    this.line = line;
  }
}

export const MAX_NUMBER = 2n ** 63n - 1n;

/** Bytes as a string of one character each. @param {Uint8Array} b */
export function binaryString(b) {
  let s = '';
  for (let i = 0; i < b.length; i += 8192) s += String.fromCharCode.apply(null, b.subarray(i, i + 8192));
  return s;
}

/** The bytes of a string of characters below 256. @param {string} s */
export function bytesOf(s) {
  const b = new Uint8Array(s.length);
  for (let i = 0; i < s.length; i++) b[i] = s.charCodeAt(i);
  return b;
}

/** @param {Uint8Array[]} parts */
export function concat(...parts) {
  const all = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    all.set(p, at);
    at += p.length;
  }
  return all;
}

/** @param {Uint8Array} a @param {Uint8Array} b */
export function equal(a, b) {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

const HEX = Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, '0'));

/** Lower-case hex. @param {Uint8Array} b */
export function hex(b) {
  let s = '';
  for (let i = 0; i < b.length; i++) s += HEX[b[i]];
  return s;
}

/** @param {string} s lower-case hex digits, an even number */
export function parseHex(s) {
  if (s.length % 2 || !/^[0-9a-f]*$/.test(s)) throw new FormatError('want lower-case hex digits, an even number');
  const b = new Uint8Array(s.length / 2);
  for (let i = 0; i < b.length; i++) b[i] = parseInt(s.substr(2 * i, 2), 16);
  return b;
}

/** @param {string} s */
export function parseNumber(s) {
  if (!/^(0|[1-9][0-9]{0,18})$/.test(s) || BigInt(s) > MAX_NUMBER) {
    throw new FormatError('want a decimal number of 0 to 2^63-1, no leading zero');
  }
  return BigInt(s);
}

/** A SHA-256 as its 64 hex digits. @param {string} s */
export function parseHash(s) {
  if (!/^[0-9a-f]{64}$/.test(s)) throw new FormatError('want a hash of 64 lower-case hex digits');
  return s;
}

/** RFC 4648 section 4, canonical, never empty. @param {string} s */
export function parseBase64(s) {
  if (!s || s.length % 4 || !/^[A-Za-z0-9+/]+={0,2}$/.test(s)) throw new FormatError('want base64 with padding');
  const bytes = atob(s);
  if (btoa(bytes.slice(-3 + (3 - (bytes.length % 3 || 3)))) !== s.slice(-4)) {
    throw new FormatError('want base64 whose unused bits are zero');
  }
  return bytesOf(bytes);
}

/** @param {number} limit bytes at most */
export const base64Of = (limit) => (/** @type {string} */ s) => {
  const b = parseBase64(s);
  if (b.length > limit) throw new FormatError(`want at most ${limit} bytes`);
  return b;
};

/** A TPM name, hex. @param {string} s */
export function parseName(s) {
  if (!/^(000b[0-9a-f]{64}|000c[0-9a-f]{96}|000d[0-9a-f]{128})$/.test(s)) {
    throw new FormatError('want a TPM name: nameAlg and digest, in hex');
  }
  return s;
}

/** @param {string} s */
export function parseOrigin(s) {
  if (!/^[\x21-\x2a\x2c-\x7e]{1,255}$/.test(s)) throw new FormatError('want an origin of 1 to 255 bytes, no space, no plus');
  return s;
}

/** @param {string} s */
export function parseHost(s) {
  if (s.length > 253 || !/^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$/.test(s) || s.includes('..')) {
    throw new FormatError('want a host name of a-z, 0-9, dot, hyphen and underscore');
  }
  return s;
}

/** @param {string} s */
export function parseText(s) {
  if (!/^[\x21-\x7e]([\x20-\x7e]{0,510}[\x21-\x7e])?$/.test(s)) {
    throw new FormatError('want 1 to 512 printable bytes, no space first or last');
  }
  return s;
}

/** Size, up to a limit, and SHA-256 of a byte string kept beside the log. @param {number} limit */
export const addendumOf = (limit) => (/** @type {string} */ s) => {
  const [size, digest, ...more] = s.split(' ');
  if (digest === undefined || more.length) throw new FormatError('want a size and a hash');
  const a = { size: parseNumber(size), digest: parseHash(digest) };
  if (a.size > BigInt(limit)) throw new FormatError(`want at most ${limit} bytes`);
  return a;
};

/** Bytes of a payload, and of a structure of a TPM. FORMAT.md, section 10. */
export const MAX_PAYLOAD = 2 ** 30;
export const MAX_STRUCTURE = 1024;

/** The lines of a text, read in their one order. */
export class Lines {
  /** @param {string} text bytes 0x20 to 0x7e in lines that end in LF */
  constructor(text) {
    if (!/^[\x20-\x7e\n]*\n$/.test(text)) throw new FormatError('want printable ASCII in lines that end in LF');
    this.lines = text.slice(0, -1).split('\n');
    this.at = 0;
  }

  /** Whether a line with this key is next. @param {string} key */
  has(key) {
    return this.at < this.lines.length && (this.lines[this.at] === key || this.lines[this.at].startsWith(key + ' '));
  }

  /** Takes the line that must be next. @param {string} line */
  take(line) {
    if (this.lines[this.at] !== line) throw this.error(`want ${line}`);
    this.at++;
  }

  /**
   * Takes the next line, which must have this key, and parses what follows it.
   * @template T
   * @param {string} key
   * @param {(value: string) => T} parse
   * @returns {T}
   */
  next(key, parse) {
    if (!this.has(key)) throw this.error(`want a line ${key}`);
    try {
      const value = parse(this.lines[this.at].slice(key.length + 1));
      this.at++;
      return value;
    } catch (e) {
      if (e instanceof FormatError && !e.line) throw this.error(`${key}: ${e.message}`);
      throw e;
    }
  }

  /** @param {string} key @param {(value: string) => any} parse */
  all(key, parse) {
    const list = [];
    while (this.has(key)) list.push(this.next(key, parse));
    return list;
  }

  end() {
    if (this.at !== this.lines.length) throw this.error('want nothing more');
  }

  /** @param {string} what */
  error(what) {
    return new FormatError(what, this.at + 1);
  }
}

/** What so many are called, for people. @param {bigint | number} n @param {string} one @param {string} [many] */
export const noun = (n, one, many = `${one}s`) => (Number(n) === 1 ? one : many);

/** One of some words. @param {string[]} words */
export const oneOf = (...words) => (/** @type {string} */ s) => {
  if (!words.includes(s)) throw new FormatError(`want one of ${words.join(', ')}`);
  return s;
};
