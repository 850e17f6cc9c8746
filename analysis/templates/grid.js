// Accuracy by two axes. Cells that differ from each other elsewhere are never averaged: the reader picks a setting.
(() => {
  const table = byId("heat"), rows = byId("grid-rows"), columns = byId("grid-columns"), at = byId("grid-at");
  const cividis = [[0, 34, 78], [53, 69, 108], [102, 105, 112], [148, 142, 119], [200, 184, 102], [254, 232, 56]];
  const colour = (share) => {
    const place = Math.min(Math.max(share, 0), 1) * (cividis.length - 1), i = Math.min(Math.floor(place), cividis.length - 2);
    return cividis[i].map((from, k) => Math.round(from + (cividis[i + 1][k] - from) * (place - i)));
  };
  const luminance = (rgb) => rgb.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  const ink = (rgb) => (luminance(rgb) > 0.179 ? "#000" : "#fff"); // where black and white read equally well
  if (!data.cells.length) return;

  data.axes.forEach((axis, i) => {
    rows.append(option(axis.name, i));
    columns.append(option(axis.name, i));
  });
  columns.append(option("(none)", -1));
  // Of the axes with few enough values to take in, the one along which most cells differ in nothing else but the task.
  const along = (axis) => {
    const sizes = {};
    for (const cell of data.cells) {
      const key = cell.at.filter((_, i) => i !== axis && i !== 0).join(",");
      sizes[key] = (sizes[key] || 0) + 1;
    }
    return data.axes[axis].values.length > 24 ? 0 : Math.max(...Object.values(sizes));
  };
  const others = data.axes.map((_, i) => i).slice(1).sort((a, b) => along(b) - along(a));
  rows.value = others.length ? others[0] : 0;
  columns.value = data.axes.length > 1 ? 0 : -1; // tasks stand side by side, as in the paper's tables

  // Cells that were asked for in two ways and are one stage stand once.
  const distinct = (cells) => cells.filter((cell, i) => !cell.group || cells.findIndex((other) => other.group === cell.group) === i);
  let settings = new Map();
  function choose() {
    const chosen = [Number(rows.value), Number(columns.value)];
    settings = new Map();
    for (const cell of data.cells) {
      const key = cell.at.map((value, axis) => (chosen.includes(axis) ? "" : value)).join(",");
      if (!settings.has(key)) settings.set(key, []);
      settings.get(key).push(cell);
    }
    const before = at.value;
    const order = [...settings].sort((a, b) => b[1].length - a[1].length);
    at.replaceChildren(...order.map(([key, cells]) =>
      option(`${label(cells[0], chosen) || "all cells"} (${count(cells.length, "cell")})`, key)));
    if (settings.has(before)) at.value = before;
    draw();
  }

  function draw() {
    const [down, across] = [Number(rows.value), Number(columns.value)], cells = settings.get(at.value) || [];
    const values = (axis) => (axis < 0 ? [null] : [...new Set(cells.map((cell) => cell.at[axis]))].sort((a, b) => a - b));
    const finished = cells.filter((cell) => !cell.missing).sort((a, b) => a.accuracy - b.accuracy);
    const [lowest, highest] = [finished[0], finished[finished.length - 1]];
    const head = make("thead"), body = make("tbody"), top = make("tr");
    top.append(make("th", data.axes[down].name));
    for (const value of values(across)) {
      top.append(Object.assign(make("th", value === null ? "accuracy, %" : data.axes[across].values[value]), { scope: "col" }));
    }
    head.append(top);
    for (const row of values(down)) {
      const line = make("tr");
      line.append(Object.assign(make("th", data.axes[down].values[row]), { scope: "row" }));
      for (const column of values(across)) {
        const found = distinct(cells.filter((cell) => cell.at[down] === row && (across < 0 || cell.at[across] === column)));
        const slot = make("td");
        if (!found.length) slot.append(make("span", "·", "none"));
        else slot.append(...found.map(square));
        line.append(slot);
      }
      body.append(line);
    }
    table.replaceChildren(head, body);
    byId("scale").textContent = lowest
      ? `Darkest ${lowest.percent} %, lightest ${highest.percent} %. Point at a number for its interval; “·” is not in the sweep.` : "No cell here has a number yet.";

    function square(cell) {
      const node = make("button", cell.missing ? cell.missing.split(":")[0] : cell.percent);
      node.type = "button";
      node.dataset.cell = cell.key;
      node.classList.toggle("out", !filter.shown.has(cell.key));
      if (cell.missing) {
        node.classList.add("gap");
        node.dataset.tip = `${label(cell)}\n${cell.missing}`;
      } else {
        const rgb = colour((cell.accuracy - lowest.accuracy) / (highest.accuracy - lowest.accuracy || 1));
        node.style.background = `rgb(${rgb})`;
        node.style.color = ink(rgb);
        node.dataset.tip = `${label(cell)}\naccuracy ${cell.percent} ${cell.interval} %, ${cell.think.toLocaleString("en")} thinking tokens, ${count(cell.n, "question")}`;
      }
      node.setAttribute("aria-label", node.dataset.tip);
      return node;
    }
  }

  rows.addEventListener("change", choose);
  columns.addEventListener("change", choose);
  at.addEventListener("change", draw);
  document.addEventListener("filter", () => {
    for (const node of table.querySelectorAll("button")) node.classList.toggle("out", !filter.shown.has(node.dataset.cell));
  });
  choose();
})();
