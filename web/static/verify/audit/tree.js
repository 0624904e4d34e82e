// What proofs tell of a log's tree: FORMAT.md, section 8.1 step 3. A node over which
// the tree is complete never changes while the log grows, so two hashes of one are
// two histories.

import { nodeHash, sha256 } from '../hash.js';
import { equal, parseHex } from '../text.js';

export class Trees {
  constructor() {
    /** The complete nodes of logs. @type {Map<string, Uint8Array>} by origin, level and index */
    this.nodes = new Map();
    /** The trees that logs signed. @type {Map<string, Uint8Array>} roots by origin and size */
    this.roots = new Map();
  }

  /** Notes a hash. Returns whether there was another one. @param {Map<string, Uint8Array>} map @param {string} key @param {Uint8Array} hash */
  static note(map, key, hash) {
    const before = map.get(key);
    if (!before) map.set(key, hash);
    return before !== undefined && !equal(before, hash);
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
      split = Trees.note(this.nodes, `${origin} ${level} ${i}`, h) || split;
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

  /** Trees that were signed with another root than the proofs give. */
  ruledOut() {
    return [...this.roots].filter(([tree, root]) => {
      const [origin, size] = tree.split(' ');
      const proven = this.root(origin, BigInt(size));
      return proven && !equal(proven, root);
    }).map(([tree]) => tree);
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
