// Where a log ends and another follows: FORMAT.md, section 8.1 steps 9 and 10.

import { hex } from '../text.js';

/**
 * @typedef {import('./report.js').Report} Report
 * @typedef {import('./statement.js').Statement} Statement
 * @typedef {import('./receipt.js').Receipt} Receipt
 * @typedef {import('../checkpoint.js').Checkpoint} Checkpoint
 */

/** Step 9. Returns the size of the final tree. @param {Report} report @param {Statement} freeze @param {Receipt | undefined} receipt @param {Checkpoint[]} checkpoints that verified */
export function checkFrozen(report, freeze, receipt, checkpoints) {
  if (!receipt) return undefined;
  const size = receipt.index + 1n;
  const larger = checkpoints.find((c) => c.origin === freeze.log && c.size > size);
  if (larger) report.add('log-frozen', `the log ended at ${size}, and a checkpoint is of ${larger.size}`, freeze.leaf);
  return size;
}

/**
 * Step 10. Returns the succession where the one log follows the other.
 * @param {Report} report @param {Statement} s
 * @param {object} context
 * @param {Receipt | undefined} context.receipt of s
 * @param {import('../entry.js').Entry | undefined} context.freeze the entry that s names
 * @param {boolean} context.valid whether that states something
 * @param {Receipt | undefined} context.frozen its receipt
 * @param {import('../note.js').Key[]} context.logs of the policy
 */
export function checkSuccession(report, s, { receipt, freeze, valid, frozen, logs }) {
  /** @param {string} code @param {string} text */
  const refuse = (code, text) => void report.add(code, text, s.leaf);
  if (!receipt) return undefined;
  if (receipt.index !== 0n) return refuse('statement-invalid', `a succession has index 0, not ${receipt.index}`);
  if (!freeze || !frozen) {
    return refuse('entry-missing', `the entry that ended ${s.predecessor}, ${s.freeze}, is not at hand with its proof`);
  }
  const f = /** @type {Statement} */ (freeze);
  if (f.kind !== 'freeze' || !valid || f.log !== s.predecessor) return refuse('statement-invalid', `${s.freeze} did not end ${s.predecessor}`);
  if (f.successor.name !== s.log) return refuse('statement-invalid', `${f.log} names ${f.successor.name} as the log that follows`);
  if (!logs.some((k) => k.vkey === f.successor.vkey)) {
    return refuse('checkpoint-unknown-log', `${f.log} names a key of ${s.log} that the policy does not name`);
  }
  const [size, root] = s.final;
  const tree = frozen.checkpoint;
  if (size !== frozen.index + 1n) return refuse('statement-invalid', `the final tree has the size ${frozen.index + 1n}, not ${size}`);
  if (tree.size === size && hex(tree.root) !== root) return refuse('statement-invalid', 'the final tree has another root');
  if (tree.size !== size) return undefined; // a finding of the log that went on
  return { from: s.predecessor, size, to: s.log, url: f.url };
}
