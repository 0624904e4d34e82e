// A list of any length, of which only the rows in sight are in the document.

import { fill, h } from './dom.js';

const ROW = 24; // pixels; style.css has the same
const TALLEST = 15_000_000; // pixels: browsers draw nothing below about 17 million
const BLOCK = 128; // rows asked for at once
const KEPT = 64; // blocks

export class VirtualList {
  /**
   * @param {object} o
   * @param {string} o.label
   * @param {[string, string][]} o.columns head and class
   * @param {(from: number, count: number) => Promise<any[]>} o.load
   * @param {(row: any) => {href: string, cells: any[], class: string}} o.render
   */
  constructor({ label, columns, load, render }) {
    this.load = load;
    this.render = render;
    this.total = 0;
    this.active = 0;
    /** @type {Map<number, Promise<any[]> | any[]>} */
    this.blocks = new Map();
    this.generation = 0;
    this.rows = h('div', { class: 'vrows', role: 'rowgroup' });
    this.space = h('div', { class: 'vspace' }, this.rows);
    this.head = h('div', { class: 'vrow vhead', role: 'row', 'aria-rowindex': 1 }, columns.map(([name, cls]) => h('span', { role: 'columnheader', class: cls }, name)));
    this.columns = columns;
    this.id = `v${Math.random().toString(36).slice(2, 8)}`;
    this.element = h('div', { class: 'vlist', role: 'grid', tabindex: 0, 'aria-label': label, 'aria-readonly': 'true' }, h('div', { role: 'rowgroup', class: 'vtop' }, this.head), this.space);
    this.element.addEventListener('scroll', () => this.#soon());
    this.element.addEventListener('keydown', (e) => this.#key(e));
    new ResizeObserver(() => this.#soon()).observe(this.element);
  }

  /** @param {number} total */
  reset(total) {
    this.total = total;
    this.active = 0;
    this.generation++;
    this.blocks.clear();
    this.element.setAttribute('aria-rowcount', String(total + 1));
    this.space.style.setProperty('height', `${Math.min(total * ROW, TALLEST)}px`);
    this.element.scrollTop = 0;
    this.#soon();
  }

  /** Of what is in sight below the head, in pixels. */
  get #height() {
    return this.element.clientHeight - ROW;
  }

  get #visible() {
    return Math.max(1, Math.ceil(this.#height / ROW));
  }

  /** The first row in sight: where the list is too tall, pixels stand for more than they are. */
  get #first() {
    const range = this.space.clientHeight - this.#height;
    if (this.total * ROW <= TALLEST || range <= 0) return Math.floor(this.element.scrollTop / ROW);
    return Math.round((this.element.scrollTop / range) * (this.total - this.#visible + 1));
  }

  /** @param {number} i */
  reveal(i) {
    this.active = Math.max(0, Math.min(i, this.total - 1));
    const full = Math.max(1, Math.floor(this.#height / ROW));
    const first = this.#first;
    let to = first;
    if (this.active < first) to = this.active;
    else if (this.active >= first + full) to = this.active - full + 1;
    if (to !== first) {
      const range = this.space.clientHeight - this.#height;
      this.element.scrollTop = this.total * ROW <= TALLEST ? to * ROW : (to / (this.total - this.#visible + 1)) * range;
    }
    this.draw();
  }

  /** @param {KeyboardEvent} e */
  #key(e) {
    const page = this.#visible - 1;
    const to = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -this.total, End: this.total }[e.key];
    if (to !== undefined) {
      e.preventDefault();
      this.reveal(this.active + to);
    } else if (e.key === 'Enter' && e.target === this.element) {
      /** @type {HTMLAnchorElement | null} */ (this.rows.querySelector('.active a'))?.click();
    }
  }

  #soon() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  /** @param {number} n */
  #block(n) {
    let block = this.blocks.get(n);
    if (!block) {
      const generation = this.generation;
      const asked = this.load(n * BLOCK, BLOCK).then((rows) => {
        if (generation !== this.generation) return rows;
        this.blocks.set(n, rows);
        this.#soon();
        return rows;
      });
      asked.catch(() => this.blocks.delete(n));
      this.blocks.set(n, (block = asked));
      if (this.blocks.size > KEPT) this.blocks.delete(/** @type {number} */ (this.blocks.keys().next().value));
    }
    return block;
  }

  draw() {
    const first = this.#first;
    const count = Math.min(this.#visible + 1, this.total - first);
    const out = [];
    for (let i = first; i < first + count; i++) {
      const block = this.#block(Math.floor(i / BLOCK));
      const row = Array.isArray(block) ? block[i % BLOCK] : undefined;
      const active = i === this.active;
      const shown = row ? this.render(row) : { href: '', cells: [String(i), '…'], class: 'waiting' };
      out.push(h('div', { class: `vrow ${shown.class}${active ? ' active' : ''}`, role: 'row', id: `${this.id}-${i}`, 'aria-rowindex': i + 2, 'aria-selected': active },
        this.columns.map(([, cls], c) => h('span', { role: 'gridcell', class: cls }, c === 0 && shown.href ? h('a', { href: shown.href, tabindex: -1 }, shown.cells[0]) : shown.cells[c] ?? ''))));
    }
    // A scaled list cannot be scrolled row by row with pixels: rows stand at the top of what is in sight.
    const top = this.total * ROW <= TALLEST ? first * ROW : Math.min(this.element.scrollTop, Math.max(0, this.space.clientHeight - count * ROW));
    this.rows.style.setProperty('transform', `translateY(${top}px)`);
    fill(this.rows, out);
    if (this.active >= first && this.active < first + count) this.element.setAttribute('aria-activedescendant', `${this.id}-${this.active}`);
    else this.element.removeAttribute('aria-activedescendant');
  }
}
