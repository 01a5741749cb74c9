// The page around: its head, tabs and tools, keys; and the first drawing.

const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const VIEWS = { grid: "Grid", table: "Table", plots: "Plots", failures: "Failures" };
const STANDING_SPOT = `spot of ${location.pathname}`;

function show(view) {
  chosen.view = view;
  draw();
  $("main").scrollTo(0, 0);
}

function draw() {
  document.documentElement.dataset.theme = chosen.theme || (prefersDark.matches ? "dark" : "light");
  $("theme").textContent = chosen.theme === "" ? "◐ auto" : chosen.theme === "dark" ? "● dark" : "○ light";
  const views = {
    grid: [gridElement, images.length],
    table: [tableElement, images.length],
    plots: [plotsElement, data.plots.length || data.notes.length],
    failures: [failuresElement, data.failures.length],
  };
  if (!views[chosen.view]?.[1]) chosen.view = "grid";
  $("tabs").replaceChildren(
    ...Object.entries(VIEWS)
      .filter(([view]) => view === "grid" || views[view][1])
      .map(([view, text]) =>
        make(
          "button",
          {
            role: "tab",
            "aria-selected": String(view === chosen.view),
            class: view === "failures" ? "bad" : null,
            onclick: () => show(view),
          },
          text,
          ["plots", "failures"].includes(view)
            ? make("span", { class: "count" }, String(view === "plots" ? data.plots.length : data.failures.length))
            : null,
        ),
      ),
  );
  drawTools();
  const element =
    images.length || data.failures.length
      ? views[chosen.view][0]()
      : make("p", { class: "message" }, "No picture yet.");
  const spot = [$("main").scrollLeft, $("main").scrollTop];
  $("main").replaceChildren(element);
  $("main").scrollTo(...spot);
  drawPinned();
  writeAddress();
}

function drawHead() {
  const jobs = `${data.finished.toLocaleString("en")} of ${data.planned.toLocaleString("en")} jobs`;
  const pictures = `${images.length.toLocaleString("en")} picture${images.length === 1 ? "" : "s"}`;
  $("standing").textContent = [
    data.finished < data.planned ? jobs : `all ${data.planned.toLocaleString("en")} jobs`,
    pictures,
    data.failures.length ? `${data.failures.length} failed` : null,
  ]
    .filter(Boolean)
    .join(" · ");
  $("standing").title = `written ${data.written}`;
  const share = (count) => `${(100 * count) / Math.max(1, data.planned)}%`;
  $("progress").replaceChildren(
    make("div", { style: `width:${share(data.finished - data.failures.length)}` }),
    make("div", { class: "failed", style: `width:${share(data.failures.length)}` }),
  );
  $("constants").textContent = Object.entries(data.constants)
    .map(([key, value]) => `${key}: ${value}`)
    .join(" · ");
  $("constants").title = $("constants").textContent;
  const follow = $("follow");
  follow.hidden = data.finished >= data.planned;
  const box = follow.querySelector("input");
  box.checked = chosen.follow;
  box.addEventListener("change", () => {
    chosen.follow = box.checked;
    writeAddress();
  });
}

// ---- tools

const tool = (text, ...inside) => make("label", {}, text, ...inside);
const choice = (now, choices, set) =>
  make(
    "select",
    {
      onchange: (event) => {
        set(event.target.value);
        draw();
      },
    },
    ...choices.map(([value, text]) => make("option", { value, selected: value === now }, text)),
  );

function drawTools() {
  if (!["grid", "table"].includes(chosen.view)) return $("tools").replaceChildren();
  const keys = [["", "nothing"], ...axisKeys.map((key) => [key, key])];
  const set = (side, other) => (key) => {
    if (key && chosen[other] === key) chosen[other] = chosen[side];
    chosen[side] = key || null;
    chosen.sortRows = chosen.sortColumns = null;
  };
  const captions = [["", "nothing"], ...[...data.metrics, ...FACTS].map((name) => [name, named(name)])];
  const size = make("input", {
    type: "range",
    min: 56,
    max: 320,
    step: 4,
    "aria-label": "size",
    oninput: (event) => {
      chosen.size = Number(event.target.value);
      document.querySelector(".grid").style.setProperty("--size", `${chosen.size}px`);
      writeAddress();
    },
  });
  const grid =
    chosen.view !== "grid"
      ? []
      : [
          tool("rows", choice(chosen.rows ?? "", keys, set("rows", "columns"))),
          tool("columns", choice(chosen.columns ?? "", keys, set("columns", "rows"))),
          tool(
            "caption",
            choice(chosen.caption, captions, (name) => {
              chosen.caption = name;
              chosen.sortRows = chosen.sortColumns = null;
            }),
          ),
          tool("size", size),
        ];
  $("tools").replaceChildren(
    ...grid,
    grid.length && axisKeys.length ? make("span", { class: "bar" }) : "",
    ...data.axes.map(filterElement),
  );
  size.value = chosen.size ?? 144;
}

/** Which values of an axis are shown. */
function filterElement(axis) {
  const only = chosen.filters[axis.key];
  const set = (values) => {
    if (values.length === axis.values.length) delete chosen.filters[axis.key];
    else chosen.filters[axis.key] = values;
    draw();
    openFilter(axis.key);
  };
  const told = !only
    ? "all"
    : only.length === 1
      ? shortened(axis.values[only[0]], 18)
      : `${only.length} of ${axis.values.length}`;
  const rows = axis.values.map((text, value) => {
    const on = only?.includes(value) ?? true;
    const others = axis.values
      .map((_, other) => other)
      .filter((other) => (other === value ? !on : (only?.includes(other) ?? true)));
    return make(
      "label",
      {},
      make("input", { type: "checkbox", checked: on, onchange: () => set(others) }),
      make("span", {}, text || "(empty)"),
      make(
        "button",
        {
          onclick: (event) => {
            event.preventDefault();
            set([value]);
          },
        },
        "only",
      ),
    );
  });
  return make(
    "span",
    { class: "label" },
    axis.key,
    make(
      "details",
      { class: only ? "filter some" : "filter", "data-key": axis.key, ontoggle: closeOthers },
      make("summary", { title: `Which values of ${axis.key} are shown` }, told),
      make(
        "div",
        { class: "choices" },
        only
          ? make("button", { class: "all", onclick: () => set(axis.values.map((_, value) => value)) }, "show all")
          : null,
        ...rows,
      ),
    ),
  );
}

const shortened = (text, length) => (text.length > length ? text.slice(0, length - 1) + "…" : text || "(empty)");
const filterOf = (key) => [...document.querySelectorAll(".filter")].find((filter) => filter.dataset.key === key);
const openFilter = (key) => {
  filterOf(key).open = true;
};

function closeOthers(event) {
  if (event.target.open && event.target.isConnected)
    document.querySelectorAll(".filter[open]").forEach((filter) => {
      filter.open = filter === event.target;
    });
}

function drawPinned() {
  const strip = $("pinned");
  strip.hidden = chosen.pinned === null;
  if (strip.hidden) return;
  const image = images[chosen.pinned];
  const source = thumbnail(image);
  strip.replaceChildren(
    source ? make("img", { src: source, alt: "" }) : "",
    make("span", {}, make("b", {}, "A: "), describe(image), " — click another picture to compare it with this one"),
    make("button", { class: "quiet", onclick: () => pin(null) }, "let go"),
  );
}

// ---- keys

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.matches("select, input, pre")) {
    if (event.key === "Escape" && chosen.open !== null) closeViewer();
    return;
  }
  const arrows = ARROWS[event.key];
  if (chosen.open !== null) {
    if (event.key === "Escape") closeViewer();
    else if (arrows) step(...arrows);
    else if (event.key === "c") pin(comparing() ? null : chosen.open);
    else if (MODES[Number(event.key) - 1]) setMode(MODES[Number(event.key) - 1]);
    else return;
    event.preventDefault();
  } else if (event.key === "Escape") {
    document.querySelectorAll(".filter[open]").forEach((filter) => {
      filter.open = false;
    });
  } else {
    const id = Number(event.target.closest?.(".picture")?.dataset.id ?? -1);
    if (id < 0) return;
    if (event.key === "c") pin(id === chosen.pinned ? null : id);
    else if (!arrows) return;
    const next = arrows ? neighbour(id, ...arrows) : id;
    document.querySelector(`.picture[data-id="${next}"] > button`)?.focus();
    event.preventDefault();
  }
});
document.addEventListener("click", (event) => {
  if (!event.target.closest(".filter") && event.target.isConnected)
    document.querySelectorAll(".filter[open]").forEach((filter) => {
      filter.open = false;
    });
});
viewer.addEventListener("cancel", (event) => {
  event.preventDefault();
  closeViewer();
});

// ---- the first drawing

$("theme").addEventListener("click", () => {
  chosen.theme = { "": "dark", dark: "light", light: "" }[chosen.theme];
  draw();
});
prefersDark.addEventListener("change", draw);
firstFilters();
readAddress();
drawHead();
draw();
try {
  // where the reader was before the page loaded itself again
  const spot = JSON.parse(sessionStorage.getItem(STANDING_SPOT) ?? "[0, 0]");
  $("main").scrollTo(...spot);
  sessionStorage.removeItem(STANDING_SPOT);
} catch {
  /* a browser without storage: the page begins at its top */
}
if (chosen.open !== null) drawViewer();
setInterval(() => {
  if (!chosen.follow || chosen.open !== null || data.finished >= data.planned) return;
  try {
    sessionStorage.setItem(STANDING_SPOT, JSON.stringify([$("main").scrollLeft, $("main").scrollTop]));
  } catch {
    /* as above */
  }
  location.reload();
}, 15000);
