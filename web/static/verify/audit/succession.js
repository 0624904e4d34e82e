// Where a log ends and another follows: FORMAT.md, section 8.1 steps 9 and 10.

import { hex } from '../text.js';

/**
 * @typedef {import('./report.js').Report} Report
 * @typedef {import('./statement.js').Statement} Statement
 * @typedef {import('./receipt.js').Receipt} Receipt
 * @typedef {import('../checkpoint.js').Checkpoint} Checkpoint
 */

/** Step 9. @param {Report} report @param {Statement} freeze @param {Receipt | undefined} receipt @param {Checkpoint[]} checkpoints that verified */
export function checkFrozen(report, freeze, receipt, checkpoints) {
  if (!receipt) return;
  const larger = checkpoints.filter((c) => c.origin === freeze.log && c.size > receipt.index + 1n);
  if (larger.length) report.add('log-frozen', `the log ended at ${receipt.index + 1n}, and a checkpoint is of ${larger[0].size}`, freeze.leaf);
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
 * @param {Checkpoint[]} context.checkpoints that verified
 */
export function checkSuccession(report, s, { receipt, freeze, valid, frozen, logs, checkpoints }) {
  const since = report.findings.length;
  if (receipt && receipt.index !== 0n) report.add('statement-invalid', `a succession has index 0, not ${receipt.index}`, s.leaf);
  if (!freeze || !frozen) {
    report.add('entry-missing', `the entry that ended ${s.predecessor}, ${s.freeze}, is not at hand with its proof`, s.leaf);
    return undefined;
  }
  if (freeze.kind !== 'freeze' || !valid) {
    report.add('statement-invalid', `${s.freeze} ended nothing`, s.leaf);
    return undefined;
  }
  const f = /** @type {Statement} */ (freeze);
  if (f.log !== s.predecessor) report.add('statement-invalid', `${s.freeze} ended ${f.log}, not ${s.predecessor}`, s.leaf);
  if (f.successor.name !== s.log) report.add('statement-invalid', `${f.log} names ${f.successor.name} as the log that follows`, s.leaf);
  else if (!logs.some((k) => k.vkey === f.successor.vkey)) {
    report.add('checkpoint-unknown-log', `${f.log} names a key of ${s.log} that the policy does not name`, s.leaf);
  }
  const [size, root] = s.final;
  if (size !== frozen.index + 1n) report.add('statement-invalid', `the final tree has ${frozen.index + 1n} entries, not ${size}`, s.leaf);
  else if (checkpoints.some((c) => c.origin === f.log && c.size === size && hex(c.root) !== root)) {
    report.add('statement-invalid', 'the final tree has another root', s.leaf);
  }
  if (report.findings.length > since) return undefined;
  return { from: s.predecessor, size, to: s.log, url: f.url };
}
