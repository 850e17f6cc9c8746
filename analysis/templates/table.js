// Tables sort by a click on a heading. Numbers sort as numbers; a row without the column stays last.
document.querySelectorAll("table.sortable").forEach((table) => {
  const body = table.tBodies[0];
  const value = (row, column) => (row.cells[column] && !row.cells[column].classList.contains("why")
    ? row.cells[column].textContent.trim() : null);
  const number = (text) => parseFloat(text.replace(/,/g, "").replace("−", "-").replace(/^[<\s]+/, ""));
  const compare = (a, b) => {
    const [p, q] = [number(a), number(b)];
    return Number.isNaN(p) || Number.isNaN(q) ? a.localeCompare(b) : p - q;
  };
  table.querySelectorAll("th button").forEach((button) => {
    const head = button.parentNode, column = head.cellIndex;
    button.type = "button";
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      table.querySelectorAll("th").forEach((th) => th.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].map((row) => [row, value(row, column)]);
      rows.sort(([, a], [, b]) => (a === null || b === null ? (a === null) - (b === null) : (down ? -1 : 1) * compare(a, b)));
      body.append(...rows.map(([row]) => row));
    });
  });
});
