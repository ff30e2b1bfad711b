"""Draws docs/images/idea.svg, the idea of channel gating in one picture.

python docs/draw_idea.py
"""

from __future__ import annotations

from pathlib import Path

PICTURE = Path(__file__).resolve().parent / "images" / "idea.svg"
WIDTH, HEIGHT = 840, 326
INK, GREY, BLUE, ORANGE = "#1F2328", "#8A8F98", "#0072B2", "#E69F00"
# Which of the channels each image opens; the drawing is a sketch, not a measurement.
EASY = (0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0)
HARD = (1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 1, 0)
CELL, GAP = 22, 5


def text(x: float, y: float, words: str, *, size: int = 15, color: str = INK) -> str:
    """Words centred at a point."""
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" fill="{color}" text-anchor="middle">'
        f"{words}</text>"
    )


def box(x: float, y: float, width: float, height: float, *, line: str = INK) -> str:
    """A white box with rounded corners."""
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="#FFFFFF" '
        f'stroke="{line}" stroke-width="1.5"/>'
    )


def arrow(*points: tuple[float, float]) -> str:
    """A line through points with a head at its end."""
    path = " ".join(f"{x},{y}" for x, y in points)
    return (
        f'<polyline points="{path}" fill="none" stroke="{INK}" stroke-width="1.5" '
        'marker-end="url(#head)"/>'
    )


def picture(x: float, y: float, marks: int) -> str:
    """A small image with few or many things in it."""
    frame = f'<rect x="{x}" y="{y}" width="64" height="64" rx="4" fill="#EAF2F8" stroke="{INK}"/>'
    things = [
        f'<circle cx="{x + 14 + 18 * (i % 3)}" cy="{y + 14 + 18 * (i // 3)}" r="7" '
        f'fill="{(ORANGE, BLUE, GREY)[(i * 5) % 3]}"/>'
        for i in range(marks)
    ]
    if marks == 1:
        things = [f'<circle cx="{x + 32}" cy="{y + 32}" r="16" fill="{ORANGE}"/>']
    return frame + "".join(things)


def channels(x: float, y: float, gates: tuple[int, ...]) -> str:
    """A row of channels: filled where the gate is open, dashed where nothing is computed."""
    cells = []
    for i, is_open in enumerate(gates):
        style = f'fill="{BLUE}"' if is_open else f'fill="none" stroke="{GREY}" stroke-dasharray="3"'
        left = x + i * (CELL + GAP)
        cells.append(f'<rect x="{left}" y="{y}" width="{CELL}" height="44" rx="3" {style}/>')
    return "".join(cells)


def row(top: float, label: str, marks: int, gates: tuple[int, ...]) -> list[str]:
    """One image on its way through a block."""
    middle = top + 76
    share = f"{sum(gates)} of {len(gates)} channels computed"
    return [
        picture(24, middle - 32, marks),
        text(56, middle + 54, label),
        arrow((92, middle), (392, middle)),
        arrow((126, middle), (126, top + 22), (168, top + 22)),
        box(172, top, 170, 44, line=ORANGE),
        text(257, top + 19, "gate network", size=14),
        text(257, top + 36, "pool, 16 units, 0 or 1", size=12, color=GREY),
        arrow((342, top + 22), (556, top + 22), (556, middle - 26)),
        text(240, middle - 8, "convolution", size=14),
        channels(398, middle - 22, gates),
        text(556, middle + 42, share, size=14, color=BLUE),
        arrow((724, middle), (790, middle)),
    ]


def svg() -> str:
    """Text of the picture."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" font-family="system-ui, sans-serif" role="img" '
        'aria-label="An easy image opens few channels of a block, a hard one many">'
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
        f'markerHeight="8" orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="{INK}"/></marker></defs>'
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="10" fill="#FFFFFF"/>'
    )
    rows = [*row(20, "easy image", 1, EASY), *row(180, "hard image", 9, HARD)]
    return "\n".join([head, *rows, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(svg(), encoding="utf-8")
