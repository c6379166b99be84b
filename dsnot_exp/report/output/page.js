// The URL fragment keeps the sort order and the theme: report/index.html#table=1&sort=2&dir=descending
const state = new URLSearchParams(location.hash.slice(1));
const keep = () => history.replaceState(null, "", "#" + state);
const headsOf = table => table.tHead.rows[table.tHead.rows.length - 1].cells;
const key = (row, column) => {
  const cell = row.cells[column], order = cell.dataset.order;
  return order ? Number(order) : cell.matches("th") ? cell.textContent.trim() : null;
};
const compare = (a, b) => typeof a === "number" && typeof b === "number" ? a - b
  : String(a).localeCompare(String(b), "en", {numeric: true});
const tables = [...document.querySelectorAll("table")].map(table => {
  const body = table.tBodies[0], first = [...body.rows], heads = [...headsOf(table)];
  return (column, direction) => {
    heads.forEach((head, i) => i === column && direction
      ? head.setAttribute("aria-sort", direction) : head.removeAttribute("aria-sort"));
    const sign = direction === "descending" ? -1 : 1;
    const rows = direction ? [...first].sort((x, y) => {
      const a = key(x, column), b = key(y, column);
      return a === null || b === null ? (a === null) - (b === null) : sign * compare(a, b);
    }) : first;
    body.append(...rows);
  };
});
document.querySelectorAll("table").forEach((table, t) =>
  [...headsOf(table)].forEach((head, column) =>
    head.querySelector("button").addEventListener("click", () => {
      const next = {ascending: "descending", descending: ""}[head.getAttribute("aria-sort")] ?? "ascending";
      if (next) { state.set("table", t + 1); state.set("sort", column); state.set("dir", next); }
      else ["table", "sort", "dir"].forEach(name => state.delete(name));
      tables[t](column, next); keep();
    })));
const sorted = tables[(state.get("table") ?? 1) - 1];
if (sorted && /^\d+$/.test(state.get("sort") ?? ""))
  sorted(Number(state.get("sort")), state.get("dir") === "descending" ? "descending" : "ascending");

const root = document.documentElement, button = document.querySelector(".theme");
const dark = () => root.dataset.theme ? root.dataset.theme === "dark"
  : matchMedia("(prefers-color-scheme: dark)").matches;
const show = () => { button.textContent = dark() ? "Light" : "Dark";
  button.setAttribute("aria-label", `Switch to ${dark() ? "light" : "dark"} colours`); };
if (["dark", "light"].includes(state.get("theme"))) root.dataset.theme = state.get("theme");
button.addEventListener("click", () => {
  root.dataset.theme = dark() ? "light" : "dark";
  state.set("theme", root.dataset.theme); keep(); show();
});
button.hidden = false; show();
