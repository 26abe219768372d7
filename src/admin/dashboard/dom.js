// Builds and updates elements. Text from the process only ever becomes a text node or an attribute, never markup.

const SVG = "http://www.w3.org/2000/svg";

/** Creates an element. `attributes` may hold `class`, `on…` listeners, `text`, and booleans. */
export function h(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same for SVG. */
export function s(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "text") element.textContent = value;
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Sets the text of an element only when it differs: selections and screen readers are left alone. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Sets or removes an attribute, only when it differs. */
export function setAttribute(element, name, value) {
  if (value === null || value === undefined) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/** The rows that `reconcile` keeps of each parent, by key. */
const kept = new WeakMap();

/**
 * Makes the children of `parent` those of `items`, in order. `create(item)` makes `{ element, update }` for a new key; elements of
 * keys that stay are kept, and updated.
 */
export function reconcile(parent, items, key, create) {
  if (!kept.has(parent)) kept.set(parent, new Map());
  const known = kept.get(parent);
  const seen = new Set();
  let next = parent.firstChild;
  for (const item of items) {
    const id = key(item);
    seen.add(id);
    if (!known.has(id)) known.set(id, create(item));
    const row = known.get(id);
    if (row.element === next) next = next.nextSibling;
    else parent.insertBefore(row.element, next);
    row.update(item);
  }
  for (const [id, row] of known) {
    if (seen.has(id)) continue;
    row.element.remove();
    known.delete(id);
  }
}
