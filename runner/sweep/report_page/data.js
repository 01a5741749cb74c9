"use strict";
// What the page knows: the sweep's data, what is chosen on the page (kept in the address, so that it survives loading
// again and can be passed on), and which pictures that leaves, in which order.

const data = JSON.parse(document.getElementById("data").textContent);
const images = data.images;
const axisKeys = data.axes.map((axis) => axis.key);
const FACTS = ["nfe", "steps", "seconds"];
const MODES = ["single", "side", "difference", "wipe"];

const $ = (id) => document.getElementById(id);

/** An element: attributes, `on…` handlers, then its children; text is text and never markup. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) element.style.setProperty(name, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// ---- what is chosen

const chosen = {
  view: "grid",
  rows: data.rows,
  columns: data.columns,
  caption: data.metrics[0] ?? "",
  size: null,
  filters: {}, // key -> list of values shown; absent: all
  sortRows: null,
  sortColumns: null, // {by: value of the other axis or "mean", down: boolean}
  sortTable: null, // {by: column, down: boolean}
  open: null,
  pinned: null,
  mode: "single",
  gain: 8,
  theme: "",
  follow: false,
};

/** Of the axes that run neither down nor across, all values while a cell stays small and its captions short. */
function firstFilters() {
  const [perCell, short] = [6, 24];
  if (data.columns === null) return;
  let count = 1;
  for (const axis of data.axes.filter(({ key }) => ![data.rows, data.columns, ...data.tied].includes(key))) {
    const fits = count * axis.values.length <= perCell && axis.values.every((text) => text.length <= short);
    if (fits) count *= axis.values.length;
    else chosen.filters[axis.key] = [0];
  }
}

const nameOf = (image) => `${image.job}.${image.index}`; // stays the same when the page is written anew
const writeSort = (sort) => (sort === null ? "" : `${sort.down ? "-" : ""}${sort.by}`);
const readSort = (text, number) => {
  if (!text) return null;
  const by = text.replace(/^-/, "");
  return { by: number && by !== "mean" && by !== "label" ? Number(by) : by, down: text.startsWith("-") };
};

function readAddress() {
  const words = new URLSearchParams(location.hash.slice(1));
  const key = (text) => (axisKeys.includes(text) ? text : null);
  const image = (text) =>
    text === null ? null : ([images.findIndex((one) => nameOf(one) === text)].find((id) => id >= 0) ?? null);
  chosen.view = words.get("view") ?? chosen.view;
  if (words.has("rows")) chosen.rows = key(words.get("rows"));
  if (words.has("columns")) chosen.columns = key(words.get("columns"));
  if (words.has("caption")) chosen.caption = words.get("caption");
  chosen.size = Number(words.get("size")) || null;
  chosen.sortRows = readSort(words.get("sortRows"), true);
  chosen.sortColumns = readSort(words.get("sortColumns"), true);
  chosen.sortTable = readSort(words.get("sort"), false);
  chosen.open = image(words.get("open"));
  chosen.pinned = image(words.get("with"));
  if (MODES.includes(words.get("mode"))) chosen.mode = words.get("mode");
  chosen.gain = Number(words.get("gain")) || 8;
  chosen.theme = ["light", "dark"].includes(words.get("theme")) ? words.get("theme") : "";
  chosen.follow = words.has("follow");
  for (const axis of data.axes) {
    const text = words.get(`only.${axis.key}`);
    if (text === "all") delete chosen.filters[axis.key];
    else if (text)
      chosen.filters[axis.key] = text
        .split(",")
        .map(Number)
        .filter((at) => at in axis.values);
  }
}

function writeAddress() {
  const words = new URLSearchParams({
    view: chosen.view,
    rows: chosen.rows ?? "",
    columns: chosen.columns ?? "",
    caption: chosen.caption,
  });
  const put = (name, value) => value !== null && value !== "" && words.set(name, value);
  put("size", chosen.size);
  put("sortRows", writeSort(chosen.sortRows));
  put("sortColumns", writeSort(chosen.sortColumns));
  put("sort", writeSort(chosen.sortTable));
  for (const axis of data.axes) words.set(`only.${axis.key}`, chosen.filters[axis.key]?.join(",") ?? "all");
  put("open", chosen.open === null ? null : nameOf(images[chosen.open]));
  put("with", chosen.pinned === null ? null : nameOf(images[chosen.pinned]));
  if (chosen.open !== null) put("mode", chosen.mode);
  if (chosen.mode === "difference") put("gain", chosen.gain);
  put("theme", chosen.theme);
  if (chosen.follow) words.set("follow", "1");
  history.replaceState(null, "", `#${words}`);
}

// ---- what a picture is worth

/** A picture's figure under a name: a fact (nfe, steps, seconds), its seed or a metric; null when it has none. */
function figure(image, name) {
  if (FACTS.includes(name) || name === "seed") return image[name] === null ? null : Number(image[name]);
  const value = image.metrics[data.metrics.indexOf(name)];
  return value === null || value === undefined ? null : Number(value);
}

/** A figure as people read it, with at most so many significant digits. */
function shown(value, digits = 4) {
  if (value === null || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  return size >= 1000
    ? value.toFixed(0)
    : size >= 0.001
      ? String(Number(value.toPrecision(digits)))
      : value.toExponential(digits - 2);
}

function mean(values) {
  const real = values.filter((value) => value !== null && !Number.isNaN(value));
  return real.length ? real.reduce((sum, value) => sum + value, 0) / real.length : null;
}

const named = (name) =>
  name === "nfe"
    ? "NFE"
    : name === "psnr" || name === "ssim" || name === "lpips"
      ? name.toUpperCase()
      : name.replaceAll("_", " ");
const at = (thing, key) => thing.at[axisKeys.indexOf(key)] ?? -1;
const labelOf = (key, value) => data.axes[axisKeys.indexOf(key)].values[value] ?? "";
const thumbnail = (image) => (image.thumbnail ? `data:image/webp;base64,${image.thumbnail}` : null);

// ---- which pictures are shown

const passes = (thing) =>
  Object.entries(chosen.filters).every(([key, only]) => at(thing, key) < 0 || only.includes(at(thing, key)));
const shownImages = () => images.map((_, id) => id).filter((id) => passes(images[id]));
const shownValues = (key) =>
  data.axes[axisKeys.indexOf(key)].values
    .map((_, value) => value)
    .filter((value) => chosen.filters[key]?.includes(value) ?? true);

/** Values in the order of their figures (or of their names); those without a figure come last, whichever way. */
function sorted(values, sort, key, figuresOf) {
  if (sort === null) return values;
  const sign = sort.down ? -1 : 1;
  if (!isMeasured() || sort.by === "label")
    return values.toSorted(
      (a, b) => sign * labelOf(key, a).localeCompare(labelOf(key, b), undefined, { numeric: true }),
    );
  const figures = new Map(values.map((value) => [value, mean(figuresOf(value))]));
  return values.toSorted((a, b) => {
    const [x, y] = [figures.get(a), figures.get(b)];
    if (x === null || y === null) return (x === null) - (y === null);
    return x === y ? 0 : sign * (x - y);
  });
}

const isMeasured = () => data.metrics.includes(chosen.caption) || FACTS.includes(chosen.caption);

/** The grid as shown: {rows, columns, cells: "row,column" -> picture ids}; a missing axis has the single value -1. */
function gridModel() {
  const cells = new Map();
  const row = (thing) => (chosen.rows === null ? -1 : at(thing, chosen.rows));
  const column = (thing) => (chosen.columns === null ? -1 : at(thing, chosen.columns));
  for (const id of shownImages()) {
    const cell = `${row(images[id])},${column(images[id])}`;
    if (!cells.has(cell)) cells.set(cell, []);
    cells.get(cell).push(id);
  }
  const figures = (ids) => ids.map((id) => figure(images[id], chosen.caption));
  const among = (test) =>
    figures([...cells].flatMap(([cell, ids]) => (test(...cell.split(",").map(Number)) ? ids : [])));
  const across = (sort, value) => sort?.by === "mean" || value === sort?.by;
  const rows =
    chosen.rows === null
      ? [-1]
      : sorted(shownValues(chosen.rows), chosen.sortRows, chosen.rows, (value) =>
          among((r, c) => r === value && across(chosen.sortRows, c)),
        );
  const columns =
    chosen.columns === null
      ? [-1]
      : sorted(shownValues(chosen.columns), chosen.sortColumns, chosen.columns, (value) =>
          among((r, c) => c === value && across(chosen.sortColumns, r)),
        );
  return {
    rows,
    columns,
    cells,
    rowMean: (value) => mean(among((r) => r === value)),
    columnMean: (value) => mean(among((_, c) => c === value)),
    failures: data.failures.filter(passes),
  };
}
