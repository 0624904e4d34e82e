// What this browser believes and remembers: the pinned trust folder, and the newest
// checkpoint of each log that it verified.

import { checker } from './check.js';
import { getBytes } from './net.js';
import { plural } from './show.js';
import { Tree } from './tiles.js';
import { parseCheckpoint } from './verify/checkpoint.js';
import { hex } from './verify/text.js';

/** @typedef {{policy: string, rules: string, roots: string[], from: string, at: number, compared: boolean}} Pin at is in Unix seconds */

const PIN = 'imaledger-trust';
const SEEN = 'imaledger-seen';
const MAX_CHECKPOINT = 1 << 20; // bytes
const HISTORY = 200; // checkpoints that are remembered, for the plot of growth

/** @param {string} key @param {any} otherwise */
function stored(key, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(key) ?? '') ?? otherwise;
  } catch {
    return otherwise;
  }
}

/** @returns {Pin | undefined} */
export const pinned = () => stored(PIN, undefined);
/** @param {Pin | undefined} pin */
export function setPin(pin) {
  if (pin) localStorage.setItem(PIN, JSON.stringify(pin));
  else localStorage.removeItem(PIN);
  current = undefined;
  dispatchEvent(new Event('trust'));
}

/** @returns {Record<string, {size: number, root: string, at: number, history: [number, number][]}>} by origin */
export const seen = () => stored(SEEN, {});
/** @param {string} origin */
export function forget(origin) {
  const all = seen();
  delete all[origin];
  localStorage.setItem(SEEN, JSON.stringify(all));
  current = undefined;
  dispatchEvent(new Event('trust'));
}

/**
 * The log as this server shows it now.
 * @typedef {object} Log
 * @property {Uint8Array} raw the signed checkpoint
 * @property {string} origin @property {number} size @property {string} root
 * @property {'verified' | 'contradicted' | 'undecided'} state
 * @property {any[]} findings of its signatures
 * @property {string[]} reasons in words
 * @property {string} alarm what must be shouted
 * @property {{as: string, name: string, ok: boolean | undefined, time: bigint}[]} witnesses
 * @property {bigint} notBefore @property {bigint} notAfter @property {string[]} unknown keys that signed too
 * @property {Tree} tree
 * @property {number} read Unix milliseconds
 * @property {{size: number, at: number} | undefined} since the checkpoint that it was found consistent with
 */

/** @type {Promise<Log> | undefined} */
let current;
let at = 0;
const FRESH = 10_000; // milliseconds for which pages share a checkpoint

/** The log at its newest checkpoint. @param {boolean} [again] @returns {Promise<Log>} */
export function openLog(again) {
  if (!current || again || Date.now() - at > FRESH) {
    at = Date.now();
    current = readLog();
    current.then((log) => dispatchEvent(new CustomEvent('log', { detail: log })), () => (current = undefined));
  }
  return current;
}

async function readLog() {
  const raw = await getBytes('checkpoint', MAX_CHECKPOINT, { fresh: true });
  /** @type {Log} */
  const log = {
    raw, origin: '', size: 0, root: '', state: 'undecided', findings: [], reasons: [], alarm: '', witnesses: [],
    notBefore: 0n, notAfter: 0n, unknown: [], tree: new Tree(0), read: Date.now(), since: undefined,
  };
  try {
    const c = parseCheckpoint(raw);
    if (c.size > BigInt(Number.MAX_SAFE_INTEGER)) { // a log can claim any size, and witnesses cosign it
      log.reasons.push(`It is of ${plural(c.size, 'entry', 'entries')}, more than are read here.`);
      return log;
    }
    Object.assign(log, { origin: c.origin, size: Number(c.size), root: hex(c.root), tree: new Tree(Number(c.size)) });
  } catch (e) {
    log.state = 'contradicted';
    log.reasons.push(`It is not in the form of a checkpoint: ${/** @type {Error} */ (e).message}.`);
    return log;
  }
  const pin = pinned();
  if (!pin) {
    log.reasons.push('No trust folder is pinned in this browser, so no signature can be checked.');
    return log;
  }
  if (!globalThis.crypto?.subtle) {
    log.reasons.push('This browser checks no signatures on a page that came neither by HTTPS nor from this machine.');
    return log;
  }
  const v = await checker().ask('checkpoint', { texts: pin, bytes: raw });
  Object.assign(log, { findings: v.findings, witnesses: v.witnesses, notBefore: v.notBefore ?? 0n, notAfter: v.notAfter ?? 0n, unknown: v.unknown ?? [] });
  log.state = v.findings.length ? v.findings[0].class : 'verified';
  const codes = v.findings.map((f) => f.code);
  if (codes.includes('checkpoint-signature') || codes.includes('checkpoint-unknown-log')) {
    log.alarm = 'The log does not sign with a key that you pinned. Either it has another key now, or this is not the log. Believe nothing here before you know which.';
  }
  if (log.state === 'verified') await compare(log);
  return log;
}

/** Holds a checkpoint that verified against the last one. @param {Log} log */
async function compare(log) {
  const all = seen();
  const last = all[log.origin];
  if (last && last.size > log.size) {
    log.state = 'undecided';
    log.alarm = `You have seen this log with ${plural(last.size, 'entry', 'entries')}, and are shown ${log.size}. It is an old copy, or the log was rolled back.`;
    log.reasons.push(log.alarm);
    return;
  }
  if (last) {
    let ok;
    try {
      const path = last.size === log.size ? [] : await log.tree.consistency(last.size);
      ok = await checker().ask('consistent', { older: { size: last.size, root: last.root }, newer: { size: log.size, root: log.root }, path });
    } catch (e) {
      log.state = 'undecided';
      log.reasons.push(`Whether it goes on from the checkpoint of your last visit cannot be checked: ${/** @type {Error} */ (e).message}.`);
      return;
    }
    if (!ok) {
      log.state = 'contradicted';
      log.alarm = `The log does not go on from the checkpoint of ${plural(last.size, 'entry', 'entries')} that you saw last: it shows two histories, or was read wrong. Keep both checkpoints, and tell the witnesses.`;
      log.reasons.push(log.alarm);
      log.findings.push({
        code: 'log-split', class: 'contradicted', meaning: 'the log signed two histories', subject: log.origin,
        text: `size ${last.size} root ${last.root} does not lead to size ${log.size} root ${log.root}`,
      });
      return;
    }
    log.since = { size: last.size, at: last.at };
  }
  const now = Math.floor(log.read / 1000);
  const history = [...(last?.history ?? [])];
  if (history.at(-1)?.[0] !== log.size) history.push([log.size, Number(log.notAfter) || now]);
  all[log.origin] = { size: log.size, root: log.root, at: now, history: history.slice(-HISTORY) };
  localStorage.setItem(SEEN, JSON.stringify(all));
}
