// The verifier at work, beside the page. A request is {id, what, args}; answers to it
// are {id, step}, {id, progress} and at last {id, result} or {id, error}. Requests are
// worked on one after the other.

import { across } from './verify/audit/across.js';
import { checkBundle } from './verify/audit/bundle.js';
import { CheckError, verifyCheckpoint } from './verify/audit/receipt.js';
import { parseCheckpoint } from './verify/checkpoint.js';
import { verifyLine } from './verify/cosignature.js';
import { CODES } from './verify/finding.js';
import { consistent } from './verify/merkle.js';
import { names } from './verify/note.js';
import { FormatError, hex, parseHex } from './verify/text.js';
import { parseTrust } from './verify/trust.js';
import { Records } from './records.js';

const encoder = new TextEncoder();

/** @typedef {{policy: string, rules: string, roots: string[]}} Texts of a trust folder */

/** @param {Texts} t */
const trustOf = (t) => parseTrust(encoder.encode(t.policy), encoder.encode(t.rules), t.roots.map((r) => encoder.encode(r)));

/** @param {any} f a finding @returns what it is to be shown with */
const told = (f) => ({ ...f, class: CODES[f.code][0], meaning: CODES[f.code][1] });

/** @type {Records | undefined} */
let records;

/** @param {import('./verify/note.js').Key} k */
const keyOf = (k) => ({ name: k.name, id: k.id, type: k.type, key: hex(k.key), vkey: k.vkey });

/** @type {Record<string, (args: any, tell: (message: any) => void) => any>} */
const WORK = {
  ready: () => true,

  /** A trust folder in words. @param {Texts} texts */
  trust(texts) {
    const { policy, rules, roots } = trustOf(texts);
    return {
      logs: policy.logs.map(keyOf),
      witnesses: [...policy.witnesses.values()].map((w) => ({ as: w.name, ...keyOf(w.key) })),
      groups: [...policy.groups.values()], quorum: policy.quorum, smallest: policy.smallest(),
      registrars: rules.registrars.map(keyOf), threshold: rules.threshold, operators: rules.operators.map(keyOf),
      grades: rules.grades, reason: rules.reason, allowSHA1: rules.allowSHA1, roots: roots.length,
    };
  },

  /** A checkpoint, and each witness's line on it. */
  async checkpoint({ texts, bytes }) {
    const { policy } = trustOf(texts);
    /** @type {any} */
    const out = { findings: [], witnesses: [] };
    try {
      const v = await verifyCheckpoint(policy, bytes);
      Object.assign(out, { notBefore: v.notBefore, notAfter: v.notAfter, unknown: v.unknown });
    } catch (e) {
      if (!(e instanceof CheckError)) throw e;
      out.findings.push(told({ code: e.code, subject: 'checkpoint', text: e.message }));
    }
    try {
      const c = parseCheckpoint(bytes);
      Object.assign(out, { origin: c.origin, size: c.size, root: hex(c.root) });
      for (const w of policy.witnesses.values()) {
        const line = c.lines.find((l) => names(l, w.key));
        const { ok, time } = line ? await verifyLine(c, w.key, line.signature) : { ok: undefined, time: 0n };
        out.witnesses.push({ as: w.name, name: w.key.name, ok, time });
      }
    } catch (e) {
      if (!(e instanceof FormatError)) throw e;
    }
    return out;
  },

  /** Whether one tree begins with another. */
  consistent: ({ older, newer, path }) => consistent(
    { size: BigInt(older.size), root: parseHex(older.root) }, { size: BigInt(newer.size), root: parseHex(newer.root) }, path),

  /** An evidence bundle, step by step. */
  async bundle({ texts, blob }, tell) {
    let last = 0;
    const result = await checkBundle(trustOf(texts), blob, {
      step: (step) => tell({ step: { ...step, findings: step.findings.map(told) } }),
      progress(part, done, total) {
        if (performance.now() - last < 50) return;
        last = performance.now();
        tell({ progress: { part, done, total } });
      },
    });
    return { ...result, findings: result.findings.map(told) };
  },

  /** Bundles held to one another. */
  across: ({ bundles }, tell) => across(bundles, (step) => tell({ step: { ...step, findings: step.findings.map(told) } })).map(told),

  /** Takes a segment's records, to be looked at. */
  async records({ blob, leaf }, tell) {
    records = await Records.open(blob, leaf, (done, total) => tell({ progress: { part: 'records', done, total } }));
    return records.summary();
  },
  filter: (q) => records?.filter(q),
  rows: ({ from, count }) => records?.rows(from, count),
  record: ({ index }) => records?.record(index),
  proof: ({ index, sealed }) => records?.proof(index, sealed),
  forged: ({ at }) => records?.forged(at),
};

/** Answers a request. @param {{id: number, what: string, args: any}} request @param {(message: any) => void} post */
export async function answer({ id, what, args }, post) {
  try {
    post({ id, result: await WORK[what](args, (message) => post({ id, ...message })) });
  } catch (e) {
    post({ id, error: e instanceof FormatError ? e.message : `${e.name}: ${e.message}`, format: e instanceof FormatError });
  }
}

if (typeof WorkerGlobalScope !== 'undefined') {
  let queue = Promise.resolve();
  self.onmessage = ({ data }) => {
    queue = queue.then(() => answer(data, (message) => self.postMessage(message)));
  };
}
