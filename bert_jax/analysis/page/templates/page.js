"use strict";
const PAGE_SIZE = 25;
const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const DIGIT = Object.fromEntries([...ALPHABET].map((letter, i) => [letter, i]));

function element(name, kind, text) {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  if (text !== undefined) made.textContent = text;
  return made;
}

/* Tables: a click on a heading sorts, a choice above the table filters. */

function sortBy(table, column) {
  const heads = [...table.tHead.rows[0].cells];
  const falls = heads[column].getAttribute("aria-sort") !== "descending" && heads[column].classList.contains("number")
    || heads[column].getAttribute("aria-sort") === "ascending";
  heads.forEach((head) => head.removeAttribute("aria-sort"));
  heads[column].setAttribute("aria-sort", falls ? "descending" : "ascending");
  const value = (row) => row.cells[column].dataset.order ?? row.cells[column].textContent;
  const compare = (a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === "" || y === "") return (x === "") - (y === "");
    const numbers = x - y;
    return (Number.isNaN(numbers) ? x.localeCompare(y) : numbers) * (falls ? -1 : 1);
  };
  table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
}

function filter(box, table) {
  const chosen = [...box.querySelectorAll("select")].filter((select) => select.value);
  let shown = 0;
  for (const row of table.tBodies[0].rows) {
    row.hidden = chosen.some((select) => row.cells[select.dataset.column].textContent !== select.value);
    shown += !row.hidden;
  }
  box.querySelector(".count").textContent = `${shown} of ${table.tBodies[0].rows.length} lines`;
}

for (const table of document.querySelectorAll(".sortable")) {
  table.tHead.addEventListener("click", (event) => {
    const head = event.target.closest("th");
    if (head) sortBy(table, head.cellIndex);
  });
}
for (const box of document.querySelectorAll(".filters")) {
  const table = document.getElementById(box.dataset.table);
  box.addEventListener("change", () => filter(box, table));
  filter(box, table);
}

/* Examples: a set is unpacked when it is chosen. */

async function unpack(id) {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

function decode({ text, digits, low, high }) {
  const base = ALPHABET.length, found = new Array(text.length / digits);
  for (let i = 0; i < found.length; i++) {
    let value = 0;
    for (let j = 0; j < digits; j++) value = value * base + DIGIT[text[i * digits + j]];
    found[i] = high > low ? low + value / (base ** digits - 1) * (high - low) : value;
  }
  return found;
}

/* Ranks from 1 on, ties at their mean rank. */
function ranks(values) {
  const order = values.map((_, i) => i).sort((a, b) => values[a] - values[b]), found = new Array(values.length);
  for (let start = 0, end; start < order.length; start = end) {
    for (end = start; end < order.length && values[order[end]] === values[order[start]];) end++;
    for (let i = start; i < end; i++) found[order[i]] = (start + end + 1) / 2;
  }
  return found;
}

/* Correctness of each row, from 0 to 1, averaged over seeds: as in experiments.disagreements. */
function merits(set, side) {
  const labels = set.isScore ? ranks(set.labels) : set.labels, size = labels.length;
  const sum = new Array(size).fill(0);
  for (const predictions of side.predictions) {
    const found = set.isScore ? ranks(predictions) : predictions;
    for (let i = 0; i < size; i++) sum[i] += set.isScore ? 1 - Math.abs(found[i] - labels[i]) / size : found[i] === labels[i];
  }
  return sum.map((value) => value / side.predictions.length);
}

async function read(id) {
  const set = await unpack(id);
  set.isScore = !set.classes.length;
  set.labels = decode(set.labels);
  return set;
}

function decodeSide(set, side) {
  if (side.merits) return side;
  side.predictions = side.predictions.map(decode);
  side.merits = merits(set, side);
  return side;
}

/* Only seeds of both readouts count, as in the table. */
function paired(set, first, second) {
  const shared = first.seeds.filter((seed) => second.seeds.includes(seed));
  if (!shared.length) return [first, second];
  return [first, second].map((side) => {
    if (shared.length === side.seeds.length) return side;
    const chosen = { ...side, seeds: shared, predictions: shared.map((seed) => side.predictions[side.seeds.indexOf(seed)]) };
    return { ...chosen, merits: merits(set, chosen) };
  });
}

const controls = document.getElementById("controls"), list = document.getElementById("list");
const more = document.getElementById("more"), status = document.getElementById("found");
const fields = controls.elements;
let current = null, matches = [], sides = [], shown = 0;

function fill(select, names, every) {
  select.replaceChildren(...(every ? [new Option(every, "")] : []), ...names.map((name, i) => new Option(name, every ? name : i)));
  select.closest("label").hidden = every !== undefined && names.length < 2;
}

async function choose() {
  status.textContent = "Reading ...";
  current = await read(fields.set.value);
  fill(fields.first, current.sides.map((side) => side.name));
  fill(fields.second, current.sides.map((side) => side.name));
  fields.second.selectedIndex = Math.min(1, current.sides.length - 1);
  fill(fields.label, current.classes, "all");
  fill(fields.group, [...new Set(current.groups ?? [])].filter(Boolean).sort(), "all");
  fields.search.closest("label").hidden = !current.a;
  search();
}

const SHOW = {
  differ: (a, b) => a !== b,
  second: (a, b) => b > a,
  first: (a, b) => a > b,
  both: (a, b) => a === 0 && b === 0,
  all: () => true,
};

function search() {
  sides = paired(current, ...[fields.first, fields.second].map((field) => decodeSide(current, current.sides[field.value])));
  const words = fields.search.value.toLowerCase(), [a, b] = sides.map((side) => side.merits);
  const keep = (i) => SHOW[fields.show.value](a[i], b[i])
    && (!fields.label.value || current.classes[current.labels[i]] === fields.label.value)
    && (!fields.group.value || current.groups[i] === fields.group.value)
    && (!words || `${current.a[i]}\n${current.b?.[i] ?? ""}`.toLowerCase().includes(words));
  matches = [...current.labels.keys()].filter(keep).sort((i, j) => Math.abs(b[j] - a[j]) - Math.abs(b[i] - a[i]) || i - j);
  const ahead = matches.filter((i) => b[i] > a[i]).length, behind = matches.filter((i) => b[i] < a[i]).length;
  status.textContent = `${matches.length} of ${current.total} rows: ${sides[1].name} is better on ${ahead}, ${sides[0].name} on ${behind}`
    + (current.rows ? `; this page holds the ${current.rows.length} rows on which readouts differ most` : "");
  list.replaceChildren();
  shown = 0;
  show();
}

function show() {
  list.append(...matches.slice(shown, shown + PAGE_SIZE).map(example));
  shown = Math.min(shown + PAGE_SIZE, matches.length);
  more.hidden = shown >= matches.length;
}

function example(i) {
  const item = element("li");
  for (const texts of [current.a, current.b]) if (texts?.[i] != null) item.append(marked(texts[i]));
  const about = element("p", "about", `row ${current.rows ? current.rows[i] : i}, label `);
  about.append(element("b", "", name(current.labels[i])));
  if (current.groups?.[i]) about.append(`, group ${current.groups[i]}`);
  item.append(about, ...sides.map((side) => predicted(side, i)));
  return item;
}

function name(value) {
  return current.isScore ? value.toFixed(2) : current.classes[value];
}

/* A text in which the searched words are marked. */
function marked(text) {
  const line = element("p"), words = fields.search.value, at = text.toLowerCase().indexOf(words.toLowerCase());
  if (!words || at < 0) return element("p", "", text);
  line.append(text.slice(0, at), element("mark", "", text.slice(at, at + words.length)), text.slice(at + words.length));
  return line;
}

/* What a readout said of a row: each class with the seeds that said it, or each seed's score. */
function predicted(side, i) {
  const line = element("div", "side");
  line.append(element("span", "name", `${side.name}: ${current.isScore ? "nearness" : "right"} ${side.merits[i].toFixed(2)}`));
  const said = new Map();
  side.predictions.forEach((values, k) => said.set(values[i], [...(said.get(values[i]) ?? []), side.seeds[k]]));
  for (const [value, seeds] of said) {
    const right = value === current.labels[i];
    const part = element("span", current.isScore ? "" : right ? "right" : "wrong");
    part.append(current.isScore ? name(value) : `${right ? "\u2713" : "\u2717"} ${name(value)}`);
    part.append(element("span", "seeds", ` seed${seeds.length > 1 ? "s" : ""} ${seeds.join(" ")}`));
    line.append(part);
  }
  return line;
}

if (fields.set.options.length) {
  controls.hidden = false;
  controls.addEventListener("submit", (event) => event.preventDefault());
  controls.addEventListener("change", (event) => event.target === fields.set ? choose() : search());
  fields.search.addEventListener("input", () => current && search());
  more.addEventListener("click", show);
  choose();
}
