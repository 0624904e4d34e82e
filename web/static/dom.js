// Elements made from code. Nothing here parses markup: all content is text.

/**
 * An element: h('a', { href, class: 'x', onclick }, child…). A child that is no
 * node becomes text; null and false are passed over.
 * @param {string} tag @param {Record<string, any>} [props] @param {any[]} children
 */
export function h(tag, props = {}, ...children) {
  const e = document.createElement(tag);
  set(e, props);
  e.append(...flat(children));
  return e;
}

const SVG = 'http://www.w3.org/2000/svg';

/** An element of a drawing. @param {string} tag @param {Record<string, any>} [props] @param {any[]} children */
export function svg(tag, props = {}, ...children) {
  const e = document.createElementNS(SVG, tag);
  set(e, props);
  e.append(...flat(children));
  return e;
}

/** @param {any[]} list @returns {(Node | string)[]} */
const flat = (list) => list.flat(9).filter((c) => c !== null && c !== undefined && c !== false).map((c) => (c instanceof Node ? c : String(c)));

/** @param {Element} e @param {Record<string, any>} props */
function set(e, props) {
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith('on')) e.addEventListener(key.slice(2), value);
    else if (key === 'value') e.value = value;
    else e.setAttribute(key, value === true ? '' : String(value));
  }
}

/** Puts children in the place of those that are there. @param {Element} e @param {any[]} children */
export function fill(e, ...children) {
  e.replaceChildren(...flat(children));
  return e;
}

/** Says something to who listens to the page. @param {string} text */
export function say(text) {
  const live = document.getElementById('live');
  if (live) live.textContent = text;
}

/** A table: heads are texts, rows lists of cells; the first cell names the row. @param {string} caption @param {string[]} heads @param {any[][]} rows @param {string} [cls] */
export function table(caption, heads, rows, cls = '') {
  return h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': caption },
    h('table', { class: cls },
      h('caption', {}, caption),
      heads.length > 0 && h('thead', {}, h('tr', {}, heads.map((t) => h('th', { scope: 'col' }, t)))),
      h('tbody', {}, rows.map((cells) => h('tr', {}, cells.map((c, i) => h(i ? 'td' : 'th', i ? {} : { scope: 'row' }, c)))))));
}

/** A list of names and what they stand for. @param {[string, any][]} pairs */
export const pairs = (pairs) => h('dl', { class: 'pairs' }, pairs.map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))));

/** Offers bytes as a file. @param {string} name @param {BlobPart[]} parts @param {string} [type] */
export function save(name, parts, type = 'application/octet-stream') {
  const url = URL.createObjectURL(new Blob(parts, { type }));
  h('a', { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
