// Points of figures: a tip in place of the browser's own, and the keyboard.
for (const drawing of document.querySelectorAll("figure svg")) {
  const points = [...drawing.querySelectorAll(".point")];
  for (const point of points) {
    const title = point.querySelector("title");
    if (!title) continue;
    point.dataset.tip = title.textContent;
    point.setAttribute("aria-label", title.textContent);
    title.remove(); // else it would show twice
  }
  if (!points.length) continue;
  const name = drawing.parentNode.querySelector("figcaption");
  drawing.setAttribute("role", "group");
  drawing.setAttribute("aria-label", `${name ? name.textContent : "figure"}: ${count(points.length, "point")}, arrow keys go through them`);
  drawing.setAttribute("tabindex", "0");
  const left = (point) => point.getBoundingClientRect().left;
  let at = null;
  const leave = () => { if (at) at.classList.remove("at"); at = null; hideTip(); };
  drawing.addEventListener("blur", leave);
  drawing.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Enter" && at) at.dispatchEvent(new MouseEvent("click", { bubbles: true }));
    if (!step) return;
    event.preventDefault();
    const seen = points.filter((point) => !point.classList.contains("out")).sort((a, b) => left(a) - left(b));
    if (!seen.length) return;
    const from = seen.indexOf(at), next = from < 0 ? (step > 0 ? 0 : seen.length - 1) : (from + step + seen.length) % seen.length;
    if (at) at.classList.remove("at");
    at = seen[next];
    at.classList.add("at");
    showTip(at.dataset.tip, at.getBoundingClientRect());
  });
}
