// Search: a digest or a name over all hosts. The ledger names hits; each is fetched
// and checked here before it is called one.

import { Checker } from '../check.js';
import { fill, h, say, table } from '../dom.js';
import { gatherSegment, hasLists, stateOf } from '../gather.js';
import { getJSON, statusOf } from '../net.js';
import { openLog, pinned } from '../session.js';
import { UNPINNED, count, findings, hostLink, hrefOf, loading, mark, notice, plural, segmentLink, untrusted } from '../show.js';
import { binaryString } from '../verify/text.js';

const UNASKED = 16 << 20; // bytes of a segment's records that are fetched to check a hit

/** @param {HTMLElement} at @param {import('../app.js').View} view */
export async function show(at, view) {
  const { query } = view;
  fill(at, h('h1', {}, 'Search'), form(query));
  if (![...query].length) {
    at.append(notice('empty', 'Who has measured it?', 'A file by its digest, or by its name; * in a name stands for anything. The ledger names where; every hit is fetched and checked in this browser.'));
    return;
  }
  const out = h('div', {}, loading('Asking the ledger'));
  at.append(out);
  const log = await openLog();
  let page;
  try {
    page = await getJSON(`search?${query}`, { signal: view.signal, wait: 5 });
  } catch (e) {
    if (statusOf(e) !== 404) {
      out.remove();
      throw e;
    }
    const lists = await hasLists();
    fill(out, notice('empty', 'This server answers no searches', lists ? 'Its operator has not turned that on (imaledgerd serve --search).' : 'It serves the files of a log alone.',
      'The records of one segment can be filtered on its page; imaledger index makes an index of one\'s own.'));
    return;
  }
  fill(out, await results(page, log, view));
}

/** @param {URLSearchParams} query */
function form(query) {
  const what = h('input', { id: 'what', type: 'search', value: query.get('digest') ?? query.get('path') ?? query.get('pattern') ?? '', spellcheck: 'false', autocomplete: 'off', required: true });
  const host = h('input', { id: 'host', type: 'search', value: query.get('host') ?? '', spellcheck: 'false', autocomplete: 'off' });
  const go = (/** @type {Event} */ e) => {
    e.preventDefault();
    const text = what.value.trim();
    const q = new URLSearchParams();
    q.set(/^([a-z0-9_-]+:)?([0-9a-fA-F]{2}){10,}$/.test(text) ? 'digest' : /[*?]/.test(text) ? 'pattern' : 'path', text);
    if (host.value.trim()) q.set('host', host.value.trim());
    location.hash = `#/search?${q}`;
  };
  return h('form', { class: 'filters', role: 'search', onsubmit: go }, h('label', { for: 'what' }, 'Digest or name ', what), h('label', { for: 'host' }, 'on host ', host), h('button', { type: 'submit' }, 'Search'));
}

/** @param {any} page @param {import('../session.js').Log} log @param {import('../app.js').View} view */
async function results(page, log, view) {
  const hits = page.hits.slice(0, 1000);
  /** @type {Cells[]} */
  const cells = hits.map((x) => ({
    state: h('span', {}, mark('stated', 'The ledger says so; it is checked in a moment.')),
    name: h('span', {}, untrusted(String(x.path ?? ''))), digest: h('span', {}, untrusted((Array.isArray(x.digests) ? x.digests : []).join(' '))),
  }));
  const next = page.next && new URLSearchParams(page.next.split('?')[1]);
  say(`${plural(hits.length, 'hit')} stated`);
  verifyAll(hits, cells, log, view);
  return [
    h('p', {}, `${plural(hits.length, 'hit')}${page.next ? ' on this page' : ''}, stated for ${plural(page.size, 'entry', 'entries')}. `, complete(page, log)),
    hits.length ? table('Hits', ['Record', 'State', 'Host', 'Segment', 'Name', 'Digest'], hits.map((x, /** @type {number} */ i) => [
      h('a', { href: hrefOf(x.host, x.sequence, x.record), 'aria-label': `record ${x.record} of ${x.host} segment ${x.sequence}` }, count(x.record)), cells[i].state, hostLink(String(x.host)), segmentLink(String(x.host), x.sequence), cells[i].name, cells[i].digest,
    ]), 'hits') : notice('empty', 'The ledger names no hit', 'That there is none is its word.'),
    next && h('p', {}, h('a', { href: `#/search?${next}` }, 'Next page')),
  ];
}

/** What nothing found says, and does not. @param {any} page @param {import('../session.js').Log} log */
function complete(page, log) {
  const l = page.limits;
  const amiss = l && [...Object.entries(l.states).filter(([s]) => s !== 'read').map(([s, n]) => `${plural(n, 'segment')} ${s}`), l.gaps && plural(l.gaps, 'gap'), l.opaque && `${plural(l.opaque, 'record')} without a word of what ${l.opaque === 1 ? 'it is' : 'they are'} of`].filter(Boolean);
  return mark('stated', h('p', {}, 'That no hit is left out is the ledger\'s word: an index of one\'s own, or reading all records, proves it.'),
    h('p', {}, `It answers for hosts ${page.hosts?.join(', ')}`, page.size < log.size && `, and is ${plural(log.size - page.size, 'entry', 'entries')} behind the log`, '.'),
    amiss?.length > 0 && h('p', {}, `Even so it cannot know of: ${amiss.join('; ')}.`));
}

/** @typedef {{state: HTMLElement, name: HTMLElement, digest: HTMLElement}} Cells of a hit */

/** @param {any[]} hits @param {Cells[]} cells @param {import('../session.js').Log} log @param {import('../app.js').View} view */
async function verifyAll(hits, cells, log, view) {
  if (!pinned()) return cells.forEach((c) => fill(c.state, mark('undecided', UNPINNED)));
  const own = new Checker();
  view.signal.addEventListener('abort', () => own.end());
  /** @type {Map<string, {hit: any, at: Cells}[]>} */
  const segments = new Map();
  hits.forEach((hit, i) => {
    const key = `${hit.host} ${hit.sequence}`;
    segments.set(key, [...segments.get(key) ?? [], { hit, at: cells[i] }]);
  });
  for (const list of segments.values()) {
    try {
      await verifySegment(list, log, own, view.query);
    } catch (e) {
      if (view.signal.aborted) return;
      list.forEach(({ at }) => fill(at.state, mark('undecided', `It could not be fetched: ${/** @type {Error} */ (e).message}`)));
    }
  }
}

/** @param {{hit: any, at: Cells}[]} list hits of one segment @param {import('../session.js').Log} log @param {Checker} own @param {URLSearchParams} query */
async function verifySegment(list, log, own, query) {
  list.forEach(({ at }) => fill(at.state, mark('checking')));
  const { host, sequence } = list[0].hit;
  const { evidence, segment } = await gatherSegment(log, String(host), Number(sequence), () => {});
  const payload = segment.entry?.payload && evidence.files.get(`payloads/${segment.entry.payload.digest}`)?.blob;
  if (!payload || payload.size > UNASKED) {
    return list.forEach(({ at }) => fill(at.state, mark('undecided', payload ? 'The segment is large; open the record to check it.' : 'The records of the segment are not at hand.')));
  }
  const result = await evidence.check({}, own);
  const { state, findings: found } = stateOf(result, segment.leaf, evidence);
  await own.ask('records', { blob: payload, leaf: segment.bytes });
  for (const { hit, at } of list) {
    const r = await own.ask('record', { index: Number(hit.record) });
    if (state !== 'verified') {
      fill(at.state, mark(state, findings(found)));
      continue;
    }
    // From here on the row says what the record says, and no longer what the ledger does.
    fill(at.name, untrusted(r?.name ?? ''));
    fill(at.digest, untrusted(r?.digest ?? ''));
    if (!r || !answers(r, query)) fill(at.state, mark('contradicted', 'The segment verifies, and the record there is not one that was searched for.'));
    else if (r.unbound) fill(at.state, mark('undecided', 'The record is there; what it says is bound by no register.'));
    else fill(at.state, mark('verified', 'The record is there, and its segment verifies.'));
  }
}

/** Whether a record is what was searched for. @param {any} r @param {URLSearchParams} query */
function answers(r, query) {
  const [digest, path, pattern] = ['digest', 'path', 'pattern'].map((key) => query.get(key));
  const bytesOf = (/** @type {string} */ t) => binaryString(new TextEncoder().encode(t)); // ? stands for a byte
  const glob = (/** @type {string} */ p) => new RegExp(`^${p.replace(/[.+^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*').replaceAll('?', '.')}$`, 'su');
  return (!digest || r.digest.toLowerCase().endsWith(`:${digest.toLowerCase().replace(/^.*:/, '')}`)) && (!path || r.name === path) && (!pattern || glob(bytesOf(pattern)).test(bytesOf(r.name)));
}
