// A host's chain of entries: FORMAT.md, sections 8.1 and 8.2 step 1.

/**
 * @typedef {import('../entry.js').Entry & {host: string, sequence: bigint, previous?: string}} HostEntry
 * @typedef {import('./report.js').Report} Report
 */

/** The state of one host's chain. */
export class Host {
  constructor() {
    /** @type {HostEntry | undefined} the newest entry */
    this.head = undefined;
    /** @type {any} the newest enrolment, whatever was found of it */
    this.enrolment = undefined;
    /** Whether an enrolment stands after was. */
    this.enrolled = false;
    /** Whether there was a segment. */
    this.begun = false;
    /** Whether the history is shown from its middle. */
    this.partial = false;
    /** @type {import('./join.js').Quoted | undefined} the newest segment that was verified to its end */
    this.was = undefined;
  }

  /**
   * Whether an entry names the one before it. One that does not is a fork, and
   * stays outside, or is a part of the chain all the same.
   * @param {Report} report @param {HostEntry} e
   * @returns {boolean} whether it belongs to the chain
   */
  check(report, e) {
    const { head } = this;
    if (head && e.sequence <= head.sequence) {
      report.add('chain-fork', `the chain has sequence ${e.sequence} already`, e.leaf);
      return false;
    }
    const next = head ? head.sequence + 1n : 0n;
    if (e.sequence === next) {
      if (head && e.previous !== head.leaf) report.add('chain-broken', `previous is ${e.previous}, and the entry before is ${head.leaf}`, e.leaf);
    } else if (this.begun) {
      report.add('chain-broken', `sequence ${e.sequence} follows ${head?.sequence}`, e.leaf);
    } else {
      this.partial = true;
      report.add('history-partial', `the entries ${next} to ${e.sequence - 1n} are not part of this evidence`, e.leaf);
    }
    return true;
  }

  /** @param {HostEntry} e */
  commit(e) {
    this.head = e;
    if (e.kind === 'enrolment') {
      this.enrolment = e;
      this.enrolled = true;
    } else {
      this.begun = true;
    }
  }

  /** @param {import('./join.js').Quoted} quoted a segment that was verified to its end */
  join(quoted) {
    this.was = quoted;
    this.enrolled = false;
  }
}

/** The chains of all hosts, and which key is whose. */
export class Chains {
  constructor() {
    /** @type {Map<string, Host>} */
    this.hosts = new Map();
    /** @type {Map<string, string>} host by AK name */
    this.aks = new Map();
    /** @type {Map<string, string>} host by EK name, and by its key */
    this.eks = new Map();
  }

  /** @param {string} name of the chain */
  host(name) {
    let host = this.hosts.get(name);
    if (!host) this.hosts.set(name, (host = new Host()));
    return host;
  }
}
