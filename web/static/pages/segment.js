// A segment: its leaf line by line and what was checked of each, its quote, its
// records; all checked here, and altered by a byte to see why it then does not verify.

import { Checker } from '../check.js';
import { fill, h, pairs, save, say, table } from '../dom.js';
import { Evidence, checkBlob, commandFor, gatherSegment, stateOf } from '../gather.js';
import { openLog, pinned } from '../session.js';
import { bytes, count, duration, findings, hash, hostLink, loading, mark, notice, segmentLink, time, untrusted } from '../show.js';
import { bankOf, leafHash, sha256 } from '../verify/hash.js';
import { parseQuote, parseSignature } from '../verify/quote.js';
import { binaryString, hex } from '../verify/text.js';
import { recordsOf } from './records.js';
import { meaningOf } from './leaf.js';

/** @param {HTMLElement} at @param {import('../app.js').View} view */
export async function show(at, view) {
  const [host, number] = view.args;
  const sequence = Number(number);
  view.title(`${host} #${number}`);
  const head = h('h1', {}, 'Segment ', segmentLink(host, number), ' of ', hostLink(host));
  const { bar, tell } = progress();
  fill(at, head, loading('Fetching the segment, its proof and its records'), bar);
  const log = await openLog();
  const { evidence, segment, newest } = await gatherSegment(log, host, sequence, tell);
  if (view.signal.aborted) return;
  if (segment.entry?.kind !== 'segment') {
    location.replace(`#/entries/${segment.index}`);
    return;
  }
  const own = new Checker();
  view.signal.addEventListener('abort', () => own.end());
  /** @type {any[]} */
  const steps = [];
  const stepList = h('ol', { class: 'steps' });
  const began = performance.now();
  fill(at, head, loading('Checking'), bar, stepList);
  const result = await evidence.check({
    step: (s) => {
      steps.push(s);
      if (steps.length < 200) stepList.append(stepOf(s));
    },
    progress: (p) => tell('records', p.done, p.total),
  }, own);
  const took = Math.round(performance.now() - began);
  if (view.signal.aborted) return;
  const { state, findings: found } = stateOf(result, segment.leaf, evidence);
  const s = segment.entry;
  const fact = result.segments.find((f) => f.leaf === segment.leaf);
  const why = result.unpinned ? h('p', {}, 'No trust folder is pinned in this browser, so nothing is decided. ', h('a', { href: '#/trust' }, 'Pin one'), '.') : findings(found);
  const payload = evidence.files.get(`payloads/${s.payload.digest}`)?.blob;
  fill(at, head,
    h('div', { class: 'verdict' }, mark(state, why), h('p', {}, sentence(state, result, found, s, evidence, took))),
    pairs([
      ['Records', `${count(s.count)} (${bytes(s.payload.size)})${s.count ? `: ${count(s.first)} to ${count(s.first + s.count - 1n)} of this boot` : ''}; ${s.join}${s.reason ? ` ${s.reason}` : ''}`],
      ['Quoted not before', fact ? time(fact.notBefore) : 'not proven'], ['and not after', fact ? time(fact.notAfter) : 'not proven'],
      ['In the log', h('a', { href: `#/entries/${segment.index}` }, `entry ${count(segment.index)}`)],
      ['Chain', h('span', {}, sequence > 1 && [segmentLink(host, sequence - 1, 'the one before'), ' · '], sequence < newest ? segmentLink(host, sequence + 1, 'the next') : 'the newest that the ledger names')],
    ]),
    found.length > 0 && !result.unpinned && [h('h2', {}, 'What was found'), findings(found)],
    takeAway(evidence, host, number, segment, payload),
    payload && s.payload.size > 0n && alter(evidence, segment, payload),
    h('section', {}, h('h2', {}, 'Records'), payload ? recordsOf(own, view, host, number, segment, payload) : missing(evidence, s)),
    h('section', {}, h('h2', {}, 'Registers'), registers(s, fact, state)),
    h('section', {}, h('h2', {}, 'Quote'), quoteOf(s)),
    h('section', {}, h('h2', {}, 'Leaf, line by line'), leafOf(segment, steps, result)),
    h('section', {}, h('h2', {}, `Checks made: ${steps.length}`), h('details', {}, h('summary', {}, 'Each step, by its number in FORMAT.md, section 8'), h('ol', { class: 'steps' }, steps.map(stepOf)))));
  say(`Segment ${number} of ${host}: ${state}`);
}

/** A bar, and what moves it. */
export function progress() {
  const bar = h('progress', { 'aria-label': 'progress' });
  return { bar, tell: (/** @type {string} */ part, /** @type {number} */ done, /** @type {number} */ total) => {
    bar.setAttribute('aria-label', part);
    Object.assign(bar, { max: total || 1, value: done });
  } };
}

export const stepOf = (s) => {
  const worst = ['contradicted', 'undecided', 'noted'].find((c) => s.findings.some((f) => f.class === c));
  const state = worst === 'noted' || !worst ? 'verified' : worst;
  return h('li', { class: state }, h('span', { class: 'sign', 'aria-hidden': 'true' }, { verified: '✓', contradicted: '✕', undecided: '?' }[state]), ' ',
    h('span', { class: 'unseen' }, `${state}: `), h('code', {}, s.step), ' ', s.what, ' ', h('span', { class: 'subject' }, untrusted(s.subject)), s.findings.length > 0 && findings(s.findings));
};

/** @param {string} state @param {any} result @param {any[]} found about the segment @param {any} s @param {Evidence} evidence @param {number} took */
function sentence(state, result, found, s, evidence, took) {
  if (result.unpinned) return 'This is what the ledger serves. Nothing of it is checked.';
  if (state === 'verified') return `The host's TPM quoted exactly ${s.count === 1n ? 'this 1 record' : `these ${count(s.count)} records, in this order`}, and nothing was left out; the log includes the segment and witnesses saw it. Checked in this browser in ${count(took)} ms.`;
  if (state === 'contradicted') return 'The evidence does not hold.';
  const why = evidence.denied.get(s.payload.digest);
  if (why === 'erased') return 'Its records were erased by policy: they cannot be looked at again. What was proven of the registers before and after stands.';
  if (why === 'forbidden') return 'Its records are not public. Without them the quote proves the registers, and not which records led to them.';
  if (found.every((f) => f.class !== 'undecided' || f.code === 'gap')) return 'Between the segment before and this one records are missing, and nothing proves what they were. What this one has is proven.';
  return 'Evidence is missing; what is said below holds as far as it goes.';
}

/** @param {Evidence} evidence @param {any} s */
function missing(evidence, s) {
  const why = evidence.denied.get(s.payload.digest);
  if (why === 'erased') return notice('erased', 'The records were erased', 'A retention policy that the log has on record let an operator erase them. Their number, digest, root and the register values stand.');
  if (why === 'forbidden') return notice('forbidden', 'The records are not public', h('p', {}, 'The ledger shows them to whom its access list names. ', h('a', { href: '#/trust?access' }, 'Show a token'), ' for this tab, and come back.'));
  return notice('error', 'The records are not at hand', why ? `The server answers: ${why}.` : 'The server gave other bytes than the leaf names.');
}

/** @param {Evidence} evidence @param {string} host @param {string} number @param {any} segment @param {Blob | undefined} payload */
function takeAway(evidence, host, number, segment, payload) {
  const name = `${host}-${number}.tar`;
  return h('section', { class: 'take' }, h('h2', {}, 'Check it elsewhere'),
    h('p', {}, h('button', { onclick: () => save(name, [evidence.bundle()]) }, 'Save the evidence'), ' ', h('button', { onclick: () => save(`${host}-${number}.leaf`, [segment.bytes]) }, 'Save the leaf'), ' ',
      payload && h('button', { onclick: () => save(`${host}-${number}.records`, [payload]) }, 'Save the records')),
    h('p', {}, 'With the trust folder that you have from elsewhere, and no network: ', h('code', {}, commandFor(name))));
}

/** The button that alters a byte. @param {Evidence} evidence @param {any} segment @param {Blob} payload */
function alter(evidence, segment, payload) {
  const out = h('div', { 'aria-live': 'polite' });
  const run = async () => {
    fill(out, loading('Altering a byte'));
    const own = new Checker(); // the page's own goes on showing the records
    await own.ask('records', { blob: payload, leaf: segment.bytes });
    const { payload: forged, leaf, record, offset } = await own.ask('forged', { at: Math.floor(Math.random() * payload.size) });
    const whole = evidence.bundle();
    const place = Math.floor(whole.size / 2);
    const [was] = new Uint8Array(await whole.slice(place, place + 1).arrayBuffer());
    const careless = await again(new Blob([whole.slice(0, place), Uint8Array.of(was ^ 1), whole.slice(place + 1)]), own);
    const fit = new Evidence(evidence.log);
    fit.files = new Map(evidence.files);
    for (const name of [`payloads/${segment.entry.payload.digest}`, `leaves/${segment.leaf}`]) fit.files.delete(name);
    fit.add('payloads', hex(sha256(forged)), forged);
    fit.add('leaves', hex(leafHash(leaf)), leaf);
    const proof = fit.files.get(`proofs/${segment.leaf}`);
    fit.files.delete(`proofs/${segment.leaf}`);
    if (proof) fit.add('proofs', hex(leafHash(leaf)), new Uint8Array(await proof.blob.arrayBuffer()));
    const careful = await again(fit.bundle(), own);
    own.end();
    fill(out,
      h('h3', {}, 'A byte of the evidence is altered on its way ', mark(careless.class, findings(careless.findings))),
      h('p', {}, `Bit 0 of byte ${count(place)} of the bundle. No byte of it is free: the manifest names the SHA-256 of each file.`), findings(careless.findings.slice(0, 3)),
      h('h3', {}, 'A byte of record ', String(record), ', by a forger who makes the rest fit ', mark(careful.class, findings(careful.findings))),
      h('p', {}, `Bit 0 of byte ${count(offset)} of the records, in record ${count(record)}. The digest that it stores, the leaf's count, digest and root, and the manifest are made anew. What cannot be made anew is the TPM's quote, nor the place in the log.`), findings(careful.findings.slice(0, 6)));
    say(`Altered: ${careful.class}`);
  };
  return h('section', { class: 'alter' }, h('h2', {}, 'Alter it'), h('p', {}, h('button', { onclick: () => run().catch((e) => fill(out, notice('error', 'This failed', e.message))), disabled: !pinned() }, 'Alter one byte'),
    pinned() ? ' in this browser\'s copy, and see why it no longer verifies.' : ' needs a pinned trust root first.'), out);
}

/** @param {Blob} blob @param {Checker} own */
const again = (blob, own) => checkBlob(blob, {}, own);

/** @param {any} segment @param {any[]} steps @param {any} result */
function leafOf(segment, steps, result) {
  const s = segment.entry;
  const about = steps.filter((x) => x.subject === `${s.host} ${s.sequence}` || x.subject === `leaves/${segment.leaf}`);
  const text = binaryString(segment.bytes.subarray(0, segment.bytes.length - 73));
  const rows = text.slice(0, -1).split('\n').map((line, i) => {
    const key = line.split(' ')[0];
    const { means, steps: wanted } = meaningOf(line);
    const made = about.filter((x) => wanted.includes(x.step));
    return [h('span', {}, h('span', { class: 'unseen' }, `line ${i + 1} `), h('code', {}, key)), h('code', { class: 'value' }, line.slice(key.length + 1)), means, checks(wanted, made, result)];
  });
  rows.push([h('code', {}, 'trailer'), h('code', { class: 'value' }, hex(segment.bytes.subarray(-73))), 'The raw digests of records and anchor, where they stand, and their number: the digest indication of c2sp.org/tlog-addenda.', checks(['8.1.2'], about.filter((x) => x.step === '8.1.2'), result)]);
  return table('Lines of the leaf, what each means, and which check it passed', ['Key', 'Value', 'Means', 'Checked by'], rows, 'leaf');
}

/** @param {string[]} wanted @param {any[]} made @param {any} result */
function checks(wanted, made, result) {
  if (result.unpinned || !made.length) return h('span', { class: 'none' }, result.unpinned ? 'not checked' : wanted.length ? `${wanted.join(', ')} not reached` : '–');
  const found = made.flatMap((x) => x.findings);
  const state = ['contradicted', 'undecided'].find((c) => found.some((f) => f.class === c)) ?? 'verified';
  return mark(state, h('ul', {}, made.map((x) => h('li', {}, h('code', {}, x.step), ' ', x.what))), found.length > 0 && findings(found));
}

/** @param {any} s @param {any} fact @param {string} state */
function registers(s, fact, state) {
  const end = new Map(s.end.map((r) => [`${r.bank.name}:${r.index}`, hex(r.value)]));
  const rows = s.base.map((r) => {
    const name = `${r.bank.name}:${r.index}`;
    return [name, h('code', { class: 'value' }, hex(r.value)), h('code', { class: 'value' }, end.get(name)), fact?.replayed ? mark(/** @type {any} */ (state === 'contradicted' ? 'contradicted' : 'verified'), 'The records, replayed from the value before, give the value after, which the TPM quoted.') : mark('undecided', 'It was not replayed.')];
  });
  return [table('Registers that the list extends', ['Register', 'Before', 'After', 'Replayed'], rows, 'registers'),
    h('details', {}, h('summary', {}, `${s.other.length} other quoted registers`), table('Other quoted registers', ['Register', 'Value'], s.other.map((r) => [`${r.bank.name}:${r.index}`, h('code', { class: 'value' }, hex(r.value))])))];
}

function quoteOf(s) {
  try {
    const q = parseQuote(s.quote);
    const sig = parseSignature(s.signature);
    return pairs([
      ['Signed by', [{ 0x18: 'ECDSA', 0x14: 'RSASSA-PKCS1-v1_5', 0x16: 'RSASSA-PSS' }[sig.scheme], `, ${bankOf(sig.hash)?.name ?? sig.hash}`]],
      ['AK', hash(s.ak)],
      ['Qualified name of the signer', hash(hex(q.signer))],
      ['Nonce', [hash(hex(q.nonce)), hex(q.nonce) === s.nonce ? ' – the SHA-256 of this leaf\'s head' : ' – not that of this leaf\'s head']],
      ['Reset, restart', `${q.resetCount}, ${q.restartCount}`],
      ['Clock of the TPM', `${count(q.clock)} ms: powered for ${duration(Number(q.clock / 1000n))}`],
      ['Registers', q.selection.map((x) => `${bankOf(x.alg)?.name ?? x.alg} ${x.pcrs.join(' ')}`).join('; ')],
      ['Digest over them', hash(hex(q.digest))],
    ]);
  } catch (e) {
    return notice('error', 'The quote is not what a TPM makes', /** @type {Error} */ (e).message);
  }
}
