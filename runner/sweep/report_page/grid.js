// The grid: one key down, one across, every cell the pictures that share both.

/** What tells a picture from its neighbours: its values on the axes that are not the grid's own. */
function ownValues(image) {
  const told = axisKeys.filter(
    (key) => key !== chosen.rows && key !== chosen.columns && (chosen.filters[key]?.length ?? 2) > 1 && !isTold(key),
  );
  return told.map((key) => [key, labelOf(key, at(image, key))]);
}

/** A tied key says nothing new beside the key that it follows. */
const isTold = (key) => data.tied.includes(key) && chosen.rows !== key && chosen.columns !== key;

/** One picture with its caption; `span` [least, most] of the figures on the page draws the caption's meter. */
function pictureElement(id, { span = null, caption = true } = {}) {
  const image = images[id];
  const source = thumbnail(image);
  const held = chosen.pinned === id;
  const ratio = `${image.width} / ${image.height}`;
  const inside = source
    ? make("img", {
        src: source,
        width: image.width,
        height: image.height,
        alt: describe(image),
        decoding: "async",
        class: image.width < 200 ? "coarse" : null,
      })
    : make("span", { class: "missing" }, "no file");
  if (!source) inside.style.aspectRatio = ratio;
  return make(
    "div",
    { class: held ? "picture held" : "picture", "data-id": id },
    make(
      "button",
      { "aria-label": describe(image), onclick: (event) => (event.shiftKey ? pin(id) : openViewer(id)) },
      inside,
    ),
    make(
      "button",
      { class: "pin", title: "Hold this picture and compare others with it (c)", onclick: () => pin(held ? null : id) },
      held ? "A" : "compare",
    ),
    caption ? captionElement(image, span) : null,
  );
}

function captionElement(image, span) {
  const own = ownValues(image)
    .map(([key, value]) => (/^[-\d.]+$/.test(value) ? `${key} ${value}` : value))
    .join(" · ");
  if (chosen.caption === "" && own === "") return null;
  const value = chosen.caption === "" ? null : figure(image, chosen.caption);
  const text =
    chosen.caption === ""
      ? null
      : make("b", {}, chosen.caption === "seconds" ? `${shown(value, 3)} s` : shown(value, 3));
  const meter = span && make("span", { class: "meter" }, make("i", { style: `width:${share(value, span)}%` }));
  return make("figcaption", { title: own }, meter, text, own ? make("span", { class: "own" }, own) : null);
}

/** Where a figure stands between the least and the most shown, in percent; one without end fills the meter. */
const share = (value, [least, most]) =>
  value === null ? 0 : Math.max(0, Math.min(100, (100 * (value - least)) / (most - least || 1)));

const describe = (image) =>
  data.axes.map((axis) => `${axis.key} ${labelOf(axis.key, at(image, axis.key))}`).join(", ") || data.name;

function gridElement() {
  const model = gridModel();
  const figures = shownImages()
    .map((id) => figure(images[id], chosen.caption))
    .filter((value) => value !== null && Number.isFinite(value));
  const span =
    isMeasured() && figures.length
      ? [figures.reduce((a, b) => Math.min(a, b)), figures.reduce((a, b) => Math.max(a, b))]
      : null;
  const first = images[0];
  const most = Math.max(1, ...[...model.cells.values()].map((ids) => ids.length));
  const flow = chosen.columns === null;
  const across = acrossCell(model.columns.length, most);
  const size = chosen.size ?? Math.max(64, Math.min(200, flow ? 144 : room(model.columns.length * across)));
  const table = make("table", {
    class: flow ? "grid flow" : "grid",
    "--size": `${size}px`,
    "--across": across,
    "--ratio": first ? first.width / first.height : 1,
  });
  if (chosen.columns !== null)
    table.append(
      make(
        "thead",
        {},
        make(
          "tr",
          {},
          cornerElement(),
          ...model.columns.map((value) => headElement("columns", value, model.columnMean(value))),
        ),
      ),
    );
  table.append(
    make(
      "tbody",
      {},
      ...model.rows.map((row) =>
        make(
          "tr",
          {},
          chosen.rows === null && chosen.columns === null ? null : headElement("rows", row, model.rowMean(row)),
          ...model.columns.map((column) => cellElement(model, row, column, span, most)),
        ),
      ),
    ),
  );
  return table;
}

/** How wide a picture may be for so many to stand side by side in the window. */
const room = (count) => Math.floor((window.innerWidth - 240) / count) - 10;

/** How many pictures of a cell stand side by side: about a square of them, unless that makes them too small. */
function acrossCell(columns, most) {
  let across = Math.ceil(Math.sqrt(most));
  while (across > 1 && room(columns * across) < 72) across -= 1;
  return across;
}

function cellElement(model, row, column, span, most) {
  const ids = model.cells.get(`${row},${column}`) ?? [];
  const failed = model.failures.filter((failure) =>
    [
      [chosen.rows, row],
      [chosen.columns, column],
    ].every(([key, value]) => key === null || [value, -1].includes(at(failure, key))),
  );
  const entries = [
    ...ids.map((id) => ({ at: images[id].at, make: () => pictureElement(id, { span }) })),
    ...failed.map((failure) => ({ at: failure.at, make: () => failedElement(failure) })),
  ];
  const parts = entries.sort((a, b) => compareAt(a.at, b.at)).map((entry) => entry.make());
  if (parts.length === 0)
    parts.push(
      data.finished < data.planned
        ? make("div", { class: "hole pending" }, "to come")
        : make("div", { class: "hole none", title: "not part of this sweep" }, "–"),
    );
  return make(
    "td",
    {},
    make(
      "div",
      { class: (most > 1 || parts.length > 1) && chosen.columns !== null ? "pictures many" : "pictures" },
      ...parts,
    ),
  );
}

const compareAt = (a, b) => a.reduce((order, value, place) => order || value - b[place], 0);

function failedElement(failure) {
  return make("button", { class: "hole failed", title: failure.message, onclick: () => show("failures") }, "failed");
}

// ---- heads, which sort

function headElement(side, value, average) {
  const key = chosen[side];
  if (key === null) return make("th", {});
  const other = side === "columns" ? "sortRows" : "sortColumns"; // a column's head sorts the rows by that column
  const sort = chosen[other]?.by === value ? chosen[other] : null;
  const label = labelOf(key, value) || "(empty)";
  const long = label.split(/\s/).some((word) => word.length > 24);
  const inside = [
    make("span", { class: long ? "text long" : "text" }, label, sort ? arrow(sort, side === "columns") : null),
    isMeasured() && average !== null
      ? make("span", { class: "mean", title: `mean ${named(chosen.caption)}` }, `mean ${shown(average, 3)}`)
      : null,
  ];
  const sortable = isMeasured() && chosen[side === "columns" ? "rows" : "columns"] !== null;
  return make(
    "th",
    { scope: side === "columns" ? "col" : "row" },
    sortable
      ? make(
          "button",
          {
            class: sort ? "head sorted" : "head",
            title: `Sort the ${side === "columns" ? "rows" : "columns"} by ${named(chosen.caption)} here`,
            onclick: () => turn(other, value),
          },
          ...inside,
        )
      : make("div", { class: "head", title: labelOf(key, value) }, ...inside),
  );
}

function cornerElement() {
  const by = isMeasured() ? "mean" : "label";
  const button = (side, sortName, sign) => {
    if (chosen[side] === null) return null;
    const sort = ["mean", "label"].includes(chosen[sortName]?.by) ? chosen[sortName] : null;
    return make(
      "button",
      {
        class: sort ? "head sorted" : "head",
        title: `Sort the ${side} by ${by === "mean" ? `mean ${named(chosen.caption)}` : "name"}`,
        onclick: () => turn(sortName, by),
      },
      `${chosen[side]} ${sign}`,
      sort ? arrow(sort, side === "rows") : null,
    );
  };
  return make("th", { class: "axes" }, button("columns", "sortColumns", "→"), button("rows", "sortRows", "↓"));
}

const arrow = (sort, down) => ` ${down ? (sort.down ? "▼" : "▲") : sort.down ? "◀" : "▶"}`;

/** Up, down, then as asked for. */
function turn(sortName, by) {
  const now = chosen[sortName];
  chosen[sortName] = now?.by !== by ? { by, down: false } : now.down ? null : { by, down: true };
  draw();
}

/** The pictures in reading order: a list per row, each {id, column}; what the arrow keys walk over. */
function readingOrder() {
  if (chosen.view === "table") return tableOrder().map((id) => [{ id, column: 0 }]);
  const { rows, columns, cells } = gridModel();
  return rows
    .map((row) =>
      columns.flatMap((column, place) =>
        (cells.get(`${row},${column}`) ?? []).map((id, k) => ({ id, column: place + k / 1e4 })),
      ),
    )
    .filter((row) => row.length);
}

/** The picture beside another: dx along its row (and on into the next one), dy to the nearest of the next row. */
function neighbour(id, dx, dy) {
  const order = readingOrder();
  if (order.length === 0) return id;
  const y = order.findIndex((row) => row.some((spot) => spot.id === id));
  if (y < 0) return order[0][0].id;
  const x = order[y].findIndex((spot) => spot.id === id);
  if (dx) {
    const flat = order.flat();
    const place = order.slice(0, y).reduce((count, row) => count + row.length, 0) + x + dx;
    return flat[Math.max(0, Math.min(flat.length - 1, place))].id;
  }
  const row = order[Math.max(0, Math.min(order.length - 1, y + dy))];
  return row.reduce((best, spot) =>
    Math.abs(spot.column - order[y][x].column) < Math.abs(best.column - order[y][x].column) ? spot : best,
  ).id;
}
