/*
 * What floats above the page: the tooltip that follows the pointer, and menus.
 */

import { clamp, el } from "./dom.js";

const tip = el("div", { id: "tooltip", role: "tooltip", hidden: true });

/**
 * Shows the tooltip beside a place of the window; without content it goes away.
 * @param {(Node | string)[] | null} content
 * @param {number} [x]
 * @param {number} [y]
 */
export function tooltip(content, x = 0, y = 0) {
  if (!tip.isConnected) document.body.append(tip);
  tip.hidden = content === null;
  if (!content) return;
  tip.replaceChildren(...content);
  const { offsetWidth: width, offsetHeight: height } = tip;
  const left = x + 14 + width > innerWidth - 8 ? x - 14 - width : x + 14;
  const top = y + 18 + height > innerHeight - 8 ? y - 12 - height : y + 18;
  tip.style.left = `${clamp(left, 8, Math.max(8, innerWidth - width - 8))}px`;
  tip.style.top = `${clamp(top, 8, Math.max(8, innerHeight - height - 8))}px`;
}

/** A line of a tooltip. @param {string} name @param {string} value @param {string} [colour] */
export function line(name, value, colour) {
  const swatch = el("i", { class: "swatch" });
  if (colour) swatch.style.background = colour;
  return el("div", { class: "line" }, colour ? swatch : null, el("span", {}, name), el("b", {}, value));
}

/**
 * Puts a popover below what opens it, inside the window.
 * @param {HTMLElement} popover
 * @param {DOMRect | {left: number, bottom: number, right: number}} anchor
 */
export function place(popover, anchor) {
  const { offsetWidth: width, offsetHeight: height } = popover;
  const left = anchor.left + width > innerWidth - 8 ? anchor.right - width : anchor.left;
  popover.style.left = `${clamp(left, 8, Math.max(8, innerWidth - width - 8))}px`;
  popover.style.top = `${clamp(anchor.bottom + 4, 8, Math.max(8, innerHeight - height - 8))}px`;
}

/**
 * Makes a button open and close a popover that is filled each time it opens.
 * @param {HTMLButtonElement} button
 * @param {HTMLElement} popover
 * @param {() => void} fill
 */
export function opens(button, popover, fill) {
  popover.popover = "auto";
  button.popoverTargetElement = popover;
  button.setAttribute("aria-haspopup", "dialog");
  popover.addEventListener("beforetoggle", (event) => {
    if (/** @type {ToggleEvent} */ (event).newState === "open") fill();
  });
  popover.addEventListener("toggle", (event) => {
    const open = /** @type {ToggleEvent} */ (event).newState === "open";
    button.setAttribute("aria-expanded", String(open));
    if (!open) return;
    place(popover, button.getBoundingClientRect());
    const first = popover.querySelector("[autofocus], input, select, button, a");
    if (first instanceof HTMLElement) first.focus({ preventScroll: true });
  });
}

/** @typedef {{text: string, key?: string, run: () => void} | null} Item null: a line between */

const menuBox = el("div", { class: "menu", role: "menu" });

/**
 * Opens a menu at a place of the window.
 * @param {string} title
 * @param {Item[]} items
 * @param {number} x
 * @param {number} y
 */
export function menu(title, items, x, y) {
  menuBox.popover = "auto";
  if (!menuBox.isConnected) document.body.append(menuBox);
  const back = document.activeElement;
  const buttons = items.map((item) => item === null ? el("hr") : el("button", {
    role: "menuitem", type: "button", tabindex: -1,
    click: () => {
      menuBox.hidePopover();
      item.run();
    },
  }, item.text, item.key ? el("kbd", {}, item.key) : null));
  menuBox.replaceChildren(el("p", {}, title), ...buttons);
  menuBox.setAttribute("aria-label", title.slice(0, 100));
  menuBox.onkeydown = (event) => step(event);
  menuBox.ontoggle = (event) => {
    if (event.newState === "closed" && back instanceof HTMLElement) back.focus({ preventScroll: true });
  };
  menuBox.hidePopover();
  menuBox.showPopover();
  place(menuBox, { left: x, right: x, bottom: y });
  menuBox.querySelector("button")?.focus();
}

/** Arrow keys go through a menu. @param {KeyboardEvent} event */
function step(event) {
  const buttons = [...menuBox.querySelectorAll("button")];
  const at = buttons.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
  const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
  if (next === undefined) return;
  event.preventDefault();
  event.stopPropagation();
  buttons.at(next % buttons.length)?.focus();
}
