"""Draw `docs/images/structure.svg`: the rooms of the package and which of them may import which.

    python benchmarks/structure_picture.py

The rooms and their order are read from the import contracts in `pyproject.toml`.
"""

from __future__ import annotations

import tomllib
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "images" / "structure.svg"
PAPER, INK, SOFT, LINE, ROOM = "#fcfcfa", "#16181d", "#5a606b", "#c9cbc7", "#e8f0fb"
MARGIN, GAP, ROW, TITLE = 20, 10, 46, 52
PANELS = {"rooms": ("tempovla", 440), "recipes": ("inside recipe", 460), "floors": ("inside model", 260)}
"""By contract, the panel's title and its width [px]."""


def main() -> None:
    """Write the picture."""
    PICTURE.write_text(draw(), encoding="utf-8")
    print(PICTURE)


def floors() -> dict[str, list[list[str]]]:
    """Return the floors of every contract, the highest first, and the rooms on each of them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = {contract["id"]: contract for contract in project["tool"]["importlinter"]["contracts"]}
    return {name: [floor.split(" | ") for floor in contracts[name]["layers"]] for name in PANELS}


def draw() -> str:
    """Return the picture as SVG."""
    stacks = floors()
    height = TITLE + max(map(len, stacks.values())) * (ROW + GAP) + MARGIN + 16
    width = MARGIN + sum(width + MARGIN for _, width in PANELS.values())
    parts, left = [], MARGIN
    for name, (title, panel) in PANELS.items():
        parts.append(_text(left, 32, title, 15, INK, "start", "bold"))
        for place, rooms in enumerate(stacks[name]):
            parts += _floor(rooms, left, TITLE + place * (ROW + GAP), panel)
        left += panel + MARGIN
    caption = "A room imports only rooms on lower floors; rooms on one floor do not import each other."
    parts.append(_text(MARGIN, height - 14, caption, 12, SOFT, "start"))
    style = "font-family='system-ui, sans-serif'"
    head = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' {style} role='img'>"
    label = f"<title>{escape(caption)}</title>"
    paper = f"<rect width='{width}' height='{height}' fill='{PAPER}' rx='8'/>"
    return "\n".join([head, label, paper, *parts, "</svg>", ""])


def _floor(rooms: list[str], left: int, top: int, width: int) -> list[str]:
    """Return the boxes of the rooms on one floor, wider ones for longer names."""
    space = width - GAP * (len(rooms) - 1)
    letters = [len(room) + 4 for room in rooms]
    parts, right = [], left + width
    for place, (room, share) in enumerate(zip(rooms, letters, strict=True)):
        box = right - left if place == len(rooms) - 1 else round(space * share / sum(letters))
        size = f"x='{left}' y='{top}' width='{box}' height='{ROW}'"
        parts.append(f"<rect {size} rx='6' fill='{ROOM}' stroke='{LINE}'/>")
        parts.append(_text(left + box / 2, top + ROW / 2 + 5, room, 11 if len(rooms) > 3 else 13, INK, "middle"))
        left += box + GAP
    return parts


def _text(x: float, y: float, words: str, size: int, color: str, anchor: str, weight: str = "normal") -> str:
    style = f"font-size='{size}' fill='{color}' text-anchor='{anchor}' font-weight='{weight}'"
    return f"<text x='{x:g}' y='{y:g}' {style}>{escape(words)}</text>"


if __name__ == "__main__":
    main()
