/*
 * Dark or light: what the system says, until one is chosen; then that one, kept in this browser.
 */

const system = matchMedia("(prefers-color-scheme: dark)");

/** True if the page is dark now. */
export const isDark = () => (document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";

/** Changes to the other one. */
export function toggleTheme() {
  const next = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  try {
    // What the system says anyway need not be kept.
    if ((next === "dark") === system.matches) localStorage.removeItem("theme");
    else localStorage.setItem("theme", next);
  } catch {
    // It holds for this page then.
  }
  listeners.forEach((listener) => listener());
}

/** @type {(() => void)[]} */
const listeners = [];
system.addEventListener("change", () => listeners.forEach((listener) => listener()));

/** Calls `listener` when the theme changes. @param {() => void} listener */
export const onTheme = (listener) => listeners.push(listener);
