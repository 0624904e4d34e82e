// Evidence is gathered from a server into a bundle, as the tool would have it, and
// that bundle is what is checked and what can be saved. What the server says of
// where things are is a hint: the check tells.

import { checker } from './check.js';
import { NetError, getBlob, getBytes, getJSON, statusOf, token } from './net.js';
import { pinned } from './session.js';
import { plural } from './show.js';
import { tarHeader } from './verify/bundle.js';
import { parseEntry } from './verify/entry.js';
import { CODES } from './verify/finding.js';
import { leafHash, sha256 } from './verify/hash.js';
import { RecordTree } from './verify/merkle.js';
import { binaryString, hex } from './verify/text.js';

/** @typedef {import('./session.js').Log} Log */
/** @typedef {{sequence: number, leaf: string, index: number}} Place an entry of a host's chain, as a server states it */
/** @typedef {{index: number, bytes: Uint8Array, leaf: string, entry: any, malformed: string}} Logged */

const MAX_ENTRY = 49152; // bytes
const MAX_SMALL = 1 << 20;
const encoder = new TextEncoder();

/** @param {Uint8Array} b */
const base64 = (b) => btoa(binaryString(b));

/** @param {string} code @param {string} subject @param {string} text @param {string} [entry] */
const noted = (code, subject, text, entry) => ({ code, subject, text, entry, class: CODES[code][0], meaning: CODES[code][1] });

export class Evidence {
  /** @param {Log} log */
  constructor(log) {
    this.log = log;
    /** @type {Map<string, {name: string, blob: Blob, digest: string}>} */
    this.files = new Map();
    /** @type {Map<string, Logged>} by leaf hash */
    this.entries = new Map();
    /** What the server did not give, or gave wrong. @type {any[]} */
    this.notes = [];
    /** Why the server gave no payload, by its digest. @type {Map<string, string>} */
    this.denied = new Map();
  }

  /** @param {string} folder @param {string} hash @param {Uint8Array | Blob} content @param {string} [digest] */
  add(folder, hash, content, digest) {
    const blob = content instanceof Blob ? content : new Blob([content]);
    const sum = digest ?? hex(sha256(/** @type {Uint8Array} */ (content)));
    this.files.set(`${folder}/${hash}`, { name: `${folder}/${hash}`, blob, digest: sum });
  }

  /** Adds an entry with its proof. @param {Logged} e */
  async addEntry(e) {
    if (this.entries.has(e.leaf)) return;
    this.entries.set(e.leaf, e);
    this.add('leaves', e.leaf, e.bytes);
    try {
      const path = await this.log.tree.path(e.index);
      const head = `c2sp.org/tlog-proof@v1\nindex ${e.index}\n${path.map((p) => base64(p) + '\n').join('')}\n`;
      this.add('proofs', e.leaf, new Uint8Array(await new Blob([head, this.log.raw]).arrayBuffer()));
    } catch (error) {
      this.notes.push(noted('proof-missing', `entry ${e.index}`, `the tree cannot be read: ${/** @type {Error} */ (error).message}`, e.leaf));
    }
    if (e.entry?.kind === 'segment') await this.addAddendum('anchors', e.entry.anchor.digest, e, MAX_SMALL);
    else for (const digest of e.entry?.addenda ?? []) await this.addAddendum('evidence', digest, e, 1 << 30);
  }

  /**
   * Adds an addendum, if the server has it and it is what its name says.
   * @param {string} folder @param {string} digest @param {Logged} of @param {number} max @param {(done: number) => void} [progress]
   */
  async addAddendum(folder, digest, of, max, progress) {
    if (this.files.has(`${folder}/${digest}`)) return;
    const subject = `${of.entry.host ?? of.entry.kind} ${of.entry.sequence ?? ''}`.trim();
    try {
      const blob = await getBlob(`addenda/${digest.slice(0, 2)}/${digest.slice(2, 4)}/${digest}${token() ? `?leaf=${of.leaf}` : ''}`, max, { progress });
      const sum = hex(new Uint8Array(await crypto.subtle.digest('SHA-256', await blob.arrayBuffer())));
      if (sum === digest) {
        this.add(folder, digest, blob, sum);
        return;
      }
      const code = folder === 'payloads' ? 'payload-digest' : folder === 'anchors' ? 'anchor-mismatch' : 'enrolment-evidence-invalid';
      this.notes.push(noted(code, subject, `the server gave ${plural(blob.size, 'byte')} with SHA-256 ${sum} for ${digest}`, of.leaf));
    } catch (e) {
      if (!(e instanceof NetError)) throw e;
      this.denied.set(digest, e.status === 401 || e.status === 403 ? 'forbidden' : e.status === 410 ? 'erased' : e.status === 404 ? 'absent' : e.message);
      if (e.status === 410) await this.addErasure(e.text);
    }
  }

  /** Adds the erasure that the server names, and its policy. @param {string} text */
  async addErasure(text) {
    const leaf = /[0-9a-f]{64}/.exec(text)?.[0];
    for (let next = leaf, n = 0; next && n < 2; n++) {
      const e = await entryByLeaf(this.log, next).catch(() => undefined);
      if (!e) return;
      await this.addEntry(e);
      next = e.entry?.retention;
    }
  }

  /**
   * Notes an entry that is not the one which a server says it is: another host's
   * history may verify, and is not this one's.
   * @param {Logged} e @param {string} host @param {number} sequence
   */
  place(e, host, sequence) {
    if (!e.entry || (e.entry.host === host && Number(e.entry.sequence) === sequence)) return;
    this.notes.push(noted('chain-broken', `${host} ${sequence}`, `the server gave entry ${e.index} for it, which is ${e.entry.sequence === undefined ? `a statement, ${e.entry.kind}` : `${e.entry.host} ${e.entry.sequence}`}`, e.leaf));
  }

  /** The bundle, as FORMAT.md section 6 has it. @param {(name: string) => boolean} [which] files, all if not said */
  bundle(which = () => true) {
    const files = [...this.files.values()].filter((f) => which(f.name)).sort((a, b) => (a.name < b.name ? -1 : 1));
    const manifest = encoder.encode('imaledger/evidence/v1\n' + files.map((f) => `file ${f.name} ${f.blob.size} ${f.digest}\n`).join(''));
    /** @type {BlobPart[]} */
    const parts = [];
    for (const [name, content, size] of /** @type {[string, any, number][]} */ ([['manifest', manifest, manifest.length], ...files.map((f) => [f.name, f.blob, f.blob.size])])) {
      parts.push(tarHeader(name, size), content, new Uint8Array((512 - (size % 512)) % 512));
    }
    parts.push(new Uint8Array(1024));
    return new Blob(parts, { type: 'application/x-tar' });
  }

  /**
   * Checks all of it. Without a pinned trust folder nothing is decided.
   * @param {import('./check.js').Listener} [listener] @param {import('./check.js').Checker} [by]
   */
  async check(listener, by = checker()) {
    const result = await checkBlob(this.bundle(), listener, by);
    result.findings.push(...this.notes);
    const classes = this.notes.map((n) => n.class).concat(result.class);
    result.class = ['contradicted', 'undecided'].find((c) => classes.includes(c)) ?? result.class;
    return result;
  }
}

/** @param {Blob} blob @param {import('./check.js').Listener} [listener] @param {import('./check.js').Checker} [by] @param {any} [texts] */
export async function checkBlob(blob, listener, by = checker(), texts = pinned()) {
  if (!texts) return { class: 'undecided', unpinned: true, findings: [], segments: [], entries: 0, newest: undefined, successions: [] };
  if (!crypto.subtle) throw new Error('this browser checks no signatures on a page that came neither by HTTPS nor from this machine');
  return by.ask('bundle', { texts, blob }, listener);
}

/**
 * The state of one entry by the findings of a check: any contradiction counts, and of
 * what is undecided that which is about the entry, or about no segment.
 * @param {any} result @param {string} leaf @param {Evidence} evidence
 */
export function stateOf(result, leaf, evidence) {
  if (result.unpinned) return { state: 'undecided', findings: [] };
  const other = (f) => f.entry && f.entry !== leaf && evidence.entries.get(f.entry)?.entry?.kind === 'segment';
  const about = result.findings.filter((f) => f.class === 'contradicted' || !other(f));
  const state = about.some((f) => f.class === 'contradicted') ? 'contradicted' : about.some((f) => f.class === 'undecided') ? 'undecided' : 'verified';
  return { state, findings: about };
}

/** @param {number} index @param {Uint8Array} bytes @returns {Logged} */
function logged(index, bytes) {
  const leaf = hex(leafHash(bytes));
  try {
    return { index, bytes, leaf, entry: parseEntry(bytes), malformed: '' };
  } catch (e) {
    return { index, bytes, leaf, entry: undefined, malformed: /** @type {Error} */ (e).message };
  }
}

/** An entry by its index, and its leaf hash where that is stated. @param {Log} log @param {number} index @param {string} [leaf] */
export async function entryAt(log, index, leaf) {
  if (!(index >= 0 && index < log.size)) throw new NetError(`entry ${index}`, 404, `the checkpoint has ${plural(log.size, 'entry', 'entries')}`);
  if (leaf) {
    try {
      return logged(index, await getBytes(`leaf/${leaf}`, MAX_ENTRY));
    } catch (e) {
      if (statusOf(e) !== 404) throw e;
    }
  }
  return logged(index, /** @type {Uint8Array} */ ((await log.tree.entries(index)).get(index)));
}

/** An entry by its leaf hash alone: the server says where it stands. @param {Log} log @param {string} leaf */
export async function entryByLeaf(log, leaf) {
  const known = scanned?.byLeaf.get(leaf);
  if (known !== undefined) return entryAt(log, known);
  const proof = await (await getBlob(`proof/${leaf}`, MAX_SMALL, { wait: 0 })).text();
  return entryAt(log, Number(/^index (\d+)$/m.exec(proof)?.[1] ?? -1), leaf);
}

/** What a log has, read whole. @type {{root: string, size: number, hosts: Map<string, Place[]>, byLeaf: Map<string, number>} | undefined} */
let scanned;

/**
 * Reads every entry, where a server keeps no lists: hosts and their chains. All of them
 * together have the checkpoint's root, or nothing is said.
 * @param {Log} log @param {(done: number) => void} [progress]
 */
export async function scan(log, progress) {
  if (scanned?.root === log.root) return scanned;
  const found = { root: log.root, size: log.size, hosts: new Map(), byLeaf: new Map() };
  const tree = new RecordTree();
  for (let at = 0; at < log.size; at += 256) {
    for (const [index, bytes] of await log.tree.entries(at)) {
      const { leaf, entry } = logged(index, bytes);
      found.byLeaf.set(leaf, index);
      tree.add(bytes);
      if (entry?.sequence === undefined) continue;
      if (!found.hosts.has(entry.host)) found.hosts.set(entry.host, []);
      found.hosts.get(entry.host).push({ sequence: Number(entry.sequence), leaf, index, kind: entry.kind, join: entry.join, grade: entry.grade, records: Number(entry.count ?? 0) });
    }
    progress?.(Math.min(at + 256, log.size));
  }
  if (hex(tree.root()) !== log.root) throw new NetError('tile/entries', 200, 'the entries do not lead to the root that the log signed');
  return (scanned = found);
}

/** Logs of so many entries are read whole without asking, where there are no lists. */
export const SCAN = 4096;

/** No list of the server's is there, and the log is too large to read unasked. */
export class NoLists extends Error {}

/**
 * A part of a host's chain, as the server states it.
 * @param {Log} log @param {string} host @param {number} from sequence @param {number} limit
 * @returns {Promise<{newest: number, entries: Place[], stated: boolean}>}
 */
export async function chainOf(log, host, from, limit) {
  try {
    const page = await getJSON(`host/${encodeURIComponent(host)}/chain?from=${from}&limit=${limit}`);
    return { newest: Number(page.newest), entries: page.entries.filter((e) => e.index < log.size).slice(0, limit), stated: true };
  } catch (e) {
    if (statusOf(e) !== 404 || (await hasLists())) throw e;
  }
  if (log.size > SCAN && scanned?.root !== log.root) throw new NoLists();
  const all = (await scan(log)).hosts.get(host);
  if (!all) throw new NetError(`host ${host}`, 404, 'the log has no entry of this host');
  return { newest: all.at(-1).sequence, entries: all.filter((/** @type {Place} */ e) => e.sequence >= from).slice(0, limit), stated: false };
}

/** @type {Promise<boolean> | undefined} */
let lists;
/** Whether this server answers more than a file server of tiles would. */
export const hasLists = () => (lists ??= getJSON('hosts?limit=1').then(() => true, (e) => statusOf(e) !== 404));

/**
 * What a server's list of hosts has of one. Names are sorted, and none stands between
 * the one that is asked from and the host's: however many have it as a part, it comes
 * first.
 * @param {string} host
 */
export async function listedHost(host) {
  const before = host.slice(0, -1) + String.fromCharCode(host.charCodeAt(host.length - 1) - 1) + '~';
  const page = await getJSON(`hosts?limit=1&query=${encodeURIComponent(host)}&after=${encodeURIComponent(before)}`);
  return page.hosts?.find((/** @type {{host: string}} */ h) => h.host === host);
}

/**
 * Gathers a segment: the enrolment of its AK, the segment before it, itself.
 * @param {Log} log @param {string} host @param {number} sequence
 * @param {(part: string, done: number, total: number) => void} progress
 */
export async function gatherSegment(log, host, sequence, progress) {
  const evidence = new Evidence(log);
  const { entries: [at], newest } = await chainOf(log, host, sequence, 1);
  if (!at || at.sequence !== sequence) throw new NetError(`${host} ${sequence}`, 404, `the host's chain goes to ${newest}`);
  const segment = await entryAt(log, at.index, at.leaf);
  if (!segment.entry) return { evidence, segment, newest };
  evidence.place(segment, host, sequence);
  if (segment.entry.kind === 'segment') {
    await addBefore(evidence, host, segment, progress);
    const { digest, size } = segment.entry.payload;
    await evidence.addAddendum('payloads', digest, segment, Number(size), (done) => progress('payload', done, Number(size)));
  }
  await evidence.addEntry(segment);
  return { evidence, segment, newest };
}

const NEAR = 16 << 20; // bytes of records of the segment before that are fetched too

/** @param {Evidence} evidence @param {string} host @param {Logged} segment @param {any} progress */
async function addBefore(evidence, host, segment, progress) {
  const { log } = evidence;
  const sequence = Number(segment.entry.sequence);
  const entryOf = placeOf(log, host);
  const before = await entryOf(sequence - 1);
  if (before?.entry?.kind === 'segment') {
    const { digest, size } = before.entry.payload;
    if (size <= NEAR && before.entry.ak === segment.entry.ak) {
      await evidence.addAddendum('payloads', digest, before, Number(size), (done) => progress('payload before', done, Number(size)));
      if (evidence.files.has(`payloads/${digest}`)) await evidence.addEntry(before);
    }
  }
  const enrolment = before?.entry?.kind === 'enrolment' ? before : await enrolmentOf(segment.entry, entryOf);
  if (enrolment) await evidence.addEntry(enrolment);
}

/** What reads a host's entries by their sequence. @param {Log} log @param {string} host */
export const placeOf = (log, host) => async (/** @type {number} */ n) => {
  const { entries: [at] } = await chainOf(log, host, n, 1);
  return at && entryAt(log, at.index, at.leaf);
};

/**
 * The enrolment that a segment stands under. A host has one AK at a time: so the
 * entries under one stand together, and the enrolment is the first of them. Whatever
 * number the segment has, it is found in few questions, or not.
 * @param {any} segment @param {(sequence: number) => Promise<Logged | undefined>} entryOf @returns {Promise<Logged | undefined>}
 */
export async function enrolmentOf(segment, entryOf) {
  const is = (/** @type {Logged | undefined} */ e) => e?.entry?.ak === segment.ak;
  let first = await entryOf(0);
  if (!is(first)) {
    let [from, to] = [1, Number(segment.sequence)];
    while (from < to) {
      const n = Math.floor((from + to) / 2);
      if (is(await entryOf(n))) to = n;
      else from = n + 1;
    }
    first = await entryOf(from);
  }
  return is(first) && first?.entry.kind === 'enrolment' ? first : undefined;
}

/** @param {string} name a bundle's */
export const commandFor = (name) => `imaledger verify --trust trust ${name}`;
