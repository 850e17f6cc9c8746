"use strict";
// Data become text only through textContent; nothing here parses HTML.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const make = (tag, text, cls) => {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (cls) node.className = cls;
  return node;
};
const words = (verdict) => verdict.replace("_", " ");
const endings = {
  natural: "natural: the model ended it", forced: "forced: the cap ended it",
  cut: "cut: ended past the cap in a later round", context: "context: the model's context was full",
  skipped: "skipped: it was not allowed to think", unmet: "unmet: no try ended within the limit",
};
const count = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;

function browse() {
  const select = byId("cell"), list = byId("list"), verdicts = byId("verdicts");
  if (!select) return;
  let rows = [], at = 0, wanted = "all", group = null;

  const tasks = new Map();
  for (const cell of data.cells) {
    if (!tasks.has(cell.task)) {
      const part = make("optgroup");
      part.label = cell.task;
      tasks.set(cell.task, select.appendChild(part));
    }
    const option = make("option", `${cell.label}: ${cell.accuracy} %`);
    option.value = cell.key;
    tasks.get(cell.task).append(option);
  }

  function openCell(key, question) {
    const cell = data.cells.find((c) => c.key === key) || data.cells[0];
    select.value = cell.key;
    group = data.groups[cell.group];
    const found = {};
    for (const row of group.rows) found[row.verdict] = (found[row.verdict] || 0) + 1;
    if (wanted !== "all" && !found[wanted]) wanted = "all";
    verdicts.replaceChildren(verdicts.querySelector("legend"));
    for (const verdict of ["all", "correct", "wrong", "no_answer", "not_extracted", "tied", "unmet"]) {
      if ((verdict === "tied" || verdict === "unmet") && !found[verdict]) continue;
      const label = make("label"), input = make("input");
      Object.assign(input, { type: "radio", name: "verdict", value: verdict, checked: verdict === wanted });
      input.disabled = verdict !== "all" && !found[verdict];
      input.addEventListener("change", () => { wanted = verdict; fill(); });
      label.append(input, ` ${words(verdict)} (${verdict === "all" ? group.rows.length : found[verdict] || 0})`);
      verdicts.append(label);
    }
    fill(question);
  }

  function fill(question) {
    rows = group.rows.filter((row) => wanted === "all" || row.verdict === wanted);
    byId("count").textContent = group.rows.length < group.of
      ? `the first ${group.rows.length} of ${group.of} readouts` : count(group.of, "readout");
    list.replaceChildren(...rows.map((row, i) => {
      const item = make("li");
      item.id = `row-${i}`;
      item.setAttribute("role", "option");
      item.append(make("span", row.id + (row.sample ? ` #${row.sample}` : "")), make("span", words(row.verdict), row.verdict));
      item.addEventListener("click", () => show(i));
      return item;
    }));
    show(Math.max(0, rows.findIndex((row) => row.id === question)));
  }

  function show(i) {
    at = Math.min(Math.max(i, 0), rows.length - 1);
    [...list.children].forEach((item, j) => item.setAttribute("aria-selected", String(j === at)));
    const item = list.children[at], row = rows[at];
    list.setAttribute("aria-activedescendant", item.id);
    // Not scrollIntoView, which would move the page as well.
    if (item.offsetTop < list.scrollTop + list.offsetTop) list.scrollTop = item.offsetTop - list.offsetTop;
    const below = item.offsetTop + item.offsetHeight - list.offsetTop - list.clientHeight;
    if (below > list.scrollTop) list.scrollTop = below;
    const question = (data.questions[group.task] || {})[row.id];
    const thinking = make("pre");
    for (const [text, injected] of row.pieces) thinking.append(injected ? make("mark", text) : text);
    if (!row.pieces.length) thinking.append(make("span", "(none)", "ci"));
    const facts = make("dl");
    for (const [name, value, cls] of [
      ["verdict", words(row.verdict), row.verdict], ["extracted answer", row.extracted ?? "none"], ["gold answer", row.gold],
      ["thinking", count(row.think, "token") + (row.added ? `, ${row.added} of them appended` : "")],
      ["ends ignored", String(row.ignored)], ["thinking ended", endings[row.ended] || row.ended],
      ["answer", count(row.tokens, "token")],
    ]) {
      const fact = make("div");
      fact.append(make("dt", name), make("dd", value, cls));
      facts.append(fact);
    }
    byId("sample").replaceChildren(
      make("h3", `Question ${row.id}${row.sample ? `, sample ${row.sample}` : ""}`),
      make("pre", question ?? "(its task file is gone or has changed)"),
      make("h3", row.added ? "Thinking, with appended strings marked" : "Thinking"), thinking,
      make("h3", "Answer text"), make("pre", row.stated || "(none)"), facts,
    );
    const place = `#sample=${select.value}/${encodeURIComponent(row.id)}`;
    if (byId("sample").dataset.used) history.replaceState(null, "", place);
    byId("sample").dataset.used = "yes"; // the first showing is not the reader's choice
  }

  select.addEventListener("change", () => openCell(select.value, rows[at] && rows[at].id));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    const steps = { j: 1, k: -1 };
    if (document.activeElement === list) Object.assign(steps, { ArrowDown: 1, ArrowUp: -1, Home: -rows.length, End: rows.length, PageDown: 10, PageUp: -10 });
    if (!(event.key in steps)) return;
    event.preventDefault();
    show(at + steps[event.key]);
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-cell]");
    if (!link) return;
    event.preventDefault();
    openCell(link.dataset.cell);
    byId("samples").scrollIntoView({ behavior: "smooth" });
  });
  const linked = /^#sample=([^/]+)\/(.*)$/.exec(location.hash);
  openCell(linked && linked[1], linked && decodeURIComponent(linked[2]));
  if (linked) byId("samples").scrollIntoView();
}

function sortable(table) {
  const body = table.tBodies[0];
  table.querySelectorAll("th button").forEach((button) => {
    const head = button.parentNode, column = head.cellIndex;
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      table.querySelectorAll("th").forEach((th) => th.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      // Numbers sort as numbers; a missing cell's row has no such column and stays last.
      const value = (row) => row.cells[column] && !row.cells[column].classList.contains("why") ? row.cells[column].textContent.trim() : null;
      const compare = (a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x === null || y === null) return (x === null) - (y === null);
        const [p, q] = [parseFloat(x), parseFloat(y)];
        const order = Number.isNaN(p) || Number.isNaN(q) ? x.localeCompare(y) : p - q;
        return down ? -order : order;
      };
      body.append(...[...body.rows].sort(compare));
    });
  });
}

browse();
sortable(byId("table"));
