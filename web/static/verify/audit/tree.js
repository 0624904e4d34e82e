// What proofs tell of a log's tree: FORMAT.md, section 8.1 step 3. A node over which
// the tree is complete never changes while the log grows, so two hashes of one are
// two histories.

import { nodeHash, sha256 } from '../hash.js';
import { equal, parseHex } from '../text.js';

/** The complete nodes of logs, by origin, level and index. */
export class Trees {
  constructor() {
    /** @type {Map<string, Uint8Array>} */
    this.nodes = new Map();
  }

  /**
   * Notes the complete nodes that a verified proof states or leads through. Returns
   * whether one of them had another hash before.
   * @param {string} leaf hash @param {import('./receipt.js').Receipt} receipt
   */
  climb(leaf, { checkpoint: { origin, size }, index, path }) {
    let split = false;
    let level = 0n;
    let at = index;
    let last = size - 1n;
    let hash = parseHex(leaf);
    const note = (/** @type {bigint} */ i, /** @type {Uint8Array} */ h) => {
      if (i >= size >> level) return; // it has leaves that are yet to come
      const key = `${origin} ${level} ${i}`;
      const before = this.nodes.get(key);
      split ||= before !== undefined && !equal(before, h);
      if (!before) this.nodes.set(key, h);
    };
    const up = () => {
      [level, at, last] = [level + 1n, at >> 1n, last >> 1n];
    };
    note(at, hash);
    for (const sibling of path) {
      while (!(at & 1n) && at === last) up(); // a node without a sibling stands for itself
      note(at ^ 1n, sibling);
      hash = at & 1n ? nodeHash(sibling, hash) : nodeHash(hash, sibling);
      up();
      note(at, hash);
    }
    return split;
  }

  /** A tree's root from its complete subtrees, undefined where they are not all known. @param {string} origin @param {bigint} size */
  root(origin, size) {
    if (size === 0n) return sha256(new Uint8Array(0));
    let root;
    let left = size;
    for (let level = 0n; left; level++) {
      if (!((left >> level) & 1n)) continue;
      const node = this.nodes.get(`${origin} ${level} ${(left >> level) - 1n}`);
      if (!node) return undefined;
      root = root ? nodeHash(node, root) : node;
      left -= 1n << level;
    }
    return root;
  }
}
