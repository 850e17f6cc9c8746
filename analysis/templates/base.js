"use strict";
// Data become text only through textContent; nothing here parses HTML.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const make = (tag, text, cls) => {
  const node = document.createElement(tag);
  if (text !== undefined && text !== null) node.textContent = text;
  if (cls) node.className = cls;
  return node;
};
const option = (text, value) => Object.assign(make("option", text), { value });
const count = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;

const cellOf = new Map(data.cells.map((cell) => [cell.key, cell]));
const valueOf = (cell, axis) => data.axes[axis].values[cell.at[axis]];
// A value that speaks for itself alone; a number or a "none" with its heading.
const named = (axis, value) => (/^([\d–]|none$|null$|true$|false$)/i.test(value) && !value.includes("×") ? `${data.axes[axis].name} ${value}` : value);
const label = (cell, without = []) => data.axes
  .map((_, axis) => (without.includes(axis) ? null : named(axis, valueOf(cell, axis))))
  .filter((part) => part !== null).join(" · ");

// One tip for whatever is pointed at or has the focus.
const tip = byId("tip");
function showTip(text, box) {
  tip.textContent = text;
  tip.hidden = false;
  const own = tip.getBoundingClientRect(), edge = document.documentElement.clientWidth;
  const left = Math.min(Math.max(8, box.left + box.width / 2 - own.width / 2), edge - own.width - 8);
  const above = box.top - own.height - 8;
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${above > 4 ? above : box.bottom + 8}px`;
}
const hideTip = () => { tip.hidden = true; };
for (const kind of ["pointerover", "focusin"]) {
  document.addEventListener(kind, (event) => {
    const at = event.target.closest && event.target.closest("[data-tip]");
    if (at) showTip(at.dataset.tip, at.getBoundingClientRect());
    else if (!event.target.matches || !event.target.matches("#figures svg, figure svg")) hideTip();
  });
}
document.addEventListener("scroll", hideTip, { capture: true, passive: true });

const typing = (event) => event.ctrlKey || event.metaKey || event.altKey
  || event.target.matches("select, textarea, input:not([type=checkbox]):not([type=radio])") || byId("keys").open;
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") hideTip();
  if (typing(event)) return;
  if (event.key === "?") byId("keys").showModal();
  else if (event.key === "t") theme.next();
  else return;
  event.preventDefault();
});
byId("help").addEventListener("click", () => byId("keys").showModal());
byId("theme").addEventListener("click", () => theme.next());
theme.show();
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
