"""Contact sheets: a sweep's pictures in labelled grids, as PNG files to look at, print and pass on.

One key runs down, one across, the values of the others make sections. A sheet holds as many rows as its number of
pixels allows; the next one goes on with the heads repeated.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from runner.outputs import write_atomically
from runner.pictures import PictureError, open_picture
from runner.sweep import layout
from runner.sweep.lettering import LEADING, Lettering, lettered
from runner.sweep.results import ImageResult, SweepResults

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageDraw import ImageDraw

NAME = "contact_sheet"
PIXELS = 24_000_000  # of one sheet: what viewers and printers still take in one piece
WIDTH = 2560  # of a sheet, about; narrower where the grid is
MARGIN, GAP = 40, 10
BOTTOM = MARGIN - GAP  # every row of cells already ends in a gap
LARGEST, SMALLEST = 256, 128  # the longer side of a cell
ROW_LABEL = 320  # widest, in pixels
TEXT, SMALL, TITLE = 22, 18, 36  # font sizes
INK, DIM, LINE, PAPER = "#1c1d22", "#6a6e79", "#d9dbe2", "#ffffff"
EMPTY, BAD, BAD_PAPER = "#f1f2f5", "#b42318", "#fdecea"


def write_contact_sheets(
    results: SweepResults, *, rows: str | None = None, columns: str | None = None, pixels: int = PIXELS
) -> list[Path]:
    """Write `contact_sheet.png`, or `contact_sheet_1.png` … where one is not enough, into the sweep's folder.

    rows, columns: the keys that run down and across; pixels: the most that a sheet may have. Sheets of before that are
    no more needed are removed. Raises RecipeError for a key that does not vary.
    """
    grid = _Grid.of(results, rows, columns)
    sheets = _paginated(grid.strips(), pixels // grid.width - _heading_height(grid) - BOTTOM)
    names = [f"{NAME}.png"] if len(sheets) == 1 else [f"{NAME}_{number}.png" for number in range(1, len(sheets) + 1)]
    for number, (name, strips) in enumerate(zip(names, sheets, strict=True), 1):
        data = io.BytesIO()
        _drawn(grid, strips, f"sheet {number} of {len(sheets)}" if len(sheets) > 1 else "").save(data, "PNG")
        write_atomically(results.folder / name, data.getvalue())
    for old in results.folder.glob(f"{NAME}*.png"):
        if old.name not in names:
            old.unlink()
    return [results.folder / name for name in names]


@dataclass(frozen=True)
class _Strip:
    """A piece of a sheet over its whole width. `heads` are drawn again where a new sheet begins before it."""

    height: int
    draw: Callable[[Image.Image, ImageDraw, int], None]
    heads: tuple[_Strip, ...] = ()
    is_head: bool = False


@dataclass(frozen=True)
class _Grid:
    """The grid of a sweep in pixels: which keys run where, how large a cell is, and what lies in it."""

    results: SweepResults
    rows: str | None
    columns: str | None
    sections: tuple[str, ...]
    across: int
    cell: tuple[int, int]
    label_width: int
    axes: Mapping[str, Sequence[str]]
    cells: Mapping[tuple[str, ...], list[ImageResult]] = field(repr=False)

    @classmethod
    def of(cls, results: SweepResults, rows: str | None, columns: str | None) -> _Grid:
        axes = layout.axes(results)
        asked = rows
        rows, columns = layout.grid(results, rows, columns)
        if columns is None and asked is None:
            rows, columns = None, rows  # a single key runs on like a text, line after line
        tied = layout.tied(results)
        sections = tuple(key for key in axes if key not in (rows, columns) and key not in tied)
        label_width = 0
        if rows is not None:
            label_width = 2 * GAP + max(lettered(text, TEXT, ROW_LABEL, 9).width for text in [f"{rows}", *axes[rows]])
        room = WIDTH - 2 * MARGIN - label_width
        count = len(axes[columns]) if columns is not None else 1
        across = max(1, min(count, room // (SMALLEST + GAP)))
        if rows is None and count > layout.ACROSS_AT_MOST:
            across = min(across, math.ceil(math.sqrt(1.5 * count)))
        side = max(SMALLEST, min(LARGEST, room // across - GAP))
        cells: dict[tuple[str, ...], list[ImageResult]] = {}
        for image in layout.ordered(results):
            spot = layout.place(image)
            key = tuple(spot.get(name or "", "") for name in (*sections, rows, columns))
            cells.setdefault(key, []).append(image)
        return cls(results, rows, columns, sections, across, _cell(results, side), label_width, axes, cells)

    @property
    def width(self) -> int:
        return max(900, 2 * MARGIN + self.label_width + self.across * (self.cell[0] + GAP) - GAP)

    def strips(self) -> list[_Strip]:
        """The sheet's pieces from top to bottom: for every section its title, heads and rows of cells."""
        rows = self.axes[self.rows] if self.rows is not None else [""]
        columns = self.axes[self.columns] if self.columns is not None else [""]
        chunks = [columns[at : at + self.across] for at in range(0, len(columns), self.across)]
        strips: list[_Strip] = []
        for section in self._sections():
            title = self._title(section)
            for chunk in chunks:
                heads = (*title, *self._head(chunk))
                cells = [self._row(section, row, chunk, heads) for row in rows]
                strips += [*(heads if chunk is chunks[0] else self._head(chunk)), *cells]
        return strips

    def _sections(self) -> list[tuple[str, ...]]:
        """The combinations of the other keys that occur, in the order asked for."""
        found = {key[:-2] for key in self.cells}
        for failure in self.results.failures:
            spot = layout.place(failure)
            if all(key in spot for key in self.sections):
                found.add(tuple(spot[key] for key in self.sections))
        ranks = [{text: at for at, text in enumerate(self.axes[key])} for key in self.sections]
        return sorted(found, key=lambda texts: [rank.get(text, -1) for rank, text in zip(ranks, texts, strict=True)])

    def _title(self, section: tuple[str, ...]) -> tuple[_Strip, ...]:
        if not section:
            return ()
        text = "   ".join(f"{key}: {value}" for key, value in zip(self.sections, section, strict=True))
        lines = lettered(text, TEXT + 2, self.width - 2 * MARGIN, 3)

        def draw(_: Image.Image, canvas: ImageDraw, y: int) -> None:
            canvas.line((MARGIN, y + 12, self.width - MARGIN, y + 12), fill=LINE, width=2)
            lines.draw(canvas, MARGIN, y + 28, INK)

        return (_Strip(lines.height + 40, draw, is_head=True),)

    def _head(self, chunk: Sequence[str]) -> tuple[_Strip, ...]:
        """The names of the keys that run across and down, and the labels of the columns."""
        if self.columns is None:
            return ()
        labels = [lettered(text or "(empty)", TEXT, self.cell[0], 5) for text in chunk]
        name = lettered(self.columns, SMALL, self.width)
        down = lettered(self.rows or "", SMALL, ROW_LABEL)
        height = GAP + name.height + 6 + max(label.height for label in labels) + GAP

        def draw(_: Image.Image, canvas: ImageDraw, y: int) -> None:
            name.draw(canvas, self._x(0), y + GAP, DIM)
            down.draw(canvas, MARGIN, y + height - GAP - down.height, DIM)
            for at, label in enumerate(labels):
                label.draw(canvas, self._x(at), y + height - GAP - label.height, INK)

        return (_Strip(height, draw, is_head=True),)

    def _row(self, section: tuple[str, ...], row: str, chunk: Sequence[str], heads: tuple[_Strip, ...]) -> _Strip:
        height = self.cell[1]
        text = (row or "(empty)") if self.rows is not None else ""
        label = _in_box(text, max(1, self.label_width - 2 * GAP), height)

        def draw(sheet: Image.Image, canvas: ImageDraw, y: int) -> None:
            label.draw(canvas, MARGIN, y, INK)
            for at, column in enumerate(chunk):
                self._draw_cell(sheet, canvas, (self._x(at), y), (*section, row, column))

        return _Strip(height + GAP, draw, heads)

    def _x(self, column: int) -> int:
        return MARGIN + self.label_width + column * (self.cell[0] + GAP)

    def _draw_cell(self, sheet: Image.Image, canvas: ImageDraw, corner: tuple[int, int], key: tuple[str, ...]) -> None:
        (x, y), (width, height) = corner, self.cell
        images = self.cells.get(key, [])
        picture = _fitted(images[0].file, self.cell) if images else None
        if picture is not None:
            left, top = x + (width - picture.width) // 2, y + (height - picture.height) // 2
            canvas.rectangle((left - 1, top - 1, left + picture.width, top + picture.height), outline=LINE)
            sheet.paste(picture, (left, top))
            return
        failed = not images and self._failed(key)
        to_come = self.results.finished < self.results.planned
        text = "no file" if images else "failed" if failed else "to come" if to_come else ""
        if text:
            canvas.rectangle((x, y, x + width - 1, y + height - 1), fill=BAD_PAPER if failed else EMPTY)
            word = lettered(text, TEXT, width)
            word.draw(canvas, x + width / 2, y + (height - word.height) / 2, BAD if failed else DIM, centred=True)

    def _failed(self, key: tuple[str, ...]) -> bool:
        spot = dict(zip((*self.sections, self.rows, self.columns), key, strict=True))
        return any(
            all(spot.get(name, text) == text for name, text in layout.place(failure).items())
            for failure in self.results.failures
        )


def _cell(results: SweepResults, side: int) -> tuple[int, int]:
    """A cell's width and height, shaped as the first picture; a small picture is enlarged by whole pixels."""
    first = next(iter(results.images), None)
    width, height = (first.width, first.height) if first is not None else (side, side)
    scale = side / max(width, height)
    scale = int(scale) if scale >= 1 else scale
    return max(1, round(width * scale)), max(1, round(height * scale))


def _in_box(text: str, width: int, height: int) -> Lettering:
    """A label within a width and height: long prose in smaller letters, cut only if that is not enough."""
    fits = [lettered(text, size, width, max(1, int(height / (size * LEADING)))) for size in (TEXT, SMALL)]
    return fits[1] if fits[0].lines[-1].endswith("…") else fits[0]


def _fitted(file: Path, cell: tuple[int, int]) -> Image.Image | None:
    """The picture at the size of a cell: made smaller smoothly, or larger by whole pixels. None: it cannot be read."""
    from PIL.Image import Resampling

    try:
        with open_picture(file) as opened:
            image = opened.convert("RGB")
    except PictureError:
        return None
    scale = min(cell[0] / image.width, cell[1] / image.height)
    if scale >= 1:
        return image.resize((image.width * int(scale), image.height * int(scale)), Resampling.NEAREST)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Resampling.LANCZOS, reducing_gap=3.0)


def _heading_height(grid: _Grid) -> int:
    return MARGIN + lettered(_told(grid.results), SMALL, grid.width - 2 * MARGIN, 3).height + 74


def _told(results: SweepResults) -> str:
    """What all pictures of the sheet share."""
    done = f"{results.finished} of {results.planned}" if results.finished < results.planned else f"{results.finished}"
    failed = [f"{len(results.failures)} failed"] if results.failures else []
    shared = [f"{key}: {text}" for key, text in layout.constants(results).items()]
    return "  ·  ".join([f"{len(results.images)} pictures of {done} jobs", *failed, *shared])


def _paginated(strips: Sequence[_Strip], height: int) -> list[list[_Strip]]:
    """Strips onto sheets of a height. A head is never left alone at a sheet's end; a new sheet begins with heads."""
    sheets: list[list[_Strip]] = [[]]
    used, waiting = 0, []
    for strip in strips:
        if strip.is_head:
            waiting.append(strip)
            continue
        fresh = [*waiting, strip]
        if sheets[-1] and used + sum(piece.height for piece in fresh) > height:
            sheets.append([])
            fresh, used = [*strip.heads, strip], 0
        sheets[-1] += fresh
        used += sum(piece.height for piece in fresh)
        waiting = []
    return sheets


def _drawn(grid: _Grid, strips: Sequence[_Strip], number: str) -> Image.Image:
    from PIL import Image, ImageDraw

    top = _heading_height(grid)
    sheet = Image.new("RGB", (grid.width, top + sum(strip.height for strip in strips) + BOTTOM), PAPER)
    canvas = ImageDraw.Draw(sheet)
    lettered(grid.results.name, TITLE, grid.width - 2 * MARGIN).draw(canvas, MARGIN, MARGIN - 8, INK)
    told = lettered(_told(grid.results), SMALL, grid.width - 2 * MARGIN, 3)
    told.draw(canvas, MARGIN, MARGIN + 42, DIM)
    page = lettered(number, SMALL, grid.width)
    page.draw(canvas, grid.width - MARGIN - page.width, MARGIN, DIM)
    for strip in strips:
        strip.draw(sheet, canvas, top)
        top += strip.height
    return sheet
