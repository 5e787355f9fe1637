"use strict";

// Tables: a head sorts its column, numbers the largest first, words from A; empty cells come last.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const key = (row, column) => row.cells[column].dataset.key;
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const words = head.classList.contains("words");
    const before = head.getAttribute("aria-sort");
    const down = before ? before === "ascending" : !words;
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const order = (a, b) => words ? a.localeCompare(b, undefined, { numeric: true }) : a - b;
    const rows = [...body.rows].sort((one, other) => {
      const [a, b] = [key(one, column), key(other, column)];
      if (a === "" || b === "") return (a === "") - (b === "");
      return down ? order(b, a) : order(a, b);
    });
    body.append(...rows);
  }));
}

// Figures: the values nearest to the pointer, or to where the arrow keys have moved.
for (const plot of document.querySelectorAll(".plot[data-points]")) {
  const { size, box, series } = JSON.parse(plot.dataset.points);
  const svg = plot.querySelector("svg");
  const values = plot.querySelector(".values");
  const places = [...new Set(series.flatMap((each) => each.points.map((point) => point[0])))].sort((a, b) => a - b);
  const line = document.createElementNS(svg.namespaceURI, "line");
  line.setAttribute("class", "cursor");
  let at = -1;
  const nearest = (points, x) => points.reduce((a, b) => Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a);
  const show = (x) => {
    const shown = series.filter((each) => each.points.length).map((each) => [each.name, nearest(each.points, x)]);
    const place = nearest(shown.map(([, point]) => point), x)[0];
    at = places.indexOf(place);
    const lines = shown.filter(([, point]) => Math.abs(point[0] - place) < 0.2);
    values.textContent = lines.map(([name, point]) => `${name}: ${point[2]}`).join("\n");
    values.hidden = false;
    const scale = plot.clientWidth / size[0];
    const room = plot.clientWidth - values.offsetWidth;
    values.style.left = `${Math.max(0, Math.min(room, place * scale - values.offsetWidth / 2))}px`;
    for (const [name, value] of Object.entries({ x1: place, x2: place, y1: box[0], y2: box[1] })) line.setAttribute(name, value);
    svg.append(line);
  };
  const hide = () => { values.hidden = true; line.remove(); };
  plot.addEventListener("pointermove", (event) => {
    const area = svg.getBoundingClientRect();
    show((event.clientX - area.left) / area.width * size[0]);
  });
  plot.addEventListener("pointerleave", hide);
  plot.addEventListener("blur", hide);
  plot.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (event.key === "Escape") hide();
    if (!step) return;
    event.preventDefault();
    at = Math.max(0, Math.min(places.length - 1, at + step));
    show(places[at]);
  });
}
