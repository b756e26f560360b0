/*
 * The theme that was chosen, before the first picture: a page that flashes white at night is no
 * dark one. Everything else waits for the page.
 */

(() => {
  try {
    const theme = localStorage.getItem("theme");
    if (theme) document.documentElement.dataset.theme = theme;
  } catch {
    // A browser that keeps nothing shows what the system says.
  }
})();
