# SPDX-License-Identifier: GPL-2.0-only
"""Pictures as SVG text, for light and dark: what is no data has its colours from a style."""

import math
from xml.sax.saxutils import escape

STYLE = """<style>
.paper { fill: #ffffff } .ink { fill: #222222 } .pale { fill: #595959 } .blank { fill: #f2f2f2 }
.grid { stroke: #e2e2e2 } .axis { stroke: #777777 } .edge { stroke: #777777; fill: none } .mark { stroke: #c00000 }
@media (prefers-color-scheme: dark) {
.paper { fill: #16181d } .ink { fill: #e6e6e6 } .pale { fill: #a6a6a6 } .blank { fill: #22252c }
.grid { stroke: #31353d } .axis { stroke: #8a8a8a } .edge { stroke: #8a8a8a; fill: none } .mark { stroke: #ff6b6b }
}
</style>"""

# Told apart by people who see few colours; readable on white and on nearly black.
LEDGER_COLORS = {
    "in_blocks": "#0072b2", "rounding": "#56b4e9", "free_blocks": "#e69f00", "virgin": "#999999",
    "empty_pools": "#f0c04a", "metadata": "#cc79a7", "pass_through": "#009e73", "in_flight": "#d55e00",
}
PARTS = (("live", "live blocks", "#0072b2"), ("cached", "free, in fronts", "#56b4e9"),
         ("free", "free, in pools", "#e69f00"), ("virgin", "never handed out", "#999999"),
         ("tail", "rounding, pool tails", "#cc79a7"))


def text_width(words, size):
    """About, in a sans-serif font; rather more than less."""
    return sum(0.36 if c in "il.,:;|' " else 0.9 if c in "mwMW@%" else 0.63 for c in words) * size


class Picture:
    """Drawn in the order of the calls."""

    def __init__(self, width, height, title, subtitle):
        self.width, self.height = width, height
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
            'font-family="DejaVu Sans, Helvetica, Arial, sans-serif">',
            f"<title>{escape(title)}</title>",
            f"<desc>{escape(subtitle)}</desc>",
            STYLE,
            f'<rect class="paper" width="{width}" height="{height}"/>',
        ]
        self.text(24, 32, title, size=18, bold=True)
        self.text(24, 53, subtitle, size=12, look="pale")

    def text(self, x, y, words, size=12, look="ink", anchor="start", bold=False, turned=False):
        weight = ' font-weight="bold"' if bold else ""
        turn = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turned else ""
        self.parts.append(f'<text class="{look}" x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"'
                          f'{weight}{turn}>{escape(words)}</text>')

    def line(self, x1, y1, x2, y2, look="axis", width=1.0, dash=""):
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(f'<line class="{look}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
                          f'stroke-width="{width}"{dashes}/>')

    def box(self, x, y, width, height, fill=None, look=None, tip=None, opacity=None):
        paint = f'class="{look}"' if look else f'fill="{fill}"'
        if opacity:
            paint += f' fill-opacity="{opacity}"'
        end = f"><title>{escape(tip)}</title></rect>" if tip else "/>"
        self.parts.append(f'<rect {paint} x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"{end}')

    def area(self, points, fill, tip):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<polygon points="{path}" fill="{fill}"><title>{escape(tip)}</title></polygon>')

    def curve(self, points, look="axis", width=1.5):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<polyline class="{look}" points="{path}" fill="none" stroke-width="{width}"/>')

    def legend(self, x, y, entries, right, columns=False):
        """Boxes with words, in as many lines as they need. Returns where the next line would be."""
        left = x
        for (color, words), wide in zip(entries, legend_widths(entries, columns)):
            if x > left and x + wide > right:
                x, y = left, y + 20
            self.box(x, y - 11, 14, 14, color)
            self.text(x + 20, y, words)
            x += wide
        return y + 20

    def done(self):
        return "\n".join(self.parts) + "\n</svg>\n"


def legend_widths(entries, columns):
    widths = [24 + text_width(words, 12) + 14 for _, words in entries]
    return [max(widths)] * len(widths) if columns else widths


def legend_lines(entries, left, right, columns=False):
    """How many lines Picture.legend() will take."""
    x, lines = left, 1
    for wide in legend_widths(entries, columns):
        if x > left and x + wide > right:
            x, lines = left, lines + 1
        x += wide
    return lines


def marks(highest, about=6, binary=True):
    """Round numbers from 0 to what is above the highest, and the unit that they are written in."""
    if highest <= 0:
        return [0, 1], 1, ""
    unit, name = 1, " B" if binary else ""
    for power, word in enumerate((" KiB", " MiB", " GiB", " TiB") if binary else ("k", "M", "G", "T"), 1):
        if highest >= (1024 if binary else 1000) ** power * 2:
            unit, name = (1024 if binary else 1000) ** power, word
    step = highest / unit / about
    ten = 10 ** math.floor(math.log10(step))
    step = next(ten * digit for digit in (1, 2, 5, 10) if ten * digit >= step)
    if step < 1 and unit == 1:
        step = 1
    return [i * step for i in range(int(math.ceil(highest / unit / step - 1e-9)) + 1)], unit, name
