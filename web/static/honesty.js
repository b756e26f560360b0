/*
 * The strip that says how much of this can be trusted: what was lost, cut short or not named, at
 * which rate, and what the profiler itself costs. It is always on the page.
 */

import { Loader } from "./api.js";
import { byId, el } from "./dom.js";
import { amount, bytes, count, percent, span } from "./format.js";

/** @typedef {import("./types.js").Stats} Stats */

const sum = (/** @type {Record<string, number> | undefined} */ counts) => Object.values(counts ?? {}).reduce((sum, value) => sum + value, 0);
const reasons = (/** @type {Record<string, number> | undefined} */ counts) =>
  Object.entries(counts ?? {}).filter(([, value]) => value > 0).map(([reason, value]) => `${reason}: ${count(value)}`).join("\n");

export class Honesty {
  #host = byId("honesty", HTMLElement);

  /**
   * @param {import("./app.js").App} app
   * @param {() => void} onRates other rates are known
   */
  constructor(app, onRates) {
    this.app = app;
    this.onRates = onRates;
    /** @type {Loader<Stats>} */
    this.loader = new Loader((busy) => this.#host.setAttribute("aria-busy", String(busy)), (stats) => this.#show(stats),
      (error) => this.#host.replaceChildren(el("span", { class: "warn" }, `How much was lost is not known: ${error.message}`)));
  }

  update() {
    this.app.load(this.loader, "stats", this.app.words(this.app.shown));
  }

  /** @param {Stats} stats */
  #show(stats) {
    const rated = JSON.stringify(stats.rates ?? []);
    if (rated !== JSON.stringify(this.app.rates)) {
      this.app.rates = stats.rates ?? [];
      this.onRates();
    }
    const all = stats.samples || 1;
    const share = (/** @type {number} */ value, of = all) => (value ? ` ${percent(value / of)}` : "");
    const fact = (/** @type {string} */ name, /** @type {string} */ value, /** @type {string} */ title, bad = false) =>
      el("span", { class: bad ? "fact warn" : "fact", title, tabindex: 0 }, el("i", {}, name), el("b", {}, value));
    const missed = sum(stats.missed);
    const self = stats.self;
    const rates = [...new Set((stats.rates ?? []).map(({ hz }) => hz))].filter((hz) => hz > 0);
    const { source } = this.app;
    const own = self?.cpu_share !== undefined ? `${percent(self.cpu_share)} of a CPU` : self?.cpu_seconds !== undefined ? span(self.cpu_seconds) : "";
    this.#host.replaceChildren(...[
      fact("complete stacks", stats.samples ? percent(stats.complete) : "–", "Samples whose stack is known from its leaf to its root", stats.samples > 0 && stats.complete < 0.95),
      fact("samples", count(stats.samples), "Samples taken, in the recordings that this range is part of"),
      fact("lost", `${count(stats.lost)}${share(stats.lost, all + stats.lost)}`, "Samples that found a buffer full: they are missing here", stats.lost / all > 0.001),
      fact("truncated", `${count(stats.truncated)}${share(stats.truncated)}`, "Stacks deeper than 127 frames, cut off at their root", stats.truncated / all > 0.01),
      fact("incomplete", `${count(stats.incomplete)}${share(stats.incomplete)}`, `User stacks that could not be followed to their root${reasons(stats.unwind_failed) ? `\n${reasons(stats.unwind_failed)}` : ""}`, stats.incomplete / all > 0.05),
      ...(stats.kernel_failed ? [fact("no kernel stack", `${count(stats.kernel_failed)}${share(stats.kernel_failed)}`, "Samples in the kernel that gave no kernel stack")] : []),
      ...(stats.unnamed !== undefined ? [fact("unnamed", count(stats.unnamed), "Frames without a name: they stand as [file]")] : []),
      ...(missed ? [fact("turned away", count(missed), `At a limit of rprof\n${reasons(stats.missed)}`, true)] : []),
      ...(source?.frequency ? [fact("rate", rates.length > 1 ? `${Math.min(...rates)}–${Math.max(...rates)} Hz` : `${rates[0] ?? source?.frequency ?? "?"} Hz${source?.event ? ` ${source.event}` : ""}`,
        rates.length > 1 ? "The agent changed its rate to stay within its budget; each sample counts for the time that it stands for" : "Samples a second on each CPU")]
        : source?.period ? [fact("sampled", source.period > 1 ? `each ${amount(source.period, source.value.unit)}` : "all", "How much lies between two samples on average: sums of less are guesses")] : []),
      ...(this.app.inUse ? [fact("in use", "since the recording began", "What was allocated before is not known")] : []),
      ...(own ? [fact("rprof's own cost", `${own}${self?.rss_bytes ? ` · ${bytes(self.rss_bytes)}` : ""}`, `CPU ${span(self?.cpu_seconds ?? 0)}, of that in BPF ${span(self?.bpf_seconds ?? 0)}; memory ${bytes(self?.rss_bytes ?? 0)}`)] : []),
    ]);
  }
}
