// Status: are the witnesses there, is the log fresh, how long are records kept.

import { fill, h, pairs, table } from '../dom.js';
import { Evidence, entryByLeaf, stateOf } from '../gather.js';
import { getJSON, statusOf } from '../net.js';
import { openLog, pinned } from '../session.js';
import { UNPINNED, against, ago, count, findings, hostLink, loading, mark, notice, plural, time, untrusted } from '../show.js';

const STALE = 3600; // seconds without a new checkpoint, after which a page says so

/** @param {HTMLElement} at @param {import('../app.js').View} view */
export async function show(at, view) {
  fill(at, h('h1', {}, 'Status'), loading('Asking how the ledger is'));
  const log = await openLog(true);
  const [health, retention, freeze] = await Promise.all(['healthz', 'retention', 'freeze'].map((p) => getJSON(p).catch((e) => ({ failed: e }))));
  const policy = retention.leaf ? await statement(log, String(retention.leaf), 'retention') : undefined;
  const holds = await Promise.all((retention.holds ?? []).slice(0, 100).map((x) => statement(log, String(x.leaf), 'hold')));
  if (view.signal.aborted) return;
  const silent = (x) => x.failed && (statusOf(x.failed) === 404 ? notice('empty', 'This server does not say', 'It serves the files of a log alone.') : notice(statusOf(x.failed) === 401 || statusOf(x.failed) === 403 ? 'forbidden' : 'error', 'This server does not say', x.failed.message));
  fill(at, h('h1', {}, 'Status'),
    h('section', {}, h('h2', {}, 'Newest checkpoint ', mark(log.state, freshness(log))), pairs([
      ['Witnessed not after', log.notAfter ? h('span', {}, time(log.notAfter), ` – ${ago(log.notAfter)}`) : 'no proven time'],
      ['Entries', count(log.size)], ['Age', age(log)]])),
    h('section', {}, h('h2', {}, 'Witness quorum'), quorum(log)),
    freeze.successor && h('section', {}, h('h2', {}, 'This log has ended ', mark('stated', 'Its last entry says so; a bundle of both logs proves which one follows.')), pairs([['Followed by', untrusted(String(freeze.successor.origin ?? ''))], ['At', untrusted(String(freeze.successor.url ?? ''))]])),
    h('section', {}, h('h2', {}, 'The ledger itself ', mark('stated', 'What a server says of its own health can be checked by nobody.')), silent(health) || pairs([
      ['Status', untrusted(String(health.status))], ['Durable entries', count(health.tree)], ['Witnessed entries', count(health.published)],
      ['Problems of witnesses', health.witnesses?.some((w) => w.problem) ? h('ul', {}, health.witnesses.filter((w) => w.problem).map((w) => h('li', {}, untrusted(`${w.name}: ${w.problem}`)))) : 'none'],
    ])),
    h('section', {}, h('h2', {}, 'Retention'), silent(retention) || kept(retention, policy)),
    h('section', {}, h('h2', {}, 'Holds in force'), !retention.failed && (holds.length ? table('Holds', ['Host', 'State', 'Of records from', 'to', 'Reason'], holds.map((x) => [
      !x.entry ? '?' : x.entry.host === '*' ? 'all hosts' : hostLink(x.entry.host), x.mark, x.entry ? time(x.entry.from) : '', x.entry ? until(x.entry.to) : '', untrusted(x.entry?.reason ?? '')])) : h('p', {}, 'None, says the ledger.'))));
}

/** @param {import('../session.js').Log} log */
function freshness(log) {
  if (log.state !== 'verified') return against(log);
  return h('p', {}, 'The newest checkpoint verifies. That there is none newer is the ledger\'s word; its age by the witnesses\' clocks is not.');
}

/** @param {import('../session.js').Log} log */
function age(log) {
  if (!log.notAfter) return '–';
  const s = Date.now() / 1000 - Number(log.notAfter);
  return s > STALE ? h('strong', {}, `older than an hour: nothing newer was witnessed, or it is withheld`) : s < -60 ? 'ahead of this machine\'s clock, which may be wrong' : 'fresh';
}

/** @param {import('../session.js').Log} log */
function quorum(log) {
  if (!log.witnesses.length) return h('p', {}, pinned() ? 'The policy names no witness.' : 'No trust folder is pinned, so it is not known who the witnesses are.');
  const met = log.witnesses.filter((w) => w.ok).length;
  return [h('p', {}, `${met} of ${plural(log.witnesses.length, 'witness', 'witnesses')} of the policy cosigned the newest checkpoint.`), table('Witnesses', ['Witness', 'State', 'Cosigned'], log.witnesses.map((w) => [
    [h('strong', {}, w.as), ' ', untrusted(w.name)], w.ok ? mark('verified', 'Its cosignature verifies.') : w.ok === false ? mark('contradicted', 'Its line does not verify.') : mark('undecided', 'It has not cosigned this checkpoint.'), w.ok ? time(w.time) : '–']))];
}

const FOREVER = 253402300799n; // the last second of the year 9999

/** @param {bigint} seconds */
const until = (seconds) => (seconds >= FOREVER ? 'for ever' : time(seconds));

/** The policy as its entry in the log has it, whatever else the ledger says of it. */
function kept(r, policy) {
  if (!policy) return h('p', {}, 'No policy is stated, says the ledger: records are kept for ever.');
  const e = policy.entry;
  if (!e) return h('p', {}, 'The ledger names a policy. ', policy.mark);
  return pairs([
    ['Policy', h('span', {}, `number ${e.policy} `, policy.mark)], ['Records are kept', e.days === undefined ? 'for ever' : plural(e.days, 'day')],
    ['Appraisal', e.appraisal === 'required' ? 'must have passed before records are erased' : 'not asked for'], ['Statement', untrusted(e.statement)],
    ['In force', mark('stated', 'That no newer policy follows it is the ledger\'s word.')],
  ]);
}

/**
 * A statement of the log, checked, with what it says; entry is undefined where it is
 * none of the kind.
 * @param {import('../session.js').Log} log @param {string} leaf @param {string} kind
 */
async function statement(log, leaf, kind) {
  try {
    const evidence = new Evidence(log);
    const e = await entryByLeaf(log, leaf);
    if (e.entry?.kind !== kind) return { mark: mark('contradicted', `The entry that the ledger names is no ${kind}.`) };
    await evidence.addEntry(e);
    const result = await evidence.check();
    const { state, findings: found } = stateOf(result, e.leaf, evidence);
    return { entry: e.entry, mark: mark(state, result.unpinned ? UNPINNED : h('div', {}, state === 'verified' && h('p', {}, 'An operator of the trust folder signed it, and the log has it.'), findings(found))) };
  } catch (e) {
    return { mark: mark('undecided', `The statement cannot be read: ${/** @type {Error} */ (e).message}`) };
  }
}
