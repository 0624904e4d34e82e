// A host: its boots as bands, and what is wrong with its history in words.

import { fill, h, pairs, save, say, table } from '../dom.js';
import { Evidence, chainOf, commandFor, enrolmentOf, entryAt, entryByLeaf, listedHost, placeOf, stateOf } from '../gather.js';
import { NetError } from '../net.js';
import { openLog } from '../session.js';
import { against, bytes, count, findings, hrefOf, loading, mark, plural, reasons, segmentLink, time, untrusted, utc } from '../show.js';
import { parseQuote } from '../verify/quote.js';

const PAGE = 100; // entries
const UNASKED = 4 << 20; // bytes of records that are fetched without a word

/** @param {HTMLElement} at @param {import('../app.js').View} view */
export async function show(at, view) {
  const [host] = view.args;
  view.title(host);
  const head = h('h1', {}, 'Host ', untrusted(host));
  const progress = h('progress', { 'aria-label': 'entries read' });
  fill(at, head, loading('Reading the host\'s chain'), progress);
  const log = await openLog();
  const tail = await chainOf(log, host, 0, 1);
  const from = Math.max(0, Math.min(Number(view.query.get('from') ?? Math.max(0, tail.newest - PAGE + 1)), tail.newest));
  const { entries: places, newest } = await chainOf(log, host, from, PAGE);
  if (!places.length) throw new NetError(`host ${host}`, 404, 'no entry of it is in the tree of this checkpoint yet');
  const list = [];
  for (let i = 0; i < places.length; i += 8) {
    list.push(...await Promise.all(places.slice(i, i + 8).map((p) => entryAt(log, p.index, p.leaf))));
    progress.max = places.length;
    progress.value = list.length;
    if (view.signal.aborted) return;
  }
  const evidence = new Evidence(log);
  list.forEach((e, i) => evidence.place(e, host, places[i].sequence));
  const enrolment = list[0].entry?.kind === 'segment' && await enrolmentOf(list[0].entry, placeOf(log, host));
  if (enrolment) await evidence.addEntry(enrolment);
  for (let i = 0; i < list.length; i += 8) await Promise.all(list.slice(i, i + 8).map((e) => evidence.addEntry(e)));
  const segments = list.filter((e) => e.entry?.kind === 'segment');
  const size = segments.reduce((n, e) => n + Number(e.entry.payload.size), 0);
  const draw = async () => {
    let result = await evidence.check();
    if (result.findings.some((f) => f.code === 'gap') && await addAcknowledgements(evidence, host)) result = await evidence.check();
    if (view.signal.aborted) return;
    fill(at, head, body({ host, log, list, segments, evidence, result, size, newest, from, fetch: () => fetchAll() }));
    say(`${host}: ${result.class}`);
  };
  const fetchAll = async () => {
    fill(at, head, loading(`Fetching ${bytes(size)} of records`), progress);
    for (const e of segments) {
      await evidence.addAddendum('payloads', e.entry.payload.digest, e, Number(e.entry.payload.size));
      if (view.signal.aborted) return;
    }
    await draw();
  };
  await (size <= UNASKED ? fetchAll() : draw());
}

/** What operators said of gaps, where the server tells. @param {Evidence} evidence @param {string} host */
async function addAcknowledgements(evidence, host) {
  const leaves = (await listedHost(host).catch(() => undefined))?.acknowledged ?? [];
  for (const leaf of leaves.slice(0, 100)) {
    const e = await entryByLeaf(evidence.log, String(leaf)).catch(() => undefined);
    if (e?.entry?.kind === 'acknowledgement') await evidence.addEntry(e);
  }
  return leaves.length > 0;
}

function body(c) {
  const { host, log, list, segments, evidence, result, size, newest, from, fetch } = c;
  const records = segments.reduce((/** @type {number} */ n, e) => n + Number(e.entry.count), 0);
  const missing = segments.filter((e) => !evidence.files.has(`payloads/${e.entry.payload.digest}`)).length;
  const why = result.unpinned ? h('p', {}, 'No trust folder is pinned in this browser. ', h('a', { href: '#/trust' }, 'Pin one'), ', and this history is checked.') : findings(result.findings);
  const facts = new Map(result.segments.map((f) => [f.leaf, f]));
  return [
    h('div', { class: 'verdict' }, mark(result.class === 'noted' ? 'verified' : result.class, why), h('p', {}, verdict(c, missing))),
    pairs([
      ['Entries', `#${list[0].entry?.sequence ?? from} to #${list.at(-1).entry?.sequence ?? '?'} of the chain, which the ledger says goes to #${newest}`],
      ['Records', `${count(records)} (${bytes(size)})`],
      ['Log', h('span', {}, untrusted(log.origin), ` at ${plural(log.size, 'entry', 'entries')} `, mark(log.state, log.state === 'verified' ? 'Signed, cosigned, and consistent with your last visit.' : against(log)))],
      ['Evidence', h('span', {}, h('button', { onclick: () => save(`${host}.tar`, [evidence.bundle()]) }, 'Save all of it'), ' ', h('code', {}, commandFor(`${host}.tar`)))],
    ]),
    missing > 0 && size > UNASKED && h('p', {}, h('button', { onclick: fetch }, `Fetch and check the records of ${plural(segments.length, 'segment')}`), ` – ${bytes(size)}.`),
    h('h2', {}, 'What is wrong'), wrong(result),
    h('h2', {}, 'Boots'), bands(c, facts),
    h('h2', {}, 'Entries'), entries(c, facts),
    h('p', {}, from > 0 && h('a', { href: `${hrefOf(host)}?from=${Math.max(0, from - PAGE)}` }, 'Older entries'), ' ',
      from + list.length <= newest && h('a', { href: hrefOf(host) }, 'Newest entries')),
  ];
}

/** @param {any} c @param {number} missing */
function verdict({ result, segments, evidence }, missing) {
  if (result.unpinned) return 'What is below is what the ledger serves; nothing of it is checked.';
  if (result.class === 'contradicted') return 'The evidence does not hold. Nothing is proven where a finding names it.';
  if (result.class === 'verified') return `${segments.length === 1 ? 'The one segment shown is proven: by its' : `All ${segments.length} segments shown are proven: each by its`} TPM's quote, in one chain, with nothing left out between the first and the last. Whether newer ones exist is the ledger's word.`;
  const open = result.findings.filter((f) => f.class === 'undecided');
  if (open.every((f) => f.code === 'gap')) return `The history has ${plural(open.length, 'gap')}: records are missing there, and nothing proves what they were. What is shown is proven.`;
  const erased = [...evidence.denied.values()].filter((d) => d === 'erased').length;
  const forbidden = [...evidence.denied.values()].filter((d) => d === 'forbidden').length;
  return `Evidence is missing${missing ? `: the records of ${plural(missing, 'segment')}${erased ? `, ${erased} erased by policy` : ''}${forbidden ? `, ${forbidden} not public` : ''} are not at hand` : ''}. What is said below holds as far as it goes.`;
}

function wrong(result) {
  const worse = result.findings.filter((f) => f.class !== 'noted');
  const notes = result.findings.filter((f) => f.class === 'noted');
  if (result.unpinned) return h('p', {}, 'Nobody has looked yet: no trust root is pinned.');
  return [worse.length ? findings(worse) : h('p', {}, 'Nothing.'), notes.length > 0 && h('details', {}, h('summary', {}, `Worth knowing, and contradicting nothing: ${notes.length}`), findings(notes))];
}

function quoteOf(e) {
  try {
    return parseQuote(e.entry.quote);
  } catch {
    return undefined;
  }
}

/** Boots as bands, segments in them in their order. @param {any} c @param {Map<string, any>} facts */
function bands({ host, list, evidence, result }, facts) {
  /** @type {{label: string, blocks: any[], first: any, last: any}[]} */
  const boots = [];
  let key = '';
  for (const e of list) {
    const f = facts.get(e.leaf);
    const q = e.entry?.kind === 'segment' ? quoteOf(e) : undefined;
    const k = q ? `${q.resetCount} ${e.entry.ak}` : key;
    if (!boots.length || (q && k !== key && key !== '')) boots.push({ label: '', blocks: [], first: undefined, last: undefined });
    if (q) key = k;
    const boot = boots[boots.length - 1];
    if (q) boot.label = `boot ${q.resetCount}${q.restartCount ? `, restart ${q.restartCount}` : ''}`;
    if (e.entry?.kind !== 'segment') {
      boot.blocks.push(h('li', { class: 'enrolment' }, h('a', { href: `#/entries/${e.index}`, title: 'enrolment', 'aria-label': `enrolment ${e.entry?.sequence ?? ''}` }, '◆')));
      continue;
    }
    boot.first ??= f;
    boot.last = f ?? boot.last;
    const { state, findings: found } = stateOf(result, e.leaf, evidence);
    const own = found.filter((x) => x.entry === e.leaf);
    const kexecs = own.filter((x) => x.code === 'kexec').length;
    const erased = own.some((x) => x.code === 'payload-erased');
    if (e.entry.join === 'gap') boot.blocks.push(h('li', { class: 'gap', title: `gap: ${e.entry.reason}` }, h('span', {}, 'gap')));
    const words = [`segment ${e.entry.sequence}`, plural(e.entry.count, 'record'), result.unpinned ? 'not checked' : state, kexecs && 'kexec', erased && 'erased', f?.violations && plural(f.violations, 'violation')].filter(Boolean).join(', ');
    const block = h('li', { class: `segment ${result.unpinned ? 'stated' : state}${erased ? ' erased' : ''}` },
      h('a', { href: hrefOf(host, e.entry.sequence), title: words, 'aria-label': words }, `#${e.entry.sequence}`, kexecs > 0 && h('span', { class: 'kexec', 'aria-hidden': 'true' }, '↻'), f?.violations > 0 && h('span', { class: 'violation', 'aria-hidden': 'true' }, '!')));
    block.style.flexGrow = String(Math.log2(Number(e.entry.count) + 2));
    boot.blocks.push(block);
  }
  return h('div', {}, h('ol', { class: 'bands' }, boots.map((b) => h('li', {}, h('div', { class: 'when' }, h('strong', {}, b.label || 'before its first segment'),
    b.first && h('span', {}, h('span', { class: 'nowrap' }, utc(b.first.notBefore)), ' – ', h('span', { class: 'nowrap' }, utc((b.last ?? b.first).notAfter)))), h('ol', { class: 'blocks' }, b.blocks)))),
    h('p', { class: 'small' }, 'Wider blocks have more records. ◆ enrolment · ↻ a kexec: another kernel, the TPM not reset · ! violations, whose contents no register binds · hatched: records are missing there.'));
}

/** @param {any} c @param {Map<string, any>} facts */
function entries({ host, list, evidence, result }, facts) {
  return table('Entries of the host\'s chain', ['#', 'State', 'Joins', 'Records', 'Quoted not before', 'and not after', 'Index'], list.map((e) => {
    const f = facts.get(e.leaf);
    const { state, findings: found } = stateOf(result, e.leaf, evidence);
    const own = found.filter((x) => x.entry === e.leaf || x.class === 'contradicted');
    const m = mark(state, reasons(result, own.length || state === 'verified' ? own : found));
    const b = e.entry;
    if (b?.kind !== 'segment') return [b ? `#${b.sequence}` : '?', m, b ? `enrolment, grade ${b.grade}` : e.malformed, '', '', '', h('a', { href: `#/entries/${e.index}`, 'aria-label': `entry ${e.index}` }, count(e.index))];
    return [segmentLink(host, b.sequence), m, `${b.join}${b.reason ? ` ${b.reason}` : ''}`, `${count(b.count)} from ${count(b.first)}`,
      f ? time(f.notBefore) : '–', f ? time(f.notAfter) : '–', h('a', { href: `#/entries/${e.index}`, 'aria-label': `entry ${e.index}` }, count(e.index))];
  }), 'chain');
}
