// What the pages say, and how they count.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { bytes, plural } from './static/show.js';
import { statements } from './static/pages/verify.js';

test('one is one, and all else are many', () => {
  assert.deepEqual([0, 1, 2, 1n, 2000n].map((n) => plural(n, 'entry', 'entries')), ['0 entries', '1 entry', '2 entries', '1 entry', '2,000 entries']);
  assert.deepEqual([1n, 3n].map((n) => plural(n, 'record')), ['1 record', '3 records']);
  assert.deepEqual([0, 1, 9999, 10_000].map(bytes), ['0 bytes', '1 byte', '9,999 bytes', '10 kB']);
  const [one] = statements([{ host: 'a', count: 1n, first: 7n, violations: 1n, unattested: 1n, sequence: 1n, replayed: true, grade: 'certificate', notBefore: 1n, notAfter: 2n }]);
  assert.match(one, /^record 7 of host a, .*; 1 violation, whose .*; 1 record that no register binds \(segment #1\)$/);
});

// What is never one, or is no number.
const NOT_COUNTED = /^(is|was|has|as|this|does|names|follows|begins|comes|covers|wants|ms)$/;
const MANY = {
  'pages/verify.js': ['${bundles.length} bundles', '${bundles.length} bundles', '${bundles.length} bundles', '${n} segments'], 'pages/host.js': ['${segments.length} segments'], 'pages/segment.js': ['${count(s.count)} records'],
  'pages/records.js': ['${count(r.name.length)} characters'], 'show.js': ['${count(text.length)} characters'],
  'net.js': ['${max} bytes'], 'verify/bundle.js': ['${FOLDERS[folder]} bytes'], 'verify/pcr.js': ['${bank.size} bytes'], 'verify/text.js': ['${limit} bytes', '${limit} bytes'], 'verify/entry.js': ['${limit} bytes'],
  'verify/statement.js': ['${MAX_ERASED} lines'], 'verify/audit/join.js': ['${q.resetCount - before.resetCount} times'],
};

test('a number stands before a word for many only where it cannot be one', () => {
  const dir = new URL('static/', import.meta.url);
  const files = readdirSync(dir, { recursive: true }).filter((f) => f.endsWith('.js') && !f.includes('vendor'));
  assert.ok(files.length > 60);
  for (const f of files) {
    const found = [...readFileSync(new URL(f, dir), 'utf8').matchAll(/\$\{[^{}]*\} ([a-z]+s)\b/g)].filter(([, word]) => !NOT_COUNTED.test(word)).map(([text]) => text);
    assert.deepEqual(found, MANY[f] ?? [], f);
  }
});
