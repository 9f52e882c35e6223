// Sorting, filtering, moving, marking and saving. `rows.js` comes before it in the same script.

// --- sorting and filtering ---

const CHUNK = 30; // rows drawn at once; more follow as the reader nears the end
const filters = byId("filters");
const sorting = { by: "rank", down: false };
let shown = []; // the rows that fit the filters, in order
let drawn = 0; // how many of them are on the page
let current = null;

const STATES = {
  dropped: (row) => row.dropped,
  flagged: (row) => row.rank !== null,
  unflagged: (row) => row.rank === null,
};

function fits(row, filter) {
  const has = (text, words) => words.every((word) => text.includes(word));
  const verdict = verdictOf(row);
  return (
    ["given", "suggested", "locale"].every((name) => !filter[name] || filter[name] === row[name]) &&
    (!filter.state || STATES[filter.state](row)) &&
    (!filter.verdict || filter.verdict === (verdict || "none")) &&
    has(row.inQuery, filter.query) &&
    has(row.inProduct, filter.product)
  );
}

function drawMore(count = CHUNK) {
  const lines = shown.slice(drawn, drawn + count).map((row) => row.line || drawRow(row));
  body.append(...lines);
  drawn += lines.length;
}

function showCounts() {
  const counts = Object.fromEntries(audit.verdicts.map((verdict) => [verdict, 0]));
  const judged = rows.map(verdictOf).filter(Boolean);
  for (const verdict of judged) counts[verdict] += 1;
  byId("counts").replaceChildren(
    make("span", "", `${written(shown.length)} of ${written(rows.length)} rows`),
    ...audit.verdicts.map((verdict) => make("span", `count ${verdict}`, `${written(counts[verdict])} ${verdict}`)),
    make("span", "", `${written(rows.length - judged.length)} to judge`),
  );
  byId("save").disabled = judged.length === 0;
}

const collator = new Intl.Collator("en");

function arrange() {
  const filter = Object.fromEntries(new FormData(filters));
  for (const name of ["query", "product"]) filter[name] = filter[name].toLowerCase().split(/\s+/).filter(Boolean);
  const order = COLUMNS.find((column) => column.name === sorting.by).order;
  const keyed = rows.filter((row) => fits(row, filter)).map((row) => [order(row), row]);
  const compare = (a, b) => (typeof a === "string" ? collator.compare(a, b) : a === b ? 0 : a - b);
  const turn = sorting.down ? -1 : 1;
  keyed.sort(([a, one], [b, other]) => turn * compare(a, b) || one.place - other.place);
  shown = keyed.map(([, row]) => row);
  drawn = 0;
  body.replaceChildren();
  drawMore();
  if (!shown.includes(current)) setCurrent(null);
  byId("empty").hidden = shown.length > 0;
  showCounts();
  watchEnd();
}

function sortBy(name) {
  sorting.down = sorting.by === name && !sorting.down;
  sorting.by = name;
  showHeadings();
  arrange();
}

function showHeadings() {
  const headings = COLUMNS.map((column) => {
    const heading = make("th", column.name);
    heading.scope = "col";
    const active = sorting.by === column.name;
    heading.setAttribute("aria-sort", active ? (sorting.down ? "descending" : "ascending") : "none");
    const button = make("button", "", column.title);
    button.type = "button";
    button.addEventListener("click", () => sortBy(column.name));
    heading.append(button);
    return heading;
  });
  const focused = [...byId("headings").children].findIndex((heading) => heading.contains(document.activeElement));
  byId("headings").replaceChildren(...headings);
  if (focused >= 0) headings[focused].firstChild.focus();
}

// An observer only reports changes, so it is renewed after each chunk.
const observer = new IntersectionObserver(
  (entries) => {
    if (entries.some((entry) => entry.isIntersecting) && drawn < shown.length) {
      drawMore();
      watchEnd();
    }
  },
  { rootMargin: "1500px" },
);

function watchEnd() {
  observer.disconnect();
  observer.observe(byId("end"));
}

// --- moving and marking ---

function setCurrent(row) {
  if (current && current.line) current.line.removeAttribute("aria-current");
  current = row;
  if (!row) return;
  row.line.setAttribute("aria-current", "true");
  row.line.focus({ preventScroll: true });
  row.line.scrollIntoView({ block: "nearest" });
}

function move(by) {
  const place = shown.indexOf(current);
  const next = place < 0 ? 0 : Math.min(Math.max(place + by, 0), shown.length - 1);
  if (next >= drawn) drawMore(next - drawn + CHUNK);
  if (shown[next]) setCurrent(shown[next]);
}

function toggle(row, verdict) {
  const again = verdictOf(row) === verdict;
  mark(row, again ? "" : verdict);
  return !again;
}

body.addEventListener("click", (event) => {
  const line = event.target.closest("tr");
  if (!line) return;
  const row = rows[Number(line.dataset.place)];
  const button = event.target.closest(".choice");
  if (button) {
    toggle(row, button.dataset.verdict);
  } else if (!String(getSelection())) { // a click that ends a selection of text is no click on the row
    if (event.target.closest(".more")) line.classList.toggle("open");
    if (row !== current) setCurrent(row);
  }
});

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, select, textarea");
  if (typing && event.key === "Escape") return typing.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.toLowerCase();
  if (key === "j") move(1);
  else if (key === "k") move(-1);
  else if (key === "/") filters.elements.query.focus();
  else if (key === "o" && current) current.line.classList.toggle("open");
  else if (KEYS[key] && current) {
    if (toggle(current, KEYS[key])) move(1);
  } else return;
  event.preventDefault();
});

// --- saving ---

function csv() {
  const judged = rows.filter(verdictOf).sort((a, b) => (BigInt(a.id) < BigInt(b.id) ? -1 : 1));
  return ["example_id,verdict", ...judged.map((row) => `${row.id},${verdictOf(row)}`), ""].join("\n");
}

byId("save").addEventListener("click", () => {
  const address = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  const link = make("a");
  link.href = address;
  link.download = `verdicts-${audit.run}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
  unsaved = false;
});

byId("forget").addEventListener("click", () => {
  if (!confirm("Forget all verdicts marked in this browser and go back to those of the workspace?")) return;
  marks = {};
  remember();
  arrange();
  rows.forEach(showVerdict);
});

window.addEventListener("beforeunload", (event) => {
  if (!remembers && unsaved) event.preventDefault();
});

// --- set-up ---

function addOptions(name, values) {
  filters.elements[name].append(...values.map((value) => new Option(value, value)));
}

document.title = `Label audit of ${audit.run}`;
byId("title").textContent = document.title;
byId("summary").textContent =
  `${written(audit.audited)} rows audited, ${written(audit.flagged)} flagged, ${written(audit.dropped)} to be dropped ` +
  `from training. This page shows the worst ${written(rows.length)}.`;
byId("command").textContent = `comp cleanlab --from ${audit.run} --verdicts verdicts-${audit.run}.csv`;
byId("note").textContent = "This browser cannot store your verdicts: save the CSV before you close the page.";
for (const [label, meaning] of Object.entries(audit.labels)) {
  const term = make("dt");
  term.append(tag(label));
  byId("meanings").append(term, make("dd", "", meaning));
}
addOptions("given", LABELS);
addOptions("suggested", LABELS);
addOptions("locale", [...new Set(rows.map((row) => row.locale))].sort());
addOptions("verdict", audit.verdicts);
filters.addEventListener("input", arrange);
filters.addEventListener("submit", (event) => event.preventDefault());
filters.addEventListener("reset", () => setTimeout(arrange)); // the fields are empty only afterwards
// The headings stay below the bar, whose height depends on the window.
new ResizeObserver(([bar]) => {
  document.documentElement.style.setProperty("--bar", `${bar.target.offsetHeight}px`);
}).observe(document.querySelector(".bar"));
showHeadings();
remember();
arrange();
