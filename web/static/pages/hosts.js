// Hosts: a list that the server keeps, searches and pages; or, where it keeps none,
// one that this browser makes of the whole log.

import { fill, h, say, table } from '../dom.js';
import { SCAN, hasLists, scan } from '../gather.js';
import { getJSON } from '../net.js';
import { openLog } from '../session.js';
import { bytes, count, hostLink, loading, mark, notice, plural, segmentLink } from '../show.js';

const STATES = { '': 'all', gap: 'with gaps', conflict: 'with conflicts', erased: 'with erasures', enrolled: 'enrolled, no segment yet', whole: 'nothing amiss' };
const PAGE = 100;

/** @param {HTMLElement} at @param {import('../app.js').View} view */
export async function show(at, view) {
  fill(at, h('h1', {}, 'Hosts'), loading('Asking for hosts'));
  const log = await openLog();
  if (!(await hasLists())) return alone(at, view, log);
  const q = new URLSearchParams();
  for (const key of ['query', 'state', 'sort', 'after']) if (view.query.get(key)) q.set(key, /** @type {string} */ (view.query.get(key)));
  q.set('limit', String(PAGE));
  const page = await getJSON(`hosts?${q}`, { signal: view.signal });
  if (view.signal.aborted) return;
  fill(at, h('h1', {}, 'Hosts ', mark('stated', h('p', {}, 'This list is for finding a host. That it is whole, and what it says of each, is the ledger\'s word; the page of a host verifies its history.'))),
    form(view), results(page, view));
}

/** @param {import('../app.js').View} view */
function form({ query }) {
  const search = h('input', { type: 'search', id: 'q', name: 'query', value: query.get('query') ?? '', autocomplete: 'off', spellcheck: 'false' });
  const options = (/** @type {Record<string, string>} */ o, /** @type {string} */ now) => Object.entries(o).map(([value, text]) => h('option', { value, selected: value === now }, text));
  const state = h('select', { id: 'state' }, options(STATES, query.get('state') ?? ''));
  const sort = h('select', { id: 'sort' }, options({ '': 'by name', newest: 'newest entry first' }, query.get('sort') ?? ''));
  const go = (/** @type {Event} */ e) => {
    e.preventDefault();
    const q = new URLSearchParams();
    for (const [key, input] of /** @type {[string, any][]} */ ([['query', search], ['state', state], ['sort', sort]])) if (input.value) q.set(key, input.value.trim());
    location.hash = `#/hosts${q.size ? `?${q}` : ''}`;
  };
  return h('form', { class: 'filters', onsubmit: go, role: 'search' },
    h('label', { for: 'q' }, 'Name has ', search), h('label', { for: 'state' }, 'State ', state), h('label', { for: 'sort' }, 'Sorted ', sort), h('button', { type: 'submit' }, 'Find'));
}

/** @param {any} page @param {import('../app.js').View} view */
function results(page, { query }) {
  say(plural(page.total, 'host'));
  if (!page.hosts.length) return notice('empty', 'No host', query.size ? 'None is called so, or is in that state.' : 'No host was enrolled in this log yet.');
  const next = new URLSearchParams(query);
  next.set('after', page.next ?? '');
  return h('div', {}, h('p', {}, plural(page.total, 'host'), query.get('after') && ', a further page'),
    table('Hosts as the ledger lists them', ['Host', 'Stated', 'Segments', 'Records', 'Grade', 'Newest entry'], page.hosts.slice(0, PAGE).map((x) => [
      hostLink(x.host), states(x), count(x.segments), count(x.records), x.grade,
      x.segments ? [segmentLink(x.host, x.sequence), ` at ${count(x.index)}`] : `#${x.sequence} at ${count(x.index)}`,
    ]), 'hosts'),
    h('p', {}, query.get('after') && [h('a', { href: '#/hosts' }, 'First page'), ' · '], page.next && h('a', { href: `#/hosts?${next}` }, `Next ${PAGE}`)));
}

function states(x) {
  const words = [
    x.conflicts && plural(x.conflicts, 'conflict'), x.gaps && plural(x.gaps, 'gap'),
    x.erased && `${x.erased} erased`, !x.segments && 'no segment yet',
  ].filter(Boolean);
  return h('span', { class: words.length ? 'words amiss' : 'words' }, words.join(', ') || 'nothing amiss');
}

/** Without a server that lists: the log is read whole. @param {HTMLElement} at @param {import('../app.js').View} view @param {import('../session.js').Log} log */
async function alone(at, view, log) {
  const list = async () => {
    const progress = h('progress', { max: log.size, 'aria-label': 'entries read' });
    fill(at, h('h1', {}, 'Hosts'), loading('Reading the whole log'), progress);
    const { hosts } = await scan(log, (done) => (progress.value = done));
    if (view.signal.aborted) return;
    const query = view.query.get('query') ?? '';
    const found = [...hosts].filter(([name]) => name.includes(query)).sort(([a], [b]) => (a < b ? -1 : 1));
    fill(at, h('h1', {}, 'Hosts'), h('p', {}, `This server keeps no list. This one is of all of the log, ${plural(log.size, 'entry', 'entries')}, read by this browser: ${plural(hosts.size, 'host')}.`),
      found.length ? table('Hosts in the log', ['Host', 'Entries', 'Records', 'Newest entry'], found.map(([name, places]) => [
        hostLink(name), count(places.length), count(places.reduce((/** @type {number} */ n, p) => n + p.records, 0)), [`#${places.at(-1).sequence} at ${count(places.at(-1).index)}`],
      ]), 'hosts') : notice('empty', 'No host', 'The log has no entry of a host.'));
  };
  if (log.size <= SCAN) return list();
  fill(at, h('h1', {}, 'Hosts'), notice('empty', 'This server keeps no lists', 'It serves the files of a log alone, and cannot tell which hosts there are.',
    h('p', {}, h('button', { onclick: () => list().catch((e) => fill(at, notice('error', 'The log cannot be read', e.message))) }, `Read the whole log, ${plural(log.size, 'entry', 'entries')}`), ` – about ${bytes(log.size * 2200)}.`)));
}
