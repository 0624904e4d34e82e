// Answers questions of the differential fuzzer in ledger/audit: what the verifier
// says of some bytes. A question is a kind (one byte) and parts, each with its
// length before it (four bytes, big-endian), all with their length before them; an
// answer is JSON with its length before it.

import { stdin, stdout } from 'node:process';
import { across } from './static/verify/audit/across.js';
import { checkBundle } from './static/verify/audit/bundle.js';
import { checkRecord } from './static/verify/audit/record.js';
import { Report } from './static/verify/audit/report.js';
import { parseEntry } from './static/verify/entry.js';
import { parsePolicy } from './static/verify/policy.js';
import { parseRecordProof } from './static/verify/recordproof.js';
import { FormatError } from './static/verify/text.js';
import { parseRules, parseTrust } from './static/verify/trust.js';

/** What is asked, by kind. @type {Record<string, (...parts: Uint8Array[]) => any>} */
const QUESTIONS = {
  async b(bundle, policy, rules, ...roots) {
    const r = await checkBundle(parseTrust(policy, rules, roots), bundle);
    return {
      class: r.class,
      codes: [...new Set(r.findings.map((f) => f.code))].sort(),
      segments: r.segments.map((s) => [
        s.host, s.sequence, s.join, s.first, s.count, s.replayed, s.erased !== undefined,
        s.resetCount, s.restartCount, s.clock, s.index ?? -1, s.notBefore, s.notAfter, s.recordsNotBefore,
      ].join(' ')).sort(),
      findings: r.findings.map((f) => `${f.code}: ${f.subject}: ${f.text}`),
    };
  },
  async a(policy, rules, root, ...bundles) {
    const list = [];
    for (const b of bundles) list.push({ name: `${list.length}.tar`, history: (await checkBundle(parseTrust(policy, rules, [root]), b)).history });
    const found = across(list);
    return { codes: [...new Set(found.map((f) => f.code))].sort(), findings: found.map((f) => `${f.code}: ${f.subject}: ${f.text}`) };
  },
  e: (entry) => ({ leaf: parseEntry(entry).leaf }),
  p: (policy) => ({ quorum: parsePolicy(policy).smallest() }),
  r(rules) {
    const r = parseRules(rules);
    return { grades: r.grades, threshold: r.threshold, keys: [...r.registrars, ...r.operators].map((k) => k.name), sha1: r.allowSHA1 };
  },
  d(segment, proof) {
    const report = new Report();
    const s = parseEntry(segment);
    const claim = checkRecord(report, s, parseRecordProof(proof));
    return { codes: report.findings.map((f) => f.code), ...(claim && { index: claim.index, sealed: claim.sealed, bound: claim.bound }) };
  },
};

/** @param {Buffer} question */
async function answer(question) {
  const parts = [];
  for (let at = 1; at < question.length; ) {
    const size = question.readUInt32BE(at);
    parts.push(new Uint8Array(question.subarray(at + 4, at + 4 + size)));
    at += 4 + size;
  }
  try {
    return await QUESTIONS[String.fromCharCode(question[0])](...parts);
  } catch (e) {
    return e instanceof FormatError ? { refused: true, why: e.message } : { error: e.stack };
  }
}

/** @param {any} value */
function send(value) {
  const json = Buffer.from(JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? Number(v) : v)));
  const size = Buffer.alloc(4);
  size.writeUInt32BE(json.length);
  stdout.write(Buffer.concat([size, json]));
}

let rest = Buffer.alloc(0);
for await (const chunk of stdin) {
  rest = Buffer.concat([rest, chunk]);
  while (rest.length >= 4 && rest.length >= 4 + rest.readUInt32BE(0)) {
    const end = 4 + rest.readUInt32BE(0);
    const question = rest.subarray(4, end);
    rest = rest.subarray(end);
    send(await answer(question));
  }
}
