/*
 * The flame graph: a canvas of the size of its viewport in a scrolling box, so that it stays sharp
 * and fast however deep stacks are. A second canvas above it has what follows the pointer.
 */

import { boxAt, boxes, deepest } from "./boxes.js";
import { clamp, el, onceAFrame, sized } from "./dom.js";

/** @typedef {import("./tree.js").Tree} Tree */
/** @typedef {import("./boxes.js").Box} Box */

/**
 * How it is drawn.
 * @typedef {object} Look
 * @property {(node: number) => string} colour
 * @property {string} merged colour of boxes of many
 * @property {import("./colours.js").Inks} inks
 * @property {boolean} up flames upwards, roots at the bottom
 */

/**
 * What it tells.
 * @typedef {object} Events
 * @property {(node: number) => void} onZoom
 * @property {(box: Box | null, x: number, y: number) => void} onPoint the pointer is over a box
 * @property {(node: number) => void} onSelect
 * @property {(node: number, x: number, y: number) => void} onMenu
 */

const FONT = "11.5px ui-monospace, 'Cascadia Mono', 'DejaVu Sans Mono', Menlo, Consolas, monospace";

export class FlameGraph {
  /** @type {Tree | null} */
  tree = null;
  zoom = 0;
  selected = -1;
  /** @type {Uint8Array | null} what a search found, for each function */
  found = null;
  /** @type {Box | null} */
  #over = null;
  /** @type {Box[][]} */
  #rows = [];
  #first = 0;
  #bottom = 0;
  #letter = 0;
  #canvas = el("canvas");
  #above = el("canvas", { class: "above" });
  #spacer = el("div", { class: "spacer" }, this.#canvas, this.#above);
  /** Asks for a new picture. */
  draw = onceAFrame(() => this.paint());
  #drawAbove = onceAFrame(() => this.#paintAbove());

  /**
   * @param {HTMLElement} host box that scrolls
   * @param {Look} look
   * @param {Events} events
   */
  constructor(host, look, events) {
    this.host = host;
    this.look = look;
    this.events = events;
    this.rowHeight = matchMedia("(pointer: coarse)").matches ? 24 : 18;
    host.replaceChildren(this.#spacer);
    host.addEventListener("scroll", this.draw, { passive: true });
    host.addEventListener("pointermove", (event) => this.#point(event));
    host.addEventListener("pointerleave", () => this.#point(null));
    host.addEventListener("click", (event) => this.#click(event));
    host.addEventListener("contextmenu", (event) => this.#menu(event));
    host.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => {
      this.paint();
      // Flames stand on the lower edge, wherever that has gone.
      if (this.look.up) this.#reveal();
    }).observe(host);
  }

  /**
   * Shows a tree.
   * @param {Tree} tree
   * @param {number} [zoom]
   */
  show(tree, zoom = 0) {
    const fresh = this.tree === null;
    this.tree = tree;
    this.zoom = zoom;
    this.selected = -1;
    this.#over = null;
    this.paint();
    if (fresh || this.look.up) this.#reveal();
  }

  /** Takes the picture away. */
  clear() {
    this.tree = null;
    this.#rows = [];
    this.draw();
  }

  /** @param {number} node */
  zoomTo(node) {
    this.zoom = node;
    this.paint();
    this.#reveal();
  }

  /** Scrolls so that the zoomed box is seen, with two of its ancestors. */
  #reveal() {
    if (!this.tree) return;
    const depth = Math.max(0, this.tree.depth[this.zoom] - 2);
    const row = this.rowHeight;
    this.host.scrollTop = this.look.up ? (this.#bottom + 1 - depth) * row - this.host.clientHeight : depth * row;
  }

  /** Upper edge of the row of a depth, below the top of the canvas. @param {number} depth */
  #top(depth) {
    const row = this.look.up ? this.#bottom - depth : depth;
    const slack = this.look.up ? Math.max(0, this.host.clientHeight - (this.#bottom + 1) * this.rowHeight) : 0;
    return row * this.rowHeight - this.host.scrollTop + slack;
  }

  /** Draws now. */
  paint() {
    const { host, tree, rowHeight } = this;
    const [width, height] = [host.clientWidth, host.clientHeight];
    if (!width || !height) return;
    if (tree) {
      this.#bottom = deepest(tree, this.zoom, width);
      this.#spacer.style.height = `${Math.max(height, (this.#bottom + 1) * rowHeight)}px`;
    }
    const context = sized(this.#canvas, width, height);
    context.clearRect(0, 0, width, height);
    if (!tree) return;
    const visible = Math.ceil(height / rowHeight) + 1;
    const scrolled = Math.floor(host.scrollTop / rowHeight);
    const first = this.look.up ? this.#bottom - scrolled - visible : scrolled;
    this.#first = clamp(first, 0, this.#bottom);
    this.#rows = boxes(tree, this.zoom, width, this.#first, clamp(this.#first + visible + 1, 0, this.#bottom));
    this.#paintBoxes(context);
    this.#paintAbove();
  }

  /** @param {CanvasRenderingContext2D} context */
  #paintBoxes(context) {
    const { tree, look, found } = this;
    if (!tree) return;
    context.font = FONT;
    context.textBaseline = "middle";
    this.#letter ||= context.measureText("MMMMMMMMMM").width / 10;
    const height = this.rowHeight - 1;
    const zoomed = tree.depth[this.zoom];
    for (const row of this.#rows) {
      if (!row.length) continue;
      const y = this.#top(row[0].depth);
      const whole = row[0].depth < zoomed ? 0.7 : 1;
      context.globalAlpha = whole;
      let [faded, last] = [false, ""];
      for (const box of row) {
        const index = tree.function[box.node];
        const hit = found !== null && !box.merged && index >= 0 && found[index] === 1;
        // Setting these is what takes time, even to what they are.
        if (found && faded === hit) context.globalAlpha = (faded = !hit) ? 0.32 : whole;
        const colour = hit ? look.inks.match : box.merged ? look.merged : look.colour(box.node);
        if (colour !== last) context.fillStyle = last = colour;
        // A hair between neighbours, as long as there is width to spare.
        context.fillRect(box.x, y, box.width > 3 ? box.width - 0.7 : box.width, height);
      }
      for (const box of row) this.#label(context, box, y + height / 2 + 0.5);
    }
    context.globalAlpha = 1;
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Box} box
   * @param {number} middle
   */
  #label(context, box, middle) {
    const letters = Math.floor((box.width - 7) / this.#letter);
    if (!this.tree || box.merged || letters < 3) return;
    const name = this.tree.name(box.node);
    const faded = this.found !== null && !this.found[this.tree.function[box.node]];
    context.fillStyle = faded ? this.look.inks.text : this.look.inks.label;
    context.globalAlpha = faded ? 0.75 : 1;
    context.fillText(name.length > letters ? `${name.slice(0, letters - 1)}…` : name, box.x + 4, middle);
  }

  /** Outlines: the box under the pointer, others of its function, the selected one. */
  #paintAbove() {
    const { host, tree, look } = this;
    const context = sized(this.#above, host.clientWidth, host.clientHeight);
    context.clearRect(0, 0, host.clientWidth, host.clientHeight);
    if (!tree) return;
    const over = this.#over;
    const same = over && !over.merged ? tree.function[over.node] : -2;
    for (const box of this.#rows.flat()) {
      const selected = box.node === this.selected && !box.merged;
      const pointed = over !== null && box.node === over.node && box.merged === over.merged;
      if (!selected && !pointed && (box.merged || tree.function[box.node] !== same)) continue;
      context.strokeStyle = selected ? look.inks.accent : look.inks.text;
      context.lineWidth = selected ? 2.5 : pointed ? 1.5 : 0.8;
      const inset = context.lineWidth / 2;
      context.strokeRect(box.x + inset, this.#top(box.depth) + inset, Math.max(1, box.width - 2 * inset), this.rowHeight - 1 - 2 * inset);
    }
  }

  /** @param {MouseEvent} event */
  #at(event) {
    const bounds = this.host.getBoundingClientRect();
    const [x, y] = [event.clientX - bounds.left - this.host.clientLeft, event.clientY - bounds.top];
    if (x >= this.host.clientWidth || y < 0) return null;
    const row = this.#rows.find((row) => row.length > 0 && y >= this.#top(row[0].depth) && y < this.#top(row[0].depth) + this.rowHeight);
    return boxAt(row, x);
  }

  /** @param {PointerEvent | null} event */
  #point(event) {
    if (event?.pointerType === "touch") return;
    const box = event ? this.#at(event) : null;
    this.host.classList.toggle("over", box !== null);
    if (box !== this.#over) {
      this.#over = box;
      this.#drawAbove();
    }
    this.events.onPoint(box, event?.clientX ?? 0, event?.clientY ?? 0);
  }

  /** @param {MouseEvent} event */
  #click(event) {
    const box = this.#at(event);
    if (!box) return;
    this.select(box.node);
    // Many in one: what can be seen closer is their parent.
    this.events.onZoom(box.merged && this.tree ? Math.max(0, this.tree.parent[box.node]) : box.node);
  }

  /** @param {MouseEvent} event */
  #menu(event) {
    const box = this.#at(event);
    if (!box || box.merged) return;
    event.preventDefault();
    this.select(box.node);
    this.events.onMenu(box.node, event.clientX, event.clientY);
  }

  /** @param {number} node */
  select(node) {
    this.selected = node;
    this.#drawAbove();
    this.events.onSelect(node);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const { tree } = this;
    if (!tree || event.ctrlKey || event.metaKey || event.altKey) return;
    const at = this.selected < 0 ? this.zoom : this.selected;
    const deeper = this.look.up ? "ArrowUp" : "ArrowDown";
    const arrows = ["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight"];
    if (arrows.includes(event.key)) {
      const next = this.selected < 0 ? at : this.#neighbour(tree, at, event.key, deeper);
      this.select(next);
      this.#scrollTo(next);
    } else if (event.key === "Enter" || event.key === " ") this.events.onZoom(at);
    else if (event.key === "Backspace") this.events.onZoom(Math.max(0, tree.parent[this.zoom]));
    else if (event.key === "Home") this.events.onZoom(0);
    else if (event.key === "ContextMenu" || (event.key === "F10" && event.shiftKey)) this.#menuAt(at);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /**
   * The box beside, above or below another.
   * @param {Tree} tree
   * @param {number} at
   * @param {string} key
   * @param {string} deeper the key that goes to callees
   */
  #neighbour(tree, at, key, deeper) {
    if (key === "ArrowLeft" || key === "ArrowRight") {
      const row = tree.parent[at] < 0 ? [at] : tree.children(tree.parent[at]).filter((node) => tree.weight[node] > 0);
      return row[clamp(row.indexOf(at) + (key === "ArrowLeft" ? -1 : 1), 0, row.length - 1)];
    }
    if (key !== deeper) return Math.max(0, tree.parent[at]);
    const below = tree.children(at);
    return below.length ? below.reduce((most, node) => (tree.weight[node] > tree.weight[most] ? node : most)) : at;
  }

  /** @param {number} node */
  #scrollTo(node) {
    const depth = this.tree?.depth[node] ?? 0;
    const top = this.#top(depth);
    const past = top + this.rowHeight - this.host.clientHeight;
    if (top < 0) this.host.scrollTop += top;
    else if (past > 0) this.host.scrollTop += past;
  }

  /** @param {number} node */
  #menuAt(node) {
    const bounds = this.host.getBoundingClientRect();
    const box = this.#rows.flat().find((box) => box.node === node && !box.merged);
    this.events.onMenu(node, bounds.left + (box?.x ?? 0) + 12, bounds.top + Math.max(0, this.#top(this.tree?.depth[node] ?? 0)) + 16);
  }
}
