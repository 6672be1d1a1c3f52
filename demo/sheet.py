"""The contact sheet: each image before and after each model, with the same enlarged detail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps, ImageStat

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_CELL = (380, 300)  # maximum width and height of an image
_LOUPE = 150  # width and height of the enlarged detail
_DETAIL = 30  # width and height of that detail in pixels of the input
_GAP = 36  # between two images; a card extends _PAD into it
_PAD = 10
_LABEL = 46  # height of the line below an image
_HEAD = 148
_FOOT = 56
_BACKGROUND, _CARD, _INK, _FAINT, _ACCENT = "#12151c", "#1c212b", "#eef1f6", "#8d97a8", "#8b6cff"

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Row:
    """One image, and the output of each model: (model, file)."""

    name: str
    before: Path
    after: Sequence[tuple[str, Path]]


def contact_sheet(rows: Sequence[Row], target: Path, *, title: str, caption: str) -> tuple[int, int]:
    """Draw the sheet into ``target`` and return its width and height in pixels."""
    columns = 1 + max(len(row.after) for row in rows)
    step = _CELL[1] + _LABEL + _GAP
    width = columns * (_CELL[0] + _GAP) + _GAP
    height = _HEAD + len(rows) * step + _FOOT
    sheet = Image.new("RGB", (width, height), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, 34), title, _INK, _font(34))
    for column, heading in enumerate(["before", *(model for model, _ in rows[0].after)]):
        draw.text((_GAP + column * (_CELL[0] + _GAP), 98), heading, _FAINT if column == 0 else _ACCENT, _font(22))
    for number, row in enumerate(rows):
        _draw_row(sheet, row, top=_HEAD + number * step)
    draw.text((_GAP, height - _FOOT + 8), caption, _FAINT, _font(17))
    sheet.save(target, optimize=True)
    return sheet.size


def _draw_row(sheet: Image.Image, row: Row, *, top: int) -> None:
    draw = ImageDraw.Draw(sheet)
    before = _opened(row.before)
    detail = busiest(before)
    shown = _contained(before.size)
    for column, (path, is_before) in enumerate([(row.before, True), *((path, False) for _, path in row.after)]):
        left = _GAP + column * (_CELL[0] + _GAP)
        card = (left - _PAD, top - _PAD, left + _CELL[0] + _PAD, top + _CELL[1] + _LABEL)
        draw.rounded_rectangle(card, radius=14, fill=_CARD)
        image = before if is_before else _opened(path)
        at = (left + (_CELL[0] - shown[0]) // 2, top + (_CELL[1] - shown[1]) // 2)
        resampling = Image.Resampling.NEAREST if is_before else Image.Resampling.LANCZOS
        sheet.paste(_on_checkerboard(image.resize(shown, resampling)), at)
        _draw_loupe(sheet, image, detail, scale=image.width / before.width, frame=(*at, *shown), sharp=is_before)
        label = f"{image.width} x {image.height}"
        draw.text((left + 4, top + _CELL[1] + 12), label, _INK, _font(20))
        if is_before:
            draw.text((left + _CELL[0] - 4, top + _CELL[1] + 12), row.name, _FAINT, _font(20), anchor="ra")
        else:
            factor = f"x {image.width / before.width:g}"
            draw.text((left + _CELL[0] - 4, top + _CELL[1] + 12), factor, _ACCENT, _font(20), anchor="ra")


def _draw_loupe(sheet: Image.Image, image: Image.Image, detail: Box, *, scale: float, frame: Box, sharp: bool) -> None:
    """Draw the enlarged detail into the corner of the image that is farther from it, and frame both."""
    left, top, width, height = frame
    box = (detail[0] * scale, detail[1] * scale, detail[2] * scale, detail[3] * scale)
    resampling = Image.Resampling.NEAREST if sharp else Image.Resampling.LANCZOS
    part = _on_checkerboard(image.resize((_LOUPE, _LOUPE), resampling, box=box))
    zoom = width / image.width * scale
    middle = (detail[0] + detail[2]) / 2 * zoom
    x = left + 8 if middle > width / 2 else left + width - _LOUPE - 8
    y = top + height - _LOUPE - 8
    draw = ImageDraw.Draw(sheet)
    here = [left + detail[0] * zoom, top + detail[1] * zoom, left + detail[2] * zoom, top + detail[3] * zoom]
    draw.rectangle(here, outline="white", width=2)
    sheet.paste(part, (x, y))
    draw.rectangle((x - 2, y - 2, x + _LOUPE + 1, y + _LOUPE + 1), outline="white", width=2)


def busiest(image: Image.Image) -> Box:
    """Return the detail with the most edges in the upper half, which the loupe does not cover."""
    # Blurred first, so that shapes such as an eye count, but fur and noise do not.
    edges = _on_checkerboard(image).convert("L").filter(ImageFilter.GaussianBlur(2.5)).filter(ImageFilter.FIND_EDGES)
    side = min(_DETAIL, *image.size)
    margin = side // 3
    best, found = -1.0, (0, 0, side, side)
    for top in range(margin, image.height // 2 - side, max(1, margin)):
        for left in range(margin, image.width - side - margin, max(1, margin)):
            box = (left, top, left + side, top + side)
            if (amount := ImageStat.Stat(edges.crop(box)).mean[0]) > best:
                best, found = amount, box
    return found


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image)
        return upright.convert("RGBA" if "A" in upright.getbands() or "transparency" in upright.info else "RGB")


def _contained(size: tuple[int, int]) -> tuple[int, int]:
    zoom = min(_CELL[0] / size[0], _CELL[1] / size[1])
    return round(size[0] * zoom), round(size[1] * zoom)


def _on_checkerboard(image: Image.Image, square: int = 10) -> Image.Image:
    """Show transparency as a checkerboard, as image editors do."""
    if image.mode != "RGBA":
        return image
    board = Image.new("RGBA", image.size, "#ffffff")
    draw = ImageDraw.Draw(board)
    for top in range(0, image.height, square):
        for left in range(top // square % 2 * square, image.width, 2 * square):
            draw.rectangle((left, top, left + square - 1, top + square - 1), fill="#d4d8df")
    return Image.alpha_composite(board, image).convert("RGB")


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
