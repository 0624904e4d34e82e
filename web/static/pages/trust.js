// Trust: whose keys this browser believes. They are pinned by the viewer, and
// compared with a source that is not this server.

import { checker } from '../check.js';
import { fill, h, pairs, say, table } from '../dom.js';
import { getJSON, setToken, token } from '../net.js';
import { forget, openLog, pinned, seen, setPin } from '../session.js';
import { count, hash, loading, notice, plural, time, untrusted } from '../show.js';

const MAX_TRUST = 1 << 21; // bytes of a folder's files

/** @typedef {{policy: string, rules: string, roots: string[]}} Texts */

/** @param {HTMLElement} at @param {import('../app.js').View} view */
export async function show(at, view) {
  const pin = pinned();
  const offered = h('div', {}, loading('Asking what this server offers'));
  const chosen = h('div', { 'aria-live': 'polite' });
  fill(at, h('h1', {}, 'Trust'),
    h('section', { 'aria-labelledby': 'pinned' }, h('h2', { id: 'pinned' }, 'Pinned in this browser'), pin ? await pinnedOf(pin) : notice('unpinned', 'Nothing is pinned yet',
      'Until you pin a trust folder nothing can be verified here. It has the keys of the log, of the witnesses, and of those who enrol hosts; it must come from a place of its own, or be compared with one.')),
    h('section', { 'aria-labelledby': 'choose' }, h('h2', { id: 'choose' }, pin ? 'Pin another' : 'Pin one'), chooser(chosen), chosen, offered),
    memory(), access(view));
  const offer = await getJSON('trust.json').catch(() => undefined);
  if (view.signal.aborted) return;
  if (typeof offer?.policy === 'string' && typeof offer.rules === 'string' && Array.isArray(offer.roots)) {
    const texts = { policy: offer.policy, rules: offer.rules, roots: offer.roots.map(String) };
    if (pin && pin.policy === texts.policy && pin.rules === texts.rules) return fill(offered, h('p', {}, 'What this server offers is what you have pinned.'));
    fill(offered, h('h3', {}, 'This server offers a trust folder'), h('p', {}, 'To believe it because it is offered here would be to take the server\'s word for its own keys. Compare each key below with what the operator, or a witness, publishes elsewhere.'),
      await proposal(texts, 'this server'));
  } else fill(offered, !pin && h('p', {}, 'This server offers none: ask who runs the log, or an auditor, for the folder.'));
}

/** @param {HTMLElement} out */
function chooser(out) {
  const files = h('input', { type: 'file', id: 'folder', multiple: true, onchange: () => take([...files.files]) });
  const zone = h('div', { class: 'drop' }, h('label', { for: 'folder' }, 'Drop the files policy and rules of a trust folder, and the PEM files of its roots, or choose them'), files);
  for (const kind of ['dragover', 'dragleave', 'drop']) {
    zone.addEventListener(kind, (e) => {
      e.preventDefault();
      zone.classList.toggle('over', kind === 'dragover');
      if (kind === 'drop') take(filesOf(e.dataTransfer));
    });
  }
  const take = async (/** @type {File[] | Promise<File[]>} */ given) => {
    try {
      fill(out, await proposal(await textsOf(await given), 'files of yours'));
    } catch (e) {
      fill(out, notice('error', 'This is no trust folder', /** @type {Error} */ (e).message));
    }
  };
  return zone;
}

/** Files that were dropped, those of folders too. @param {DataTransfer} data @returns {Promise<File[]>} */
async function filesOf(data) {
  /** @param {any} entry @returns {Promise<File[]>} */
  const walk = (entry) => new Promise((resolve, reject) => {
    if (entry.isFile) entry.file((/** @type {File} */ f) => resolve([f]), reject);
    else entry.createReader().readEntries(async (/** @type {any[]} */ list) => resolve((await Promise.all(list.slice(0, 100).map(walk))).flat()), reject);
  });
  const entries = [...data.items].map((i) => i.webkitGetAsEntry?.()).filter(Boolean);
  return entries.length ? (await Promise.all(entries.map(walk))).flat() : [...data.files];
}

/** @param {File[]} files @returns {Promise<Texts>} */
async function textsOf(files) {
  if (files.reduce((n, f) => n + f.size, 0) > MAX_TRUST) throw new Error('want files of at most 2 MiB in all');
  const named = (/** @type {string} */ name) => files.find((f) => f.name === name);
  const policy = named('policy');
  const rules = named('rules');
  if (!policy || !rules) throw new Error(`want the files policy and rules; ${!policy ? 'policy' : 'rules'} is not among these`);
  const text = async (/** @type {File} */ f) => new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(await f.arrayBuffer());
  return { policy: await text(policy), rules: await text(rules), roots: await Promise.all(files.filter((f) => f.name.endsWith('.pem')).map(text)) };
}

/** What a folder would have you believe, and the button that pins it. @param {Texts} texts @param {string} from */
async function proposal(texts, from) {
  let summary;
  try {
    summary = await checker().ask('trust', texts);
  } catch (e) {
    return notice('error', 'This is no trust folder', /** @type {Error} */ (e).message);
  }
  const before = pinned();
  const changed = before ? await changes(before, summary) : [];
  const compared = h('input', { type: 'checkbox', id: `compared-${from.replace(/\W/g, '')}` });
  const pin = () => {
    setPin({ ...texts, from, at: Math.floor(Date.now() / 1000), compared: compared.checked });
    say('Pinned');
    openLog(true).catch(() => {});
    dispatchEvent(new Event('hashchange'));
  };
  return h('div', { class: 'proposal' },
    changed.length > 0 && notice('alarm', 'Keys differ from those that are pinned', h('ul', {}, changed.map((c) => h('li', {}, c))), 'If nobody told you of a new key, do not pin it.'),
    words(summary), keys(summary),
    h('p', {}, h('label', {}, compared, ' I have compared these keys with a source other than this server')),
    h('p', {}, h('button', { class: 'primary', onclick: pin }, before ? 'Pin these in place of the pinned ones' : 'Pin these keys in this browser'), ' Without the comparison the page says so, on every page.'));
}

/** @param {Texts} before @param {any} now */
async function changes(before, now) {
  const was = await checker().ask('trust', before).catch(() => undefined);
  if (!was) return ['what is pinned cannot be read any more'];
  const out = [];
  for (const kind of ['logs', 'witnesses', 'registrars', 'operators']) {
    const [a, b] = [was[kind].map((k) => k.vkey), now[kind].map((k) => k.vkey)];
    for (const k of b.filter((/** @type {string} */ k) => !a.includes(k))) out.push(`${kind}: new ${k}`);
    for (const k of a.filter((/** @type {string} */ k) => !b.includes(k))) out.push(`${kind}: gone ${k}`);
  }
  return out;
}

function words(s) {
  const groups = new Map(s.groups.map((g) => [g.name, g]));
  const say = (/** @type {string} */ name) => {
    const g = groups.get(name);
    return g ? `${g.threshold} of (${g.members.map(say).join(', ')})` : name;
  };
  const grades = { certificate: 'a certificate of a TPM vendor', pinned: 'an endorsement key that the operator listed', 'first-use': 'any TPM, at first sight', software: 'no TPM at all' };
  return h('ul', { class: 'policy' },
    h('li', {}, `A checkpoint counts if a key of the log signed it and ${s.quorum === 'none' ? 'nothing more: no witness is asked for, so nothing brackets the time' : `witnesses cosigned: ${say(s.quorum)}`}.`),
    s.quorum !== 'none' && h('li', {}, `So ${plural(s.smallest, 'witness', 'witnesses')}, owned together with the log, could show you another history.`),
    h('li', {}, `A host is one if ${s.threshold} of ${plural(s.registrars.length, 'registrar')} enrolled it, by ${s.grades.map((/** @type {string} */ g) => grades[g]).join(', or ')}.`),
    s.reason && h('li', {}, 'Keys that no TPM holds are accepted, because: ', untrusted(s.reason), '.'),
    h('li', {}, s.operators.length ? `Of retention, erasures, holds and verdicts the word is that of ${plural(s.operators.length, 'operator')}.` : 'Nobody can state retention or erase.'),
    h('li', {}, s.allowSHA1 ? 'Records may be bound by SHA-1 alone, which is weak.' : 'Records must be bound by more than SHA-1.'),
    h('li', {}, s.roots ? `It has ${plural(s.roots, 'root certificate')} of TPM vendors.` : 'No TPM vendor\'s root is in it.'));
}

function keys(s) {
  const rows = [['log', s.logs], ['witness', s.witnesses], ['registrar', s.registrars], ['operator', s.operators]].flatMap(([what, list]) =>
    list.map((k) => [what, untrusted(k.name), h('code', {}, k.id), { 1: 'Ed25519', 4: 'Ed25519', 6: 'ML-DSA-44' }[/** @type {4} */ (k.type)], k.type === 6 ? hash(k.key) : h('code', { class: 'value' }, k.key)]));
  return table('Keys, to be compared out of band', ['Of', 'Name', 'Key ID', 'Kind', 'Public key'], rows, 'keys');
}

/** @param {import('../session.js').Pin} pin */
async function pinnedOf(pin) {
  let body;
  try {
    const s = await checker().ask('trust', pin);
    body = [words(s), keys(s)];
  } catch (e) {
    body = [notice('error', 'What is pinned cannot be read', /** @type {Error} */ (e).message)];
  }
  const compare = () => {
    setPin({ ...pin, compared: true });
    dispatchEvent(new Event('hashchange'));
  };
  const unpin = () => {
    setPin(undefined);
    dispatchEvent(new Event('hashchange'));
  };
  return [pairs([['From', pin.from], ['Since', time(pin.at)], ['Compared', pin.compared ? 'yes, you said so' : h('span', {}, 'no ', h('button', { onclick: compare }, 'I have compared these keys now'))]]),
    body, h('p', {}, h('button', { onclick: unpin }, 'Forget the pinned folder'))];
}

function memory() {
  const all = Object.entries(seen());
  return h('section', { 'aria-labelledby': 'memory' }, h('h2', { id: 'memory' }, 'Remembered checkpoints'),
    h('p', {}, 'Each visit is held against the newest checkpoint that this browser verified: a log that does not go on from it is shouted about.'),
    all.length ? table('Newest verified checkpoint of each log', ['Log', 'Entries', 'Root', 'Seen', 'Forget'], all.map(([origin, c]) => [
      untrusted(origin), count(c.size), hash(c.root), time(c.at),
      h('button', { onclick: () => { forget(origin); dispatchEvent(new Event('hashchange')); }, 'aria-label': `Forget the checkpoint of ${origin}` }, 'Forget')])) : h('p', {}, 'None yet.'));
}

/** @param {import('../app.js').View} view */
function access(view) {
  const input = h('input', { type: 'password', id: 'token', autocomplete: 'off', value: token() });
  const set = (/** @type {Event} */ e) => {
    e.preventDefault();
    setToken(input.value.trim());
    say('The token is set for this tab');
    fill(done, token() ? 'Set, for this tab alone.' : 'Not set.');
  };
  const done = h('span', { role: 'status' });
  const section = h('section', { 'aria-labelledby': 'access' }, h('h2', { id: 'access' }, 'Access'), h('p', {}, 'What is not public the ledger shows to a token of its access list. It is sent to this server alone, and forgotten with this tab.'),
    h('form', { class: 'filters', onsubmit: set }, h('label', { for: 'token' }, 'Token ', input), h('button', { type: 'submit' }, 'Use it'), ' ', done));
  if (view.query.has('access')) requestAnimationFrame(() => input.focus());
  return section;
}
