// Trees of more than one tile, and logs of more than one bundle: paths from tiles lead
// to the root, and those from other tiles do not.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { enrolmentOf, listedHost, scan } from './static/gather.js';
import { NetError } from './static/net.js';
import { openLog } from './static/session.js';
import { Tree } from './static/tiles.js';
import { consistent, rootFromPath } from './static/verify/merkle.js';
import { hex } from './static/verify/text.js';

const WIDTH = 256;
const sha256 = (...parts) => new Uint8Array(parts.reduce((h, p) => h.update(p), createHash('sha256')).digest());
const leafOf = (entry) => sha256(Uint8Array.of(0), entry);
const parent = (left, right) => sha256(Uint8Array.of(1), left, right);

/** A log in memory, by node's own hashes: the complete subtrees of each level. */
class Log {
  constructor(size) {
    this.entries = Array.from({ length: size }, (_, i) => new TextEncoder().encode(`entry ${i}`));
    this.levels = [this.entries.map(leafOf)];
    for (let below = this.levels[0]; below.length > 1; this.levels.push(below)) {
      below = Array.from({ length: Math.floor(below.length / 2) }, (_, i) => parent(below[2 * i], below[2 * i + 1]));
    }
  }

  /** RFC 6962, section 2.1. */
  root(size, from = 0) {
    const level = Math.log2(size);
    if (Number.isInteger(level) && from % size === 0) return this.levels[level][from / size];
    const k = 2 ** Math.ceil(level - 1);
    return parent(this.root(k, from), this.root(size - k, from + k));
  }

  /** What a server has at a path, undefined for nothing; grown as if the log had more by now. */
  file(path, grown) {
    const [, kind, number, width] = /^tile\/(\d|entries)\/([x\d/]+?)(?:\.p\/(\d+))?$/.exec(path) ?? [];
    if (!kind) return undefined;
    const n = Number(number.replaceAll(/[x/]/g, ''));
    const of = kind === 'entries' ? this.entries : this.levels[8 * Number(kind)];
    const to = n * WIDTH + Number(width ?? WIDTH);
    if (grown ? width : to > of.length) return undefined;
    const list = of.slice(n * WIDTH, to);
    while (grown && list.length < WIDTH) list.push(new Uint8Array(32));
    return Buffer.concat(kind === 'entries' ? list.flatMap((e) => [Uint8Array.of(e.length >> 8, e.length & 255), e]) : list);
  }
}

globalThis.sessionStorage = { getItem: () => null };
/** Serves what a log has, or what alter makes of it. */
function serve(log, alter = (_, b) => b) {
  globalThis.fetch = async (url) => {
    const path = url.pathname.slice(url.pathname.indexOf('/static/') + '/static/'.length);
    const b = alter(path, log.file(path));
    return b ? new Response(b) : new Response('', { status: 404 });
  };
}

const logs = new Map([700, 66_000].map((size) => [size, new Log(size)]));
const random = (n) => Math.floor(Math.random() * n);
const someOf = (size) => [0, 1, 255, 256, 257, 511, 512, size - 1, size - 2, ...[65_534, 65_535, 65_536, 65_800].filter((n) => n < size), ...Array.from({ length: 10 }, () => random(size))];

for (const [size, log] of logs) {
  const root = log.root(size);
  const included = async (tree, i) => Buffer.compare(rootFromPath(BigInt(i), BigInt(size), log.levels[0][i], await tree.path(i)) ?? Buffer.alloc(0), root) === 0;
  const continues = async (tree, m, older = log.root(m)) => consistent({ size: BigInt(m), root: older }, { size: BigInt(size), root }, await tree.consistency(m));

  test(`a tree of ${size}: inclusion and consistency`, async () => {
    // Of a log that has grown a server may have full tiles alone.
    for (const grown of [false, true]) {
      serve(log, (path) => log.file(path, grown));
      const tree = new Tree(size);
      for (const i of someOf(size)) assert.ok(await included(tree, i), `entry ${i}`);
      for (const m of someOf(size).filter((m) => m > 0)) {
        assert.ok(await continues(tree, m), `size ${m}`);
        assert.ok(!await continues(tree, m, log.levels[0][7]), `another root of size ${m}`);
      }
      assert.ok(tree.tiles.size <= 64);
    }
  });

  test(`a tree of ${size}: tiles that are not the log's`, async () => {
    const other = Buffer.alloc(8192, 7);
    for (const [name, alter] of Object.entries({
      'all hashes of a level altered': (level) => (path, b) => (path.startsWith(`tile/${level}/`) && b ? b.map((c, i) => (i % 32 ? c : c ^ 1)) : b),
      'a tile whose first hash is left out': (level) => (path, b) => (path.startsWith(`tile/${level}/`) && b ? Buffer.concat([b.subarray(32), other.subarray(0, 32)]) : b),
      'a tile of nothing': (level) => (path, b) => (path.startsWith(`tile/${level}/`) && b ? other : b),
    })) {
      for (let level = 0; level < log.levels.length / 8; level++) {
        for (const i of someOf(size)) {
          serve(log, alter(level));
          const used = [];
          const tree = new Tree(size);
          const node = tree.node.bind(tree);
          tree.node = (l, index) => (used.push(Math.floor(l / 8)), node(l, index));
          const good = await included(tree, i);
          assert.equal(good, !used.includes(level), `${name} ${level}, entry ${i}`);
        }
      }
    }
    for (const cut of [1, 32]) {
      serve(log, (path, b) => b && b.subarray(0, b.length - cut));
      await assert.rejects(new Tree(size).path(size - 1), NetError);
    }
    serve(log, () => undefined);
    await assert.rejects(new Tree(size).consistency(300), NetError);
  });
}

test('a log that is read whole has the root that it signed', async () => {
  const size = 700;
  const log = logs.get(size);
  const opened = () => ({ size, root: hex(log.root(size)), tree: new Tree(size) });
  const first = (b, f) => { const n = 2 + b[1]; return f(b.subarray(0, n), b.subarray(n)); };
  for (const [name, alter] of Object.entries({
    'an entry altered': (b) => { b[5] ^= 1; return b; },
    'two exchanged': (b) => first(b, (x, rest) => first(rest, (y, rest) => Buffer.concat([y, x, rest]))),
    'one twice': (b) => first(b, (x, rest) => first(rest, (_, rest) => Buffer.concat([x, x, rest]))),
  })) {
    for (const file of ['tile/entries/000', 'tile/entries/001', 'tile/entries/002.p/188']) {
      serve(log, (path, b) => (path === file ? alter(b) : b));
      await assert.rejects(scan(opened()), /root that the log signed/, `${name} in ${file}`);
    }
  }
  serve(log, (path, b) => (path === 'tile/entries/002.p/188' ? b.subarray(0, b.length - 1) : b));
  await assert.rejects(scan(opened()), NetError);
  serve(log);
  const found = await scan(opened());
  assert.equal(found.byLeaf.size, size);
  log.levels[0].forEach((leaf, i) => assert.equal(found.byLeaf.get(hex(leaf)), i));
});

test('the enrolment of a segment, however long the chain is', async () => {
  const chain = (n) => ({ entry: n === 0 || n === 300 || n === 301 || n === 70_000 ? { kind: 'enrolment', ak: String(n) } : { kind: 'segment', ak: String(n < 300 ? 0 : n < 70_000 ? 301 : 70_000) } });
  for (const [sequence, want] of [[1, 0], [299, 0], [302, 301], [69_999, 301], [70_001, 70_000], [100_000, 70_000]]) {
    let questions = 0;
    const e = await enrolmentOf({ ...chain(sequence).entry, sequence: BigInt(sequence) }, async (n) => (questions++, chain(n)));
    assert.deepEqual(e, chain(want), `of ${sequence}`);
    assert.ok(questions < 30);
  }
  for (const answer of [undefined, { entry: undefined }, chain(5), { entry: { kind: 'segment', ak: 'x' } }]) {
    let questions = 0;
    assert.equal(await enrolmentOf({ kind: 'segment', ak: 'x', sequence: 2n ** 62n }, async () => (questions++, answer)), undefined);
    assert.ok(questions < 100);
  }
});

test('a log of more entries than can be numbered is not read', async () => {
  globalThis.localStorage = { getItem: () => null };
  globalThis.dispatchEvent = () => true;
  for (const [size, read] of [[2n ** 53n - 1n, true], [2n ** 53n, false], [2n ** 63n - 1n, false]]) {
    const line = Buffer.alloc(68).toString('base64');
    globalThis.fetch = async () => new Response(`log.example\n${size}\n${Buffer.alloc(32, 1).toString('base64')}\n\n— log.example ${line}\n`);
    const log = await openLog(true);
    assert.deepEqual([log.size, log.state], [read ? Number(size) : 0, 'undecided'], `${size}: ${log.reasons}`);
    assert.equal(log.reasons.join().includes('more than are read'), !read);
  }
});

test('a host is found in the list whatever other names have its own as a part', async () => {
  const names = ['0', 'a', 'a0', 'web', 'web1', 'web1-', 'web1.example'];
  for (let i = 0; i < 2000; i++) names.push(`${'.-_09az'[i % 7]}${i}web1.example`, `we${i}web`, `web${i}-web1`, `a${i}a0`);
  names.sort();
  globalThis.fetch = async (url) => { // as a ledger answers GET /hosts
    const asked = new URL(url, 'http://ledger.example/').searchParams;
    const list = names.filter((n) => n.includes(asked.get('query') ?? '') && n > (asked.get('after') ?? ''));
    return Response.json({ hosts: list.slice(0, Number(asked.get('limit'))).map((host) => ({ host })) });
  };
  for (const name of names.slice(0, 7).concat(names.filter((_, i) => i % 97 === 0))) assert.equal((await listedHost(name))?.host, name);
  assert.equal(await listedHost('web2.example'), undefined);
});
