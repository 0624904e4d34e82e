// Runs the verifier in a Web Worker, so that a page stays alive while it runs.
//
// A page posts a Request, and is answered with any number of step and progress
// messages, and one result or error, each with the request's id:
//
//   { id, kind: 'bundle', bundle: Blob | Uint8Array, trust: TrustFiles }
//   { id, kind: 'record', segment: Uint8Array, proof: Uint8Array }
//
//   { id, type: 'step', step }                    a check that was made: audit/report.js, Step
//   { id, type: 'progress', part, done, total }   bytes of the bundle, or records of a segment
//   { id, type: 'result', result }                audit/bundle.js, Result; of a record { findings, claim }
//   { id, type: 'error', message, trust }         nothing was decided; trust: the trust folder is at fault
//
// Requests are answered one after the other. Numbers of the formats are BigInts.

import { checkBundle } from './audit/bundle.js';
import { checkRecord } from './audit/record.js';
import { Report } from './audit/report.js';
import { parseEntry } from './entry.js';
import { parseRecordProof } from './recordproof.js';
import { FormatError } from './text.js';
import { parseTrust } from './trust.js';

/**
 * @typedef {{policy: Uint8Array, rules: Uint8Array, roots: Uint8Array[]}} TrustFiles
 * @typedef {{id: number, kind: 'bundle', bundle: Blob | Uint8Array, trust: TrustFiles} | {id: number, kind: 'record', segment: Uint8Array, proof: Uint8Array}} Request
 */

const PROGRESS_EVERY = 50; // milliseconds between messages, of one part

/** Passes on progress, but not more often than a page can show it. @param {(message: any) => void} post */
function slowed(post) {
  let part = '';
  let last = 0;
  return (/** @type {string} */ name, /** @type {number} */ done, /** @type {number} */ total) => {
    const now = Date.now();
    if (name === part && done < total && now - last < PROGRESS_EVERY) return;
    [part, last] = [name, now];
    post({ type: 'progress', part: name, done, total });
  };
}

/** @param {any} request @param {(message: any) => void} post */
async function checkRecordRequest({ segment, proof }, post) {
  const report = new Report((step) => post({ type: 'step', step }));
  const entry = parseEntry(segment);
  if (entry.kind !== 'segment') throw new FormatError('the entry is no segment');
  const claim = checkRecord(report, /** @type {any} */ (entry), parseRecordProof(proof));
  post({ type: 'result', result: { findings: report.findings, claim } });
}

/**
 * Answers a request.
 * @param {Request} request @param {(message: any) => void} post
 */
export async function answer(request, post) {
  const reply = (/** @type {any} */ message) => post({ id: request.id, ...message });
  if (request.kind === 'record') return checkRecordRequest(request, reply).catch((e) => reply({ type: 'error', message: e.message, trust: false }));
  let trust;
  try {
    trust = parseTrust(request.trust.policy, request.trust.rules, request.trust.roots);
  } catch (e) {
    return reply({ type: 'error', message: /** @type {Error} */ (e).message, trust: true });
  }
  try {
    const result = await checkBundle(trust, request.bundle, { step: (step) => reply({ type: 'step', step }), progress: slowed(reply) });
    return reply({ type: 'result', result });
  } catch (e) {
    return reply({ type: 'error', message: /** @type {Error} */ (e).message, trust: false });
  }
}

if (typeof WorkerGlobalScope !== 'undefined' && globalThis instanceof WorkerGlobalScope) {
  let queue = Promise.resolve();
  globalThis.addEventListener('message', ({ data }) => {
    queue = queue.then(() => answer(data, (message) => globalThis.postMessage(message)));
  });
}
