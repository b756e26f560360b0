/*
 * The record of a mark or a run: a box with all that is known of it, and what can be done with it.
 * What stands in it comes from programs, and is text.
 */

import { el } from "./dom.js";
import { place } from "./float.js";
import { short } from "./frame.js";

/** Letters of a value that are shown. */
const LETTERS = 2000;

/** @typedef {{text: string, title?: string, run: () => void}} Action */

/**
 * @typedef {object} Card
 * @property {string} title
 * @property {string} [about] in small letters below it
 * @property {[string, string][]} [rows] names and values
 * @property {Action[]} [actions]
 * @property {Action[]} [list] others to choose from
 */

const box = el("div", { class: "pop card", role: "dialog" });

/**
 * Opens the box at a place of the window.
 * @param {Card} card
 * @param {number} x
 * @param {number} y
 */
export function openCard({ title, about = "", rows = [], actions = [], list = [] }, x, y) {
  box.popover = "auto";
  if (!box.isConnected) document.body.append(box);
  const back = document.activeElement;
  const button = (/** @type {Action} */ { text, title, run }) => el("button", {
    type: "button", title,
    click: () => {
      box.hidePopover();
      run();
    },
  }, el("span", {}, text));
  box.replaceChildren(
    el("strong", {}, short(title)),
    ...(about ? [el("p", { class: "soft" }, short(about, LETTERS))] : []),
    ...(rows.length ? [el("dl", {}, ...rows.flatMap(([name, value]) => [el("dt", {}, short(name, 60)), el("dd", {}, short(value, LETTERS))]))] : []),
    ...(list.length ? [el("div", { class: "choices values" }, ...list.map(button))] : []),
    ...(actions.length ? [el("div", { class: "choices" }, ...actions.map(button))] : []),
  );
  box.setAttribute("aria-label", title.slice(0, 100));
  box.ontoggle = (event) => {
    if (event.newState === "closed" && back instanceof HTMLElement) back.focus({ preventScroll: true });
  };
  box.hidePopover();
  box.showPopover();
  place(box, { left: x, right: x, bottom: y });
  box.querySelector("button")?.focus({ preventScroll: true });
}
