// The sample browser: a list of answers, one of them in full, and beside it another cell's to the same question.
(() => {
  const select = byId("cell");
  if (!select) return;
  const beside = byId("beside"), list = byId("list"), verdicts = byId("verdicts"), differ = byId("differ");
  const words = (verdict) => verdict.replace("_", " ");
  const endings = {
    natural: "the model ended it", forced: "the cap ended it", cut: "ended past the cap in a later round",
    context: "the model's context was full", skipped: "it was not allowed to think", unmet: "no try ended within the limit",
  };
  const able = data.cells.filter((cell) => cell.group);
  if (!able.length) return;
  let cell = able[0], other = null, rows = [], at = 0, wanted = "all", used = false;

  const groupOf = (one) => data.groups[one.group];
  const rowsOf = (one) => groupOf(one).rows;
  const same = (one, row) => rowsOf(one).find((r) => r.id === row.id && (r.sample || 0) === (row.sample || 0));
  const taskOf = (one) => valueOf(one, 0);
  const titled = (one) => `${one.percent} % · ${label(one, [0]) || taskOf(one)}`; // the number first: selects cut what is long

  function fillSelects() {
    const offer = able.filter((one) => filter.shown.has(one.key) || one === cell);
    const tasks = new Map();
    for (const one of offer) {
      if (!tasks.has(taskOf(one))) tasks.set(taskOf(one), Object.assign(make("optgroup"), { label: taskOf(one) }));
      tasks.get(taskOf(one)).append(option(titled(one), one.key));
    }
    select.replaceChildren(...tasks.values());
    select.value = cell.key;
    const mates = able.filter((one) => one !== cell && groupOf(one).task === groupOf(cell).task
      && (filter.shown.has(one.key) || one === other));
    beside.replaceChildren(option("no other cell", ""), ...mates.map((one) =>
      option(titled(one), one.key)));
    beside.value = other ? other.key : "";
    beside.disabled = !mates.length;
  }

  function open(next, id, sample) {
    cell = next;
    if (other && (other === cell || groupOf(other).task !== groupOf(cell).task)) other = null;
    fillSelects();
    choices();
    fill(id, sample);
  }

  function choices() {
    const found = {};
    for (const row of rowsOf(cell)) found[row.verdict] = (found[row.verdict] || 0) + 1;
    if (wanted !== "all" && !found[wanted]) wanted = "all";
    const kinds = ["all", "correct", "wrong", ...["no_answer", "not_extracted", "tied", "unmet"].filter((kind) => found[kind])];
    verdicts.replaceChildren(verdicts.querySelector("legend"), ...kinds.map((kind) => {
      const line = make("label"), input = make("input");
      Object.assign(input, { type: "radio", name: "verdict", value: kind, checked: kind === wanted });
      input.disabled = kind !== "all" && !found[kind];
      input.addEventListener("change", () => { wanted = kind; fill(); });
      line.append(input, ` ${words(kind)} (${kind === "all" ? rowsOf(cell).length : found[kind] || 0})`);
      return line;
    }));
    byId("differ-label").hidden = !other;
    if (!other) differ.checked = false;
  }

  function fill(id, sample) {
    rows = rowsOf(cell).filter((row) => (wanted === "all" || row.verdict === wanted)
      && !(differ.checked && (same(other, row) || row).verdict === row.verdict));
    const held = rowsOf(cell).length, { of } = groupOf(cell);
    byId("count").textContent = `${rows.length < held ? `${rows.length} of ` : ""}${held < of ? `the first ${held} of ` : ""}${count(of, "answer")}`;
    list.replaceChildren(...rows.map((row, i) => {
      const item = make("li"), mate = other && same(other, row);
      item.id = `row-${i}`;
      item.setAttribute("role", "option");
      item.append(make("span", row.id + (row.sample ? ` #${row.sample}` : "")), make("span", words(row.verdict), row.verdict));
      if (other) item.append(make("span", mate ? words(mate.verdict) : "–", mate ? mate.verdict : ""));
      item.addEventListener("click", () => show(i));
      return item;
    }));
    const place = rows.findIndex((row) => row.id === id && (sample === undefined || (row.sample || 0) === sample));
    show(Math.max(0, place));
  }

  function show(i) {
    at = Math.min(Math.max(i, 0), rows.length - 1);
    if (!rows.length) {
      list.removeAttribute("aria-activedescendant");
      byId("sample").replaceChildren(make("p", "No answer on this page is like that.", "note"));
      return;
    }
    [...list.children].forEach((item, j) => item.setAttribute("aria-selected", String(j === at)));
    const item = list.children[at], row = rows[at];
    list.setAttribute("aria-activedescendant", item.id);
    // Not scrollIntoView, which would move the page as well.
    if (item.offsetTop < list.scrollTop + list.offsetTop) list.scrollTop = item.offsetTop - list.offsetTop;
    const below = item.offsetTop + item.offsetHeight - list.offsetTop - list.clientHeight;
    if (below > list.scrollTop) list.scrollTop = below;

    const question = (data.questions[groupOf(cell).task] || {})[row.id];
    const sides = make("div", undefined, other ? "sides" : "");
    sides.append(side(cell, row));
    if (other) sides.append(side(other, same(other, row)));
    const gold = make("p", "gold answer ", "gold");
    gold.append(make("b", row.gold ?? "(empty)"));
    byId("sample").replaceChildren(
      make("h3", `Question ${row.id}${row.sample ? `, sample ${row.sample}` : ""}`),
      make("pre", question ?? "(its task file is gone or has changed)", "question"), gold, sides);
    const address = `#sample=${cell.key}/${encodeURIComponent(row.id)}${row.sample ? `/${row.sample}` : ""}`;
    if (used) history.replaceState(null, "", address);
    used = true; // the first showing is not the reader's choice
  }

  function side(one, row) {
    const part = make("section", undefined, "side");
    if (other) part.append(make("h4", titled(one), "which"));
    if (!row) {
      part.append(make("p", "This question is not among the answers that the page holds of this cell.", "note"));
      return part;
    }
    part.append(verdictLine(row), make("h4", row.added ? "Thinking, appended strings marked" : "Thinking"), trace(row),
      make("h4", "Answer text"), make("pre", row.stated || "(none)"));
    const ladder = answers(one, row);
    if (ladder) part.append(make("h4", "Answers by thinking tokens"), ladder);
    part.append(facts(row));
    return part;
  }

  function verdictLine(row) {
    const line = make("p", undefined, "verdict");
    line.append(make("b", words(row.verdict), row.verdict), row.extracted === undefined ? ": nothing extracted" : ": answered ");
    if (row.extracted !== undefined) line.append(make("b", row.extracted));
    return line;
  }

  function trace(row) {
    const text = make("pre", undefined, "trace"), pieces = row.pieces || [];
    pieces.forEach(([piece, injected, end], i) => {
      text.append(injected ? make("mark", piece) : piece);
      const next = pieces[i + 1];
      if (next && next[1] && end) text.append(make("span", end.toLocaleString("en"), "at"));
    });
    if (!pieces.length) text.append(make("span", "(none)", "ci"));
    else text.append(make("span", `${(row.think || 0).toLocaleString("en")} tokens · ${row.ended}`, "at"));
    return text;
  }

  // Probes of this trace, and what cells with other budgets said to the same question.
  function answers(one, row) {
    const found = (row.probes || []).map(([kind, tokens, extracted, verdict, stated]) => ({
      tokens, from: kind === "end" ? "probe at an ignored end" : "probe", extracted, verdict, stated }));
    found.push({ tokens: row.think || 0, from: "this answer", extracted: row.extracted, verdict: row.verdict, own: true });
    for (const mate of able) {
      if (mate === one || mate.series !== one.series || found.length > 40) continue;
      const there = same(mate, row);
      if (there) found.push({ tokens: there.think || 0, from: mate.budget || label(mate, [0]), extracted: there.extracted, verdict: there.verdict, cell: mate });
    }
    if (found.length < 2) return null;
    found.sort((a, b) => a.tokens - b.tokens);
    const box = make("div", undefined, "scroll"), table = make("table", undefined, "plain ladder"), head = make("tr"), body = make("tbody");
    for (const name of ["tokens", "from", "answer", "verdict"]) head.append(Object.assign(make("th", name), { scope: "col" }));
    for (const one of found) {
      const line = make("tr", undefined, one.own ? "reference" : ""), from = make("td");
      if (one.cell) {
        const link = Object.assign(make("a", one.from), { href: "#samples" });
        link.addEventListener("click", (event) => { event.preventDefault(); event.stopPropagation(); open(one.cell, row.id, row.sample || 0); });
        from.append(link);
      } else from.textContent = one.from;
      const said = make("td", one.extracted ?? "–");
      if (one.stated) said.title = one.stated;
      line.append(make("td", one.tokens.toLocaleString("en"), "number"), from, said, make("td", words(one.verdict || ""), one.verdict));
      body.append(line);
    }
    table.append(make("thead"), body);
    table.tHead.append(head);
    box.append(table);
    return box;
  }

  function facts(row) {
    const list = make("dl");
    const spent = Object.entries(row.spent || {}).map(([name, n]) => [`${name} tokens`, n.toLocaleString("en")]);
    for (const [name, value] of [
      ["thinking", count(row.think || 0, "token") + (row.added ? `, ${row.added} of them appended` : "")],
      ["thinking ended", `${row.ended}: ${endings[row.ended] || ""}`], ["ends ignored", String(row.ignored || 0)],
      ["answer", count(row.tokens || 0, "token")], ...spent,
      ...(row.loop ? [["ends in a loop of", count(row.loop, "token")]] : []),
      ...(row.score ? [["reward model", row.score]] : []),
      ...(row.votes ? [["votes", row.votes.map(([said, weight]) => `${said} × ${weight}`).join(", ")]] : []),
    ]) {
      const fact = make("div");
      fact.append(make("dt", name), make("dd", value));
      list.append(fact);
    }
    return list;
  }

  const here = () => rows[at] || {};
  select.addEventListener("change", () => open(cellOf.get(select.value), here().id, here().sample || 0));
  beside.addEventListener("change", () => {
    other = cellOf.get(beside.value) || null;
    const { id, sample } = here();
    choices();
    fillSelects();
    fill(id, sample || 0);
  });
  differ.addEventListener("change", () => fill(here().id, here().sample || 0));
  document.addEventListener("filter", fillSelects);
  document.addEventListener("keydown", (event) => {
    if (typing(event)) return;
    const steps = { j: 1, k: -1 };
    if (document.activeElement === list) Object.assign(steps, { ArrowDown: 1, ArrowUp: -1, Home: -rows.length, End: rows.length, PageDown: 10, PageUp: -10 });
    if (!(event.key in steps)) return;
    event.preventDefault();
    show(at + steps[event.key]);
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-cell], button[data-cell], .point[data-cell]");
    if (!link) return;
    event.preventDefault();
    const next = cellOf.get(link.dataset.cell);
    if (!next || !next.group) return;
    open(next, here().id, here().sample || 0);
    byId("samples").scrollIntoView();
    list.focus({ preventScroll: true });
  });
  const linked = /^#sample=([^/]+)\/([^/]*)(?:\/(\d+))?$/.exec(location.hash);
  const first = linked && cellOf.get(linked[1]);
  open(first && first.group ? first : able[0], linked ? decodeURIComponent(linked[2]) : undefined, linked ? Number(linked[3] || 0) : undefined);
  if (linked) byId("samples").scrollIntoView();
})();
