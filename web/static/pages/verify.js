// Verify: bundles are dropped here, and never leave the page. It works offline.

import { Checker } from '../check.js';
import { fill, h, say } from '../dom.js';
import { checkBlob } from '../gather.js';
import { getBlob, getJSON } from '../net.js';
import { pinned } from '../session.js';
import { bytes, count, findings, loading, mark, notice, untrusted, utc } from '../show.js';
import { noun } from '../verify/text.js';
import { progress, stepOf } from './segment.js';

/** @param {HTMLElement} at @param {import('../app.js').View} view */
export async function show(at, view) {
  const out = h('div', { id: 'report' });
  // Loaded before it is needed: the network may be off by then.
  const own = new Checker();
  view.signal.addEventListener('abort', () => own.end());
  const ready = h('span', { role: 'status' }, 'The verifier is being loaded.');
  own.ask('ready', {}).then(() => fill(ready, 'The verifier is loaded.'), () => fill(ready, 'The verifier could not be loaded: load this page again.'));
  const input = h('input', { type: 'file', id: 'file', multiple: true, onchange: () => take(input.files) });
  const zone = h('div', { class: 'drop' }, h('label', { for: 'file' }, 'Drop a bundle of evidence here, or several, or choose them'), input,
    h('p', { class: 'small' }, 'They stay in this page: nothing is sent, and it works with the network off. Several are held to one another too. ', ready));
  for (const kind of ['dragover', 'dragleave', 'drop']) {
    zone.addEventListener(kind, (e) => {
      e.preventDefault();
      zone.classList.toggle('over', kind === 'dragover');
      if (kind === 'drop') take(e.dataTransfer.files);
    });
  }
  const listed = h('div', {});
  fill(at, h('h1', {}, 'Verify'), !pinned() && notice('unpinned', 'By whose keys?', h('p', {}, h('a', { href: '#/trust' }, 'Pin a trust folder'), ' first. It must not come with the evidence.')), zone, listed, out);
  const take = (/** @type {FileList} */ files) => checkAll([...files].map((blob) => ({ name: blob.name, blob })), out, view, own)
    .catch((e) => !view.signal.aborted && fill(out, notice('error', 'The file cannot be checked', e.message)));
  if (view.args.length) {
    fill(out, loading('Fetching'));
    const bundles = [];
    for (const name of view.args) bundles.push({ name, blob: await getBlob(`bundles/${encodeURIComponent(name)}`, 2 ** 31) });
    await checkAll(bundles, out, view, own);
    return;
  }
  const names = await getJSON('bundles.json').catch(() => undefined);
  if (view.signal.aborted || !Array.isArray(names?.bundles)) return;
  const hrefOf = (/** @type {any[]} */ list) => `#/verify/${list.map((b) => encodeURIComponent(b.name)).join('/')}`;
  fill(listed, h('h2', {}, 'Bundles in this folder'), names.bundles.length ? h('ul', {}, names.bundles.map((b) => h('li', {}, h('a', { href: hrefOf([b]) }, untrusted(b.name)), ` ${bytes(b.size)}`))) : notice('empty', 'There is none', 'A bundle is a file that ends in .tar.'),
    names.bundles.length > 1 && h('p', {}, h('a', { href: hrefOf(names.bundles) }, `Check all ${names.bundles.length}, and hold them to one another`)));
}

/** @param {{name: string, blob: Blob}[]} bundles @param {HTMLElement} out @param {import('../app.js').View} view @param {Checker} own */
async function checkAll(bundles, out, view, own) {
  if (!bundles.length) return;
  const pin = pinned();
  if (!pin) {
    fill(out, notice('unpinned', 'Undecided: no trust folder is pinned', h('p', {}, h('a', { href: '#/trust' }, 'Pin one'), ', and the bundle can be checked.')));
    return;
  }
  // Whoever drops others meanwhile takes this from the page.
  const all = h('div', {});
  fill(out, all);
  const histories = [];
  for (const { name, blob } of bundles) {
    const at = h('div', {});
    all.append(at);
    const result = await check(blob, name, at, view, own, pin);
    if (view.signal.aborted) return;
    histories.push({ name, history: result.history });
  }
  if (bundles.length === 1) return;
  const found = await own.ask('across', { bundles: histories });
  if (view.signal.aborted) return;
  all.prepend(h('section', { class: 'report across' }, h('h2', {}, `${bundles.length} bundles, held to one another`),
    found.length ? [h('p', { class: 'headline contradicted' }, 'CONTRADICTED: the bundles do not belong to one history.'), findings(found)]
      : h('p', {}, `Nothing in one of the ${bundles.length} bundles contradicts another.`)));
  say(`${bundles.length} bundles: ${found.length ? 'contradicted' : 'nothing in one contradicts another'}`);
}

/** @param {Blob} file @param {string} name @param {HTMLElement} out @param {import('../app.js').View} view @param {Checker} own @param {import('../session.js').Pin} pin */
async function check(file, name, out, view, own, pin) {
  const { bar, tell } = progress();
  const steps = h('ol', { class: 'steps' });
  const working = h('div', {}, loading(`Checking ${name}`), bar);
  fill(out, working, steps);
  let made = 0;
  const failed = [];
  const result = await checkBlob(file, {
    step: (s) => {
      if (made++ < 2000) steps.append(stepOf(s));
      else if (s.findings.length) failed.push(s);
    },
    progress: (p) => tell(p.part, p.done, p.total),
  }, own);
  if (view.signal.aborted) return result;
  if (made > 2000) steps.append(h('li', {}, `and ${count(made - 2000)} more`), ...failed.slice(0, 1000).map(stepOf));
  fill(out, report(result, name, file.size, pin), h('h2', {}, `Checks made: ${count(made)}`), h('details', { open: made < 60 }, h('summary', {}, 'Each step, by its number in FORMAT.md, section 8'), steps));
  say(`${name}: ${result.class}`);
  return result;
}

/** The tool's report, in its words. @param {any} r @param {string} name @param {number} size @param {import('../session.js').Pin} pin */
function report(r, name, size, pin) {
  const verdict = {
    verified: 'VERIFIED',
    contradicted: 'CONTRADICTED: the evidence does not hold. Nothing below is proven where a finding names it.',
    undecided: 'UNDECIDED: evidence is missing. What is said below holds as far as it goes.',
  }[/** @type {'verified'} */ (r.class)];
  const reason = /^grade software because (.*)$/m.exec(pin.rules)?.[1];
  return h('section', { class: 'report' }, h('h2', {}, untrusted(name), ` ${bytes(size)} `, mark(r.class, findings(r.findings))),
    h('p', { class: `headline ${r.class}` }, verdict),
    r.class !== 'contradicted' && h('ul', {}, statements(r.segments).map((s) => h('li', {}, s)), r.successions.map((s) => h('li', {}, `log ${s.from} ended with ${s.size} ${noun(s.size, 'entry', 'entries')}, and log ${s.to} follows it (${s.url}): each names the other`))),
    r.findings.length > 0 && findings(r.findings),
    r.newest && r.class !== 'contradicted' && h('p', {}, `Proven by log ${r.newest.log} at size ${r.newest.size}, witnessed by ${utc(r.newest.witnessed)}. Whether newer records exist, no bundle can say.`),
    r.newest && r.class !== 'contradicted' && reason && h('p', {}, `The trust folder accepts keys that no TPM holds, because: ${reason}.`));
}

/** What holds of each host, runs of segments put together, as the tool says it. @param {any[]} segments */
export function statements(segments) {
  const list = [];
  for (let i = 0; i < segments.length; ) {
    const run = { ...segments[i] };
    let n = 1;
    for (let s = segments[i + 1]; s && s.host === run.host && s.join === 'continues' && s.resetCount === run.resetCount && s.replayed && run.replayed && s.grade === run.grade && s.restartCount === run.restartCount; s = segments[i + n]) {
      run.count += s.count;
      run.violations += s.violations;
      run.unattested += s.unattested;
      run.notAfter = s.notAfter;
      n++;
    }
    list.push(statement(run) + (n > 1 ? ` (${n} segments, #${run.sequence} to #${segments[i + n - 1].sequence})` : ` (segment #${run.sequence})`));
    i += n;
  }
  return list;
}

function statement(s) {
  let t = s.count === 0n ? `no record of host ${s.host}` : s.count === 1n ? `record ${s.first} of host ${s.host}` : `records ${s.first} to ${s.first + s.count - 1n} of host ${s.host}`;
  t += `, boot reset ${s.resetCount}`;
  if (s.restartCount) t += ` restart ${s.restartCount}`;
  if (s.erased) t += `, ${erased(s.erased)}; the register values before and after stand`;
  else if (!s.replayed) t += ', not looked at; the register values before and after stand';
  if (s.count) t += `, measured ${s.recordsNotBefore ? `not before ${utc(s.recordsNotBefore)} and ` : ''}before the quote`;
  t += `, quoted not before ${utc(s.notBefore)} and not after ${utc(s.notAfter)}`;
  if (s.violations) t += `; ${s.violations} ${noun(s.violations, 'violation')}, whose contents no register binds`;
  if (s.unattested) t += `; ${s.unattested} ${noun(s.unattested, 'record')} that no register binds`;
  if (s.grade !== 'certificate') t += `; the AK is enrolled at grade ${s.grade}`;
  return t;
}

/** @param {any} e what accounts for a segment's records */
const erased = (e) => `erased under retention policy ${e.policy?.policy ?? '?'}, erasure ${e.erasure.leaf.slice(0, 12)}…: ${e.erasure.reason}`;
