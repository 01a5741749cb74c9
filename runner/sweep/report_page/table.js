// The tables: all shown pictures as rows to sort, and the jobs that failed.

const tableColumns = () =>
  [
    ...axisKeys
      .filter((key) => key !== "seed")
      .map((key) => ({ name: key, text: true, value: (image) => labelOf(key, at(image, key)) })),
    { name: "seed", value: (image) => image.seed },
    ...[...FACTS, ...data.metrics].map((name) => ({ name, value: (image) => figure(image, name) })),
    { name: "sha256", text: true, mono: true, value: (image) => image.sha256.slice(0, 12) },
  ].filter((column, place, all) => all.findIndex((other) => other.name === column.name) === place);

function tableOrder() {
  const ids = shownImages();
  const sort = chosen.sortTable;
  const column = sort && tableColumns().find((one) => one.name === sort.by);
  if (!column) return ids;
  const sign = sort.down ? -1 : 1;
  const key = column.text ? axisKeys.indexOf(column.name) : -1;
  const numbers = (a) => (Number.isNaN(a) ? null : a);
  return ids.toSorted((a, b) => {
    const [x, y] = [column.value(images[a]), column.value(images[b])];
    if (column.text) return sign * String(x).localeCompare(String(y), undefined, { numeric: true });
    if (numbers(x) === null || numbers(y) === null) return (numbers(x) === null) - (numbers(y) === null);
    return x === y ? 0 : sign * (x - y);
  });
}

function tableElement() {
  const columns = tableColumns();
  const head = columns.map(({ name, text }) => {
    const sort = chosen.sortTable?.by === name ? chosen.sortTable : null;
    const turned = () => {
      chosen.sortTable = sort === null ? { by: name, down: false } : sort.down ? null : { by: name, down: true };
      draw();
    };
    return make(
      "th",
      {
        class: [sort ? "sorted" : "", text ? "" : "number"].join(" ").trim() || null,
        "aria-sort": sort ? (sort.down ? "descending" : "ascending") : null,
      },
      make("button", { onclick: turned }, named(name), sort ? (sort.down ? " ▼" : " ▲") : ""),
    );
  });
  const body = tableOrder().map((id) =>
    make(
      "tr",
      {},
      make("td", {}, pictureElement(id, { caption: false })),
      ...columns.map(({ text, mono, value }) => {
        const found = value(images[id]);
        return make("td", { class: text ? (mono ? "mono" : null) : "number" }, text ? found : shown(found));
      }),
    ),
  );
  return make(
    "table",
    { class: "table", "--size": "52px" },
    make("thead", {}, make("tr", {}, make("th", {}), ...head)),
    make("tbody", {}, ...body),
  );
}

function failuresElement() {
  const keys = [...new Set(data.failures.flatMap((failure) => Object.keys(failure.varied)))];
  return make(
    "table",
    { class: "table failures" },
    make("thead", {}, make("tr", {}, ...["job", ...keys, "what went wrong"].map((name) => make("th", {}, name)))),
    make(
      "tbody",
      {},
      ...data.failures.map((failure) =>
        make(
          "tr",
          {},
          make("td", { class: "mono" }, failure.job.slice(0, 12)),
          ...keys.map((key) => make("td", {}, failure.varied[key] ?? "–")),
          make("td", {}, failure.message),
        ),
      ),
    ),
  );
}

function plotsElement() {
  const plots = data.plots.map(({ title, svg }) => {
    const image = make("img", { src: `data:image/svg+xml;base64,${svg}`, alt: title });
    const plot = make("figure", { class: "plot" }, image);
    // several panels beside each other take the whole width
    image.addEventListener("load", () => plot.classList.toggle("wide", image.naturalWidth > 1.8 * image.naturalHeight));
    return plot;
  });
  const notes = make("ul", {}, ...data.notes.map((note) => make("li", {}, note)));
  const heading = make("h2", {}, "What the figures mean, and what they do not");
  return make(
    "div",
    {},
    make("div", { class: "plots" }, ...plots),
    data.notes.length ? make("section", { class: "notes" }, heading, notes) : null,
  );
}
