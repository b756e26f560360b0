/*
 * The ranges of time that can be chosen by name or by word: what is shown, and what it is compared
 * with.
 */

import { byId, el } from "./dom.js";
import { opens } from "./float.js";
import { span } from "./format.js";
import { lengthWord, momentWord, parseMoment, showMoment, showRange } from "./time.js";

/** @typedef {import("./app.js").App} App */

const MINUTE = 60e3;
const DAY = 86400e3;

/** Letters of the name of a range: a link may say anything. */
const NAME = 200;

/** Ranges up to the end of the recording. */
const LAST = [1, 5, 15, 60, 360, 1440, 10080].map((minutes) => minutes * MINUTE);

/**
 * A form of two moments, in the words of a view.
 * @param {App} app
 * @param {string} from
 * @param {string} to
 * @param {(from: string, to: string) => void} take
 */
function moments(app, from, to, take) {
  const wrong = el("p", { class: "wrong", role: "alert" });
  const field = (/** @type {string} */ label, /** @type {string} */ value) =>
    el("label", {}, label, el("input", { type: "text", value, spellcheck: "false", autocomplete: "off", name: label }));
  const submit = (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const form = new FormData(/** @type {HTMLFormElement} */ (event.currentTarget));
    const [start, end] = [String(form.get("From")).trim(), String(form.get("To")).trim()];
    const bad = [start, end].find((word) => word && parseMoment(word, app.extent) === null);
    const [a, b] = [start ? parseMoment(start, app.extent) : app.extent.start, end ? parseMoment(end, app.extent) : app.extent.end];
    if (bad) wrong.textContent = `"${bad}" is no moment`;
    else if (a !== null && b !== null && a >= b) wrong.textContent = "That range ends before it begins";
    else take(start, end);
  };
  return el("form", { class: "moments", submit }, field("From", from), field("To", to), el("button", { type: "submit" }, "Apply"), wrong,
    el("p", { class: "soft" }, "10s after the start · -1h before the end · 03:12 · 2026-11-21T03:12:00Z"));
}

/** @param {App} app */
export function rangePicker(app) {
  const button = byId("range", HTMLButtonElement);
  const box = el("div", { class: "pop" });
  button.after(box);
  opens(button, box, () => {
    const { store, state, extent, range } = app;
    const take = async (/** @type {string} */ from, /** @type {string} */ to) => {
      box.hidePopover();
      await app.renew();
      store.set({ from, to, patch_from: "", patch_to: "" });
    };
    const whole = extent.end - extent.start;
    const named = LAST.filter((ms) => ms < whole).map((ms) => el("button", { type: "button", click: () => take(`-${lengthWord(ms)}`, "") }, `Last ${span(ms / 1000)}`));
    box.replaceChildren(
      el("div", { class: "choices" }, ...named, el("button", { type: "button", click: () => take("0s", "") }, `Everything, ${span(whole / 1000)}`)),
      moments(app, state.from || momentWord(range.from), state.to, take),
    );
  });
  byId("earlier", HTMLButtonElement).addEventListener("click", () => shift(app, -1));
  byId("later", HTMLButtonElement).addEventListener("click", () => shift(app, 1));
}

/**
 * Moves the range by its length.
 * @param {App} app
 * @param {number} by lengths
 */
export function shift(app, by) {
  const { range, extent, store } = app;
  const width = range.to - range.from;
  const from = Math.max(extent.start, Math.min(extent.end - width, range.from + by * width));
  if (from === range.from) return;
  store.set({ from: momentWord(from), to: momentWord(from + width), live: false, patch_from: "", patch_to: "" });
}

/** Shows the range on its button. @param {App} app */
export function showRangeButton(app) {
  const { range, extent, state, recording } = app;
  const { from, to } = range;
  const named = state.named.slice(0, NAME);
  const clock = { utc: state.utc, resolution: to - from < 10e3 ? 1 : 1000, day: false };
  byId("range", HTMLButtonElement).replaceChildren(
    ...(named ? [el("span", { class: "named", title: named }, named), el("span", {}, `${showMoment(from, clock)}–${showMoment(to, clock)}`)] : [el("span", {}, showRange(from, to, state.utc))]),
    el("b", {}, span((to - from) / 1000)),
  );
  byId("earlier", HTMLButtonElement).disabled = range.from <= extent.start;
  byId("later", HTMLButtonElement).disabled = range.to >= extent.end;
  const base = app.base;
  const compare = byId("compare", HTMLButtonElement);
  compare.classList.toggle("on", Boolean(base || state.base));
  compare.replaceChildren(el("span", {}, base || state.base ? "Compared with " : "Compare"),
    ...(base ? [el("b", {}, showRange(base.from, base.to, state.utc))] : state.base ? [el("b", {}, recording.base ? `${showMoment(recording.base.start, { utc: state.utc, resolution: 1000 })}, another recording` : "another recording")] : []));
}

/** @param {App} app */
export function comparePicker(app) {
  const button = byId("compare", HTMLButtonElement);
  const box = el("div", { class: "pop" });
  button.after(box);
  opens(button, box, () => {
    const { store, state, extent, shown, recording } = app;
    const take = (/** @type {Partial<import("./state.js").State>} */ change) => {
      box.hidePopover();
      store.set({ base: "", base_from: "", base_to: "", zoom: "", ...change });
    };
    // What is said from the end moves on with it, and so does what it is compared with.
    const following = state.from.startsWith("-") && !state.to && !state.patch_from;
    const earlier = (/** @type {string} */ text, /** @type {number} */ ms) => el("button", {
      type: "button", disabled: shown.to - ms <= extent.start,
      title: shown.to - ms <= extent.start ? "The recording does not reach back that far" : undefined,
      click: () => take(following ? { base_from: `-${lengthWord(extent.end - shown.from + ms)}`, base_to: `-${lengthWord(ms)}` }
        : { base_from: momentWord(shown.from - ms), base_to: momentWord(shown.to - ms) }),
    }, text);
    const middle = (shown.from + shown.to) / 2;
    const halves = { from: momentWord(middle), to: momentWord(shown.to), base_from: momentWord(shown.from), base_to: momentWord(middle), patch_from: "", patch_to: "", live: false };
    box.replaceChildren(
      el("p", { class: "soft" }, `${app.inUse ? "The ends of both ranges are compared: red grew, blue shrank" : "Red got more of the whole, blue less"}; grey is what sampling noise explains. On the time line, drag with Shift to choose what to compare with.`),
      el("div", { class: "choices" },
        app.inUse ? el("button", {
          type: "button", disabled: shown.from <= extent.start, title: shown.from <= extent.start ? "Choose a range that begins later" : undefined,
          click: () => take({ base_from: momentWord(extent.start), base_to: momentWord(shown.from) }),
        }, "Growth over this range") : null,
        earlier("The time before", shown.to - shown.from), earlier("An hour ago", 60 * MINUTE),
        earlier("Yesterday, same time", DAY), earlier("A week ago", 7 * DAY),
        el("button", { type: "button", click: () => take(halves) }, "Second half with first"),
        recording.base ? el("button", { type: "button", click: () => take({ base: "1" }) }, "The other recording") : null,
        el("button", { type: "button", disabled: !app.base && !state.base, click: () => take({}) }, "Do not compare")),
      moments(app, state.base_from, state.base_to, (base_from, base_to) => take({ base_from, base_to })),
    );
  });
}
