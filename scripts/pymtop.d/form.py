# SPDX-License-Identifier: GPL-2.0-only
"""How numbers and text are shown, and what the terminal can."""

import os
import shutil
import sys


def human(value):
    """Bytes in at most five characters: 996, 4.5K, 128K, 1.5M."""
    if value < 0:
        return "-" + human(-value)
    if value < 1000:
        return str(value)
    for unit in "KMGTP":
        value /= 1024
        if value < 9.95 and value != int(value):
            return f"{value:.1f}{unit}"
        if value < 999.5 or unit == "P":
            return f"{value:.0f}{unit}"
    return None


def share(part, whole):
    return f"{100 * part / whole:.1f} %" if whole else "-"


def signed(value, show=str):
    return ("+" if value > 0 else "") + show(value) if value else "0"


def wrapped(start, parts, width):
    """Lines of parts with commas between."""
    line = start
    for number, part in enumerate(parts):
        word = part + (", " if number + 1 < len(parts) else "")
        if len(line) + len(word.rstrip()) > width and line.strip():
            yield line.rstrip()
            line = "    "
        line += word
    yield line.rstrip()


class Screen:
    """Where the text goes: its width and height, colours, and characters beyond ASCII."""

    def __init__(self, ascii_only=False, width=None, color="auto", out=None):
        self.out = out or sys.stdout
        self.tty = self.out.isatty()
        self.dumb = os.environ.get("TERM", "dumb") in ("", "dumb", "unknown")
        able = self.tty and not self.dumb and not os.environ.get("NO_COLOR")
        self.color = able if color == "auto" else color == "always"
        # Python takes C for C.UTF-8, and sets LC_CTYPE so; what the terminal shows is another matter.
        ctype = os.environ.get("LC_CTYPE", "")
        said = os.environ.get("LC_ALL") or (ctype if ctype not in ("C.UTF-8", "C.utf8", "UTF-8") else "") or \
            os.environ.get("LANG", "")
        names = [name.lower().replace("-", "") for name in (said, getattr(self.out, "encoding", None) or "")]
        self.unicode = not ascii_only and all("utf8" in name for name in names)
        self.fixed = width
        self.measure()

    def measure(self):
        """Its size, again after it has been changed."""
        size = shutil.get_terminal_size((80, 24))
        if self.tty:
            try:
                size = os.get_terminal_size(self.out.fileno())
            except OSError:
                pass
        self.width = self.fixed or size.columns or 80
        self.height = size.lines or 24

    def paint(self, text, codes):
        return f"\033[{codes}m{text}\033[0m" if self.color and codes else text


BOLD, DIM, INVERSE, RED, YELLOW = "1", "2", "7", "31;1", "33"
