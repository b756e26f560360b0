/*
 * The page: asks for the recording, makes each part, and tells the parts of every change.
 */

import { ApiError, ask } from "./api.js";
import { App } from "./app.js";
import { usePalette } from "./colours.js";
import { byId, el, onceAFrame, settled } from "./dom.js";
import { downloads } from "./downloads.js";
import { Filters } from "./filters.js";
import { FlameView } from "./flameview.js";
import { toggleHelp } from "./help.js";
import { Honesty } from "./honesty.js";
import { keys } from "./keys.js";
import { Live } from "./live.js";
import { tooltip } from "./float.js";
import { comparePicker, rangePicker, shift, showRangeButton } from "./rangepicker.js";
import { SandwichView } from "./sandwichview.js";
import { Store, compares } from "./state.js";
import { WALL } from "./states.js";
import { TableView } from "./tableview.js";
import { onTheme, toggleTheme } from "./theme.js";
import { TimePanel } from "./timepanel.js";
import { TreeView } from "./treeview.js";

/** @typedef {import("./types.js").Recording} Recording */

/** A recording that is longer opens with its last hour, and its last day on the time line. */
const LONG = 2 * 3600e3;

/** The words for types of value. @type {Record<string, string>} */
const TYPES = { cpu: "CPU time", off_cpu: "off-CPU time", inuse_space: "memory in use", inuse_objects: "objects in use", alloc_space: "memory allocated", alloc_objects: "objects allocated", resident_space: "resident memory: growth" };

/** What of the state only the views below show. */
const PICTURE = new Set(["show", "function", "search", "zoom", "colour", "width", "up"]);

const store = new Store();
byId("theme", HTMLButtonElement).addEventListener("click", toggleTheme);
byId("help", HTMLButtonElement).addEventListener("click", toggleHelp);
start();

/** Asks for the recording, and says why there is none. */
async function start() {
  const view = byId("view", HTMLElement);
  view.setAttribute("aria-busy", "true");
  try {
    /** @type {Recording} */
    const recording = await ask("recording");
    // A folder in which nothing has been recorded has no source and no time.
    if (!recording.sources.length) throw new ApiError(0, "No recording is there yet. sudo rprof agent keeps one of all that runs here; sudo rprof record -d 10s makes a short one.");
    document.body.classList.remove("bare");
    page(new App(store, recording));
  } catch (error) {
    if (!(error instanceof ApiError)) console.error(error);
    const text = error instanceof ApiError ? error.message : "The page met something that it does not know. The browser's console has the details.";
    document.body.classList.add("bare");
    view.replaceChildren(el("div", { class: "notice", role: "alert" }, el("strong", {}, "There is nothing to show yet"), el("p", {}, text),
      el("div", { class: "row" }, el("button", { type: "button", click: () => start() }, "Try again"))));
  } finally {
    view.removeAttribute("aria-busy");
  }
}

/** @param {App} app */
function page(app) {
  openAt(app);
  const time = new TimePanel(app);
  const views = { flame: new FlameView(app), sandwich: new SandwichView(app), table: new TableView(app), tree: new TreeView(app) };
  const filters = new Filters(app);
  const honesty = new Honesty(app, () => time.update());
  const live = new Live(app, () => refresh(new Set()));
  const current = () => views[/** @type {keyof typeof views} */ (app.state.show)] ?? views.flame;

  /** @param {Set<string>} changed */
  function refresh(changed) {
    const { state } = app;
    const shown = current();
    usePalette(app.source?.held || app.source?.value.unit === "bytes");
    const view = byId("view", HTMLElement);
    document.body.dataset.show = shown === views.flame ? "flame" : state.show;
    document.body.classList.toggle("compared", compares(state));
    if (view.firstElementChild !== shown.element) {
      view.replaceChildren(shown.element);
      byId("matched", HTMLOutputElement).value = "";
      tooltip(null);
      shown.changed(new Set([...changed, "search", "zoom", "colour"]));
    } else shown.changed(changed);
    for (const name of Object.keys(views)) {
      const tab = byId(`tab-${name}`, HTMLButtonElement);
      const selected = views[/** @type {keyof typeof views} */ (name)] === shown;
      tab.setAttribute("aria-selected", String(selected));
      tab.tabIndex = selected ? 0 : -1;
      if (selected) view.setAttribute("aria-labelledby", tab.id);
    }
    showControls(app);
    // A zoom or a search changes the picture below and nothing else.
    if (changed.size && [...changed].every((name) => PICTURE.has(name))) return;
    showRangeButton(app);
    filters.show();
    time.update();
    honesty.update();
    live.show();
  }

  const commands = {
    show: (/** @type {string} */ show) => store.set({ show }),
    escape: () => {
      const { zoom, search } = app.state;
      if (zoom) store.set({ zoom: "" });
      else if (search) store.set({ search: "" });
    },
    shift: (/** @type {number} */ by) => shift(app, by),
    zoomToSelection: () => time.zoomToSelection(),
    zoomOut: () => time.zoomOut(),
    heat: () => time.toggleHeat(),
    lanes: () => time.lanes.toggle(),
    live: () => live.toggle(),
    inverted: () => store.set({ inverted: !app.state.inverted, zoom: "" }),
    up: () => store.set({ up: !app.state.up }),
    theme: toggleTheme,
    help: toggleHelp,
  };
  keys(commands);
  controls(app);
  rangePicker(app);
  comparePicker(app);
  downloads(app);
  onTheme(() => {
    Object.values(views).forEach((view) => view.recolour());
    time.update();
  });
  store.subscribe((_, changed) => refresh(changed));
  addEventListener("resize", onceAFrame(() => time.update()));
  refresh(new Set());
}

/** Where nothing is said of the time, a long recording opens at its end. @param {App} app */
function openAt(app) {
  const { state, extent } = app;
  const length = extent.end - extent.start;
  if (length <= LONG || state.from || state.to) return;
  store.set({ from: "-1h", ...(length > 26 * 3600e3 && !state.window_from ? { window_from: "-1d" } : {}) }, { replace: true });
}

/** Buttons and fields of the page. @param {App} app */
function controls(app) {
  const { recording } = app;
  const facts = [recording.target, recording.kernel && `Linux ${recording.kernel}`, `${recording.cpus} CPUs`].filter(Boolean);
  byId("machine", HTMLElement).replaceChildren(el("b", {}, recording.host ?? "recording"), el("span", { class: "soft" }, facts.join(" · ")));
  document.title = `${recording.host ?? "recording"} · rprof`;
  const source = byId("source", HTMLSelectElement);
  source.append(...recording.sources.map(({ name }) => el("option", { value: name }, name)), ...(app.hasWall ? [el("option", { value: WALL }, "wall clock: cpu + offcpu")] : []));
  source.hidden = recording.sources.length < 2;
  source.addEventListener("change", () => store.set({ source: source.value, type: "", older: "", zoom: "" }));
  byId("type", HTMLSelectElement).addEventListener("change", () => {
    const type = byId("type", HTMLSelectElement).value;
    // Only what is in use has an age.
    store.set({ type, zoom: "", ...(type.startsWith("inuse_") ? {} : { older: "" }) });
  });
  byId("zone", HTMLButtonElement).addEventListener("click", () => store.set({ utc: !app.state.utc }));
  byId("up", HTMLInputElement).addEventListener("change", () => store.set({ up: byId("up", HTMLInputElement).checked }));
  byId("inverted", HTMLInputElement).addEventListener("change", () => store.set({ inverted: byId("inverted", HTMLInputElement).checked, zoom: "" }));
  for (const name of /** @type {const} */ (["colour", "width"])) {
    byId(name, HTMLSelectElement).addEventListener("change", () => store.set({ [name]: byId(name, HTMLSelectElement).value }));
  }
  const search = byId("search", HTMLInputElement);
  search.addEventListener("input", settled(120, () => store.set({ search: search.value }, { replace: true })));
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter") store.set({ search: search.value });
  });
  const tabs = [...document.querySelectorAll("[role=tab]")].filter((tab) => tab instanceof HTMLButtonElement);
  tabs.forEach((tab, i) => {
    tab.addEventListener("click", () => store.set({ show: tab.id.replace("tab-", "") }));
    tab.addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (by === undefined) return;
      const next = tabs[(i + by + tabs.length) % tabs.length];
      next.click();
      next.focus();
    });
  });
  const banner = byId("banner", HTMLElement);
  banner.hidden = recording.remarks.length === 0;
  const [first, ...more] = recording.remarks;
  banner.replaceChildren(more.length ? el("details", {}, el("summary", {}, first, el("b", {}, ` and ${more.length} more`)), el("ul", {}, ...more.slice(0, 200).map((remark) => el("li", {}, remark))))
    : el("span", {}, first ?? ""),
  el("button", { type: "button", "aria-label": "Hide", click: () => (banner.hidden = true) }, "×"));
}

/** Shows the state in buttons and fields. @param {App} app */
function showControls(app) {
  const { state } = app;
  byId("zone", HTMLButtonElement).setAttribute("aria-pressed", String(state.utc));
  byId("up", HTMLInputElement).checked = state.up;
  byId("inverted", HTMLInputElement).checked = state.inverted;
  byId("colour", HTMLSelectElement).value = state.colour;
  byId("width", HTMLSelectElement).value = state.width;
  byId("source", HTMLSelectElement).value = app.source?.name ?? "";
  const type = byId("type", HTMLSelectElement);
  const types = app.source?.types ?? [];
  type.replaceChildren(...types.map(({ name }) => el("option", { value: name }, TYPES[name] ?? name.replaceAll("_", " "))));
  type.value = app.type?.name ?? "";
  type.hidden = types.length < 2;
  document.body.classList.toggle("inuse", app.inUse);
  const search = byId("search", HTMLInputElement);
  if (document.activeElement !== search || !search.value) search.value = state.search;
}
