# SPDX-License-Identifier: GPL-2.0-only
"""What frag, check and diff print."""

from form import BOLD, RED, human, share, signed, wrapped
from ledger import curve, measures, release_units
from snapshot import LEDGER

MEANING = {
    "in_blocks": "live blocks",
    "rounding": "alignment, pool tails",
    "free_blocks": "free blocks in used pools and fronts",
    "virgin": "never handed out",
    "empty_pools": "used before, free for any cache",
    "metadata": "descriptors, bitmaps, index",
    "pass_through": "large blocks, from the kernel",
    "in_flight": "being obtained or given back",
}


def pinned_by(pins, width):
    """Names with most blocks first, without their heap's; as many as fit, the others as a number."""
    names = [name.rpartition(":")[2] for name, _ in pins.most_common()]
    if not names:
        return "nothing"
    text = names[0]
    for number, name in enumerate(names[1:], 1):
        rest = f" +{len(names) - number}"
        if len(text) + len(name) + 1 + len(rest) > width:
            return text[:max(8, width - len(rest))] + rest
        text += " " + name
    return text[:max(8, width)]


def fragmentation(snapshot, screen, heap=None):
    """Lines: the ledger, the measures and the release curve."""
    values, _ = snapshot.stats()
    heaps = [row for row in snapshot.heaps() if heap is None or row["heap"] == heap]
    source = values if heap is None else heaps[0]
    held = source["held"]
    yield screen.paint(f"Where the {held} bytes held are", BOLD) + (f", heap {heap}" if heap else ", all heaps")
    for term in LEDGER:
        yield f"  {term:12} {source[term]:14}  {share(source[term], held):>7}  {MEANING[term]}"
    total = sum(source[term] for term in LEDGER)
    yield f"  {'held':12} {held:14}  {'balances' if total == held else f'UNBALANCED by {total - held:+d}'}"
    yield ""
    yield from _measures(snapshot, screen, heaps)
    yield from _release(snapshot, screen, heaps)


def _measures(snapshot, screen, heaps):
    yield screen.paint("Fragmentation", BOLD)
    yield f"  {'heap':18} {'internal':>9} {'pool':>9} {'arena excess':>14} {'blow-up':>8}"
    of = measures(snapshot)
    for row in heaps:
        found = of[row["heap"]]
        excess = f"{found.arenas - found.needed_arenas} of {found.arenas}"
        blowup = f"{found.held / found.in_use:.2f}" if found.in_use else "-"
        yield (f"  {row['heap'][:18]:18} {share(found.rounding, found.blocks):>9} {share(found.pool_free, found.pool_blocks):>9} "
               f"{excess:>14} {blowup:>8}")
    yield "  internal: rounding, of rounding and live blocks (what was asked for is not known)"
    yield "  pool: blocks of used pools that are not live; arena excess: arenas beyond the fewest"
    yield "  of them that would do for the pools in use; blow-up: held / (in_blocks + pass_through)"
    yield ""


def _release(snapshot, screen, heaps):
    units = release_units(snapshot)
    yield screen.paint("Release curve: free these blocks, the emptiest first, and that returns", BOLD)
    if snapshot.pools() is None:
        yield "  (there is no file pools: by whole arenas, and what is in them by the map)"
    idle = []
    for row in heaps:
        of = units.get(row["heap"], [])
        steps = curve(of)
        if not steps:
            idle.append(row["heap"])
            continue
        whole = row["returns"] == "arena"
        unit = "arenas" if whole or snapshot.pools() is None else "pools"
        total = sum(one.bytes * one.count for one in of)
        yield f"  heap {row['heap']}: " + ("only whole arenas go back" if whole else "an empty pool's pages go back alone")
        yield f"    {'blocks':>9} {'returns':>9} {'of pools':>9} {unit:>8}  pinned by, beyond the line above"
        for step in steps:
            yield (f"    {step.blocks:9} {human(step.bytes):>9} {share(step.bytes, total):>9} {step.units:8}  "
                   f"{pinned_by(step.pins, screen.width - 44)}")
    if idle:
        yield "  nothing can return: " + ", ".join(idle)
    yield "  (free blocks in fronts count as blocks here; idle fronts are emptied within a second)"


def checks(findings, screen, verbose=True):
    """Lines, and whether all is well."""
    lines, bad, notes = [], 0, 0
    for finding in findings:
        bad += finding.ok is False
        notes += finding.ok is None
        if verbose or finding.ok is False:
            word = "ok  " if finding.ok else "note" if finding.ok is None else screen.paint("FAIL", RED)
            lines.append(f"{word}  {'exact' if finding.exact else 'about'}  {finding.text}")
    if verbose:
        lines += ["", "exact: the module takes it as a whole, any difference is a fault. about: from files that",
                  "were read one after the other. note: a difference that is no proof of a fault."]
    lines.append(f"{bad} failed, {notes} to be noted" if bad or notes else "all is well")
    return lines, not bad


def differences(found, screen):
    """Lines of a diff: heaps, caches, arenas."""
    heaps, caches, arenas = found
    if not heaps and not caches and not arenas:
        yield "nothing has changed"
        return
    if heaps:
        yield screen.paint("heaps", BOLD)
        for name, what, delta in heaps:
            parts = [f"{column} {signed(value, human if column in LEDGER or column == 'held' else str)}"
                     for column, value in delta.items() if value]
            yield from wrapped(f"  {name}{' (' + what + ')' if what else ''}: ", parts or ["nothing in it"], screen.width)
    if caches:
        yield screen.paint("caches and size classes", BOLD)
        yield f"  {'live':>9} {'cached':>8} {'pools':>7} {'allocs':>10} {'frees':>10} {'failures':>9}  name"
        for name, what, delta in sorted(caches, key=lambda one: (-abs(one[2]["live"]), one[0])):
            yield (f"  {signed(delta['live']):>9} {signed(delta['cached']):>8} {signed(delta['pools']):>7} "
                   f"{signed(delta['allocs']):>10} {signed(delta['frees']):>10} {signed(delta['failures']):>9}  "
                   f"{name}{' (' + what + ')' if what else ''}")
    if arenas:
        yield screen.paint("arenas", BOLD)
        for heap in sorted({key[0] for key, _, _ in arenas}):
            mine = [(what, delta) for key, what, delta in arenas if key[0] == heap]
            new, gone = (sum(1 for what, _ in mine if what == word) for word in ("new", "gone"))
            parts = [f"{new} new", f"{gone} gone", f"{len(mine) - new - gone} changed"]
            parts += [f"{state} pools {signed(sum(delta[state] for _, delta in mine))}"
                      for state in ("absent", "virgin", "empty", "used", "full")]
            yield from wrapped(f"  {heap}: ", parts, screen.width)
