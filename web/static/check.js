// The page's side of the worker.

/** @typedef {{step?: (step: any) => void, progress?: (p: {part: string, done: number, total: number}) => void}} Listener */

const url = new URL('./worker.js', import.meta.url).href;
// Where the browser has them, only this policy makes what a worker is started from.
const policy = globalThis.trustedTypes?.createPolicy('imaledger', { createScriptURL: () => url });

/** The bytes are not what they should be; not a fault of the verifier. */
export class InputError extends Error {}

export class Checker {
  constructor() {
    this.worker = new Worker(policy ? policy.createScriptURL('') : url, { type: 'module' });
    /** @type {Map<number, any>} */
    this.waiting = new Map();
    this.next = 1;
    this.worker.onmessage = ({ data }) => {
      const w = this.waiting.get(data.id);
      if (!w) return;
      if (data.step) w.listener.step?.(data.step);
      else if (data.progress) w.listener.progress?.(data.progress);
      else {
        this.waiting.delete(data.id);
        if (data.error === undefined) w.resolve(data.result);
        else w.reject(data.format ? new InputError(data.error) : new Error(data.error));
      }
    };
    this.worker.onerror = (e) => this.#fail(e.message || 'the verifier could not be loaded');
  }

  /** @param {string} why */
  #fail(why) {
    for (const w of this.waiting.values()) w.reject(new Error(why));
    this.waiting.clear();
  }

  /** @param {string} what @param {any} args @param {Listener} [listener] @returns {Promise<any>} */
  ask(what, args, listener = {}) {
    return new Promise((resolve, reject) => {
      const id = this.next++;
      this.waiting.set(id, { resolve, reject, listener });
      this.worker.postMessage({ id, what, args });
    });
  }

  end() {
    this.worker.terminate();
    this.#fail('ended');
  }
}

/** One for what is small. @type {Checker | undefined} */
let shared;
export const checker = () => (shared ??= new Checker());
