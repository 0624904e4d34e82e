// A segment's records, to be looked at: where each stands, what it says, its proof.
// It runs in the worker. That the records are those of the leaf is checked elsewhere.

import { checkRecord } from './verify/audit/record.js';
import { Report } from './verify/audit/report.js';
import { parseEntry, trailer } from './verify/entry.js';
import { CODES } from './verify/finding.js';
import { leafHash, nodeHash, sha256 } from './verify/hash.js';
import { ListReader, isLegacy } from './verify/list.js';
import { RecordTree } from './verify/merkle.js';
import { extendable } from './verify/pcr.js';
import { parseRecordProof } from './verify/recordproof.js';
import { dataDigest, extension } from './verify/replay.js';
import { banksOf } from './verify/segment.js';
import { namesOf, valuesOf } from './verify/template.js';
import { binaryString, bytesOf, concat, hex } from './verify/text.js';
import { sourceOf, chunks } from './verify/bundle.js';
import { textOf } from './show.js';

const VIOLATION = 1;
const UNBOUND = 2; // no register binds it

export class Records {
  /** @param {Blob} blob @param {Uint8Array} leaf of the segment @param {(done: number, total: number) => void} progress */
  static async open(blob, leaf, progress) {
    const s = parseEntry(leaf);
    const all = new Records(s, leaf, blob.size);
    const source = sourceOf(blob);
    for await (const piece of chunks(source, 0, blob.size)) {
      all.#add(piece);
      progress(all.count, Number(s.count));
    }
    return all;
  }

  /** @param {any} s @param {Uint8Array} leaf @param {number} size */
  constructor(s, leaf, size) {
    this.s = s;
    this.leaf = leaf;
    this.bytes = new Uint8Array(size);
    this.end = 0; // of what is in bytes
    this.count = 0;
    this.offsets = new Float64Array(1024); // of record i; of the one after the last, the end
    this.pcrs = new Uint8Array(1024);
    this.flags = new Uint8Array(1024);
    this.templates = new Uint8Array(1024);
    /** @type {string[]} */
    this.names = []; // of templates, in latin1
    this.malformed = '';
    /** @type {Uint32Array | undefined} */
    this.selected = undefined;
    this.reader = new ListReader(s.list);
  }

  /** @param {Uint8Array} piece */
  #add(piece) {
    this.bytes.set(piece, this.end);
    this.end += piece.length;
    if (this.malformed) return;
    try {
      for (const r of this.reader.add(piece)) this.#note(r);
    } catch (e) {
      this.malformed = /** @type {Error} */ (e).message;
    }
  }

  /** @param {import('./verify/list.js').Record} r */
  #note(r) {
    const i = this.count++;
    if (i + 1 >= this.pcrs.length) {
      for (const key of /** @type {const} */ (['offsets', 'pcrs', 'flags', 'templates'])) {
        const old = this[key];
        const grown = new old.constructor(2 * old.length);
        grown.set(old);
        this[key] = grown;
      }
    }
    const name = binaryString(r.name);
    let t = this.names.indexOf(name);
    if (t < 0 && this.names.length < 255) t = this.names.push(name) - 1;
    this.templates[i] = t < 0 ? 255 : t;
    this.pcrs[i] = r.pcr;
    this.flags[i] = (r.violation ? VIOLATION : 0) | (r.violation || !extendable(r.pcr) ? UNBOUND : 0);
    this.offsets[i + 1] = this.offsets[i] + r.raw.length;
  }

  summary() {
    const pcrs = [...new Set(this.pcrs.subarray(0, this.count))].sort((a, b) => a - b);
    let violations = 0;
    for (let i = 0; i < this.count; i++) violations += this.flags[i] & VIOLATION;
    return { count: this.count, pcrs, templates: this.names.map((n) => textOf(bytesOf(n))), violations, malformed: this.malformed };
  }

  /** @param {number} i */
  raw(i) {
    return this.bytes.subarray(this.offsets[i], this.offsets[i + 1]);
  }

  /** @param {number} i @returns {import('./verify/list.js').Record} */
  parsed(i) {
    const [r] = new ListReader(this.s.list).add(this.raw(i));
    return r;
  }

  /**
   * Selects records, those of all conditions; how many there are.
   * @param {{text: string, pcr: string, template: string, flag: string}} q
   */
  filter({ text, pcr, template, flag }) {
    if (!text && !pcr && !template && !flag) {
      this.selected = undefined;
      return { count: this.count };
    }
    const t = template === '' ? -1 : Number(template);
    const bits = { violation: VIOLATION, unbound: UNBOUND }[flag] ?? 0;
    // Digests are searched as hex, names as their bytes.
    const needle = binaryString(new TextEncoder().encode(text));
    const hexNeedle = /^([0-9a-f]{2}){4,}$/.test(text) ? binaryString(bytesOf(text.replace(/../g, (x) => String.fromCharCode(parseInt(x, 16))))) : '';
    const out = new Uint32Array(this.count);
    let n = 0;
    for (let i = 0; i < this.count; i++) {
      if ((pcr !== '' && this.pcrs[i] !== Number(pcr)) || (t >= 0 && this.templates[i] !== t) || (bits && !(this.flags[i] & bits))) continue;
      if (text) {
        const raw = binaryString(this.raw(i));
        if (!raw.includes(needle) && !(hexNeedle && raw.includes(hexNeedle))) continue;
      }
      out[n++] = i;
    }
    this.selected = out.slice(0, n);
    return { count: n };
  }

  /** Rows of the selection. @param {number} from @param {number} count */
  rows(from, count) {
    const total = this.selected ? this.selected.length : this.count;
    const list = [];
    for (let at = from; at < Math.min(from + count, total); at++) {
      const i = this.selected ? this.selected[at] : at;
      const r = this.parsed(i);
      const { name, digest } = said(r, this.s.list.littleEndian);
      list.push({ i, pcr: r.pcr, template: textOf(r.name), name, digest, violation: r.violation, unbound: !!(this.flags[i] & UNBOUND) });
    }
    return list;
  }

  /** All there is to say of a record. @param {number} i */
  record(i) {
    if (!(i >= 0 && i < this.count)) return undefined;
    const r = this.parsed(i);
    const { s } = this;
    return {
      i, pcr: r.pcr, template: textOf(r.name), violation: r.violation, unbound: !!(this.flags[i] & UNBOUND), stored: hex(r.digest),
      ...said(r, s.list.littleEndian), raw: r.raw.slice(), offset: this.offsets[i],
      extends: extendable(r.pcr) ? s.styles.map((x) => [x.bank.name, hex(extension(r, x.bank, x.style))]) : [],
      listBank: s.list.bank.name, inBoot: s.first + BigInt(i),
    };
  }

  /** The record proof of a record in one of its forms, and what its check finds. @param {number} index @param {boolean} sealed */
  proof(index, sealed) {
    const { s } = this;
    const lines = ['imaledger/record/v1', `leaf ${s.leaf}`, `index ${index}`, `record ${btoa(binaryString(this.raw(index)))}`];
    let rest = new Uint8Array(0);
    if (sealed) {
      const banks = banksOf(s.base);
      const size = banks.reduce((n, b) => n + b.size, 1);
      rest = new Uint8Array((this.count - 1) * size);
      let at = 0;
      for (let i = 0; i < this.count; i++) {
        if (i === index) continue;
        const r = this.parsed(i);
        rest[at] = r.pcr > 254 ? 255 : r.pcr;
        let to = at + 1;
        for (const { bank, style } of s.styles) {
          if (extendable(r.pcr)) rest.set(extension(r, bank, style), to);
          to += bank.size;
        }
        at += size;
      }
      lines.push(...banks.map((b) => `bank ${b.name}`), `sealed ${this.count - 1}`);
    } else {
      let level = Array.from({ length: this.count }, (_, i) => leafHash(this.raw(i)));
      for (let at = index; level.length > 1; at >>= 1) {
        const sibling = level[at ^ 1];
        if (sibling) lines.push(`path ${hex(sibling)}`);
        // The last one of an odd level goes up as it is.
        level = Array.from({ length: Math.ceil(level.length / 2) }, (_, i) => (level[2 * i + 1] ? nodeHash(level[2 * i], level[2 * i + 1]) : level[2 * i]));
      }
    }
    const bytes = concat(bytesOf(lines.join('\n') + '\n'), rest);
    const report = new Report();
    const claim = checkRecord(report, s, parseRecordProof(bytes));
    return {
      bytes, claim: claim && { inBoot: claim.index, sealed: claim.sealed, bound: claim.bound },
      findings: report.findings.map((f) => ({ ...f, class: CODES[f.code][0], meaning: CODES[f.code][1] })),
    };
  }

  /**
   * What a forger makes who alters a record, and the leaf so that it fits: size,
   * digest and root are those of the altered records. What he cannot make is the quote.
   * @param {number} at in the records
   */
  forged(at) {
    const { s } = this;
    let i = 0;
    while (i + 1 < this.count && this.offsets[i + 1] <= at) i++;
    // Of a record that no register binds he can alter what he likes.
    for (let n = 0; n < this.count && this.flags[i] & UNBOUND; n++) i = (i + 1) % this.count;
    const payload = this.bytes.slice();
    const start = this.offsets[i];
    const altered = new Records(s, this.leaf, 0);
    altered.bytes = payload;
    altered.offsets = this.offsets;
    altered.count = this.count;
    const r = altered.parsed(i);
    const place = r.data.byteOffset + (isLegacy(r.name) ? 0 : r.data.length >> 1);
    payload[place] ^= 1;
    const style = s.styles.find((x) => x.bank === s.list.bank)?.style ?? 'digest';
    if (!r.violation) payload.set(dataDigest(r, s.list.bank, style), start + 4);
    const tree = new RecordTree();
    for (let n = 0; n < this.count; n++) tree.add(altered.raw(n));
    const digest = hex(sha256(payload));
    const text = binaryString(this.leaf.subarray(0, this.leaf.length - 73))
      .replace(/^payload (\d+) .*$/m, `payload $1 ${digest}`).replace(/^records .*$/m, `records ${hex(tree.root())}`);
    const leaf = concat(bytesOf(text), trailer(text.length, [digest, s.anchor.digest]));
    return { payload, leaf, record: i, offset: place };
  }
}

/** What a record says of itself, as far as it has the kernel's form. @param {import('./verify/list.js').Record} r @param {boolean} littleEndian */
function said(r, littleEndian) {
  const d = r.data;
  if (isLegacy(r.name)) return { name: textOf(d.subarray(24)), digest: `sha1:${hex(d.subarray(0, 20))}`, fields: [] };
  const names = namesOf(r.name) ?? [];
  const out = { name: '', digest: '', fields: /** @type {[string, Uint8Array][]} */ ([]) };
  for (const [i, v] of (valuesOf(d, littleEndian) ?? []).entries()) {
    const field = names[i];
    const zero = field === 'd' ? -1 : v.indexOf(0); // that has no algorithm before it
    if (/^n(-ng)?$/.test(field)) out.name = textOf(v[v.length - 1] === 0 ? v.subarray(0, -1) : v);
    else if (/^d(-ng|-ngv2)?$/.test(field)) out.digest = zero < 0 ? hex(v) : textOf(v.subarray(0, zero)) + hex(v.subarray(zero + 1));
    else out.fields.push([field ?? `${i + 1}`, v.slice()]);
  }
  return out;
}
