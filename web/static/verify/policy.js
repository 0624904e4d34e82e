// Policies: c2sp.org/tlog-policy, as strict as FORMAT.md section 7.1.

import { COSIGNATURE, ED25519, MLDSA44, parseKey, samePublicKey, textOf } from './note.js';
import { FormatError, binaryString } from './text.js';

/** @typedef {import('./note.js').Key} Key */
/** @typedef {{name: string, key: Key}} Witness */
/** @typedef {{name: string, threshold: number, members: string[]}} Group */
/** @typedef {{witness: Witness, time: bigint}} Cosignature one that verified; time in Unix seconds, 0n if it states none */

const MAX_POLICY = 1 << 20; // bytes
const MAX_KEYS = 256; // logs, witnesses, and groups, each

export class Policy {
  constructor() {
    /** @type {Key[]} */
    this.logs = [];
    /** @type {Map<string, Witness>} by the policy's name for it */
    this.witnesses = new Map();
    /** @type {Map<string, Group>} */
    this.groups = new Map();
    /** @type {string | undefined} name of a witness or a group, or none */
    this.quorum = undefined;
    this.members = new Set();
    // What the trust folder's rules add: FORMAT.md, section 7.
    /** @type {Map<string, string>} who runs a witness that the quorum may count */
    this.operators = new Map();
    this.independent = 0; // operators who must stand behind a checkpoint
  }

  /** Whether these witnesses meet the quorum. @param {Set<string>} names */
  meets(names) {
    if (!this.#reaches(names, /** @type {string} */ (this.quorum))) return false;
    const behind = new Set([...names].map((n) => this.operators.get(n)).filter((o) => o !== undefined));
    return behind.size >= this.independent;
  }

  /** @param {Set<string>} names @param {string} of @returns {boolean} */
  #reaches(names, of) {
    if (of === 'none') return true;
    const group = this.groups.get(of);
    if (!group) return names.has(of);
    return group.members.filter((m) => this.#reaches(names, m)).length >= group.threshold;
  }

  /** The witnesses that the quorum may count. @returns {string[]} names */
  counted(of = /** @type {string} */ (this.quorum)) {
    const group = this.groups.get(of);
    if (group) return group.members.flatMap((m) => this.counted(m));
    return of === 'none' ? [] : [of];
  }

  /** Demands that k operators stand behind a checkpoint. @param {Map<string, string>} operators by witness @param {number} k */
  demand(operators, k) {
    for (const name of operators.keys()) {
      if (!this.witnesses.has(name)) throw new FormatError('the policy has no witness of this name');
    }
    if (!k) return;
    if (this.quorum === 'none') throw new FormatError('independent: the policy demands no witness');
    for (const name of this.counted()) {
      const who = operators.get(name);
      if (who === undefined) throw new FormatError('independent: nobody is named who runs a witness of the quorum');
      this.operators.set(name, who);
    }
    if (new Set(this.operators.values()).size < k) throw new FormatError('independent: fewer operators run the witnesses');
    this.independent = k;
  }

  /** The fewest witnesses that meet the quorum. @returns {number} */
  smallest(of = /** @type {string} */ (this.quorum)) {
    if (of === 'none') return 0;
    const group = this.groups.get(of);
    if (!group) return 1;
    const sizes = group.members.map((m) => this.smallest(m)).sort((a, b) => a - b);
    return sizes.slice(0, group.threshold).reduce((a, b) => a + b);
  }

  /**
   * The time before which a checkpoint was not witnessed: FORMAT.md, section 8.6.
   * @param {Cosignature[]} list @returns {bigint} Unix seconds, 0n where there is no bound
   */
  notBefore(list) {
    return this.#bound(list, (a, b) => (a < b ? 1 : -1), (time, t) => time >= t);
  }

  /** The time after which it was not witnessed first. @param {Cosignature[]} list */
  notAfter(list) {
    return this.#bound(list, (a, b) => (a < b ? -1 : 1), (time, t) => time <= t);
  }

  /**
   * @param {Cosignature[]} list @param {(a: bigint, b: bigint) => number} order
   * @param {(time: bigint, t: bigint) => boolean} within
   */
  #bound(list, order, within) {
    if (this.quorum === 'none') return 0n;
    const timed = list.filter((c) => c.time !== 0n);
    const times = timed.map((c) => c.time).sort(order);
    const met = (/** @type {bigint} */ t) =>
      this.meets(new Set(timed.filter((c) => within(c.time, t)).map((c) => c.witness.name)));
    return times.find(met) ?? 0n;
  }
}

/** @param {Policy} p @param {string} name */
const known = (p, name) => p.witnesses.has(name) || p.groups.has(name);

/** @param {Policy} p @param {string} name */
function define(p, name) {
  if (name === 'none' || known(p, name)) throw new FormatError('this name is taken');
}

/** @param {Policy} p @param {Key} key */
function addKey(p, key) {
  for (const k of [...p.logs, ...[...p.witnesses.values()].map((w) => w.key)]) {
    if (samePublicKey(k, key)) throw new FormatError('this public key is named twice');
    if (k.name === key.name && k.id === key.id) throw new FormatError('this name and key ID are those of another key');
  }
}

/** @type {Record<string, (p: Policy, fields: string[]) => void>} */
const LINES = {
  log(p, [vkey, , ...more]) {
    if (vkey === undefined || more.length) throw new FormatError('want log <vkey> [<url>]');
    const key = parseKey(textOf(vkey), [ED25519, MLDSA44]);
    addKey(p, key);
    p.logs.push(key);
  },
  witness(p, [name, vkey, , ...more]) {
    if (vkey === undefined || more.length) throw new FormatError('want witness <name> <vkey> [<url>]');
    define(p, name);
    const key = parseKey(textOf(vkey), [COSIGNATURE, MLDSA44]);
    addKey(p, key);
    p.witnesses.set(name, { name, key });
  },
  group(p, [name, k, ...members]) {
    if (k === undefined || !members.length) throw new FormatError('want group <name> <k> <member>...');
    define(p, name);
    if (!/^(any|all|[1-9][0-9]{0,8})$/.test(k)) throw new FormatError('want any, all, or a number from 1');
    const threshold = k === 'any' ? 1 : k === 'all' ? members.length : Number(k);
    if (threshold > members.length) throw new FormatError('the group has fewer members than that');
    for (const m of members) {
      if (!known(p, m)) throw new FormatError('this member is not defined above');
      if (p.members.has(m)) throw new FormatError('a name can be a member only once');
      p.members.add(m);
    }
    p.groups.set(name, { name, threshold, members });
  },
  quorum(p, [name, ...more]) {
    if (name === undefined || more.length) throw new FormatError('want quorum <name>');
    if (p.quorum !== undefined) throw new FormatError('a policy has one quorum');
    if (name !== 'none' && !known(p, name)) throw new FormatError('this name is not defined above');
    p.quorum = name;
  },
};

/** @param {Uint8Array} bytes @returns {Policy} */
export function parsePolicy(bytes) {
  if (bytes.length > MAX_POLICY) throw new FormatError('want a policy of at most 2^20 bytes');
  const p = new Policy();
  const lines = binaryString(bytes).split('\n');
  if (lines.pop() !== '') throw new FormatError('want lines that end in LF', lines.length + 1);
  lines.forEach((line, i) => {
    if (p.logs.length > MAX_KEYS || p.witnesses.size > MAX_KEYS || p.groups.size > MAX_KEYS) {
      throw new FormatError('want at most 256 logs, witnesses and groups', i);
    }
    if (/[^\t\x20-\x7e\x80-\xff]/.test(line)) throw new FormatError('want no control character but tab', i + 1);
    const fields = line.split(/[ \t]+/).filter((f) => f);
    const key = fields.shift();
    if (key === undefined || key.startsWith('#')) return;
    if (!Object.hasOwn(LINES, key)) throw new FormatError('want log, witness, group or quorum', i + 1);
    try {
      LINES[key](p, fields);
    } catch (e) {
      if (e instanceof FormatError) throw new FormatError(e.message, i + 1);
      throw e;
    }
  });
  if (p.quorum === undefined) throw new FormatError('want a quorum line', lines.length + 1);
  return p;
}
