// The verifier on the vectors of ledger/testdata: what Go must find, it must find.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { across } from './static/verify/audit/across.js';
import { checkBundle } from './static/verify/audit/bundle.js';
import { CheckError, verifyReceipt } from './static/verify/audit/receipt.js';
import { checkRecord } from './static/verify/audit/record.js';
import { Report } from './static/verify/audit/report.js';
import { parseEntry } from './static/verify/entry.js';
import { CODES } from './static/verify/finding.js';
import { parsePolicy } from './static/verify/policy.js';
import { parseRecordProof } from './static/verify/recordproof.js';
import { FormatError } from './static/verify/text.js';
import { parseTrust } from './static/verify/trust.js';

const testdata = new URL('../ledger/testdata/', import.meta.url);
const bytes = (name) => new Uint8Array(readFileSync(new URL(name, testdata)));
const json = (name) => JSON.parse(readFileSync(new URL(name, testdata), 'utf8'));
const base64 = (s) => new Uint8Array(Buffer.from(s, 'base64'));

function trustFolder(name) {
  const roots = readdirSync(new URL(`${name}/roots`, testdata)).map((f) => bytes(`${name}/roots/${f}`));
  return parseTrust(bytes(`${name}/policy`), bytes(`${name}/rules`), roots);
}

test('bundles', async (t) => {
  const seen = new Set();
  for (const v of json('vectors/bundles.json')) {
    await t.test(v.name, async () => {
      const steps = [];
      const result = await checkBundle(trustFolder(`vectors/${v.trust}`), bytes(`vectors/${v.bundle}`), { step: (s) => steps.push(s) });
      const codes = [...new Set(result.findings.map((f) => f.code))].sort();
      assert.deepEqual({ class: result.class, codes }, { class: v.class, codes: v.codes });
      codes.forEach((c) => seen.add(c));
      if (v.class === 'verified') {
        const records = result.segments.filter((s) => s.replayed).reduce((n, s) => n + s.count, 0n);
        assert.equal(records, BigInt(v.records ?? 0));
      }
      assert.deepEqual(steps.flatMap((s) => s.findings), result.findings, 'each finding belongs to a step');
    });
  }
  // Of a log or an index, and of the time of the check: no bundle shows it.
  const served = ['log-tiles', 'log-rollback', 'search-foreign', 'search-omitted', 'checkpoint-stale'];
  assert.deepEqual([...seen].sort(), Object.keys(CODES).filter((c) => !served.includes(c)).sort(), 'each code has a vector');
});

test('bundles held to one another', async (t) => {
  for (const v of json('vectors/across.json')) {
    await t.test(v.name, async () => {
      const bundles = [];
      for (const name of v.bundles) {
        const { class: found, history } = await checkBundle(trustFolder(`vectors/${v.trust}`), bytes(`vectors/${name}`));
        assert.notEqual(found, 'contradicted', name);
        bundles.push({ name, history });
      }
      for (const order of [bundles, bundles.toReversed()]) {
        const steps = [];
        const findings = across(order, (s) => steps.push(s));
        assert.deepEqual([...new Set(findings.map((f) => f.code))].sort(), v.codes);
        assert.deepEqual(steps.flatMap((s) => s.findings), findings);
      }
    });
  }
});

test('entries', async (t) => {
  for (const v of json('vectors/entries.json')) {
    await t.test(v.name, () => {
      if (v.wrong) assert.throws(() => parseEntry(base64(v.entry)), FormatError);
      else assert.equal(parseEntry(base64(v.entry)).leaf, v.leaf);
    });
  }
});

test('record proofs', async (t) => {
  for (const v of json('vectors/records.json')) {
    await t.test(v.name, () => {
      const proof = parseRecordProof(base64(v.proof));
      const claim = checkRecord(new Report(), parseEntry(base64(v.segment)), proof);
      assert.equal(claim !== undefined, v.ok);
      assert.equal(proof.banks.length > 0, v.sealed);
      if (claim) assert.equal(claim.bound, v.bound);
    });
  }
});

test('policies', async (t) => {
  for (const v of json('c2sp/expected.json').policies) {
    await t.test(v.file, () => {
      if (v.ok) assert.equal(parsePolicy(bytes(`c2sp/${v.file}`)).smallest(), v.quorum ?? 0);
      else assert.throws(() => parsePolicy(bytes(`c2sp/${v.file}`)), (e) => e instanceof FormatError && e.line === v.line);
    });
  }
});

test('proofs', async (t) => {
  for (const v of json('c2sp/expected.json').proofs) {
    await t.test(v.file, async () => {
      const policy = parsePolicy(bytes(`c2sp/${v.policy}`));
      const verified = verifyReceipt(policy, v.leaf, bytes(`c2sp/${v.file}`), true);
      if (v.code) return assert.rejects(verified, (e) => e instanceof CheckError && e.code === v.code);
      const { unknown, notBefore, notAfter } = await verified;
      assert.deepEqual({ unknown: unknown.length, notBefore, notAfter },
        { unknown: v.unknown ?? 0, notBefore: BigInt(v.notBefore), notAfter: BigInt(v.notAfter) });
    });
  }
});

test('findings are those of FORMAT.md, with their classes and meanings', () => {
  const format = readFileSync(new URL('../ledger/FORMAT.md', import.meta.url), 'utf8');
  const rows = [...format.slice(format.indexOf('## 9.'), format.indexOf('## 10.')).matchAll(/^\| `([a-z-]+)` \| (\w+) \| (.*) \|$/gm)];
  assert.deepEqual(CODES, Object.fromEntries(rows.map(([, code, name, meaning]) => [code, [name, meaning]])));
});
