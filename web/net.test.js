// Requests that are not answered, or not to their end.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NetError, getBlob } from './static/net.js';

globalThis.sessionStorage = { getItem: () => null };
const sleep = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
const aborted = (signal) => new Promise((_, reject) => { signal.addEventListener('abort', () => reject(new DOMException('aborted', 'AbortError'))); });
const PATIENCE = 300;

/** Answers with so many bytes, one at a time, each so late, and then with no end. */
function drip(bytes, ms, ends) {
  globalThis.fetch = async (_, { signal }) => new Response(new ReadableStream({
    async pull(to) {
      if (bytes-- > 0) {
        await sleep(ms);
        if (signal.aborted) throw new DOMException('aborted', 'AbortError');
        to.enqueue(Uint8Array.of(bytes));
      } else if (ends) to.close();
      else await aborted(signal);
    },
  }, { highWaterMark: 0 }));
}
const late = (e) => e instanceof NetError && e.status === 0 && e.text === 'nothing came for 1 s';

test('an answer that does not come, or not to its end, is not waited for', async () => {
  globalThis.fetch = (_, { signal }) => aborted(signal);
  await assert.rejects(getBlob('checkpoint', 10, { patience: PATIENCE }), late);
  drip(3, 1, false);
  await assert.rejects(getBlob('checkpoint', 10, { patience: PATIENCE }), late);
});

test('an answer that takes long, and goes on, is waited for', async () => {
  drip(8, PATIENCE / 3, true);
  assert.equal((await getBlob('checkpoint', 10, { patience: PATIENCE })).size, 8);
});

test('who asks can end it', async () => {
  globalThis.fetch = (_, { signal }) => (signal.aborted ? Promise.reject(new DOMException('aborted', 'AbortError')) : aborted(signal));
  const asked = new AbortController();
  const answer = getBlob('checkpoint', 10, { signal: asked.signal });
  asked.abort();
  await assert.rejects(answer, { name: 'AbortError' });
  await assert.rejects(getBlob('checkpoint', 10, { signal: AbortSignal.abort() }), { name: 'AbortError' });
});
