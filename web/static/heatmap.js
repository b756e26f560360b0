/*
 * The heat map: a column a second, rows of 20 ms from the bottom up. One selects from a cell to
 * another, as time runs: up a column and on at the bottom of the next.
 */

import { heat } from "./colours.js";
import { clamp, el, onceAFrame, sized } from "./dom.js";
import { LEFT } from "./plot.js";
import { ticks } from "./time.js";

/** @typedef {import("./types.js").Heatmap} Data */
/** @typedef {{from: number, to: number}} Range */

const AXIS = 18;

/**
 * @typedef {object} Events
 * @property {(range: Range) => void} onSelect
 * @property {(cell: {from: number, to: number, value: number} | null, x: number, y: number) => void} onPoint
 */

export class HeatMap {
  /** @type {Data | null} */
  data = null;
  /** @type {Range | null} */
  patch = null;
  dark = false;
  utc = false;
  #most = 1;
  /** @type {HTMLCanvasElement | null} */
  #picture = null;
  /** Cells from the start of the data: where the pointer is, and where a selection began. */
  #cell = -1;
  #from = -1;
  #keyed = false;
  #canvas = el("canvas");
  #above = el("canvas", { class: "above" });
  draw = onceAFrame(() => this.paint());
  #drawAbove = onceAFrame(() => this.#paintAbove());

  /**
   * @param {HTMLElement} host
   * @param {import("./colours.js").Inks} inks
   * @param {Events} events
   */
  constructor(host, inks, events) {
    this.host = host;
    this.inks = inks;
    this.events = events;
    host.append(this.#canvas, this.#above);
    host.addEventListener("pointerdown", (event) => this.#down(event));
    host.addEventListener("pointermove", (event) => this.#move(event));
    host.addEventListener("pointerup", () => this.#up());
    host.addEventListener("pointercancel", () => this.#leave());
    host.addEventListener("pointerleave", () => this.#leave());
    host.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.draw()).observe(host);
  }

  /** @param {Data} data */
  show(data) {
    this.data = data;
    this.#cell = this.#from = -1;
    this.#picture = null;
    this.draw();
  }

  /** The value that has the last colour of the scale. */
  get most() {
    return this.#most;
  }

  /** Colours have changed. */
  recolour() {
    this.#picture = null;
    this.draw();
  }

  /** Width and height of the cells together. */
  #size() {
    return { width: Math.max(1, this.host.clientWidth - LEFT), height: Math.max(1, this.host.clientHeight - AXIS) };
  }

  /**
   * The picture with a pixel a cell; where there are more columns than pixels, each pixel has the
   * most of its columns, so that no peak is lost.
   * @param {Data} data
   */
  #paintCells(data) {
    const columns = Math.min(data.seconds, Math.round(this.#size().width * devicePixelRatio));
    const values = new Float64Array(columns * data.rows);
    for (let second = 0; second < data.seconds; second++) {
      const column = Math.floor((second * columns) / data.seconds);
      for (let row = 0; row < data.rows; row++) {
        const at = (data.rows - 1 - row) * columns + column;
        values[at] = Math.max(values[at], data.values[second * data.rows + row] ?? 0);
      }
    }
    this.#most = values.reduce((most, value) => Math.max(most, value), 0) || 1;
    const picture = el("canvas", { width: columns, height: data.rows });
    const context = picture.getContext("2d");
    if (!context) return null;
    const image = context.createImageData(columns, data.rows);
    values.forEach((value, i) => {
      const [red, green, blue] = heat(value ? 0.1 + (0.9 * value) / this.#most : 0, this.dark);
      image.data.set([red, green, blue, 255], i * 4);
    });
    context.putImageData(image, 0, 0);
    return picture;
  }

  paint() {
    const { host, data, inks } = this;
    const [width, height] = [host.clientWidth, host.clientHeight];
    if (!width || !height) return;
    const context = sized(this.#canvas, width, height);
    context.clearRect(0, 0, width, height);
    if (!data?.seconds) return;
    const size = this.#size();
    const columns = Math.min(data.seconds, Math.round(size.width * devicePixelRatio));
    if (this.#picture?.width !== columns) this.#picture = this.#paintCells(data);
    context.imageSmoothingEnabled = false;
    if (this.#picture) context.drawImage(this.#picture, LEFT, 0, size.width, size.height);
    context.font = "10.5px system-ui, sans-serif";
    context.fillStyle = inks.soft;
    context.textAlign = "right";
    context.textBaseline = "middle";
    [["1 s", 7], ["0.5", size.height / 2], ["0", size.height - 5]].forEach(([text, y]) => context.fillText(String(text), LEFT - 6, Number(y)));
    context.textAlign = "center";
    const end = data.start + data.seconds * 1000;
    for (const { time, text } of ticks(data.start, end, Math.max(1, Math.min(data.seconds, size.width / 92)), this.utc)) {
      const x = LEFT + ((time - data.start) / (end - data.start)) * size.width;
      context.fillStyle = inks.line;
      context.fillRect(Math.round(x), size.height, 1, 4);
      context.fillStyle = inks.soft;
      if (x > LEFT + 16 && x < width - 22) context.fillText(text, x, size.height + 11);
    }
    context.strokeStyle = inks.line;
    context.strokeRect(LEFT + 0.5, 0.5, size.width - 1, size.height - 1);
    this.#paintAbove();
  }

  #paintAbove() {
    const { data, host, inks } = this;
    const context = sized(this.#above, host.clientWidth, host.clientHeight);
    context.clearRect(0, 0, host.clientWidth, host.clientHeight);
    if (!data?.seconds) return;
    const step = 1000 / data.rows;
    if (this.#from >= 0) {
      this.#outline(context, data, Math.min(this.#from, this.#cell), Math.max(this.#from, this.#cell), inks.accent);
    } else if (this.patch) {
      const [from, to] = [this.patch.from, this.patch.to].map((time) => Math.round((time - data.start) / step));
      if (to > 0 && from < data.seconds * data.rows) this.#outline(context, data, Math.max(0, from), to - 1, inks.accent);
    }
    if (this.#cell >= 0 && this.#from < 0) this.#outline(context, data, this.#cell, this.#cell, inks.text);
  }

  /**
   * Outlines the cells from one to another, column by column.
   * @param {CanvasRenderingContext2D} context
   * @param {Data} data
   * @param {number} from
   * @param {number} to the last
   * @param {string} colour
   */
  #outline(context, data, from, to, colour) {
    const { width, height } = this.#size();
    const [wide, high] = [width / data.seconds, height / data.rows];
    const [first, last] = [Math.floor(from / data.rows), Math.min(data.seconds - 1, Math.floor(to / data.rows))];
    context.fillStyle = colour;
    for (let column = first; column <= last; column++) {
      const bottom = column === first ? from % data.rows : 0;
      const top = column === last ? (to % data.rows) + 1 : data.rows;
      const [x, y] = [LEFT + column * wide, height - top * high];
      const [w, h] = [Math.max(wide, 1), (top - bottom) * high];
      context.globalAlpha = 0.18;
      context.fillRect(x, y, w, h);
      context.globalAlpha = 1;
      context.strokeStyle = colour;
      context.lineWidth = 1.5;
      // A long selection has an outline of its ends only; inside it would hide what it is about.
      if (last === first || wide > 6) context.strokeRect(x, y, Math.max(w, 3), Math.max(h, 2));
      else if (column === first || column === last) context.fillRect(column === first ? x : x + w, y, 1.5, h);
    }
  }

  /** The cell at a place. @param {PointerEvent} event */
  #at(event) {
    const { data } = this;
    if (!data?.seconds) return -1;
    const bounds = this.host.getBoundingClientRect();
    const { width, height } = this.#size();
    const second = Math.floor(((event.clientX - bounds.left - LEFT) / width) * data.seconds);
    const row = Math.floor((1 - (event.clientY - bounds.top) / height) * data.rows);
    return clamp(second, 0, data.seconds - 1) * data.rows + clamp(row, 0, data.rows - 1);
  }

  /** The range of a cell. @param {Data} data @param {number} cell */
  #range(data, cell) {
    const step = 1000 / data.rows;
    return { from: data.start + cell * step, to: data.start + (cell + 1) * step };
  }

  /** @param {PointerEvent} event */
  #down(event) {
    if (event.button !== 0 || !this.data?.seconds) return;
    this.#cell = this.#from = this.#at(event);
    this.#keyed = false;
    this.host.setPointerCapture(event.pointerId);
    this.#drawAbove();
  }

  /** @param {PointerEvent} event */
  #move(event) {
    const { data } = this;
    if (!data?.seconds) return;
    this.#cell = this.#at(event);
    this.events.onPoint({ ...this.#range(data, this.#cell), value: data.values[this.#cell] ?? 0 }, event.clientX, event.clientY);
    this.#drawAbove();
  }

  #up() {
    if (this.#from < 0 || !this.data) return;
    const [first, last] = [Math.min(this.#from, this.#cell), Math.max(this.#from, this.#cell)];
    this.#from = -1;
    this.events.onSelect({ from: this.#range(this.data, first).from, to: this.#range(this.data, last).to });
    this.#drawAbove();
  }

  #leave() {
    if (this.#keyed) return;
    this.#cell = this.#from = -1;
    this.events.onPoint(null, 0, 0);
    this.#drawAbove();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const { data } = this;
    const by = { ArrowUp: 1, ArrowDown: -1, ArrowRight: data?.rows ?? 0, ArrowLeft: -(data?.rows ?? 0) }[event.key];
    if (!data?.seconds || event.ctrlKey || event.metaKey || event.altKey) return;
    if (by === undefined && event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    event.stopPropagation();
    this.#keyed = true;
    if (by === undefined) {
      if (this.#cell < 0) return;
      if (this.#from < 0) this.#from = this.#cell;
      return this.#up();
    }
    if (this.#cell < 0) this.#cell = this.patch ? Math.round((this.patch.from - data.start) / (1000 / data.rows)) : 0;
    else {
      if (event.shiftKey && this.#from < 0) this.#from = this.#cell;
      if (!event.shiftKey) this.#from = -1;
      this.#cell = clamp(this.#cell + by, 0, data.seconds * data.rows - 1);
    }
    const { left, top, width } = this.host.getBoundingClientRect();
    const x = left + LEFT + (Math.floor(this.#cell / data.rows) / data.seconds) * (width - LEFT);
    this.events.onPoint({ ...this.#range(data, this.#cell), value: data.values[this.#cell] ?? 0 }, x, top + 20);
    this.#drawAbove();
  }
}
