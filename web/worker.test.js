// The worker, and what the verifier is made of.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { answer } from './static/worker.js';
import { sha1, sha256, sha384, sha512, BANKS } from './static/verify/hash.js';
import { openBundle, sourceOf } from './static/verify/bundle.js';
import { parseEntry } from './static/verify/entry.js';
import { sm3 } from './static/verify/sm3.js';
import { hex } from './static/verify/text.js';
import { RecordTree, consistent, rootFromPath } from './static/verify/merkle.js';
import { leafHash, nodeHash } from './static/verify/hash.js';

const testdata = new URL('../ledger/testdata/', import.meta.url);
const bytes = (name) => new Uint8Array(readFileSync(new URL(name, testdata)));
const text = (name) => readFileSync(new URL(name, testdata), 'utf8');
const texts = { policy: text('vectors/trust/1/policy'), rules: text('vectors/trust/1/rules'), roots: [text('vectors/trust/1/roots/vendor.pem')] };

async function ask(what, args) {
  const messages = [];
  await answer({ id: 7, what, args }, (m) => messages.push(structuredClone(m)));
  return messages;
}

test('a bundle, step by step', async () => {
  for (const blob of [bytes('vectors/bundles/good.tar'), new Blob([bytes('vectors/bundles/good.tar')])]) {
    const messages = await ask('bundle', { texts, blob });
    assert.ok(messages.every((m) => m.id === 7));
    const { result } = messages.at(-1);
    assert.equal(result.class, 'verified');
    const steps = new Set(messages.filter((m) => m.step).map((m) => m.step.step));
    for (const step of ['8.1.1', '8.1.2', '8.1.3', '8.1.5', '8.1.6', '8.1.8', '8.3.1', '8.3.2', '8.3.6',
      ...Array.from({ length: 14 }, (_, i) => `8.2.${i + 1}`)]) assert.ok(steps.has(step), `step ${step}`);
    const [{ result: found }] = (await ask('across', { bundles: [{ name: 'a', history: result.history }, { name: 'b', history: result.history }] })).slice(-1);
    assert.deepEqual(found, []);
  }
});

test('what a file is at fault for is told from what the verifier is', async () => {
  const [wrong] = await ask('bundle', { texts: { ...texts, policy: '' }, blob: bytes('vectors/bundles/good.tar') });
  assert.equal(wrong.format, true);
  const [broken] = await ask('bundle', { texts, blob: undefined });
  assert.equal(broken.format, false);
});

test('records of a segment, and the proof of each', async () => {
  const bundle = bytes('vectors/bundles/good.tar');
  const files = await openBundle(sourceOf(bundle));
  const read = (name) => bundle.slice(files.get(name).at, files.get(name).at + files.get(name).size);
  const leaf = [...files.keys()].filter((n) => n.startsWith('leaves/')).map(read).find((b) => parseEntry(b).kind === 'segment');
  const [{ result: summary }] = (await ask('records', { blob: new Blob([read(`payloads/${parseEntry(leaf).payload.digest}`)]), leaf })).slice(-1);
  assert.equal(BigInt(summary.count), parseEntry(leaf).count);
  for (let index = 0; index < summary.count; index++) {
    for (const sealed of [false, true]) {
      const [{ result }] = await ask('proof', { index, sealed });
      assert.deepEqual(result.findings, []);
      assert.deepEqual([result.claim.sealed, result.claim.inBoot], [sealed, parseEntry(leaf).first + BigInt(index)]);
    }
  }
});

test('hashes are those of OpenSSL, at every length around a block', () => {
  const names = { sha1: 'sha1', sha256: 'sha256', sha384: 'sha384', sha512: 'sha512', sha3_256: 'sha3-256', sha3_384: 'sha3-384', sha3_512: 'sha3-512' };
  for (let n = 0; n < 300; n++) {
    const b = Uint8Array.from({ length: n }, (_, i) => (i * 7 + n) & 255);
    for (const bank of BANKS) {
      if (names[bank.name]) assert.equal(hex(bank.hash(b)), createHash(names[bank.name]).update(b).digest('hex'), `${bank.name} of ${n} bytes`);
    }
  }
  // GB/T 32905-2016, appendix A.
  assert.equal(hex(sm3(new TextEncoder().encode('abc'))), '66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0');
  assert.equal(hex(sm3(new TextEncoder().encode('abcd'.repeat(16)))), 'debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732');
});

test('trees of up to 20 leaves: each inclusion and each consistency', () => {
  const leaves = Array.from({ length: 20 }, (_, i) => Uint8Array.of(i));
  const split = (n) => 2 ** Math.floor(Math.log2(n - 1));
  const root = (list) => (list.length === 1 ? leafHash(list[0]) : nodeHash(root(list.slice(0, split(list.length))), root(list.slice(split(list.length)))));
  const inclusion = (i, list) => {
    if (list.length === 1) return [];
    const k = split(list.length);
    return i < k ? [...inclusion(i, list.slice(0, k)), root(list.slice(k))] : [...inclusion(i - k, list.slice(k)), root(list.slice(0, k))];
  };
  const subproof = (m, list, whole) => { // RFC 6962, section 2.1.2
    if (m === list.length) return whole ? [] : [root(list)];
    const k = split(list.length);
    return m <= k ? [...subproof(m, list.slice(0, k), whole), root(list.slice(k))] : [...subproof(m - k, list.slice(k), false), root(list.slice(0, k))];
  };
  for (let size = 1; size <= 20; size++) {
    const list = leaves.slice(0, size);
    const tree = new RecordTree();
    list.forEach((l) => tree.add(l));
    assert.deepEqual(tree.root(), root(list));
    for (let i = 0; i < size; i++) {
      const path = inclusion(i, list);
      assert.deepEqual(rootFromPath(BigInt(i), BigInt(size), leafHash(list[i]), path), root(list));
      assert.equal(rootFromPath(BigInt(i), BigInt(size), leafHash(list[i]), [...path, root(list)]), undefined);
      if (path.length) assert.equal(rootFromPath(BigInt(i), BigInt(size), leafHash(list[i]), path.slice(1)), undefined);
    }
    for (let m = 1; m <= size; m++) {
      const [older, newer] = [m, size].map((n) => ({ size: BigInt(n), root: root(leaves.slice(0, n)) }));
      const path = m === size ? [] : subproof(m, list, true);
      assert.ok(consistent(older, newer, path), `${m} to ${size}`);
      assert.ok(!consistent({ ...older, root: leafHash(leaves[19]) }, newer, path), `another root of ${m}`);
      assert.ok(!consistent(older, newer, [...path, leafHash(leaves[0])]), `a longer path from ${m} to ${size}`);
    }
  }
});

test('noble is what vendor/README.md says', () => {
  const file = readFileSync(new URL('static/verify/vendor/noble.js', import.meta.url));
  const readme = readFileSync(new URL('vendor/README.md', import.meta.url), 'utf8');
  assert.ok(readme.includes(createHash('sha256').update(file).digest('hex')), 'its SHA-256 stands there');
  assert.ok(!/\b(fetch|import)\s*\(/.test(file.toString()), 'it loads nothing');
});

test('modules load nothing from elsewhere, and make no code of text', () => {
  const dir = new URL('static/verify/', import.meta.url);
  const files = ['', 'audit/'].flatMap((d) => readdirSync(new URL(d, dir)).filter((f) => f.endsWith('.js')).map((f) => d + f));
  assert.ok(files.length > 30);
  for (const f of files) {
    const text = readFileSync(new URL(f, dir), 'utf8');
    assert.ok(!/\beval\b|new Function|innerHTML|XMLHttpRequest|\bfetch\(/.test(text), f);
    for (const [, from] of text.matchAll(/^(?:import|export) .* from '(.*)';$/gm)) assert.match(from, /^\.\.?\//, f);
    assert.ok(text.split('\n').length <= 260, `${f} is long`);
  }
});
