// Which cells the reader wants to see. Whoever shows cells in scripts listens for "filter".
const filter = { words: [], off: data.axes.map(() => new Set()), shown: new Set(cellOf.keys()) };

(() => {
  const searched = new Map(data.cells.map((cell) => [
    cell.key, `${data.axes.map((axis, i) => `${axis.name} ${valueOf(cell, i)}`).join(" ")} ${cell.key}`.toLowerCase()]));
  const passes = (cell) => cell.at.every((value, axis) => !filter.off[axis].has(value))
    && filter.words.every((word) => searched.get(cell.key).includes(word));

  // What scripts did not make stays the same, so it is looked up once.
  const marked = [...document.querySelectorAll("main [data-cell]")].map((node) => [node, node.dataset.cell]);
  const rows = [...document.querySelectorAll("main tbody tr")]
    .map((row) => [row, [...row.querySelectorAll("[data-cell]")].map((node) => node.dataset.cell)])
    .filter(([row, keys]) => keys.length && !row.dataset.cell);
  const lines = [], anywhere = {};
  for (const point of document.querySelectorAll(".point[data-axes][data-cell]")) {
    (anywhere[point.dataset.axes] = anywhere[point.dataset.axes] || []).push(point.dataset.cell);
  }
  for (const drawing of document.querySelectorAll("figure svg")) {
    const keys = {};
    for (const point of drawing.querySelectorAll(".point[data-axes]")) {
      (keys[point.dataset.axes] = keys[point.dataset.axes] || []).push(point.dataset.cell);
    }
    for (const line of drawing.querySelectorAll(".line[data-axes], .bars[data-axes]")) {
      // A line of estimates over many cells follows its arm, wherever that is drawn cell by cell.
      const known = (keys[line.dataset.axes] || []).filter((key) => key);
      const own = known.length ? known : (anywhere[line.dataset.axes] || []).filter((key) => key);
      if (own.length) lines.push([line, own]);
    }
  }

  function apply() {
    filter.shown = new Set(data.cells.filter(passes).map((cell) => cell.key));
    const out = (key) => cellOf.has(key) && !filter.shown.has(key);
    for (const [node, key] of marked) node.classList.toggle("out", out(key));
    for (const [node, keys] of [...rows, ...lines]) node.classList.toggle("out", keys.every(out));
    const some = filter.shown.size < data.cells.length;
    byId("shown").textContent = some ? `${filter.shown.size} of ${count(data.cells.length, "cell")}` : count(data.cells.length, "cell");
    byId("filter").classList.toggle("on", some);
    byId("reset").disabled = !some && !filter.words.length;
    document.dispatchEvent(new Event("filter"));
  }

  const boxes = [];
  data.axes.forEach((axis, number) => {
    if (axis.values.length < 2) return;
    const set = make("fieldset"), all = make("button", "none"), heading = make("legend", axis.name);
    all.type = "button";
    const own = axis.values.map((value, i) => {
      const line = make("label"), box = make("input");
      Object.assign(box, { type: "checkbox", checked: true });
      box.addEventListener("change", () => {
        filter.off[number][box.checked ? "delete" : "add"](i);
        all.textContent = own.some((one) => one.checked) ? "none" : "all";
        apply();
      });
      line.append(box, ` ${value}`);
      boxes.push([box, all]);
      set.append(line);
      return box;
    });
    all.setAttribute("aria-label", `${axis.name}: none or all`);
    all.addEventListener("click", () => {
      const on = all.textContent === "all";
      own.forEach((box, i) => { box.checked = on; filter.off[number][on ? "delete" : "add"](i); });
      all.textContent = on ? "none" : "all";
      apply();
    });
    heading.append(" ", all);
    set.prepend(heading);
    byId("axes").append(set);
  });
  const open = byId("axes-open"), words = byId("words");
  open.hidden = !boxes.length;
  open.addEventListener("click", () => {
    byId("axes").hidden = !byId("axes").hidden;
    open.setAttribute("aria-expanded", String(!byId("axes").hidden));
  });
  words.addEventListener("input", () => {
    filter.words = words.value.toLowerCase().split(/\s+/).filter((word) => word);
    apply();
  });
  byId("reset").addEventListener("click", () => {
    words.value = "";
    filter.words = [];
    filter.off.forEach((set) => set.clear());
    for (const [box, all] of boxes) { box.checked = true; all.textContent = "none"; }
    apply();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !typing(event)) { event.preventDefault(); words.focus(); words.select(); }
    if (event.key === "Escape" && event.target === words) words.blur();
  });
  byId("filter").hidden = false;
  // What a link leads to must not end up under the bar.
  new ResizeObserver(([bar]) => {
    const stuck = getComputedStyle(bar.target).position === "sticky";
    document.documentElement.style.scrollPaddingTop = stuck ? `${bar.target.offsetHeight + 12}px` : "";
  }).observe(byId("filter"));
  addEventListener("DOMContentLoaded", apply);
})();
