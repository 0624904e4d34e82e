// The shell: which page is shown, and what is shouted above all of them.

import { fill, h, say } from './dom.js';
import { NetError } from './net.js';
import { InputError } from './check.js';
import { NoLists } from './gather.js';
import { openLog, pinned } from './session.js';
import { notice, plural } from './show.js';

const PAGES = {
  '': ['Log', () => import('./pages/log.js')],
  entries: ['Entry', () => import('./pages/entry.js')],
  hosts: ['Hosts', () => import('./pages/hosts.js')],
  host: ['Host', () => import('./pages/host.js')],
  segment: ['Segment', () => import('./pages/segment.js')],
  record: ['Record', () => import('./pages/record.js')],
  search: ['Search', () => import('./pages/search.js')],
  verify: ['Verify', () => import('./pages/verify.js')],
  trust: ['Trust', () => import('./pages/trust.js')],
  status: ['Status', () => import('./pages/status.js')],
};

/** @typedef {{args: string[], query: URLSearchParams, signal: AbortSignal, title: (t: string) => void}} View */

/** A place by its hash: '#/hosts/web1.example/3?pcr=10'. @param {string} hash */
function placeOf(hash) {
  const [path, query] = hash.replace(/^#\/?/, '').split('?');
  const parts = path.split('/').filter(Boolean).map((p) => {
    try {
      return decodeURIComponent(p);
    } catch {
      return p;
    }
  });
  const [first = '', ...args] = parts;
  const page = first === 'hosts' ? ['hosts', 'host', 'segment', 'record'][args.length] ?? '' : first;
  return { page, nav: first, args, query: new URLSearchParams(query) };
}

const main = /** @type {HTMLElement} */ (document.getElementById('main'));
let leave = new AbortController();
let first = true;

async function route() {
  if (location.hash === '#main') return;
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  const { page, nav, args, query } = placeOf(location.hash);
  for (const a of document.querySelectorAll('nav a')) {
    const here = /** @type {HTMLAnchorElement} */ (a).hash.replace(/^#\/?/, '') === nav;
    if (here) a.setAttribute('aria-current', 'page');
    else a.removeAttribute('aria-current');
  }
  const known = Object.hasOwn(PAGES, page) ? PAGES[page] : undefined;
  const title = (/** @type {string} */ t) => {
    if (!signal.aborted) document.title = `${t} – imaledger`;
  };
  const at = h('div', { class: `page ${page || 'log'}`, 'data-at': location.hash });
  fill(main, at);
  if (!first) {
    main.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  first = false;
  if (!known) {
    title('Nothing here');
    fill(at, h('h1', {}, 'Nothing here'), notice('empty', 'There is no such page', h('p', {}, h('a', { href: '#/' }, 'The log'), ' is a place to begin.')));
    return;
  }
  title(known[0]);
  try {
    const { show } = await known[1]();
    await show(at, { args, query, signal, title });
    if (!signal.aborted) say(`${document.title.replace(/ – .*/, '')} is shown`);
  } catch (e) {
    if (signal.aborted || e.name === 'AbortError') return;
    at.querySelectorAll('.loading').forEach((l) => l.remove());
    if (!at.querySelector('h1')) at.prepend(h('h1', {}, known[0]));
    at.append(problem(e));
  }
}

/** What went wrong, and the mend. */
function problem(e) {
  if (e instanceof NoLists) {
    return notice('empty', 'This server keeps no lists', h('p', {}, 'It serves the files of a log alone. ',
      h('a', { href: '#/hosts' }, 'Hosts'), ' can read the whole log in your browser, and then this page works.'));
  }
  if (e instanceof NetError) {
    if (e.status === 401 || e.status === 403) {
      return notice('forbidden', 'This is not public', e.text, h('p', {}, 'The ledger shows it to whom its access list names. ', h('a', { href: '#/trust?access' }, 'Show a token'), ' for this tab, and come back.'));
    }
    if (e.status === 404) return notice('empty', 'It is not there', `${e.path}: ${e.text}`);
    if (e.status === 410) return notice('erased', 'It was erased', e.text);
    if (e.status === 0) return notice('error', 'The server does not answer', e.message, h('p', {}, h('a', { href: '#/verify' }, 'Verify'), ' works without it.'), again());
    return notice('error', 'The server answers with a problem', e.message, again());
  }
  if (e instanceof InputError) return notice('error', 'These bytes are not what they should be', e.message);
  return notice('error', 'This page failed', String(e?.message ?? e), again());
}

const again = () => h('p', {}, h('button', { onclick: route }, 'Try again'));

/** The line above every page: what is pinned, and what must be shouted. @param {any} [log] */
function banner(log) {
  const pin = pinned();
  const at = /** @type {HTMLElement} */ (document.getElementById('banner'));
  const head = /** @type {HTMLElement} */ (document.getElementById('head'));
  const parts = [];
  if (log?.alarm) parts.push(notice('alarm', 'This log contradicts what you know of it', log.alarm, h('p', {}, h('a', { href: '#/trust' }, 'What this browser believes and remembers'))));
  if (!pin) {
    parts.push(h('section', { class: 'notice unpinned', 'aria-label': 'Trust' }, h('p', {}, h('strong', {}, 'No trust root is pinned in this browser yet'),
      ', so nothing can be verified: all you see is what this server states. ', h('a', { href: '#/trust' }, 'Pin one'), ': the keys of the log, its witnesses and registrars, compared with a source that is not this server.')));
  } else if (!pin.compared) {
    parts.push(h('section', { class: 'notice uncompared', 'aria-label': 'Trust' }, h('p', {}, h('strong', {}, 'The pinned keys were not compared'),
      ` with another source: they are ${pin.from}'s word. `, h('a', { href: '#/trust' }, 'Compare them'), '.')));
  }
  fill(at, parts);
  if (log?.origin) fill(head, h('span', { class: 'origin' }, log.origin), ' ', h('span', { class: `mini ${log.state}` }, `${plural(log.size, 'entry', 'entries')}, ${log.state}`));
}

addEventListener('hashchange', route);
addEventListener('trust', () => banner());
addEventListener('log', (e) => banner(e.detail));
document.querySelector('.skip')?.addEventListener('click', (e) => {
  e.preventDefault();
  main.focus();
});
banner();
route();
if (!/^#\/(verify|trust)/.test(location.hash)) openLog().catch(() => {}); // pages say what is wrong
