"""Draw the base model's loss curve, from the record of its making, as an SVG for the documentation.

Usage: python bench/nursery_curve.py [--model FOLDER] [--out docs/nursery-loss.svg]
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from nursery.build import FOLDER, RECORD

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 300, 52, 40, 16, 16
LOSSES = (0.25, 0.5, 1.0, 2.0, 4.0)


def draw(curve: list[dict[str, float]]) -> str:
    """Loss (logarithmic) against tokens read."""
    last = curve[-1]["tokens"]
    low, high = math.log(min(LOSSES[0], curve[-1]["loss"])), math.log(max(LOSSES[-1], curve[0]["loss"]))

    def x(tokens: float) -> float:
        return LEFT + tokens / last * (WIDTH - LEFT - RIGHT)

    def y(loss: float) -> float:
        return TOP + (high - math.log(loss)) / (high - low) * (HEIGHT - TOP - BOTTOM)

    points = " ".join(f"{x(point['tokens']):.1f},{y(point['loss']):.1f}" for point in curve)
    rows = "".join(
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(v):.1f}" y2="{y(v):.1f}" stroke="#ddd"/>'
        f'<text x="{LEFT - 8}" y="{y(v) + 4:.1f}" text-anchor="end">{v:g}</text>'
        for v in LOSSES
    )
    step = 10 ** math.floor(math.log10(last)) / (1 if last > 4 * 10 ** math.floor(math.log10(last)) else 5)
    columns = "".join(
        f'<text x="{x(n * step):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{n * step / 1e6:g}</text>'
        for n in range(int(last / step) + 1)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12">'
        f'<rect width="100%" height="100%" fill="white"/>{rows}{columns}'
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 6}" text-anchor="middle">million tokens read</text>'
        f'<text x="14" y="{HEIGHT / 2}" text-anchor="middle" transform="rotate(-90 14 {HEIGHT / 2})">loss (nats)</text>'
        f'<polyline points="{points}" fill="none" stroke="#2563eb" stroke-width="1.5"/></svg>\n'
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=FOLDER)
    parser.add_argument("--out", type=Path, default=Path("docs/nursery-loss.svg"))
    arguments = parser.parse_args()
    record = json.loads((arguments.model / RECORD).read_text(encoding="utf-8"))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(draw(record["curve"]), encoding="utf-8")


if __name__ == "__main__":
    main()
