"use strict";
// The rows of one audit, their verdicts, and how a row is drawn. `controls.js` follows in the same script.

const audit = JSON.parse(document.getElementById("data").textContent);
const LABELS = audit.names;
const KEYS = Object.fromEntries(audit.verdicts.map((verdict) => [verdict[0], verdict]));
const byId = (id) => document.getElementById(id);
const written = (number) => number.toLocaleString("en");
const body = byId("rows");

// --- rows and verdicts ---

const rows = audit.rows.map((cells, place) => {
  const row = Object.fromEntries(audit.columns.map((name, i) => [name, cells[i]]));
  row.place = place;
  row.inQuery = row.query.toLowerCase();
  const texts = [...[audit.name, ...audit.categories, ...audit.texts].map((field) => row[field]), row.product_id];
  row.inProduct = texts.join("\n").toLowerCase();
  return row;
});

let remembers = true; // whether the browser stores marks; some refuse, above all for files
let unsaved = false;
let marks = recall();

// The marks stored in this browser, by id; "" withdraws a verdict that the page came with.
function recall() {
  try {
    const stored = JSON.parse(localStorage.getItem(audit.store) || "{}");
    return stored && typeof stored === "object" ? stored : {};
  } catch {
    remembers = false;
    return {};
  }
}

function remember() {
  try {
    localStorage.setItem(audit.store, JSON.stringify(marks));
    remembers = true;
  } catch {
    remembers = false;
  }
  byId("note").hidden = remembers;
}

function verdictOf(row) {
  const mark = Object.hasOwn(marks, row.id) ? marks[row.id] : row.verdict;
  return audit.verdicts.includes(mark) ? mark : "";
}

function mark(row, verdict) {
  marks = { ...marks, ...recall(), [row.id]: verdict }; // another tab may have marked rows since
  unsaved = true;
  remember();
  showVerdict(row);
  showCounts();
}

// --- drawing ---

function make(tag, name, text) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text !== undefined) element.textContent = text;
  return element;
}

// Untrusted text: in its own direction, isolated from the text around it.
function untrusted(row, tag, name, text) {
  const element = make(tag, `text ${name}`, text);
  element.dir = "auto";
  element.lang = audit.languages[row.locale] || "";
  return element;
}

function tag(label) {
  return make("span", `label label-${LABELS.indexOf(label)}`, label);
}

// Name, title, sort key and cells of each column.
const COLUMNS = [
  { name: "rank", title: "Rank", order: (row) => row.rank ?? Infinity, draw: drawRank },
  { name: "given", title: "Given", order: (row) => LABELS.indexOf(row.given), draw: (row) => [tag(row.given)] },
  { name: "suggested", title: "Suggested", order: (row) => LABELS.indexOf(row.suggested), draw: (row) => [tag(row.suggested)] },
  { name: "quality", title: "Quality", order: (row) => row.quality, draw: drawQuality },
  { name: "locale", title: "Locale", order: (row) => row.locale, draw: (row) => [make("span", "locale", row.locale)] },
  { name: "query", title: "Query", order: (row) => row.inQuery, draw: drawQuery },
  { name: "product", title: "Product", order: (row) => row[audit.name].toLowerCase(), draw: drawProduct },
  { name: "verdict", title: "Verdict", order: (row) => audit.verdicts.indexOf(verdictOf(row)), draw: drawVerdict },
];

function drawRank(row) {
  const number = make("span", "number", row.rank === null ? "–" : written(row.rank));
  return row.dropped ? [number, make("span", "chip", "dropped")] : [number];
}

function drawQuality(row) {
  const meter = make("span", "meter");
  meter.append(make("span", "fill"));
  meter.firstChild.style.width = `${100 * row.quality}%`;
  return [make("span", "number", row.quality.toFixed(3)), meter];
}

function drawQuery(row) {
  return [untrusted(row, "div", "query-text", row.query), make("div", "faint", `example ${row.id}`)];
}

function drawProduct(row) {
  const names = make("div", "names");
  for (const name of audit.categories.filter((field) => field !== audit.name)) {
    if (row[name]) names.append(untrusted(row, "span", name, row[name]));
  }
  names.append(make("span", "faint", row.product_id));
  const more = make("div", "more");
  for (const name of audit.texts) {
    if (row[name]) more.append(untrusted(row, "div", name, row[name]));
  }
  return [untrusted(row, "div", "name", row[audit.name] || "(no title)"), names, more];
}

function drawVerdict() {
  const group = make("div", "choices");
  for (const [key, verdict] of Object.entries(KEYS)) {
    const button = make("button", `choice ${verdict}`, verdict);
    button.type = "button";
    button.title = `${verdict} (${key})`;
    button.dataset.verdict = verdict;
    group.append(button);
  }
  return [group];
}

function drawRow(row) {
  const line = make("tr");
  line.tabIndex = -1;
  line.dataset.place = row.place;
  for (const column of COLUMNS) {
    const cell = make("td", column.name);
    cell.append(...column.draw(row));
    line.append(cell);
  }
  row.line = line;
  showVerdict(row);
  return line;
}

function showVerdict(row) {
  if (!row.line) return;
  const verdict = verdictOf(row);
  row.line.dataset.verdict = verdict;
  for (const button of row.line.querySelectorAll(".choice")) {
    button.setAttribute("aria-pressed", String(button.dataset.verdict === verdict));
  }
}
