// One record of a segment: what it says, whether the TPM's quote covers it, and a
// proof of it that discloses nothing of the others but digests.

import { Checker } from '../check.js';
import { fill, h, pairs, save, table } from '../dom.js';
import { gatherSegment, stateOf } from '../gather.js';
import { NetError } from '../net.js';
import { openLog } from '../session.js';
import { bytes, count, findings, hash, hostLink, hrefOf, loading, mark, notice, plural, reasons, segmentLink, untrusted } from '../show.js';
import { hex } from '../verify/text.js';
import { progress } from './segment.js';

/** @param {HTMLElement} at @param {import('../app.js').View} view */
export async function show(at, view) {
  const [host, number, record] = view.args;
  const index = Number(record);
  view.title(`Record ${record} of ${host} #${number}`);
  const head = h('h1', {}, `Record ${record} of `, segmentLink(host, number, `segment #${number}`), ' of ', hostLink(host));
  const { bar, tell } = progress();
  fill(at, head, loading('Fetching and checking its segment'), bar);
  const log = await openLog();
  const { evidence, segment } = await gatherSegment(log, host, Number(number), tell);
  if (segment.entry?.kind !== 'segment') throw new NetError(`${host} #${number}`, 404, 'it is no segment');
  const payload = evidence.files.get(`payloads/${segment.entry.payload.digest}`)?.blob;
  if (!payload) throw new NetError('records', { forbidden: 403, erased: 410, absent: 404 }[evidence.denied.get(segment.entry.payload.digest) ?? ''] ?? 0, 'the segment\'s records are not at hand');
  const own = new Checker();
  view.signal.addEventListener('abort', () => own.end());
  const result = await evidence.check({}, own);
  const summary = await own.ask('records', { blob: payload, leaf: segment.bytes });
  const r = await own.ask('record', { index });
  if (!r) throw new NetError(`record ${record}`, 404, `the segment has ${plural(summary.count, 'record')}`);
  const [short, sealed] = [await own.ask('proof', { index, sealed: false }), await own.ask('proof', { index, sealed: true })];
  if (view.signal.aborted) return;
  const { state, findings: found } = stateOf(result, segment.leaf, evidence);
  const name = `${host}-${number}-${index}`;
  // Of the segment: its entry, proof and anchor, and its enrolment; of others nothing.
  const others = [...evidence.entries.values()].filter((e) => e.entry?.kind === 'segment' && e.leaf !== segment.leaf);
  const alone = (/** @type {string} */ file) => !file.startsWith('payloads/') && !others.some((e) => file.endsWith(e.leaf) || (file === `anchors/${e.entry.anchor.digest}` && e.entry.anchor.digest !== segment.entry.anchor.digest));
  const bound = sealed.claim?.bound;
  const verified = state === 'verified' && sealed.claim;
  const shown = verified && !bound ? 'undecided' : verified ? 'verified' : state === 'verified' ? 'contradicted' : state;
  const reason = verified && !bound ? 'The quote covers that there is a record here. What it says, no register binds: it is a violation, or names a register that the kernel cannot extend.'
    : reasons(result, [...found, ...sealed.findings]);
  fill(at, head,
    h('div', { class: 'verdict' }, mark(shown, reason), h('p', {}, verified && bound ? 'The TPM quoted registers that this record, in its place among the others, was extended into.' : 'See the reason.')),
    pairs([
      ['Name', r.name ? untrusted(r.name) : h('span', { class: 'none' }, 'none that can be read')],
      ['Digest', r.digest ? untrusted(r.digest) : h('span', { class: 'none' }, 'none')],
      ['Template', h('span', {}, untrusted(r.template), h('span', { class: 'small' }, ' – bound by no register'))],
      ['Register', `PCR ${r.pcr}`], ['Violation', r.violation ? 'yes: the file changed while it was measured; its contents are not bound' : 'no'],
      ['Place', `record ${count(index)} of ${count(summary.count)} in the segment, ${count(r.inBoot)} of its boot`],
      [`Stored ${r.listBank} digest`, hash(r.stored)], ...r.extends.map(([bank, digest]) => [`Extends ${bank} with`, hash(digest)]),
      ...r.fields.map((/** @type {[string, Uint8Array]} */ [name, f]) => [`Field ${name}`, f.length ? h('code', { class: 'value' }, hex(f.subarray(0, 512))) : h('span', { class: 'none' }, 'empty')]),
    ]),
    h('p', {}, index > 0 && [h('a', { href: hrefOf(host, number, index - 1) }, 'The one before'), ' '], index + 1 < summary.count && h('a', { href: hrefOf(host, number, index + 1) }, 'The next')),
    h('h2', {}, 'Proofs of this record alone'),
    table('Forms of the proof', ['Form', 'Proves', 'Discloses of the others', 'State', 'Save'], [
      form('Short', 'that host and ledger committed to it; that the quote covers it rests on the ledger\'s admission check', `${bytes(Math.max(0, short.bytes.length - r.raw.length))}, hashes of groups of records`, short, 'short'),
      form('Sealed', 'by the TPM: all digests, replayed, give what was quoted', summary.count === 1 ? 'there is no other' : `the register and digests of ${plural(summary.count - 1, 'record')}, and nothing else`, sealed, 'sealed'),
    ], 'forms'),
    h('p', {}, h('button', { onclick: () => save(`${name}.tar`, [evidence.bundle(alone)]) }, 'Save the evidence without the records'), ' and with it: ', h('code', {}, `imaledger verify --trust trust --record ${name}.sealed.record ${name}.tar`)),
    h('h2', {}, 'Bytes'), dump(r.raw, r.offset));

  /** @param {string} kind @param {string} proves @param {string} discloses @param {any} p @param {string} file */
  function form(kind, proves, discloses, p, file) {
    const s = result.unpinned ? 'undecided' : p.claim ? (state === 'verified' ? 'verified' : state) : 'contradicted';
    return [kind, proves, discloses, mark(s, reasons(result, p.findings)),
      h('button', { onclick: () => save(`${name}.${file}.record`, [p.bytes]), 'aria-label': `${bytes(p.bytes.length)}, save the ${file} proof` }, bytes(p.bytes.length))];
  }
}

const DUMPED = 4096; // bytes

/** @param {Uint8Array} raw @param {number} offset */
function dump(raw, offset) {
  const lines = [];
  for (let at = 0; at < Math.min(raw.length, DUMPED); at += 16) {
    const row = raw.subarray(at, Math.min(at + 16, raw.length));
    lines.push(`${(offset + at).toString(16).padStart(8, '0')}  ${hex(row).replace(/../g, '$& ').padEnd(49)} ${[...row].map((b) => (b > 0x20 && b < 0x7f ? String.fromCharCode(b) : '.')).join('')}`);
  }
  return [h('pre', { tabindex: 0, class: 'dump', 'aria-label': 'bytes in hex' }, lines.join('\n')), raw.length > DUMPED && notice('empty', `${plural(raw.length - DUMPED, 'byte')} more`, 'The records can be saved on the segment\'s page.')];
}
