"use strict";
// Runs before anything is drawn. Storage may be refused where a page is opened from disk: then the choice lasts as long
// as the page does.
const theme = {
  names: ["auto", "light", "dark"],
  get() { try { return localStorage.getItem("s1sweep-theme") || "auto"; } catch { return theme.now || "auto"; } },
  set(name) {
    theme.now = name;
    try { localStorage.setItem("s1sweep-theme", name); } catch { /* as above */ }
    theme.show();
  },
  show() {
    const name = theme.get();
    if (name === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    const button = document.getElementById("theme");
    if (!button) return;
    button.textContent = `◐ ${name}`;
    button.setAttribute("aria-label", `Colours: ${name === "auto" ? "as the system" : name}`);
  },
  next() { theme.set(theme.names[(theme.names.indexOf(theme.get()) + 1) % 3]); },
};
theme.show();
