/*
 * Axes of values: where their lines are, and the words at them.
 */

import { digits } from "./format.js";

/**
 * A round number that is not less, and the step of the lines below it.
 * @param {number} most
 * @param {number} lines at most
 */
export function scale(most, lines) {
  if (!(most > 0)) return { top: 1, step: 1 };
  const rough = most / lines;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((step) => step >= rough * 0.999) ?? rough;
  return { top: Math.ceil(most / step - 1e-9) * step, step };
}

/**
 * The lines of a scale, from nought up.
 * @param {{top: number, step: number}} scale
 */
export function lines({ top, step }) {
  const found = [];
  for (let i = 0; i * step <= top * 1.001; i++) found.push({ value: i * step, text: i === 0 ? "0" : trim(i * step) });
  return found;
}

/** @param {number} value */
const trim = (value) => digits(value).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");
