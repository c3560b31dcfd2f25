# SPDX-License-Identifier: GPL-2.0-only
"""Is the account right, what is lost to fragmentation, and what would come back."""

import collections

from snapshot import CACHE, FULLNESS, LEDGER, LETTERS, SIZES, live_blocks, owner

# ---------------------------------------------------------------- check

# ok: None if it cannot be told
Finding = collections.namedtuple("Finding", "ok exact text")


def _ledgers(snapshot):
    """A ledger is taken as a whole by the module: these must balance to the byte, always."""
    values, _ = snapshot.stats()
    entries = [(f"heap {row['heap']}", row) for row in snapshot.heaps()] + [("stats", values)]
    for name, row in entries:
        total = sum(row[term] for term in LEDGER)
        yield Finding(total == row["held"], True, f"{name}: the eight terms sum to {total}, held is {row['held']}"
                      + (f", {total - row['held']:+d}" if total != row["held"] else ""))
        negative = [term for term in LEDGER if row[term] < 0]
        if negative:
            yield Finding(False, True, f"{name}: {', '.join(negative)} below 0")
        if row.get("high", row["held"]) < row["held"]:
            yield Finding(False, True, f"{name}: high is {row['high']}, less than held, {row['held']}")


def _rows(snapshot):
    """A row is copied under a lock: what it says of itself must be so, always."""
    bad = []
    for row in snapshot.rows("arenas"):
        states = row["absent"] + row["virgin"] + row["empty"] + row["used"] + row["full"]
        if states != row["pools"]:
            bad.append(f"arenas: heap {row['heap']}, arena {row['arena']}: {states} pools by state, {row['pools']} in all")
    good = set(LETTERS + CACHE)
    for heap, arena, _, cells in snapshot.arena_map():
        odd = set(cells[0::2]) - good
        if not odd <= set(".-~") or not set(cells[1::2]) <= set(FULLNESS + ".-~"):
            bad.append(f"map: heap {heap}, arena {arena}: a pool that is no pool: {''.join(sorted(odd))}")
    for name in ("caches", "classes"):
        for row in snapshot.rows(name):
            if row["full"] > row["pools"]:
                bad.append(f"{name}: {owner(row)}: {row['full']} of {row['pools']} pools are full")
    for row in snapshot.pools() or ():
        live = live_blocks(row)
        if len(live) != row["pools"] or sum(live) != row["live"] or max(live) > row["capacity"]:
            bad.append(f"pools: heap {row['heap']}, arena {row['arena']}, {owner(row)}: {row['pools']} pools with "
                       f"{row['live']} live blocks of at most {row['capacity']}, but listed are {row['blocks']}")
    count = sum(len(snapshot.rows(name)) for name in ("arenas", "caches", "classes")) + len(snapshot.arena_map())
    count += len(snapshot.pools() or ())
    if not bad:
        yield Finding(True, True, f"{count} rows of arenas, map, caches, classes"
                      + (", pools" if snapshot.pools() is not None else "") + " agree with themselves")
    for text in bad:
        yield Finding(False, True, text)


def counts_by_heap(snapshot):
    """Blocks by heap: live to their users; and in pools, where those in fronts count as live."""
    users, pools = collections.Counter(), collections.Counter()
    for row in snapshot.rows("caches") + [row for row in snapshot.rows("classes") if row["size"] != "total"]:
        users[row["heap"]] += row["live"]
        pools[row["heap"]] += row["live"] + row["cached"]
    return users, pools


def _across(snapshot, moved):
    """Between files, which are read one after the other: moved is what happened meanwhile, if known."""
    values, _ = snapshot.stats()
    users, in_pools = counts_by_heap(snapshot)
    by_arena, by_pool, arenas, mapped = (collections.Counter() for _ in range(4))
    for row in snapshot.rows("arenas"):
        by_arena[row["heap"]] += row["live"]
        arenas[row["heap"]] += 1
    for heap, _, _, _ in snapshot.arena_map():
        mapped[heap] += 1
    for row in snapshot.pools() or ():
        by_pool[row["heap"]] += row["live"]
    large = values.get("pass_through_live", 0)
    blocks = [("live blocks, all heaps", values["live"], "stats", sum(users.values()) + large,
               "caches, classes and pass_through_live")]
    numbers = []
    for row in snapshot.heaps():
        heap = row["heap"]
        blocks.append((f"heap {heap}, live blocks in pools", by_arena[heap], "arenas", in_pools[heap],
                       "caches and classes with fronts"))
        numbers.append((f"heap {heap}, arenas", row["arenas"], "heaps", arenas[heap], "arenas"))
        numbers.append((f"heap {heap}, arenas", arenas[heap], "arenas", mapped[heap], "map"))
        if snapshot.pools() is not None:
            blocks.append((f"heap {heap}, live blocks in pools", by_arena[heap], "arenas", by_pool[heap], "pools"))
    fronts = sum(row["cached"] for row in snapshot.rows("caches") + snapshot.rows("classes") if row["size"] != "total")
    for pair in blocks:
        # A front takes and gives up to 64 blocks at once, and is emptied when it is idle.
        allowed = moved if "pools" not in pair[0] or moved is None else 64 * moved + fronts
        yield _apart(pair, allowed)
    for pair in numbers:
        # Arenas come and go by themselves, too: an empty one with each block that is freed.
        yield _apart(pair, None)


def _apart(pair, allowed):
    what, one, where, other, elsewhere = pair
    if one == other:
        return Finding(True, False, f"{what}: {one} in {where} and in {elsewhere}")
    text = f"{what}: {one} in {where}, {other} in {elsewhere}"
    if where == "arenas" and elsewhere.startswith("caches") and other > one:
        return Finding(None, False, text + "; guarded ones are in no pool")
    if allowed is None:
        return Finding(None, False, text + "; of two moments, if the system was at work")
    if abs(one - other) <= allowed:
        return Finding(None, False, text + f"; up to {allowed} may have come and gone in between")
    return Finding(False, False, text + f"; but only {allowed} can have come or gone in between")


def _verify(snapshot):
    broken = snapshot.verify()
    if broken is None:
        yield Finding(None, False, "verify was not copied or recorded: the module's own check is not part of this one")
    elif broken:
        for line in broken:
            yield Finding(False, True, f"verify: {line}")
    else:
        yield Finding(True, True, "verify: ok")


def operations(snapshot):
    """How many allocations and frees there were so far, by cache and class."""
    return {(name, row["heap"], row.get("cache"), row["size"]): row["allocs"] + row["frees"]
            for name in ("caches", "classes") for row in snapshot.rows(name) if row["size"] != "total"}


def check(snapshot, moved=None):
    """Findings. moved: allocations and frees while the files were read, None if not known."""
    for part in (_ledgers(snapshot), _rows(snapshot), _verify(snapshot), _across(snapshot, moved)):
        yield from part


# ---------------------------------------------------------------- fragmentation

Measures = collections.namedtuple("Measures", "rounding blocks pool_free pool_blocks arenas needed_arenas held in_use")


def fewest_arenas(arenas):
    """How many of the arenas of a heap would do for the pools that are used, the largest first."""
    sizes, used = collections.defaultdict(list), collections.Counter()
    for row in arenas:
        sizes[row["poolsize"]].append(row["pools"])
        used[row["poolsize"]] += row["used"] + row["full"]
    needed = 0
    for poolsize, of in sizes.items():
        left = used[poolsize]
        for pools in sorted(of, reverse=True):
            if left <= 0:
                break
            left -= pools
            needed += 1
    return needed


def measures(snapshot):
    """The named measures of each heap."""
    free, blocks, arenas = collections.Counter(), collections.Counter(), collections.defaultdict(list)
    for row in snapshot.rows("caches") + [row for row in snapshot.rows("classes") if row["size"] != "total"]:
        unused = row["cached"] + row["free"] + row["virgin"]
        free[row["heap"]] += unused
        blocks[row["heap"]] += unused + row["live"]
    for row in snapshot.rows("arenas"):
        arenas[row["heap"]].append(row)
    return {row["heap"]: Measures(row["rounding"], row["in_blocks"] + row["rounding"], free[row["heap"]], blocks[row["heap"]],
                                  len(arenas[row["heap"]]), fewest_arenas(arenas[row["heap"]]), row["held"],
                                  row["in_blocks"] + row["pass_through"])
            for row in snapshot.heaps()}


# ---------------------------------------------------------------- what would come back

# So many that are alike come back one by one, each when its blocks are free; pins: whose these are.
Unit = collections.namedtuple("Unit", "blocks bytes pins count")
# Up to here: blocks freed, bytes and units that were used returned. pins: beyond the step before
Step = collections.namedtuple("Step", "blocks bytes units pins")


def _units_of_pools(snapshot):
    """What comes back as one: by heap, a pool, or an arena where only that comes back."""
    whole = {row["heap"] for row in snapshot.heaps() if row["returns"] == "arena"}
    alike, pinned = collections.Counter(), collections.defaultdict(collections.Counter)
    units = collections.defaultdict(list)
    for row in snapshot.pools():
        if row["heap"] in whole:
            pinned[row["heap"], row["arena"]][owner(row)] += row["live"]
            continue
        for live, count in collections.Counter(row["blocks"].split(",")).items():
            alike[row["heap"], int(live), row["poolsize"], owner(row)] += count
    for (heap, live, size, name), count in alike.items():
        units[heap].append(Unit(live, size, {name: live}, count))
    for row in snapshot.rows("arenas"):
        size = row["poolsize"]
        if row["heap"] in whole:
            pins = pinned[row["heap"], row["arena"]]
            units[row["heap"]].append(Unit(sum(pins.values()), (row["pools"] - row["absent"]) * size, pins, 1))
        elif row["virgin"] + row["empty"]:
            units[row["heap"]].append(Unit(0, size, {}, row["virgin"] + row["empty"]))
    return units


def _units_of_arenas(snapshot):
    """The same of a module without the file pools: arenas, and what the map says is in them."""
    inside = {}
    for heap, arena, _, cells in snapshot.arena_map():
        inside[heap, arena] = set(cells[0::2]) - set(".-~")
    units = collections.defaultdict(list)
    for row in snapshot.rows("arenas"):
        names = [("caches" if letter == CACHE else owner({"heap": row["heap"], "size": SIZES[letter]}))
                 for letter in sorted(inside.get((row["heap"], row["arena"]), ()))]
        units[row["heap"]].append(Unit(row["live"], (row["pools"] - row["absent"]) * row["poolsize"],
                                       dict.fromkeys(names, 1 if row["live"] else 0), 1))
    return units


def release_units(snapshot):
    """Units by heap, those first that give most bytes for a block."""
    units = _units_of_arenas(snapshot) if snapshot.pools() is None else _units_of_pools(snapshot)
    for of in units.values():
        of.sort(key=lambda unit: (unit.blocks / unit.bytes if unit.bytes else 0, unit.blocks, sorted(unit.pins)))
    return units


def curve(units, steps=12):
    """Steps at some ten numbers of blocks, as far apart as can be seen, from none to all."""
    total = sum(unit.blocks * unit.count for unit in units)
    marks = [0] + [digit * 10 ** power for power in range(len(str(total))) for digit in (1, 2, 5)
                   if digit * 10 ** power < total] + [total]
    # When there are too many, leave out some that are not the first or last.
    while len(marks) > steps:
        marks = marks[:2] + marks[3:-1:2] + marks[-1:]
    out, blocks, returned, used = [], 0, 0, 0
    rest = collections.deque(units)
    for mark in marks:
        pins, before = collections.Counter(), returned
        while rest:
            unit = rest.popleft()
            count = min(unit.count, (mark - blocks) // unit.blocks) if unit.blocks else unit.count
            blocks += unit.blocks * count
            returned += unit.bytes * count
            used += count if unit.pins else 0
            for name, its in unit.pins.items():
                if count:
                    pins[name] += its * count
            if count < unit.count:
                rest.appendleft(unit._replace(count=unit.count - count))
                break
        if returned > before:
            out.append(Step(blocks, returned, used, pins))
    return out


# ---------------------------------------------------------------- what has changed

def _changed(old, new, columns):
    """By key: what was added, what is gone, and by how much the columns of others differ."""
    for key in sorted(set(old) | set(new), key=str):
        before, after = old.get(key), new.get(key)
        delta = {column: (after or {}).get(column, 0) - (before or {}).get(column, 0) for column in columns}
        if before is None or after is None or any(delta.values()):
            yield key, "new" if before is None else "gone" if after is None else "", delta


def diff(old, new):
    """What differs in the ledger of heaps, in caches and classes, in arenas."""
    def heaps(snapshot):
        return {row["heap"]: row for row in snapshot.heaps()}

    def caches(snapshot):
        return {owner(row): row for name in ("caches", "classes") for row in snapshot.rows(name) if row["size"] != "total"}

    def arenas(snapshot):
        return {(row["heap"], row["arena"]): row for row in snapshot.rows("arenas")}

    return (list(_changed(heaps(old), heaps(new), (*LEDGER, "held", "live", "arenas", "limit_hits", "failures", "refused"))),
            list(_changed(caches(old), caches(new), ("live", "cached", "pools", "allocs", "frees", "failures"))),
            list(_changed(arenas(old), arenas(new), ("absent", "virgin", "empty", "used", "full", "live"))))
