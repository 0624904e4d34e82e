// How values look: states, times, hashes, and bytes that nobody vouches for.

import { h } from './dom.js';
import { noun } from './verify/text.js';

/** @typedef {'verified' | 'contradicted' | 'undecided' | 'stated' | 'checking'} State */

const MARKS = {
  verified: ['✓', 'verified'],
  contradicted: ['✕', 'contradicted'],
  undecided: ['?', 'undecided'],
  stated: ['“', 'stated by the ledger'],
  checking: ['…', 'checking'],
};

/**
 * A state, with its reason one click away. Only what this browser has checked may
 * be verified or contradicted; what a server alone claims is stated.
 * @param {State} state @param {any[]} reasons
 */
export function mark(state, ...reasons) {
  const [sign, word] = MARKS[state];
  const label = [h('span', { class: 'sign', 'aria-hidden': 'true' }, sign), ' ', word];
  if (!reasons.length) return h('span', { class: `mark ${state}` }, label);
  return h('details', { class: `mark ${state}` }, h('summary', {}, label), h('div', { class: 'reason' }, reasons));
}

/** @param {import('./verify/finding.js').Finding & {class: string, meaning: string}} f */
export const finding = (f) => h('li', { class: `finding ${f.class}` },
  h('strong', {}, f.code), ' ', h('span', { class: 'class' }, f.class), h('br', {}),
  f.subject && [untrusted(f.subject), ': '], untrusted(f.text), h('br', {}), h('em', {}, f.meaning));

/** @param {any[]} list */
export const findings = (list) => (list.length ? h('ul', { class: 'findings' }, list.map(finding)) : h('p', {}, 'Nothing was found against it.'));

/** Why nothing is decided by a browser in which nothing is pinned. */
export const UNPINNED = 'No trust folder is pinned in this browser.';

/** What stands behind a check's mark. @param {any} result of the check @param {any[]} list what it found of the thing marked */
export const reasons = (result, list) => (result.unpinned ? UNPINNED : findings(list));

/** What there is to say against a log. @param {import('./session.js').Log} log */
export const against = (log) => h('div', {}, log.reasons.map((r) => h('p', {}, r)), log.findings.length > 0 && findings(log.findings));

const local = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
export const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;

/** Unix seconds as in reports of the tool. @param {bigint | number} seconds */
export const utc = (seconds) => (Number(seconds) === 0 ? 'an unknown time' : new Date(Number(seconds) * 1000).toISOString().replace('T', ' ').replace('.000', ''));

/** A time in the viewer's zone and in UTC. @param {bigint | number} seconds */
export function time(seconds) {
  const n = Number(seconds);
  if (!n || n > 8.64e12) return h('span', { class: 'none' }, n ? String(n) : 'no bound');
  const d = new Date(n * 1000);
  return h('time', { datetime: d.toISOString() }, h('span', { class: 'nowrap' }, local.format(d)), ' ', h('span', { class: 'utc nowrap' }, utc(n)));
}

/** How long ago, roughly. @param {bigint | number} seconds */
export function ago(seconds) {
  const s = Math.round(Date.now() / 1000 - Number(seconds));
  return s < 0 ? 'ahead of this machine\'s clock' : `${duration(s)} ago`;
}

/** How long, roughly. @param {number} s seconds */
export function duration(s) {
  for (const [unit, n] of /** @type {[string, number][]} */ ([['day', 86400], ['hour', 3600], ['minute', 60]])) {
    if (s >= 2 * n) return plural(Math.floor(s / n), unit);
  }
  return `${s} s`;
}

/** Hex, whole to copy and cut to look at. @param {string} hex */
export const hash = (hex) => h('code', { class: 'hash', title: hex }, hex);

/** @param {bigint | number} n */
export const count = (n) => (Number.isFinite(Number(n)) ? Number(n).toLocaleString('en-US') : '?');

/** How many there are of something: '1 entry', '2,000 entries'. @param {bigint | number} n @param {string} one @param {string} [many] */
export const plural = (n, one, many) => `${count(n)} ${noun(n, one, many)}`;

/** @param {bigint | number} n */
export function bytes(n) {
  const b = Number(n);
  return b < 10_000 ? plural(b, 'byte') : b < 10_000_000 ? `${count(Math.round(b / 1000))} kB` : `${count(Math.round(b / 1e6))} MB`;
}

// Characters that change what is around them, or that cannot be seen.
const UNSEEN = /[\p{C}\p{Zl}\p{Zp}\u00a0\u115f\u1160\u2000-\u200f\u202f\u205f\u2800\u3000\u3164\ufe00-\ufe0f\uffa0\u{e0100}-\u{e01ef}]|^\s|\s$|\\|\s(?=\s)/gu;
const SHORT = 512; // characters of a name that are shown at once

/** @param {string} c */
const escape = (c) => (/[\udc80-\udcff]/.test(c) ? `\\x${hex2(c.charCodeAt(0) - 0xdc00)}` : c === '\\' ? '\\\\' : c === ' ' ? '\\x20' : c.codePointAt(0) < 0x80 ? `\\x${hex2(c.codePointAt(0))}` : `\\u{${c.codePointAt(0).toString(16)}}`);
const hex2 = (n) => n.toString(16).padStart(2, '0');

/** Text in runs: what can be seen, and escapes of what cannot. @param {string} text @returns {any[]} */
function runs(text) {
  const out = [];
  let at = 0;
  for (const m of text.matchAll(UNSEEN)) {
    if (m.index > at) out.push(text.slice(at, m.index));
    out.push(h('span', { class: 'escape' }, escape(m[0])));
    at = m.index + m[0].length;
  }
  if (at < text.length) out.push(text.slice(at));
  return out;
}

/**
 * What others wrote, so that it can be neither markup nor mistaken: characters that
 * cannot be seen, or that turn the reading direction, stand as escapes.
 * @param {string} text
 */
export function untrusted(text) {
  if (text.length <= SHORT) return h('bdi', { class: 'untrusted' }, runs(text));
  return h('bdi', { class: 'untrusted' }, runs(text.slice(0, SHORT)), h('details', { class: 'long' },
    h('summary', {}, `… ${count(text.length)} characters in all`), runs(text.slice(SHORT))));
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Bytes as text where they are UTF-8, each byte that is not as \xNN. @param {Uint8Array} b */
export function textOf(b) {
  try {
    return decoder.decode(b);
  } catch { /* byte by byte */ }
  let out = '';
  for (let at = 0; at < b.length; ) {
    const n = b[at] < 0x80 ? 1 : b[at] < 0xe0 ? 2 : b[at] < 0xf0 ? 3 : 4;
    try {
      out += decoder.decode(b.subarray(at, at + n));
      at += n;
    } catch {
      out += String.fromCharCode(0xdc00 + b[at++]); // half a surrogate, which no UTF-8 has: runs() shows the byte
    }
  }
  return out;
}

/** Where a host is shown, or a segment of it, or a record of that. @param {any[]} place host, sequence, record */
export const hrefOf = (...place) => `#/hosts/${place.map(encodeURIComponent).join('/')}`;
/** A host's, as a link. @param {string} name */
export const hostLink = (name) => h('a', { href: hrefOf(name) }, untrusted(name));
/** @param {string} name @param {any} sequence @param {any} [label] */
export const segmentLink = (name, sequence, label) =>
  h('a', { href: hrefOf(name, sequence), 'aria-label': `${label ?? `#${sequence}`}, ${name} segment ${sequence}` }, label ?? `#${sequence}`);

/** What stands where there is nothing, or not yet, or not for you. @param {string} kind @param {string} title @param {any[]} text */
export const notice = (kind, title, ...text) => h('section', { class: `notice ${kind}`, role: kind === 'error' || kind === 'alarm' ? 'alert' : undefined },
  h('h2', {}, title), text.map((t) => (t instanceof Node ? t : h('p', {}, t))));

/** @param {string} what */
export const loading = (what) => h('p', { class: 'loading', role: 'status' }, h('span', { class: 'spin', 'aria-hidden': 'true' }), what);
