/*
 * What a part of the page says when it has nothing to show: that it is asking, that there is
 * nothing, or what went wrong; and what to do about it.
 */

import { el } from "./dom.js";

/** @typedef {{text: string, run: () => void}} Action */

export class Notice {
  #box = el("div", { class: "notice", hidden: true });

  /** @param {HTMLElement} host of which it covers the whole */
  constructor(host) {
    this.host = host;
    host.append(this.#box);
  }

  /** A line moves along the top while an answer is awaited. @param {boolean} busy */
  busy(busy) {
    this.host.setAttribute("aria-busy", String(busy));
  }

  /** Takes it away. */
  hide() {
    this.#box.hidden = true;
  }

  /**
   * @param {string} title
   * @param {string} text
   * @param {Action[]} actions
   */
  say(title, text, actions = []) {
    this.#box.hidden = false;
    this.#box.removeAttribute("role");
    this.#box.replaceChildren(
      el("strong", {}, title),
      el("p", {}, text),
      el("div", { class: "row" }, ...actions.map(({ text, run }) => el("button", { type: "button", click: run }, text))),
    );
  }

  /**
   * @param {Error} error
   * @param {() => void} again
   */
  fail(error, again) {
    // Words of the server may name what was asked, which may be long.
    this.say("This could not be shown", error.message.slice(0, 400), [{ text: "Try again", run: again }]);
    this.#box.setAttribute("role", "alert");
  }
}
