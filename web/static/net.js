// Requests: to this page's own origin, and read no further than what is wanted may be.

/** A request failed: status is HTTP's, 0 where there was no answer. */
export class NetError extends Error {
  /** @param {string} path @param {number} status @param {string} text */
  constructor(path, status, text) {
    super(`${path}: ${text}`);
    this.path = path;
    this.status = status;
    this.text = text;
  }
}

const TOKEN = 'imaledger-token';
export const token = () => sessionStorage.getItem(TOKEN) ?? '';
/** @param {string} t for this tab alone; empty for none */
export const setToken = (t) => (t ? sessionStorage.setItem(TOKEN, t) : sessionStorage.removeItem(TOKEN));

const base = new URL('./', import.meta.url);
const MAX_JSON = 16 << 20;
const PATIENCE = 60_000; // milliseconds without a byte

/** @param {Response} r @param {string} path @param {number} max @param {(done: number) => void} [progress] */
async function limited(r, path, max, progress) {
  const parts = [];
  let size = 0;
  for (const reader = r.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.length;
    if (size > max) {
      await reader.cancel();
      throw new NetError(path, r.status, `the answer has more than ${max} bytes`);
    }
    parts.push(value);
    progress?.(size);
  }
  return new Blob(parts);
}

/**
 * Calls f with a signal that is given when the caller gives his, or when f has not said
 * for so long that something came. @template T
 * @param {string} path @param {number} patience milliseconds @param {AbortSignal | undefined} signal
 * @param {(signal: AbortSignal, came: () => void) => Promise<T>} f @returns {Promise<T>}
 */
async function patiently(path, patience, signal, f) {
  const ended = new AbortController();
  const end = () => ended.abort();
  let late = false;
  const wait = () => setTimeout(() => { late = true; end(); }, patience);
  let timer = wait();
  signal?.addEventListener('abort', end);
  if (signal?.aborted) end();
  try {
    return await f(ended.signal, () => { clearTimeout(timer); timer = wait(); });
  } catch (e) {
    throw late ? new NetError(path, 0, `nothing came for ${Math.ceil(patience / 1000)} s`) : e;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', end);
  }
}

/**
 * @param {string} path relative to the pages @param {number} max bytes
 * @param {{progress?: (done: number) => void, signal?: AbortSignal, wait?: number, fresh?: boolean, patience?: number}} [o] wait in seconds, patience in milliseconds
 * @returns {Promise<Blob>}
 */
export const getBlob = (path, max, o = {}) => patiently(path, (o.patience ?? PATIENCE) + 1000 * (o.wait ?? 0), o.signal, (signal, came) => get(path, max, { ...o, signal }, came));

/** @param {string} path @param {number} max @param {any} o @param {() => void} came @returns {Promise<Blob>} */
async function get(path, max, { progress, signal, wait, fresh }, came) {
  /** @type {Record<string, string>} */
  const headers = {};
  if (token()) headers.Authorization = `Bearer ${token()}`;
  if (wait !== undefined) headers.Prefer = `wait=${wait}`;
  let r;
  try {
    r = await fetch(new URL(path, base), { headers, signal, redirect: 'error', credentials: 'same-origin', cache: fresh ? 'no-store' : 'default' });
    if (r.ok) return await limited(r, path, max, (done) => { came(); progress?.(done); });
  } catch (e) {
    if (e instanceof NetError || e.name === 'AbortError') throw e;
    throw new NetError(path, 0, 'no answer');
  }
  let text = r.statusText || String(r.status);
  try {
    const p = JSON.parse(await (await limited(r, path, 1 << 16)).text());
    if (typeof p.title === 'string') text = p.title + (p.detail ? `: ${p.detail}` : '');
  } catch { /* no problem details */ }
  throw new NetError(path, r.status, text);
}

/** @param {string} path @param {number} max @param {any} [o] */
export const getBytes = async (path, max, o) => new Uint8Array(await (await getBlob(path, max, o)).arrayBuffer());

/** What a ledger states: a hint of where to look, and proof of nothing. @param {string} path @param {any} [o] */
export async function getJSON(path, o) {
  try {
    return JSON.parse(await (await getBlob(path, MAX_JSON, { fresh: true, ...o })).text());
  } catch (e) {
    if (e instanceof SyntaxError) throw new NetError(path, 200, 'the answer is not JSON');
    throw e;
  }
}

/** @param {unknown} e */
export const statusOf = (e) => (e instanceof NetError ? e.status : -1);
