/*
 * A list of many rows of one height, of which only those that can be seen are elements.
 */

import { el, onceAFrame } from "./dom.js";

export class VirtualList {
  #count = 0;
  #body = el("div", { class: "rows", role: "rowgroup" });
  /** Asks for a new picture. */
  draw = onceAFrame(() => this.#draw());

  /**
   * @param {HTMLElement} host box that scrolls
   * @param {number} height of a row
   * @param {(index: number) => HTMLElement} row
   */
  constructor(host, height, row) {
    this.host = host;
    this.height = height;
    this.row = row;
    host.append(this.#body);
    host.addEventListener("scroll", this.draw, { passive: true });
    new ResizeObserver(this.draw).observe(host);
  }

  /** @param {number} count of rows */
  show(count) {
    this.#count = count;
    this.#body.style.height = `${count * this.height}px`;
    this.draw();
  }

  /** Scrolls so that a row is seen. @param {number} index */
  reveal(index) {
    const { host, height } = this;
    const head = this.#body.offsetTop;
    const top = index * height;
    if (top < host.scrollTop) host.scrollTop = top;
    else if (top + height + head > host.scrollTop + host.clientHeight) host.scrollTop = top + height + head - host.clientHeight;
    this.#draw();
  }

  #draw() {
    const { host, height } = this;
    const first = Math.max(0, Math.floor(host.scrollTop / height) - 4);
    const last = Math.min(this.#count, Math.ceil((host.scrollTop + host.clientHeight) / height) + 4);
    const rows = [];
    for (let index = first; index < last; index++) {
      const row = this.row(index);
      row.style.transform = `translateY(${index * height}px)`;
      rows.push(row);
    }
    this.#body.replaceChildren(...rows);
  }
}
