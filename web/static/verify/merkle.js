// RFC 6962 trees: inclusion, consistency, and the root over a segment's records.

import { leafHash, nodeHash, sha256 } from './hash.js';
import { equal } from './text.js';

/**
 * The root that an inclusion path leads to, or undefined if the path has not the
 * one length that index and size demand. RFC 9162, section 2.1.3.2.
 * @param {bigint} index @param {bigint} size @param {Uint8Array} leaf a leaf hash @param {Uint8Array[]} path
 */
export function rootFromPath(index, size, leaf, path) {
  if (index >= size) return undefined;
  let fn = index;
  let sn = size - 1n;
  let root = leaf;
  for (const sibling of path) {
    if (sn === 0n) return undefined;
    if (fn & 1n || fn === sn) {
      root = nodeHash(sibling, root);
      while (!(fn & 1n) && fn !== 0n) {
        fn >>= 1n;
        sn >>= 1n;
      }
    } else {
      root = nodeHash(root, sibling);
    }
    fn >>= 1n;
    sn >>= 1n;
  }
  return sn === 0n ? root : undefined;
}

/**
 * Whether a tree of size newer begins with the tree of size older. RFC 9162,
 * section 2.1.4.2.
 * @param {{size: bigint, root: Uint8Array}} older @param {{size: bigint, root: Uint8Array}} newer @param {Uint8Array[]} path
 */
export function consistent(older, newer, path) {
  if (older.size > newer.size) return false;
  if (older.size === newer.size) return path.length === 0 && equal(older.root, newer.root);
  if (older.size === 0n) return path.length === 0 && equal(older.root, sha256(new Uint8Array(0)));
  let fn = older.size - 1n;
  let sn = newer.size - 1n;
  while (fn & 1n) {
    fn >>= 1n;
    sn >>= 1n;
  }
  // A tree of a power of two is itself the path's first node.
  const nodes = fn === 0n ? [older.root, ...path] : path;
  if (nodes.length === 0) return false;
  let a = nodes[0];
  let b = nodes[0];
  for (const c of nodes.slice(1)) {
    if (sn === 0n) return false;
    if (fn & 1n || fn === sn) {
      a = nodeHash(c, a);
      b = nodeHash(c, b);
      while (!(fn & 1n) && fn !== 0n) {
        fn >>= 1n;
        sn >>= 1n;
      }
    } else {
      b = nodeHash(b, c);
    }
    fn >>= 1n;
    sn >>= 1n;
  }
  return sn === 0n && equal(a, older.root) && equal(b, newer.root);
}

/** The root over leaves that come one after the other, in memory for one node a level. */
export class RecordTree {
  /** @type {(Uint8Array | undefined)[]} of complete subtrees, by height */
  #nodes = [];

  /** @param {Uint8Array} record */
  add(record) {
    let node = leafHash(record);
    let h = 0;
    for (; this.#nodes[h]; h++) {
      node = nodeHash(/** @type {Uint8Array} */ (this.#nodes[h]), node);
      this.#nodes[h] = undefined;
    }
    this.#nodes[h] = node;
  }

  root() {
    /** @type {Uint8Array | undefined} */
    let root;
    for (const node of this.#nodes) if (node) root = root ? nodeHash(node, root) : node;
    return root ?? sha256(new Uint8Array(0));
  }
}
