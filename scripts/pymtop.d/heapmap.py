# SPDX-License-Identifier: GPL-2.0-only
"""The map: every arena a row, every pool a cell."""

import collections

from form import BOLD, DIM, human, wrapped
from snapshot import CACHE, LETTERS, SIZES
from trouble import Trouble

HEIGHTS = "▁▂▃▄▅▆▇█"
STATES = {".": ("·", "."), "-": ("-", "-"), "~": (" ", " ")}
LABEL = 12
MOST = 40


def _palette():
    """One of the 256 colours for each class, neighbours far apart, readable on dark and light."""
    bright = []
    for code in range(16, 232):
        red, green, blue = (code - 16) // 36, (code - 16) // 6 % 6, (code - 16) % 6
        light = 0.3 * red + 0.59 * green + 0.11 * blue
        if 1.4 <= light <= 3.6 and max(red, green, blue) - min(red, green, blue) >= 3:
            bright.append(code)
    step = 17
    while len(bright) % step == 0:
        step += 2
    return [bright[i * step % len(bright)] for i in range(len(LETTERS) + 1)]


PALETTE = dict(zip(LETTERS + CACHE, _palette()))

Group = collections.namedtuple("Group", "heap arena poolsize cells more")


def letter_of(size):
    """The letter of the class with blocks of so many bytes; CACHE for the word cache."""
    if size == "cache":
        return CACHE
    for letter, bytes_ in SIZES.items():
        if str(bytes_) == size:
            return letter
    near = sorted(SIZES.values(), key=lambda bytes_: abs(bytes_ - int(size)) if size.isdecimal() else 0)[:2]
    raise Trouble(f"--class {size}: there is no such size class",
                  f"name a size that is one, such as {near[0]} or {near[1]}, or \"cache\" for all caches with names")


def groups(rows, letter=None):
    """Arenas that look alike become one; in the order of their first."""
    found = {}
    for heap, arena, poolsize, cells in rows:
        if letter and letter not in cells[0::2]:
            continue
        found.setdefault((heap, poolsize, cells), []).append(arena)
    return [Group(heap, arenas[0], poolsize, cells, len(arenas) - 1) for (heap, poolsize, cells), arenas in found.items()]


def informative(group):
    """Most says who has many pools that are neither full nor unused; of the text alone, as there are many."""
    cells = group.cells
    dull = cells.count("#") + (cells.count(".") + cells.count("-") + cells.count("~")) // 2
    return dull - len(cells) // 2


def choose(of, most, columns):
    """Those to be shown, in so many lines, in their order; and those that are not."""
    if most is None:
        return of, []
    shown, lines = set(), 0
    for i in sorted(range(len(of)), key=lambda i: (informative(of[i]), i)):
        lines += -(-len(of[i].cells) // 2 // columns)
        if lines > most and shown:
            break
        shown.add(i)
    return ([group for i, group in enumerate(of) if i in shown],
            [group for i, group in enumerate(of) if i not in shown])


class Drawer:
    """With colours a pool is one character, else two, as the class must be told by a letter."""

    def __init__(self, screen, letter=None):
        self.screen = screen
        self.letter = letter
        self.wide = 1 if screen.color else 2
        room = max(8, screen.width - LABEL - 1) // self.wide
        # An arena of 64 pools is broken where that can be counted.
        self.columns = next((n for n in (64, 32, 16, 8) if n <= room), 8)
        self.cache = {}

    def glyph(self, pool):
        """What is shown of a pool, and its colour."""
        kind, tenths = pool[0], pool[1]
        unicode = self.screen.unicode
        if kind in STATES:
            return STATES[kind][0 if unicode else 1] * self.wide, DIM if kind != "~" else ""
        if self.letter and kind != self.letter:
            return ("░" if unicode else "_") * self.wide, DIM
        glyph = tenths
        if unicode:
            glyph = HEIGHTS[7] if tenths == "#" else HEIGHTS[int(tenths) * 7 // 10]
        return (kind if self.wide == 2 else "") + glyph, f"38;5;{PALETTE[kind]}"

    def row(self, pools):
        """Runs of one colour become one."""
        out, run, color = [], "", None
        for pool in pools:
            if pool not in self.cache:
                self.cache[pool] = self.glyph(pool)
            glyph, its = self.cache[pool]
            if its != color:
                out.append(self.screen.paint(run, color) if run else "")
                run, color = "", its
            run += glyph
        return "".join(out) + self.screen.paint(run, color)

    def lines(self, group):
        label = f"{group.arena:>6} {human(group.poolsize):>4} "
        cells = group.cells
        pools = [cells[i:i + 2] for i in range(0, len(cells), 2)]
        for at in range(0, len(pools), self.columns):
            text = self.row(pools[at:at + self.columns])
            if at + self.columns >= len(pools) and group.more:
                text += f" +{group.more}"
            yield f"{label:<{LABEL}}{text}"
            label = ""

    def legend(self, of):
        """What the colours or letters and the glyphs are."""
        count = collections.Counter()
        for group in of:
            count.update(group.cells[0::2])
        count = collections.Counter({letter: n for letter, n in count.items()
                                     if letter not in STATES and self.letter in (None, letter)})
        screen = self.screen
        scale = "".join(HEIGHTS) if screen.unicode else "0123456789#"
        states = [("·" if screen.unicode else ".", "never used"), ("-", "empty"), ("blank", "not held")]
        yield from wrapped(f"fullness: {scale}, the last is full; ", [f"{glyph} {what}" for glyph, what in states], screen.width)
        entries, line = [], "classes: "
        for letter, _ in count.most_common():
            size = "a cache" if letter == CACHE else str(SIZES[letter])
            mark = screen.paint("█" if screen.unicode else "#", f"38;5;{PALETTE[letter]}") if self.wide == 1 else letter
            entries.append((mark, size))
        lines, used = [], len(line)
        for number, (mark, size) in enumerate(entries):
            if used + len(size) + 4 > screen.width - 16:
                if len(lines) == 2:
                    line += f"and {len(entries) - number} more"
                    break
                lines.append(line.rstrip())
                line, used = " " * 9, 9
            line += f"{mark} {size}  "
            used += len(size) + 4
        yield from lines
        yield line.rstrip()


def show(snapshot, screen, heap=None, size=None, everything=False):
    """Lines of the map."""
    letter = letter_of(size) if size else None
    rows = snapshot.arena_map()
    rows = [row for row in rows if heap is None or row[0] == heap]
    drawer = Drawer(screen, letter)
    # Beside the rows there are the legend, a line for each heap, and what is said of the rest.
    most = None if everything else MOST if not screen.tty else max(8, screen.height - 11 - len({row[0] for row in rows}))
    of, left = choose(groups(rows, letter), most, drawer.columns)
    hidden = sum(1 + group.more for group in left)
    arenas = sum(1 + group.more for group in of) + hidden
    what = f" with pools of {'caches' if letter == CACHE else size + ' bytes'}" if letter else ""
    yield from wrapped(f"{arenas} arena{'s' if arenas != 1 else ''}{what}; ",
                       ["a row is an arena", "a cell a pool", "+n: n more look the same"], screen.width)
    yield from drawer.legend(of)
    yield ""
    heap = None
    for group in of:
        if group.heap != heap:
            heap = group.heap
            yield screen.paint(f"{'arena':>6} {'pool':>4} heap {heap}", BOLD)
        yield from drawer.lines(group)
    if not arenas:
        yield "(no arena)"
    if hidden:
        yield ""
        yield f"{hidden} more arenas, in {len(left)} patterns, have fewer pools that are partly used."
        yield "All of them, in a pager: pymtop map --all --color=always | less -R"
