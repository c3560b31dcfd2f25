# SPDX-License-Identifier: GPL-2.0-only
"""The four pictures of pymtop plot."""

import collections
import colorsys
import time

import heapmap
from form import human
from report import MEANING
from snapshot import CACHE, LEDGER, LETTERS, SIZES
from svg import LEDGER_COLORS, PARTS, Picture, legend_lines, marks, text_width
from table import rows
from trouble import Trouble

MOST_ROWS = 140
MOST_BARS = 40


def when(snapshot):
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(snapshot.time))


def of_heap(heap):
    return f", heap {heap}" if heap else ", all heaps"


def class_color(letter):
    """As in heapmap, neighbours are far apart; of one lightness, so that none stands out."""
    if letter == CACHE:
        return "#d55e00"
    turn = LETTERS.index(letter) * 0.618034 % 1
    red, green, blue = colorsys.hls_to_rgb(turn, 0.5 + 0.06 * (LETTERS.index(letter) % 3 - 1), 0.62)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def axis(picture, left, right, top, bottom, highest, words):
    """Bytes from left to right. Returns the scale."""
    at, unit, name = marks(highest)
    scale = (right - left) / (at[-1] * unit)
    for mark in at:
        x = left + mark * unit * scale
        picture.line(x, top, x, bottom, "grid")
        picture.text(x, bottom + 18, f"{mark:g}{name if mark == at[-1] else ''}", 11, anchor="middle")
    picture.line(left, bottom, right, bottom)
    picture.text((left + right) / 2, bottom + 38, words, anchor="middle")
    return scale


# ---------------------------------------------------------------- map

def plot_map(snapshots, heap):
    snapshot = snapshots[-1]
    taken = [row for row in snapshot.arena_map() if heap is None or row[0] == heap]
    if not taken:
        raise Trouble("there is no arena to be drawn", "without memory in arenas there is no map")
    of, left_out = heapmap.choose(heapmap.groups(taken), MOST_ROWS, 64)
    found = collections.Counter()
    for group in of:
        found.update(group.cells[0::2])
    for state in ".-~":
        found.pop(state, None)
    entries = [(class_color(letter), "caches" if letter == CACHE else str(SIZES[letter]))
               for letter in sorted(found, key=(LETTERS + CACHE).index)]
    cell, tall, left = 11.0, 11.0, 110
    right = left + 64 * cell
    heaps = list(dict.fromkeys(group.heap for group in of))
    legend = legend_lines(entries, 24, right, True)
    top = 126 + 20 * legend
    height = round(top + len(of) * (tall + 1) + len(heaps) * 26 + (70 if left_out else 52))
    picture = Picture(round(right + 70), height, f"Every pool of every arena{of_heap(heap)}",
                      f"{when(snapshot)}. A row is an arena, a cell a pool, filled as high as its blocks are live.")
    picture.text(24, 78, "bytes of a block:", bold=True)
    y = picture.legend(24, 98, entries, right, True)
    x = 24
    for state, words in (("..", "never used"), ("--", "empty, still held"), ("~~", "not held")):
        draw_pool(picture, x, y - 10, 12, 12, state)
        picture.text(x + 20, y, words)
        x += 20 + text_width(words, 12) + 20
    y = top - 12
    now = None
    for group in of:
        if group.heap != now:
            now = group.heap
            y += 26
            picture.text(24, y - 6, f"heap {now}", 12.5, bold=True)
            if now == heaps[0]:
                for column in (16, 32, 48):
                    picture.text(left + column * cell + cell / 2, y - 6, str(column), 10, "pale", "middle")
                picture.text(right, y - 6, "pool in its arena", 10, "pale", "end")
        picture.text(left - 8, y + tall - 2, f"{group.arena}  ({human(group.poolsize)})", 9.5, "pale", "end")
        for number in range(len(group.cells) // 2):
            draw_pool(picture, left + number * cell, y, cell - 1, tall, group.cells[2 * number:2 * number + 2])
        if group.more:
            picture.text(left + len(group.cells) / 2 * cell + 6, y + tall - 2, f"+{group.more} alike", 9.5, "pale")
        y += tall + 1
    picture.text(left, y + 22, "rows: arena by its number, and the size of its pools", 11, "pale")
    if left_out:
        picture.text(left, y + 40, f"{sum(1 + group.more for group in left_out)} more arenas have fewer pools that are partly used "
                     "and are left out", 11, "pale")
    return picture.done()


def draw_pool(picture, x, y, width, height, pool):
    if pool == "~~":
        picture.line(x + width / 2 - 1, y + height / 2, x + width / 2 + 1, y + height / 2, "axis")
    elif pool == "..":
        picture.box(x, y, width, height, look="blank")
    elif pool == "--":
        picture.box(x + 0.5, y + 0.5, width - 1, height - 1, look="edge")
    else:
        share = 1.0 if pool[1] == "#" else (int(pool[1]) + 0.5) / 10
        # Pale up to the top, so that one that is almost empty shows its class, too.
        picture.box(x, y, width, height, class_color(pool[0]), opacity=0.3)
        picture.box(x, y + height * (1 - share), width, height * share, class_color(pool[0]))


# ---------------------------------------------------------------- classes

def plot_classes(snapshots, heap):
    snapshot = snapshots[-1]
    of = [row for row in rows(snapshot) if row["pools"] and (heap is None or row["heap"] == heap)]
    if not of:
        raise Trouble("no cache and no size class has a pool", "there is nothing to be drawn")
    of.sort(key=lambda row: (-row["held"], row["name"]))
    shown, rest = of[:MOST_BARS], of[MOST_BARS:]
    left = max(150, 40 + max(text_width(row["name"], 11.5) for row in shown))
    right, tall, top = left + 640, 17, 112
    bottom = top + tall * len(shown) + 6
    picture = Picture(round(right + 90), round(bottom + (74 if rest else 56)),
                      f"What caches and size classes hold{of_heap(heap)}",
                      f"{when(snapshot)}. Bytes of their pools, and what is in them.")
    picture.legend(24, 84, [(color, words) for _, words, color in PARTS], right + 80)
    scale = axis(picture, left, right, top, bottom, shown[0]["held"], "bytes of pools")
    for number, row in enumerate(shown):
        y, x = top + 4 + number * tall, left
        parts = {name: row[name] * row["size"] for name in ("live", "cached", "free", "virgin")}
        total = sum(parts.values())
        if total > row["held"]:
            # Guarded blocks are in no pool.
            parts = {name: value * row["held"] / total for name, value in parts.items()}
        parts["tail"] = row["held"] - sum(parts.values())
        picture.text(left - 8, y + 11, row["name"], 11.5, anchor="end")
        for name, words, color in PARTS:
            if parts[name] > 0:
                picture.box(x, y, parts[name] * scale, tall - 4, color, tip=f"{row['name']}: {human(round(parts[name]))} {words}")
                x += parts[name] * scale
        picture.text(left + row["held"] * scale + 6, y + 11, f"{human(row['held'])}, {row['use']:.0%} live", 10, "pale")
    if rest:
        picture.text(left, bottom + 58, f"{len(rest)} more hold {human(sum(row['held'] for row in rest))} together", 11, "pale")
    return picture.done()


# ---------------------------------------------------------------- ledger

def plot_ledger(snapshots, heap):
    snapshot = snapshots[-1]
    of = sorted((row for row in snapshot.heaps() if row["held"] and (heap is None or row["heap"] == heap)),
                key=lambda row: -row["held"])
    if not of:
        raise Trouble("nothing is held", "there is nothing to be drawn")
    rest, of = of[20:], of[:20]
    left = max(120, 44 + max(text_width(row["heap"], 12) for row in of))
    right, tall = left + 660, 46
    entries = [(LEDGER_COLORS[term], f"{term}: {MEANING[term]}") for term in LEDGER]
    top = 92 + 20 * legend_lines(entries, 24, right + 80)
    bottom = top + tall * len(of) + 4
    picture = Picture(round(right + 110), round(bottom + (76 if rest else 56)), f"Where the bytes held are{of_heap(heap)}",
                      f"{when(snapshot)}. The eight terms of the ledger sum to what is held.")
    picture.legend(24, 84, entries, right + 80)
    scale = axis(picture, left, right, top, bottom, of[0]["held"], "bytes held")
    for number, row in enumerate(of):
        y, x = top + 8 + number * tall, left
        picture.text(left - 8, y + 18, row["heap"], 12, anchor="end", bold=True)
        for term in LEDGER:
            wide = row[term] * scale
            if wide <= 0:
                continue
            picture.box(x, y, wide, 28, LEDGER_COLORS[term], tip=f"{row['heap']}: {term} {row[term]}")
            words = f"{row[term] / row['held']:.0%}"
            if wide > text_width(words, 10.5) + 8:
                picture.parts.append(f'<text x="{x + wide / 2:.1f}" y="{y + 18:.1f}" font-size="10.5" text-anchor="middle" '
                                     f'fill="{contrast(LEDGER_COLORS[term])}">{words}</text>')
            x += wide
        picture.text(x + 6, y + 18, human(row["held"]), 11)
        if row["limit"] and left + row["limit"] * scale <= right:
            at = left + row["limit"] * scale
            picture.line(at, y - 4, at, y + 32, "mark", 2)
            picture.text(at, y + 41, f"limit {human(row['limit'])}", 9.5, "pale", "middle")
    if rest:
        picture.text(left, bottom + 58, f"{len(rest)} more heaps hold {human(sum(row['held'] for row in rest))}", 11, "pale")
    return picture.done()


def contrast(color):
    red, green, blue = (int(color[i:i + 2], 16) for i in (1, 3, 5))
    return "#000000" if 0.3 * red + 0.59 * green + 0.11 * blue > 130 else "#ffffff"


# ---------------------------------------------------------------- timeline

def ledger_at(snapshot, heap):
    if heap is None:
        values, misuse = snapshot.stats()
        return dict(values, misuse=sum(misuse.values()))
    for row in snapshot.heaps():
        if row["heap"] == heap:
            return dict(row, misuse=0)
    return dict.fromkeys((*LEDGER, "held", "limit_hits", "failures", "misuse"), 0)


def plot_timeline(snapshots, heap):
    if len(snapshots) < 2:
        raise Trouble("a timeline needs more than one snapshot", "make a recording: pymtop record FILE, then --from FILE")
    of = [ledger_at(snapshot, heap) for snapshot in snapshots]
    start = snapshots[0].time
    seconds = [snapshot.time - start for snapshot in snapshots]
    last = seconds[-1] or 1.0
    left, right, bottom = 84, 900, 470
    used = [term for term in LEDGER if any(row[term] for row in of)]
    entries = [(LEDGER_COLORS[term], f"{term}: {MEANING[term]}") for term in reversed(used)]
    top = 100 + 20 * legend_lines(entries, 24, right)
    bottom = top + 340
    picture = Picture(right + 40, bottom + 96, f"What was held over time{of_heap(heap)}",
                      f"{when(snapshots[0])} to {when(snapshots[-1])}, {len(snapshots)} snapshots.")
    picture.legend(24, 84, entries, right)
    at, unit, name = marks(max(row["held"] for row in of))
    high = at[-1] * unit

    def x_of(moment):
        return left + moment / last * (right - left)

    def y_of(value):
        return bottom - value / high * (bottom - top)

    for mark in at:
        picture.line(left, y_of(mark * unit), right, y_of(mark * unit), "grid")
        picture.text(left - 8, y_of(mark * unit) + 4, f"{mark:g}", 11, anchor="end")
    base = [0] * len(of)
    for term in used:
        upper = [low + row[term] for low, row in zip(base, of)]
        picture.area([(x_of(s), y_of(v)) for s, v in zip(seconds, upper)]
                     + [(x_of(s), y_of(v)) for s, v in reversed(list(zip(seconds, base)))],
                     LEDGER_COLORS[term], f"{term}: {MEANING[term]}")
        base = upper
    picture.curve([(x_of(s), y_of(row["held"])) for s, row in zip(seconds, of)], "axis", 1.5)
    time_axis(picture, last, x_of, left, right, bottom)
    picture.text(26, (top + bottom) / 2, f"held,{name}", anchor="middle", turned=True)
    events = 0
    for before, now, moment in zip(of, of[1:], seconds[1:]):
        if any(now[kind] > before[kind] for kind in ("limit_hits", "failures", "misuse")):
            picture.line(x_of(moment), top - 8, x_of(moment), bottom, "mark", 1.2, "4 3")
            events += 1
    if events:
        picture.line(left, bottom + 72, left + 24, bottom + 72, "mark", 1.2, "4 3")
        picture.text(left + 32, bottom + 76, "before this snapshot a limit was hit, a request failed or misuse was reported", 11, "pale")
    return picture.done()


def time_axis(picture, last, x_of, left, right, bottom):
    unit, name = next((unit, name) for unit, name in ((86400, "days"), (3600, "hours"), (60, "minutes"), (1, "seconds"))
                      if last >= 3 * unit or unit == 1)
    at, scale, word = marks(last / unit, 8, binary=False)
    for mark in at:
        if mark * scale * unit <= last * 1.0001:
            x = x_of(mark * scale * unit)
            picture.line(x, bottom, x, bottom + 5)
            picture.text(x, bottom + 19, f"{mark:g}{word}", 11, anchor="middle")
    picture.line(left, bottom, right, bottom)
    picture.text((left + right) / 2, bottom + 40, f"{name} since the first snapshot", anchor="middle")


KINDS = {"map": plot_map, "classes": plot_classes, "ledger": plot_ledger, "timeline": plot_timeline}
