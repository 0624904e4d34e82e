// One entry of the log, by its index: what it says, and whether it stands there.

import { fill, h, pairs, save } from '../dom.js';
import { Evidence, entryAt, stateOf } from '../gather.js';
import { openLog } from '../session.js';
import { bytes, findings, hash, hostLink, loading, mark, reasons, segmentLink, time, untrusted } from '../show.js';
import { binaryString } from '../verify/text.js';

/** @param {HTMLElement} at @param {import('../app.js').View} view */
export async function show(at, view) {
  const index = Number(view.args[0]);
  fill(at, h('h1', {}, `Entry ${view.args[0]}`), loading('Reading the entry'));
  const log = await openLog();
  const e = await entryAt(log, index);
  const evidence = new Evidence(log);
  await evidence.addEntry(e);
  const result = await evidence.check();
  if (view.signal.aborted) return;
  const { state, findings: found } = stateOf(result, e.leaf, evidence);
  const b = e.entry;
  const text = binaryString(e.bytes.subarray(0, b ? e.bytes.length - 1 - 36 * b.addenda.length : e.bytes.length));
  fill(at, h('h1', {}, `Entry ${index} `, mark(state, reasons(result, found))),
    b?.kind === 'segment' && h('p', {}, 'A segment: ', segmentLink(b.host, b.sequence, `segment #${b.sequence} of ${b.host}`), ' shows and checks all of it. Here it is checked alone.'),
    pairs([
      ['Kind', b ? b.kind : 'malformed'], ...(b?.host ? /** @type {[string, any][]} */ ([['Host', b.host === '*' ? 'all' : hostLink(b.host)]]) : []),
      ...(b?.time ? /** @type {[string, any][]} */ ([['Time, its signer\'s word', time(b.time)]]) : []),
      ['Leaf hash', hash(e.leaf)], ['Size', bytes(e.bytes.length)],
      ['Bytes', h('span', {}, h('button', { onclick: () => save(`${e.leaf}.entry`, [e.bytes]) }, 'Save the entry'), ' ',
        h('button', { onclick: () => save('evidence.tar', [evidence.bundle()]) }, 'Save the evidence'))],
    ]),
    e.malformed && h('p', {}, e.malformed),
    h('h2', {}, 'Text'), h('ol', { class: 'text' }, text.replace(/\n$/, '').split('\n').map((line) => h('li', {}, untrusted(new TextDecoder().decode(Uint8Array.from(line, (c) => c.charCodeAt(0))))))));
}
