/*
 * The live mode: the server tells when the recording has grown. While it is followed, all that is
 * shown is asked for again; otherwise only the end of the recording is kept, for the next question.
 */

import { ask } from "./api.js";
import { byId } from "./dom.js";
import { lengthWord } from "./time.js";

/** How often the page follows at most, ms. */
const PACE = 1000;

export class Live {
  #button = byId("live", HTMLButtonElement);
  /** @type {EventSource | null} */
  #events = null;
  #last = 0;
  #waiting = 0;

  /**
   * @param {import("./app.js").App} app
   * @param {() => void} refresh
   */
  constructor(app, refresh) {
    this.app = app;
    this.refresh = refresh;
    this.#button.addEventListener("click", () => this.toggle());
    document.addEventListener("visibilitychange", () => this.show());
  }

  /** Follows the recording, or stops to. */
  toggle() {
    const { state, range, store, recording } = this.app;
    if (state.live) return store.set({ live: false });
    if (!recording.live) return;
    const length = lengthWord(Math.max(1000, Math.round((range.to - range.from) / 1000) * 1000));
    // What is followed is the end: the same length, up to now.
    const change = state.to ? { from: `-${length}`, to: "" } : {};
    store.set({ live: true, ...change, patch_from: "", patch_to: "", window_to: "", ...(state.window_to ? { window_from: `-${length}` } : {}) });
  }

  /** Listens as long as the page is seen and the recording grows. */
  show() {
    const { state, recording } = this.app;
    this.#button.hidden = !recording.live;
    this.#button.setAttribute("aria-pressed", String(state.live));
    const wanted = state.live && recording.live && !document.hidden;
    if (wanted && !this.#events) this.#listen();
    if (!wanted) this.#stop();
  }

  #listen() {
    this.#events = new EventSource("api/live");
    this.#events.addEventListener("grown", () => this.#grown());
    this.#events.addEventListener("open", () => this.#button.classList.remove("broken"));
    this.#events.addEventListener("error", () => this.#button.classList.add("broken"));
    this.#grown();
  }

  #stop() {
    this.#events?.close();
    this.#events = null;
    clearTimeout(this.#waiting);
    this.#waiting = 0;
    this.#button.classList.remove("broken");
  }

  /** New data: asks again, once a second at most. */
  #grown() {
    if (this.#waiting) return;
    this.#waiting = window.setTimeout(async () => {
      this.#last = performance.now();
      try {
        this.app.recording = await ask("recording");
        this.app.generation += 1;
        this.refresh();
      } catch {
        // The stream reports a server that is gone, and comes back with it.
        this.#button.classList.add("broken");
      } finally {
        this.#waiting = 0;
      }
    }, Math.max(0, PACE - (performance.now() - this.#last)));
  }
}
