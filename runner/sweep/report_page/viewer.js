// The viewer: one picture at full size, or two of them side by side, as their difference, or under a wipe.
// Pictures opened from a disk may not be read back by a page, so the difference is left to the browser's own blending.

const viewer = $("viewer");

function openViewer(id) {
  chosen.open = id;
  drawViewer();
}

function closeViewer() {
  const last = chosen.open;
  chosen.open = null;
  viewer.close();
  viewer.replaceChildren();
  draw();
  document.querySelector(`.picture[data-id="${last}"] > button`)?.focus();
}

/** Hold a picture (A) to compare others with it; null lets go. In the viewer another mode than "single" needs one. */
function pin(id) {
  chosen.pinned = id;
  chosen.mode = id === null ? "single" : chosen.mode === "single" ? "side" : chosen.mode;
  if (chosen.open !== null) drawViewer();
  else draw();
}

function setMode(mode) {
  if (mode !== "single" && chosen.pinned === null) chosen.pinned = chosen.open;
  chosen.mode = mode;
  drawViewer();
}

function step(dx, dy) {
  chosen.open = neighbour(chosen.open, dx, dy);
  drawViewer();
}

const comparing = () => chosen.mode !== "single" && chosen.pinned !== null;

function drawViewer() {
  const [a, b] = [comparing() ? images[chosen.pinned] : null, images[chosen.open]];
  const keep = viewer.querySelector(".facts")?.scrollTop ?? 0;
  viewer.replaceChildren(viewbarElement(), stageElement(a, b), factsElement(a, b));
  if (!viewer.open) viewer.showModal();
  viewer.querySelector(".facts").scrollTop = keep;
  writeAddress();
}

function viewbarElement() {
  const order = readingOrder()
    .flat()
    .map((spot) => spot.id);
  const place = order.indexOf(chosen.open);
  const tab = (mode, text, key) =>
    make(
      "button",
      {
        "aria-selected": String((comparing() ? chosen.mode : "single") === mode),
        role: "tab",
        title: `${text} (${key})`,
        onclick: () => setMode(mode),
      },
      text,
    );
  const gain = make(
    "label",
    {},
    "amplified",
    make("input", {
      type: "range",
      min: 0,
      max: 6,
      step: 1,
      value: Math.log2(chosen.gain),
      "aria-label": "amplification",
      oninput: (event) => setGain(2 ** Number(event.target.value)),
    }),
    make("span", { id: "gain" }, `× ${chosen.gain}`),
  );
  return make(
    "div",
    { class: "viewbar" },
    make("span", { class: "where" }, place < 0 ? "" : `${place + 1} of ${order.length}`),
    make(
      "div",
      { class: "tabs", role: "tablist" },
      tab("single", "Single", 1),
      tab("side", "Side by side", 2),
      tab("difference", "Difference", 3),
      tab("wipe", "Wipe", 4),
    ),
    comparing() && chosen.mode === "difference" ? gain : null,
    make("span", { class: "gap" }),
    comparing() ? make("button", { class: "quiet", onclick: swap }, "swap A and B") : null,
    make(
      "button",
      { class: "quiet", onclick: () => pin(comparing() ? null : chosen.open) },
      comparing() ? "let go of A" : "hold as A",
    ),
    make("button", { class: "quiet", "aria-label": "close", title: "Close (Esc)", onclick: closeViewer }, "✕"),
  );
}

function setGain(gain) {
  chosen.gain = gain;
  viewer.querySelector(".frame.difference")?.style.setProperty("--gain", gain);
  $("gain").textContent = `× ${gain}`;
  writeAddress();
}

function swap() {
  [chosen.open, chosen.pinned] = [chosen.pinned, chosen.open];
  drawViewer();
}

/** The picture's own file; where that is not beside the page any more, the small copy inside the page. */
function fullElement(image) {
  const element = make("img", { src: image.file, alt: describe(image), class: image.width < 256 ? "coarse" : null });
  element.addEventListener(
    "error",
    () => {
      const small = thumbnail(image);
      if (small && element.src !== small) element.src = small;
      const note = $("onlySmall");
      if (note) note.hidden = false;
    },
    { once: true },
  );
  return element;
}

function stageElement(a, b) {
  const frame = (name, image, ...inside) =>
    make(
      "div",
      { class: "fit" },
      make("div", { class: `frame ${name}`, "--ratio": image.width / image.height }, ...inside),
    );
  const tag = (text, right) => make("span", { class: right ? "tag right" : "tag" }, text);
  if (a === null) return make("div", { class: "stage", tabindex: -1, autofocus: true }, frame("", b, fullElement(b)));
  if (chosen.mode === "side")
    return make(
      "div",
      { class: "stage side", tabindex: -1, autofocus: true },
      frame("", a, fullElement(a), tag("A")),
      frame("", b, fullElement(b), tag("B")),
    );
  if (chosen.mode === "difference") {
    const stage = make(
      "div",
      { class: "stage", tabindex: -1, autofocus: true },
      frame("difference", b, fullElement(a), fullElement(b)),
    );
    stage.querySelector(".frame").style.setProperty("--gain", chosen.gain);
    return stage;
  }
  const stage = make(
    "div",
    { class: "stage", tabindex: -1, autofocus: true },
    frame("wipe", b, fullElement(a), fullElement(b), tag("A"), tag("B", true)),
  );
  const wiped = stage.querySelector(".frame");
  wiped.style.setProperty("--wipe", "50%");
  wiped.addEventListener("pointermove", (event) => {
    const box = wiped.getBoundingClientRect();
    wiped.style.setProperty("--wipe", `${Math.max(0, Math.min(100, (100 * (event.clientX - box.left)) / box.width))}%`);
  });
  return stage;
}

// ---- what is said beside the pictures

function factsElement(a, b) {
  const facts = (image) => [
    ...data.axes.map((axis) => [axis.key, labelOf(axis.key, at(image, axis.key))]),
    ...(axisKeys.includes("seed") ? [] : [["seed", String(image.seed)]]),
    ...data.metrics.map((name) => [named(name), shown(figure(image, name))]),
    ...["nfe", "steps"]
      .filter((name) => !axisKeys.includes(name))
      .map((name) => [named(name), shown(figure(image, name))]),
    ["seconds", shown(figure(image, "seconds"))],
    ["size", `${image.width} × ${image.height}`],
    ["sha256", image.sha256.slice(0, 12)],
  ];
  const [right, left] = [facts(b), a && facts(a)];
  const rows = right.map(([name, value], place) =>
    make(
      "tr",
      { class: left && left[place][1] !== value ? "differs" : null },
      make("th", { scope: "row" }, name),
      left ? make("td", {}, left[place][1]) : null,
      make("td", {}, value),
    ),
  );
  const verdict =
    a &&
    (a.sha256 === b.sha256
      ? "A and B are the same, pixel by pixel."
      : a.width === b.width && a.height === b.height
        ? null
        : "A and B differ in size: both are fitted into one frame.");
  return make(
    "div",
    { class: "facts" },
    verdict ? make("p", { class: "verdict" }, verdict) : null,
    a && chosen.mode === "difference" && a.sha256 !== b.sha256
      ? make("p", { class: "verdict" }, "Black is equal; |A − B| of each colour, amplified.")
      : null,
    make(
      "table",
      {},
      a ? make("thead", {}, make("tr", {}, make("th", {}), make("th", {}, "A"), make("th", {}, "B"))) : null,
      make("tbody", {}, ...rows),
    ),
    make(
      "p",
      {},
      make("a", { href: b.file, target: "_blank" }, a ? "open the file of B" : "open the file"),
      a ? " · " : null,
      a ? make("a", { href: a.file, target: "_blank" }, "of A") : null,
    ),
    make(
      "p",
      { class: "verdict", id: "onlySmall", hidden: true },
      "The picture's file is not beside this page; its small copy is shown.",
    ),
    recipeElement(a, b),
    keysElement(),
  );
}

/** The recipe of the picture; where another one is held, the lines that it does not share are marked. */
function recipeElement(a, b) {
  const lines = data.recipes[b.recipe];
  const other = a ? new Set(data.recipes[a.recipe]) : null;
  const text = lines.map((line) => data.lines[line]).join("\n") + "\n";
  const copy = make(
    "button",
    {
      class: "quiet",
      onclick: async () => {
        copy.textContent = (await copied(text)) ? "copied" : "select it and copy";
      },
    },
    "copy",
  );
  return make(
    "div",
    {},
    make("h2", {}, a ? "Recipe of B" : "Recipe", copy),
    make(
      "pre",
      { tabindex: 0 },
      ...lines.flatMap((line) => [
        make("span", { class: other && !other.has(line) ? "new" : null }, data.lines[line]),
        "\n",
      ]),
    ),
  );
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // a page opened from a disk may have no clipboard; the old way still works there
    const field = make("textarea", {});
    field.value = text;
    viewer.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}

function keysElement() {
  const keys = [
    ["← → ↑ ↓", "next picture"],
    ["c", comparing() ? "let go of A" : "hold as A"],
    ["1 – 4", "views"],
    ["Esc", "close"],
  ];
  return make(
    "p",
    { class: "keys" },
    ...keys.flatMap(([key, what], place) => [place ? " · " : "", make("kbd", {}, key), ` ${what}`]),
  );
}
