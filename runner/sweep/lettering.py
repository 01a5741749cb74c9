"""Text on a contact sheet: a font that can draw it, lines that fit a width.

Pillow's own font is on every machine but knows little beyond ASCII. Text with other letters is set in a font of the
machine that has them, where there is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

OTHER_FONTS = (
    "NotoSans-Regular.ttf",
    "DejaVuSans.ttf",
    "LiberationSans-Regular.ttf",
    "Arial.ttf",
    "arial.ttf",
    "NotoSansCJK-Regular.ttc",
    "msyh.ttc",
    "PingFang.ttc",
)
LEADING = 1.3  # from one line to the next, in font sizes


@dataclass(frozen=True)
class Lettering:
    """Lines of text of one size, with the font that draws them."""

    lines: tuple[str, ...]
    size: int

    @property
    def height(self) -> int:
        return round(len(self.lines) * self.size * LEADING)

    @property
    def width(self) -> int:
        """In pixels, of the longest line."""
        return max((_width(line, self.size) for line in self.lines), default=0)

    def draw(self, canvas: ImageDraw, x: float, y: float, colour: str, *, centred: bool = False) -> None:
        """With its upper left corner at (x, y), or its upper edge centred there."""
        for number, line in enumerate(self.lines):
            left = x - _width(line, self.size) / 2 if centred else x
            canvas.text((left, y + number * self.size * LEADING), line, fill=colour, font=_font(line, self.size))


def lettered(text: str, size: int, width: int, lines: int = 1) -> Lettering:
    """The text broken into at most so many lines of a width in pixels; what does not fit ends in an ellipsis."""
    found: list[str] = []
    for word in " ".join(text.split()).split(" "):
        if found and _width(f"{found[-1]} {word}", size) <= width:
            found[-1] += f" {word}"
        else:
            found.extend(_pieces(word, size, width))
    if len(found) > lines:
        last = found[lines - 1]
        while last and _width(f"{last}…", size) > width:
            last = last[:-1]
        found[lines - 1 :] = [f"{last}…"]
    return Lettering(tuple(found), size)


def _pieces(word: str, size: int, width: int) -> list[str]:
    """A word, cut where it is wider than the line: after a joint such as "_" if there is one."""
    pieces = [""]
    for letter in word:
        if pieces[-1] and _width(pieces[-1] + letter, size) > width:
            joint = max(pieces[-1].rfind(mark) for mark in "_-./=") + 1 or len(pieces[-1])
            pieces[-1:] = [pieces[-1][:joint], pieces[-1][joint:]]
        pieces[-1] += letter
    return pieces


@cache
def _width(text: str, size: int) -> int:
    return round(_font(text, size).getlength(text))


def _font(text: str, size: int) -> FreeTypeFont:
    own = _named("", size)
    if own is None:
        raise RuntimeError("this Pillow was built without FreeType and cannot draw a contact sheet")
    if _draws("", text):
        return own
    return next((font for name in OTHER_FONTS if (font := _named(name, size)) and _draws(name, text)), own)


@cache
def _named(name: str, size: int) -> FreeTypeFont | None:
    from PIL import ImageFont

    try:
        font = ImageFont.truetype(name, size) if name else ImageFont.load_default(size)
    except OSError:
        return None
    return font if isinstance(font, ImageFont.FreeTypeFont) else None


def _draws(name: str, text: str) -> bool:
    return text.isascii() or all(_has(name, letter) for letter in set(text))


@cache
def _has(name: str, letter: str) -> bool:
    """Whether a font has a letter: it draws another shape than the box for letters that no font has."""
    font = _named(name, 20)
    return font is not None and _shape(font, letter) != _shape(font, "\uffff")


def _shape(font: FreeTypeFont, letter: str) -> bytes:
    from PIL import Image, ImageDraw

    image = Image.new("L", (40, 40))
    ImageDraw.Draw(image).text((5, 5), letter, fill=255, font=font)
    return image.tobytes()
