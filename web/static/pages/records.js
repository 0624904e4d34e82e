// The records of a segment, however many, with filters.

import { fill, h } from '../dom.js';
import { VirtualList } from '../rows.js';
import { count, hrefOf, loading, notice, plural, untrusted } from '../show.js';
import { progress } from './segment.js';

/** @param {import('../check.js').Checker} own @param {import('../app.js').View} view @param {string} host @param {string} number @param {any} segment @param {Blob} payload */
export function recordsOf(own, view, host, number, segment, payload) {
  const { bar, tell } = progress();
  const at = h('div', { class: 'records' }, loading('Reading records'), bar);
  own.ask('records', { blob: payload, leaf: segment.bytes }, { progress: (p) => tell('records', p.done, p.total) })
    .then((summary) => fill(at, list(own, view, host, number, summary)), (e) => fill(at, notice('error', 'The records cannot be read', e.message)));
  return at;
}

/** @param {any} own @param {import('../app.js').View} view @param {string} host @param {string} number @param {any} summary */
function list(own, view, host, number, summary) {
  if (!summary.count && !summary.malformed) return h('p', {}, 'The segment has no record.');
  const where = h('p', { class: 'small', role: 'status' });
  const v = new VirtualList({
    label: 'Records of the segment', columns: [['Record', 'n'], ['PCR', 'pcr'], ['Template', 'template'], ['Name', 'name'], ['Digest', 'digest']],
    load: (from, n) => own.ask('rows', { from, count: n }),
    render: (r) => ({
      href: hrefOf(host, number, r.i), class: r.violation ? 'violation' : r.unbound ? 'unbound' : '',
      cells: [count(r.i), String(r.pcr), untrusted(r.template.slice(0, 64)), [r.violation && h('strong', {}, 'violation '), untrusted(r.name.length > 300 ? `${r.name.slice(0, 300)}…` : r.name), r.name.length > 300 && ` (${count(r.name.length)} characters)`], untrusted(r.digest.slice(0, 160))],
    }),
  });
  const q = { text: view.query.get('text') ?? '', pcr: view.query.get('pcr') ?? '', template: view.query.get('template') ?? '', flag: view.query.get('flag') ?? '' };
  let asked = 0;
  const apply = async () => {
    const mine = ++asked;
    const { count: n } = await own.ask('filter', q);
    if (mine !== asked) return;
    v.reset(n);
    where.textContent = n === summary.count ? plural(n, 'record') : `${count(n)} of ${plural(summary.count, 'record')}`;
    const set = Object.entries(q).filter(([, value]) => value);
    history.replaceState(null, '', `${hrefOf(host, number)}${set.length ? `?${new URLSearchParams(set)}` : ''}`);
    v.element.closest('.page')?.setAttribute('data-at', location.hash);
  };
  let wait = 0;
  const change = (/** @type {string} */ key, /** @type {number} */ pause) => (e) => {
    q[key] = e.target.value;
    clearTimeout(wait);
    wait = setTimeout(apply, pause);
  };
  const option = (/** @type {string} */ value, text, /** @type {string} */ now) => h('option', { value, selected: value === now }, text);
  apply();
  return [
    summary.malformed && notice('error', 'The list cannot be read to its end', summary.malformed),
    h('div', { class: 'filters' },
      h('label', {}, 'Name or digest has ', h('input', { type: 'search', value: q.text, oninput: change('text', 200), spellcheck: 'false', autocomplete: 'off' })),
      h('label', {}, 'PCR ', h('select', { onchange: change('pcr', 0) }, option('', 'any', q.pcr), summary.pcrs.map((/** @type {number} */ p) => option(String(p), p, q.pcr)))),
      h('label', {}, 'Template ', h('select', { onchange: change('template', 0) }, option('', 'any', q.template), summary.templates.map((/** @type {string} */ t, /** @type {number} */ i) => option(String(i), t.slice(0, 40), q.template)))),
      h('label', {}, 'Which ', h('select', { onchange: change('flag', 0) }, option('', 'all', q.flag), option('violation', `violations (${summary.violations})`, q.flag), option('unbound', 'not bound by a register', q.flag)))),
    where, v.element,
    h('p', { class: 'small' }, 'Arrow keys, Page, Home and End move; Enter opens the record. A template\'s name, and what a violation says, is bound by no register.'),
  ];
}
