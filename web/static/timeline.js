/*
 * The time line: drag to select, drag with shift to select what to compare with, wheel to zoom,
 * arrow keys to move. Its canvas shows the values, a second one above it the selection. The lanes
 * below it are tracks of the same time, on which all of this works too.
 */

import { clamp, el, onceAFrame, sized } from "./dom.js";
import { AXIS, plot, timeOf, xOf } from "./plot.js";

/** @typedef {import("./types.js").Timeline} Data */
/** @typedef {{from: number, to: number}} Range */

/**
 * @typedef {object} Events
 * @property {(range: Range) => void} onSelect
 * @property {(range: Range) => void} onBase
 * @property {(range: Range) => void} onWindow another part of the recording is to be seen
 * @property {(time: number | null, x: number, y: number) => void} onPoint
 * @property {() => void} onPaint the frame may be another
 */

/**
 * A box of the width of the time line, and what is done in it besides selecting.
 * @typedef {object} Track
 * @property {HTMLElement} host
 * @property {(time: number | null, event: PointerEvent) => void} onPoint no time: the pointer is elsewhere
 * @property {(time: number, event: MouseEvent) => void} [onClick]
 * @property {() => Range | null} [marked] what stands out in it
 */

export class TimeLine {
  /** @type {Data | null} */
  data = null;
  /** @type {import("./plot.js").Frame} */
  frame;
  /** @type {Range} */
  selection = { from: 0, to: 0 };
  /** @type {Range | null} */
  base = null;
  /** @type {Range | null} */
  patch = null;
  /** What the window must stay in. @type {Range} */
  limits = { from: 0, to: 1 };
  /** @type {{from: number, to: number, base: boolean, moved: boolean} | null} */
  #drag = null;
  /** True if the pointer did not move while it was down. */
  #still = false;
  /** Where the pointer is. @type {number | null} */
  #over = null;
  #canvas = el("canvas");
  /** @type {Map<HTMLElement, {track: Track, above: HTMLCanvasElement, axis: number}>} */
  #tracks = new Map();
  draw = onceAFrame(() => this.paint());
  drawAbove = onceAFrame(() => this.#paintAbove());

  /**
   * @param {HTMLElement} host
   * @param {import("./colours.js").Inks} inks
   * @param {Events} events
   */
  constructor(host, inks, events) {
    this.host = host;
    this.events = events;
    this.frame = { width: 0, height: 0, from: 0, to: 1, utc: false, inks, colours: [], other: inks.line, cpus: true, strong: null };
    host.append(this.#canvas);
    this.#track({ host, onPoint: (time, event) => events.onPoint(time, event.clientX, event.clientY) }, AXIS);
    host.addEventListener("dblclick", () => this.events.onSelect({ from: this.frame.from, to: this.frame.to }));
    host.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(host);
  }

  /** Another box shows the same time. @param {Track} track */
  attach(track) {
    this.#track(track, 0);
  }

  /** @param {HTMLElement} host of a track that is gone */
  detach(host) {
    this.#tracks.delete(host);
  }

  /** @param {Track} track @param {number} axis its height */
  #track(track, axis) {
    const { host } = track;
    const above = el("canvas", { class: "above" });
    host.append(above);
    this.#tracks.set(host, { track, above, axis });
    host.addEventListener("pointerdown", (event) => this.#down(event, track));
    host.addEventListener("pointermove", (event) => this.#move(event, track));
    host.addEventListener("pointerup", (event) => this.#up(event));
    // What a click opens would be closed by the pointer that is let go.
    host.addEventListener("click", (event) => this.#still && track.onClick?.(this.time(event), event));
    host.addEventListener("pointercancel", () => this.#cancel());
    host.addEventListener("pointerleave", (event) => this.#leave(event, track));
    host.addEventListener("wheel", (event) => this.#wheel(event, host), { passive: false });
  }

  paint() {
    const { host, data, frame } = this;
    frame.width = host.clientWidth;
    frame.height = host.clientHeight;
    if (!frame.width) return;
    const context = sized(this.#canvas, frame.width, frame.height);
    context.clearRect(0, 0, frame.width, frame.height);
    if (data) plot(context, frame, data);
    this.events.onPaint();
    this.#paintAbove();
  }

  /** Shades what is not selected, on each track. */
  #paintAbove() {
    const { frame } = this;
    if (!frame.width) return;
    const [drag, ink] = [this.#drag, frame.inks];
    const selected = drag?.moved && !drag.base ? ordered(drag) : this.selection;
    const base = drag?.moved && drag.base ? ordered(drag) : this.base;
    const whole = selected.from <= frame.from && selected.to >= frame.to;
    for (const { track, above, axis } of this.#tracks.values()) {
      const height = track.host.clientHeight;
      const bottom = height - axis;
      const context = sized(above, frame.width, height);
      context.clearRect(0, 0, frame.width, height);
      if (!whole || base) {
        context.fillStyle = ink.shade;
        context.fillRect(xOf(frame, frame.from), 0, frame.width, bottom);
        for (const range of base ? [base, selected] : [selected]) {
          const [from, to] = this.#pixels(range);
          context.clearRect(from, 0, to - from, height);
        }
      }
      const marked = track.marked?.();
      if (marked) this.#bracket(context, marked, ink.match, bottom, "");
      if (base) this.#bracket(context, base, ink.base, bottom, axis ? "base" : null);
      if (!whole || base) this.#bracket(context, selected, ink.accent, bottom, axis ? (base ? "now" : "") : null);
      if (this.patch) this.#bracket(context, this.patch, ink.match, bottom, axis ? "" : null);
      if (this.#over === null) continue;
      context.fillStyle = ink.soft;
      context.fillRect(Math.round(xOf(frame, this.#over)), 0, 1, bottom);
    }
  }

  /** Left and right of a range, at least a line wide. @param {Range} range */
  #pixels(range) {
    const [from, to] = [xOf(this.frame, range.from), xOf(this.frame, range.to)];
    const left = clamp(from, xOf(this.frame, this.frame.from), this.frame.width);
    return [left, Math.max(clamp(to, 0, this.frame.width), left + 1.5)];
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Range} range
   * @param {string} colour
   * @param {number} bottom
   * @param {string | null} word null: without the bar above, which the time line has
   */
  #bracket(context, range, colour, bottom, word) {
    if (range.to < this.frame.from || range.from > this.frame.to) return;
    const [from, to] = this.#pixels(range);
    context.fillStyle = colour;
    if (word !== null) context.fillRect(from, 0, to - from, 2.5);
    context.fillRect(from - 0.75, 0, 1.5, bottom);
    context.fillRect(to - 0.75, 0, 1.5, bottom);
    if (!word) return;
    context.font = "600 10px system-ui, sans-serif";
    context.textBaseline = "top";
    context.fillText(word, Math.min(from + 4, this.frame.width - 30), 5);
  }

  /** When a place of the window is. @param {MouseEvent} event */
  time(event) {
    return timeOf(this.frame, event.clientX - this.host.getBoundingClientRect().left);
  }

  /** @param {PointerEvent} event @param {Track} track */
  #down(event, { host }) {
    if (event.button !== 0 || !this.data) return;
    const time = this.time(event);
    // An edge of the selection is taken up again and moved.
    const near = (/** @type {number} */ edge) => Math.abs(xOf(this.frame, edge) - xOf(this.frame, time)) < 5;
    const { from, to } = this.selection;
    const start = event.shiftKey ? time : near(from) ? to : near(to) ? from : time;
    this.#drag = { from: start, to: time, base: event.shiftKey, moved: false };
    host.setPointerCapture(event.pointerId);
  }

  /** @param {PointerEvent} event @param {Track} track */
  #move(event, track) {
    const drag = this.#drag;
    const time = this.time(event);
    if (drag) {
      drag.moved ||= Math.abs(xOf(this.frame, time) - xOf(this.frame, drag.to)) > 3;
      if (drag.moved) drag.to = time;
    }
    this.#over = time;
    if (!drag || drag.moved) track.onPoint(time, event);
    this.drawAbove();
  }

  /** @param {PointerEvent} event */
  #up(event) {
    const drag = this.#drag;
    this.#drag = null;
    this.#still = Boolean(drag && !drag.moved);
    if (!drag?.moved) return this.drawAbove();
    drag.to = this.time(event);
    const range = ordered(drag);
    (drag.base ? this.events.onBase : this.events.onSelect)(range);
  }

  /** @param {PointerEvent} event @param {Track} track */
  #leave(event, track) {
    this.#over = null;
    track.onPoint(null, event);
    this.drawAbove();
  }

  #cancel() {
    this.#drag = null;
    this.drawAbove();
  }

  /** @param {WheelEvent} event @param {HTMLElement} host */
  #wheel(event, host) {
    if (!this.data || event.ctrlKey) return;
    // Lanes that do not all fit are scrolled.
    const box = host.closest(".lanes");
    if (box && box.scrollHeight > box.clientHeight + 1 && !event.shiftKey) return;
    event.preventDefault();
    const sideways = event.shiftKey ? event.deltaY || event.deltaX : event.deltaX;
    const width = this.frame.to - this.frame.from;
    if (Math.abs(sideways) > Math.abs(event.deltaY) || event.shiftKey) this.pan((sideways / 1000) * width);
    else this.zoom(Math.exp(clamp(event.deltaY, -200, 200) / 400), this.time(event));
  }

  /**
   * Shows a longer or shorter part, with the moment `at` where it is.
   * @param {number} factor of the length
   * @param {number} [at]
   */
  zoom(factor, at = (this.selection.from + this.selection.to) / 2) {
    const { from, to } = this.frame;
    const middle = clamp(at, from, to);
    this.#window(middle - (middle - from) * factor, middle + (to - middle) * factor);
  }

  /** Shows what is before or after. @param {number} ms */
  pan(ms) {
    const { from, to } = this.frame;
    const { limits } = this;
    const by = clamp(ms, Math.min(0, limits.from - from), Math.max(0, limits.to - to));
    this.#window(from + by, to + by);
  }

  /** @param {number} from @param {number} to */
  #window(from, to) {
    const { limits } = this;
    const whole = limits.to - limits.from;
    const width = clamp(to - from, Math.min(whole, 100), whole);
    const left = clamp((from + to) / 2 - width / 2, limits.from, limits.to - width);
    this.frame.from = left;
    this.frame.to = left + width;
    this.draw();
    this.events.onWindow({ from: left, to: left + width });
  }

  /** What a key does. @param {KeyboardEvent} event */
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { from, to } = this.selection;
    const step = (to - from) * (event.shiftKey ? 0.1 : 0.5);
    /** @type {Record<string, () => void>} */
    const keys = {
      ArrowLeft: () => this.#shift(-step),
      ArrowRight: () => this.#shift(step),
      ArrowUp: () => this.#select(from + (to - from) / 4, to - (to - from) / 4),
      ArrowDown: () => this.#select(from - (to - from) / 2, to + (to - from) / 2),
      "+": () => this.zoom(0.5),
      "=": () => this.zoom(0.5),
      "-": () => this.zoom(2),
      Home: () => this.#shift(this.limits.from - from),
      End: () => this.#shift(this.limits.to - to),
    };
    const run = keys[event.key];
    if (!run || !this.data) return;
    event.preventDefault();
    event.stopPropagation();
    run();
  }

  /** Moves the selection, its length kept. @param {number} ms */
  #shift(ms) {
    const { from, to } = this.selection;
    const by = clamp(ms, Math.min(0, this.limits.from - from), Math.max(0, this.limits.to - to));
    this.#select(from + by, to + by);
  }

  /** @param {number} from @param {number} to */
  #select(from, to) {
    const range = { from: Math.max(this.limits.from, from), to: Math.min(this.limits.to, to) };
    if (range.to - range.from < 1) return;
    this.events.onSelect(range);
    const { from: left, to: right } = this.frame;
    if (range.to > right || range.from < left) this.pan(range.to > right ? range.to - right : range.from - left);
  }
}

/** @param {Range} range */
const ordered = ({ from, to }) => ({ from: Math.min(from, to), to: Math.max(from, to) });
