# SPDX-License-Identifier: GPL-2.0-only
"""The table of caches and size classes, with a summary on top, as slabtop has it."""

import collections

from form import BOLD, INVERSE, RED, YELLOW, human
from snapshot import LEDGER, owner

BARS = " ▁▂▃▄▅▆▇█"
ASCII_BARS = " .:-=+*%#"

# key: of slabtop where it has a meaning here; what -h says of it; the field of a row
SORTS = {
    "a": ("blocks that are live (active objects)", "live"),
    "b": ("blocks in a pool (objects per slab)", "capacity"),
    "c": ("bytes of its pools (cache size); what is shown without -s", "held"),
    "f": ("requests that failed", "failures"),
    "l": ("pools (slabs)", "pools"),
    "n": ("name", "name"),
    "o": ("blocks, live and free (objects)", "blocks"),
    "p": ("bytes of a pool (pages per slab)", "poolsize"),
    "r": ("allocations a second", "rate"),
    "s": ("bytes of a block (object size)", "size"),
    "u": ("live blocks of all blocks (utilization)", "use"),
    "v": ("pools that are full (slabtop: active slabs)", "full"),
    "w": ("waste: bytes of its pools that are in no live block", "waste"),
}

# Short names of the ledger's terms: all eight fit 80 columns with their shares.
PARTS = dict(zip(LEDGER, ("live", "round", "free", "virgin", "empty", "meta", "pass", "flight")))

Column = collections.namedtuple("Column", "title width show")


def number(field):
    return lambda row, _: str(row[field])


# The first ones are in every table; the others as far as the width goes, in this order.
COLUMNS = (
    Column("LIVE", 8, number("live")),
    Column("USE", 4, lambda row, _: f"{row['use']:.0%}" if row["blocks"] else "-"),
    Column("SIZE", 5, number("size")),
    Column("POOLS", 6, number("pools")),
    Column("PER", 4, lambda row, _: str(row["capacity"]) if row["pools"] else "-"),
    Column("HELD", 6, lambda row, _: human(row["held"])),
    Column("WASTE", 6, lambda row, _: human(row["waste"])),
    Column("ALLOC/s", 7, lambda row, _: human(round(row["rate"])) if row["rate"] is not None else "-"),
)
MORE = (
    Column("FULLNESS", 10, lambda row, screen: fullness(row["deciles"], screen)),
    Column("FULL", 6, number("full")),
    Column("BLOCKS", 8, number("blocks")),
    Column("CACHED", 7, number("cached")),
    Column("FAIL", 6, number("failures")),
    Column("FREE", 7, number("free")),
    Column("VIRGIN", 7, number("virgin")),
    Column("ALLOCS", 12, number("allocs")),
)
NAME_WIDTH = 26


def fullness(deciles, screen):
    """How many pools are in each tenth, 0..9 to 90..100 %, as heights."""
    if not deciles or not any(deciles):
        return " " * 10
    bars = BARS if screen.unicode else ASCII_BARS
    top = max(deciles)
    return "".join(bars[0 if not n else 1 + n * (len(bars) - 2) // top] for n in deciles)


def pool_size(capacity, size):
    """Bytes of a class's pool, where its table does not say: the power of two that so many blocks need."""
    need = max(capacity * size, 8 * size, 4096)
    return 1 << (need - 1).bit_length()


def rows(snapshot, before=None):
    """One for each cache and size class; before gives the rates."""
    out = []
    earlier = {}
    seconds = 0
    if before is not None and snapshot.time is not None and before.time is not None:
        seconds = snapshot.time - before.time
        earlier = {owner(row): row["allocs"] for name in ("caches", "classes") for row in before.rows(name)}
    for table in ("caches", "classes"):
        for row in snapshot.rows(table):
            if row["size"] == "total":
                continue
            new = dict(row, name=owner(row), deciles=None)
            new["blocks"] = row["live"] + row["cached"] + row["free"] + row["virgin"]
            if table == "classes":
                if "poolsize" not in row:
                    new["capacity"] = -(-new["blocks"] // row["pools"]) if row["pools"] else 0
                    new["poolsize"] = pool_size(new["capacity"], row["size"])
                new["deciles"] = [row[f">={tenth}0%" if tenth else ">=0%"] for tenth in range(10)]
            new["held"] = row["pools"] * new["poolsize"]
            new["waste"] = max(0, new["held"] - row["live"] * row["size"])
            new["use"] = min(1.0, row["live"] / new["blocks"]) if new["blocks"] else 0.0
            known = seconds > 0 and new["name"] in earlier
            new["rate"] = (row["allocs"] - earlier[new["name"]]) / seconds if known else None
            out.append(new)
    return out


def ordered(of, key):
    field = SORTS[key][1]
    if field == "name":
        return sorted(of, key=lambda row: row["name"])
    return sorted(of, key=lambda row: (-(row[field] or 0), row["name"]))


def columns_for(width):
    """As many as fit beside the name."""
    chosen = list(COLUMNS)
    left = width - sum(column.width + 1 for column in chosen) - NAME_WIDTH
    for column in MORE:
        if left < column.width + 1:
            break
        chosen.append(column)
        left -= column.width + 1
    while len(chosen) > 2 and sum(column.width + 1 for column in chosen) + 8 > width:
        chosen.pop()
    return chosen


def summary(snapshot, screen):
    """What is held, for what; and what went wrong, if anything did."""
    values, misuse = snapshot.stats()
    held, width = values["held"], screen.width
    limits = [row for row in snapshot.heaps() if row["limit"]]
    lines = [f"pymalloc: {human(held)} held in {values['arenas']} arenas, {values['live']} live blocks, "
             f"{len(snapshot.heaps())} heaps, {len(snapshot.rows('caches'))} caches"]
    parts = [f"{PARTS[name]} {values[name] / held:.0%}" for name in LEDGER if values[name]] if held else []
    lines.append("held: " + ("  ".join(parts) or "nothing"))
    if limits:
        nearest = max(limits, key=lambda row: row["held"] / row["limit"])
        limit = f"limits: {nearest['heap']} at {nearest['held'] / nearest['limit']:.0%} of {human(nearest['limit'])}"
        if len(limits) > 1:
            limit += f" and {len(limits) - 1} more"
    else:
        limit = "limits: none"
    lines.append(f"{limit}; hit {values['limit_hits']} times; requests failed: {values['failures']}")
    kinds = [f"{name} {count}" for name, count in misuse.items() if count]
    lines.append("misuse: " + (", ".join(kinds) if kinds else "no report"))
    colors = [BOLD, "", YELLOW if values["limit_hits"] or values["failures"] else "", RED if kinds else ""]
    return [screen.paint(line[:width], color) for line, color in zip(lines, colors)]


def shortened(name, width, screen):
    """What tells it from others is its end; the heap's name is cut first."""
    if len(name) <= width:
        return name
    mark = "…" if screen.unicode else "~"
    heap, colon, own = name.rpartition(":")
    if colon and len(own) + 2 <= width:
        return heap[:width - len(own) - 2] + mark + ":" + own
    return mark + name[len(name) - width + 1:]


def table(snapshot, screen, key="c", before=None, first=0, most=None):
    """Lines, the summary included. Rows from the first, as many as most; all for None."""
    chosen = columns_for(screen.width)
    width = sum(column.width + 1 for column in chosen)
    head = " ".join(column.title.rjust(column.width) for column in chosen) + " NAME"
    lines = summary(snapshot, screen)
    lines += ["", screen.paint(head.ljust(screen.width)[:screen.width], INVERSE) if screen.color else head]
    of = ordered(rows(snapshot, before), key)
    for row in of[first:None if most is None else first + most]:
        text = " ".join(column.show(row, screen).rjust(column.width) for column in chosen)
        lines.append(f"{text} {shortened(row['name'], max(8, screen.width - width), screen)}")
    if not of:
        lines.append("(no cache and no size class is in use)")
    return lines, len(of)


def one_line(snapshot, number, when):
    """A snapshot of a recording, in a pipe."""
    values, misuse = snapshot.stats()
    return (f"{number:5} {when} {values['held']:13} {values['in_blocks']:13} {values['pass_through']:12} {values['arenas']:7} "
            f"{values['live']:10} {values['limit_hits']:10} {values['failures']:9} {sum(misuse.values()):7}")


ONE_LINE_HEAD = (f"#{'n':>4} {'time':19} {'held':>13} {'in_blocks':>13} {'pass_through':>12} {'arenas':>7} {'live':>10} "
                 f"{'limit_hits':>10} {'failures':>9} {'misuse':>7}")
