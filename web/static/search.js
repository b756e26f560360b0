/*
 * Search: which functions a pattern matches, and what share of the tree they stand for. A pattern
 * is a regular expression; what is none is looked for as it stands. Capital letters count only
 * where the pattern has some.
 */

/** @typedef {import("./tree.js").Tree} Tree */

/** Letters of a name that are searched: a pattern must not be given endless text. */
const LETTERS = 2000;

/**
 * The pattern of a search; null for an empty one.
 * @param {string} text
 * @returns {RegExp | null}
 */
export function pattern(text) {
  if (!text) return null;
  const flags = /\p{Lu}/u.test(text.replace(/\\[A-Z]/g, "")) ? "" : "i";
  try {
    return new RegExp(text, flags);
  } catch {
    return new RegExp(text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), flags);
  }
}

/**
 * True if the text is a regular expression, and not only text.
 * @param {string} text
 */
export function isPattern(text) {
  try {
    new RegExp(text);
    return true;
  } catch {
    return false;
  }
}

/**
 * For each function whether it matches.
 * @param {Tree} tree
 * @param {RegExp} pattern
 */
export function matches(tree, pattern) {
  const { names, functions, kinds } = tree.graph;
  const other = kinds.indexOf("other");
  const found = new Uint8Array(functions.name.length);
  for (let i = 0; i < found.length; i++) {
    const name = names[functions.name[i]];
    const part = name.length > LETTERS ? name.slice(0, LETTERS) : name;
    if (functions.kind[i] !== other && pattern.test(part)) found[i] = 1;
  }
  return found;
}

/**
 * What the matches below a node add up to: in recursion the outermost counts, once.
 * @param {Tree} tree
 * @param {Uint8Array} found for each function
 * @param {number} root
 * @returns {{value: number, base: number, nodes: number}} nodes: how many outermost matches
 */
export function matched(tree, found, root) {
  const { end, function: functions, diff } = tree;
  const last = end[root];
  let [value, base, nodes] = [0, 0, 0];
  for (let i = root; i < last; ) {
    const index = functions[i];
    if (index >= 0 && found[index]) {
      value += tree.value(i);
      if (diff) base += tree.base(i);
      nodes += 1;
      i = end[i];
    } else i += 1;
  }
  return { value, base, nodes };
}
