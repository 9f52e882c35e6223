"use strict";
// Sorts tables by their headings, filters those with many rows, and says where one can be scrolled sideways.

const MANY = 20; // rows from which a table gets a search field
const FIRST = 12; // rows that it shows at first
const collator = new Intl.Collator("en", { numeric: true });

function make(tag, name, text) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text !== undefined) element.textContent = text;
  return element;
}

// The sort key of a cell: its data-order, else its text.
function order(row, column) {
  const cell = row.cells[column];
  const key = cell.dataset.order;
  if (key === undefined) return cell.textContent.trim();
  return key === "-inf" ? -Infinity : Number(key);
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a === b ? 0 : a - b;
  return collator.compare(a, b);
}

function sortBy(table, column) {
  const headings = [...table.tHead.rows[0].cells];
  const heading = headings[column];
  const first = heading.classList.contains("number") ? "descending" : "ascending"; // largest numbers and first names on top
  const other = first === "ascending" ? "descending" : "ascending";
  const direction = heading.ariaSort === first ? other : first;
  for (const each of headings) each.ariaSort = each === heading ? direction : "none";
  const turn = direction === "descending" ? -1 : 1;
  const rows = [...table.tBodies[0].rows].map((row) => [order(row, column), row]);
  rows.sort(([a, one], [b, another]) => turn * compare(a, b) || one.place - another.place);
  table.tBodies[0].append(...rows.map(([, row]) => row));
  if (table.arrange) table.arrange();
}

function makeSortable(table) {
  [...table.tBodies[0].rows].forEach((row, place) => (row.place = place));
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const button = make("button", "", heading.textContent);
    button.type = "button";
    button.addEventListener("click", () => sortBy(table, column));
    heading.replaceChildren(button);
  });
}

function makeFilters(table) {
  const headings = [...table.tHead.rows[0].cells];
  const rows = [...table.tBodies[0].rows];
  const choices = headings.flatMap((heading, column) => ("choice" in heading.dataset ? [column] : []));
  if (rows.length < MANY) return;
  const form = make("form", "filters");
  form.setAttribute("role", "search");
  form.setAttribute("aria-label", `Filter: ${table.parentElement.getAttribute("aria-label")}`);
  const search = make("input");
  search.type = "search";
  search.placeholder = "Row contains …";
  search.setAttribute("aria-label", "Row contains");
  form.append(search);
  const fields = choices.map((column) => {
    const name = headings[column].textContent;
    const field = make("select");
    field.setAttribute("aria-label", name);
    field.append(new Option(`Any ${name.toLowerCase()}`, ""));
    const values = [...new Set(rows.map((row) => row.cells[column].textContent.trim()))];
    field.append(...values.map((value) => new Option(value, value)));
    form.append(field);
    return [column, field];
  });
  const count = make("output", "faint");
  const all = make("button", "", "Show all");
  all.type = "button";
  form.append(count, all);
  let most = FIRST;
  const arrange = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let fitting = 0;
    for (const row of table.tBodies[0].rows) {
      const text = row.textContent.toLowerCase();
      const chosen = fields.every(([column, field]) => !field.value || row.cells[column].textContent.trim() === field.value);
      const fits = chosen && words.every((word) => text.includes(word));
      fitting += fits ? 1 : 0;
      row.hidden = !fits || fitting > most;
    }
    const [first, fit, total] = [Math.min(most, fitting), fitting, rows.length].map((n) => n.toLocaleString("en"));
    count.textContent = fitting > most ? `first ${first} of ${fit} rows` : `${fit} of ${total} rows`;
    all.hidden = fitting <= most;
  };
  all.addEventListener("click", () => {
    most = Infinity;
    arrange();
  });
  table.arrange = arrange;
  form.addEventListener("input", arrange);
  form.addEventListener("submit", (event) => event.preventDefault());
  table.parentElement.before(form);
  arrange();
}

for (const table of document.querySelectorAll("table.sortable")) {
  makeFilters(table); // before headings become buttons
  makeSortable(table);
}

// A table that is wider than the screen says so, since many screens show no scroll bar.
function showHint(frame) {
  const wide = frame.scrollWidth > frame.clientWidth + 1;
  const before = frame.previousElementSibling;
  const hint = before && before.classList.contains("hint") ? before : null;
  if (wide && !hint) frame.before(make("p", "hint", "Wider than the screen: scroll the table sideways →"));
  if (!wide && hint) hint.remove();
}

const frames = new ResizeObserver((entries) => entries.forEach((entry) => showHint(entry.target)));
for (const frame of document.querySelectorAll(".scroll")) frames.observe(frame);

// Mark the link of the section in view.
const links = new Map([...document.querySelectorAll("nav ul ul a")].map((link) => [link.hash.slice(1), link]));
const observer = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links.values()) link.removeAttribute("aria-current");
      links.get(entry.target.id).setAttribute("aria-current", "true");
    }
  },
  { rootMargin: "-20% 0px -70% 0px" },
);
for (const id of links.keys()) observer.observe(document.getElementById(id));
