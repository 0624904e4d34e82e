// The log: its checkpoint, who cosigned it and when, how it grew, its newest entries.

import { fill, h, pairs, save, svg, table } from '../dom.js';
import { entryAt } from '../gather.js';
import { openLog, seen } from '../session.js';
import { against, ago, count, duration, hash, hostLink, loading, mark, notice, plural, segmentLink, time, untrusted, utc, zone } from '../show.js';

const NEWEST = 20; // entries

/** @param {HTMLElement} at @param {import('../app.js').View} view */
export async function show(at, view) {
  fill(at, h('h1', {}, 'Log'), loading('Reading the checkpoint'));
  const log = await openLog();
  if (view.signal.aborted) return;
  const list = h('section', { 'aria-labelledby': 'newest' }, h('h2', { id: 'newest' }, 'Newest entries'), log.size ? loading('Reading entries') : notice('empty', 'The log is empty', 'Nothing was committed to it yet.'));
  fill(at, h('h1', {}, 'Log ', h('span', { class: 'origin' }, untrusted(log.origin))), checkpoint(log), witnesses(log), growth(log), list);
  if (log.size) await newest(list, log, Math.max(0, Math.min(Number(view.query.get('before') ?? log.size), log.size)));
}

/** @param {import('../session.js').Log} log */
function checkpoint(log) {
  const reasons = log.state === 'verified'
    ? h('div', {}, h('p', {}, 'A key of the log that you pinned signed it, and the pinned quorum of witnesses cosigned it.'),
        h('p', {}, log.since ? `It goes on from the ${plural(log.since.size, 'entry', 'entries')} that this browser saw ${ago(log.since.at)}.` : 'This browser saw this log for the first time: it cannot know what was before.'),
        log.unknown.length > 0 && h('p', {}, `Keys that the policy does not name signed too, and count for nothing: ${log.unknown.join(', ')}.`))
    : against(log);
  return h('section', { 'aria-labelledby': 'checkpoint' }, h('h2', { id: 'checkpoint' }, 'Checkpoint ', mark(log.state, reasons)),
    pairs([
      ['Entries', count(log.size)],
      ['Root', hash(log.root)],
      ['Not before', time(log.notBefore)],
      ['Not after', time(log.notAfter)],
      ['Bytes', h('button', { onclick: () => save('checkpoint', [log.raw], 'text/plain') }, 'Save the checkpoint')],
    ]),
    h('p', { class: 'small' }, `Times are the witnesses', in ${zone} and in UTC. The quorum brackets them: fewer owned witnesses than it takes can move neither bound.`));
}

/** @param {import('../session.js').Log} log */
function witnesses(log) {
  if (!log.witnesses.length) return null;
  const timed = log.witnesses.filter((w) => w.ok && w.time);
  return h('section', { 'aria-labelledby': 'witnesses' }, h('h2', { id: 'witnesses' }, 'Witnesses of this checkpoint'),
    timed.length > 1 && plot(timed, log),
    table('What each witness of the policy did with this checkpoint', ['Witness', 'State', 'Cosigned'], log.witnesses.map((w) => [
      [h('strong', {}, w.as), ' ', untrusted(w.name)],
      w.ok ? mark('verified', 'Its cosignature verifies under the pinned key.') : w.ok === false ? mark('contradicted', 'The line by its key does not verify.') : mark('undecided', 'The checkpoint has no line by it.'),
      w.ok ? time(w.time) : '–',
    ])));
}

/**
 * When each witness cosigned, a line for each, and the bounds that the quorum gives.
 * @param {{as: string, time: bigint}[]} list @param {import('../session.js').Log} log
 */
function plot(list, log) {
  const times = list.map((w) => Number(w.time));
  const first = Math.min(...times);
  const span = Math.max(...times) - first;
  const x = (/** @type {number} */ t) => 110 + 270 * (span ? (t - first) / span : 0.5);
  const y = (/** @type {number} */ i) => 18 + 22 * i;
  const foot = y(list.length);
  const bounds = [...new Set([log.notBefore, log.notAfter].filter(Boolean).map(Number))];
  return h('figure', { class: 'plot' },
    svg('svg', { viewBox: `0 0 400 ${foot + 12}`, role: 'img', 'aria-label': `${plural(list.length, 'cosignature')} within ${duration(span + 1)}, from ${utc(first)}` },
      bounds.map((t) => svg('line', { x1: x(t), y1: 6, x2: x(t), y2: foot - 8, class: 'bound' })),
      list.map((w, i) => [svg('text', { x: 8, y: y(i) + 4 }, w.as.slice(0, 14)), svg('line', { x1: 100, y1: y(i), x2: 390, y2: y(i), class: 'axis' }),
        svg('circle', { cx: x(Number(w.time)), cy: y(i), r: 4.5, class: 'dot' })]),
      svg('text', { x: 100, y: foot + 6, class: 'tick' }, utc(first).slice(11)), span > 0 && svg('text', { x: 390, y: foot + 6, class: 'tick', 'text-anchor': 'end' }, utc(first + span).slice(11))),
    h('figcaption', {}, `When each cosigned${span ? `, over ${duration(span)}` : ': all within one second'}. The dashed lines are what the quorum proves: not before, and not after.`));
}

/** @param {import('../session.js').Log} log */
function growth(log) {
  const history = seen()[log.origin]?.history ?? [];
  if (history.length < 2) return null;
  const [t0, t1] = [history[0][1], history.at(-1)[1]];
  const [n0, n1] = [history[0][0], history.at(-1)[0]];
  const x = (/** @type {number} */ t) => 10 + (380 * (t - t0)) / Math.max(1, t1 - t0);
  const y = (/** @type {number} */ n) => 90 - (80 * (n - n0)) / Math.max(1, n1 - n0);
  return h('section', { 'aria-labelledby': 'growth' }, h('h2', { id: 'growth' }, 'Growth'),
    h('figure', { class: 'plot' },
      svg('svg', { viewBox: '0 0 400 100', role: 'img', 'aria-label': `From ${count(n0)} to ${plural(n1, 'entry', 'entries')}` },
        svg('line', { x1: 10, y1: 90, x2: 390, y2: 90, class: 'axis' }),
        svg('polyline', { points: history.map(([n, t]) => `${x(t)},${y(n)}`).join(' '), class: 'line' }),
        history.map(([n, t]) => svg('circle', { cx: x(t), cy: y(n), r: 2.5, class: 'dot' }))),
      h('figcaption', {}, `${count(n0)} to ${plural(n1, 'entry', 'entries')}, ${utc(t0)} to ${utc(t1)}: the checkpoints that this browser verified, each found to go on from the one before.`)));
}

export function describe(e) {
  if (!e) return ['malformed', ''];
  if (e.kind === 'segment') return [segmentLink(e.host, e.sequence, `segment #${e.sequence}`), [hostLink(e.host), ` · ${plural(e.count, 'record')}, ${e.join}${e.reason ? ` ${e.reason}` : ''}`]];
  if (e.kind === 'enrolment') return [`enrolment #${e.sequence}`, [hostLink(e.host), ` · grade ${e.grade}`]];
  return [e.kind, untrusted(String(e.statement ?? e.reason ?? e.verdict ?? ''))];
}

/** @param {HTMLElement} at @param {import('../session.js').Log} log @param {number} before */
async function newest(at, log, before) {
  const from = Math.max(0, before - NEWEST);
  const rows = [];
  for (let index = before - 1; index >= from; index--) {
    const e = await entryAt(log, index);
    const [what, about] = describe(e.entry);
    rows.push([h('a', { href: `#/entries/${index}`, 'aria-label': `entry ${index}` }, count(index)), what, about, hash(e.leaf)]);
  }
  fill(at, h('h2', { id: 'newest' }, before < log.size ? `Entries before ${count(before)}` : 'Newest entries', ' ', mark('stated', 'They are read from the log\'s files. That each stands in the tree, and whether what it says holds, is checked on its own page.')),
    table('Entries of the log, the newest first', ['Index', 'Entry', 'About', 'Leaf hash'], rows, 'entries'),
    h('p', {}, before < log.size && [h('a', { href: '#/' }, 'Newest'), ' · '], from > 0 && h('a', { href: `#/?before=${from}` }, 'Older')));
}
