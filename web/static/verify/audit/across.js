// Bundles held to one another: FORMAT.md, section 8.8. What one of them cannot show,
// that a log signed two trees of one size, went on after its end or took two entries
// for one place of a host's chain, two of them can.

import { Report } from './report.js';
import { Trees } from './tree.js';

/**
 * @typedef {object} History what a bundle tells of its logs and chains
 * @property {Map<string, Uint8Array>} roots of signed trees, by origin and size
 * @property {Map<string, Uint8Array>} nodes that are complete, by origin, level and index
 * @property {Map<string, string>} sequences leaf hashes, by log, host and sequence
 * @property {Map<string, bigint>} ends sizes of final trees, by origin
 */

/**
 * Holds bundles to one another that were each checked with the same trust folder.
 * @param {{name: string, history: History}[]} bundles names are for people
 * @param {(step: import('./report.js').Step) => void} [step] after each check
 */
export function across(bundles, step) {
  const report = new Report(step);
  const trees = new Trees();
  /** @type {Map<string, {leaf: string, name: string}>} */
  const places = new Map();
  for (const { name, history } of bundles) {
    report.check('8.8', name, 'it belongs to one history with those before it');
    for (const [tree, root] of history.roots) {
      if (Trees.note(trees.roots, tree, root)) report.add('log-split', `another bundle has another root of the tree ${tree}`);
    }
    // Of nodes that contradict others the lowest says the most.
    const lowest = [...history.nodes].sort(([a], [b]) => levelOf(a) - levelOf(b)).find(([node, hash]) => Trees.note(trees.nodes, node, hash));
    if (lowest) report.add('log-split', `another bundle has another hash of the tree's node ${lowest[0]}`);
    for (const [place, leaf] of history.sequences) {
      const first = places.get(place);
      if (!first) places.set(place, { leaf, name });
      else if (first.leaf !== leaf) report.add('chain-fork', `it has the entry ${leaf}, and ${first.name} has ${first.leaf}`, leaf, place);
    }
  }
  report.check('8.8', 'log', 'no tree of a log rules out another');
  for (const tree of trees.ruledOut()) report.add('log-split', 'the proofs give another root of this tree', undefined, tree);
  report.check('8.8', 'log', 'no log went on after its end in another bundle');
  for (const b of bundles) {
    for (const [log, size] of b.history.ends) {
      for (const other of bundles) {
        const larger = other !== b && [...other.history.roots.keys()].find((tree) => tree.startsWith(`${log} `) && BigInt(tree.split(' ')[1]) > size);
        if (larger) report.add('log-frozen', `it has the tree ${larger}, and ${b.name} has the log's end at ${size}`, undefined, other.name);
      }
    }
  }
  report.done();
  return report.findings;
}

/** @param {string} node */
const levelOf = (node) => Number(node.split(' ')[1]);
