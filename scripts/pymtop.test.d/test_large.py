# SPDX-License-Identifier: GPL-2.0-only
"""Ten thousand arenas, in time."""

import os
import resource

from case import Case, DEMO, read, write

CPU_SECONDS = 1.0


class Large(Case):
    """10 000 arenas with some 600 000 pools."""

    ARENAS = 10000

    def setUp(self):
        super().setUp()
        seed = 1

        def below(n):
            nonlocal seed
            seed = (seed * 6364136223846793005 + 1442695040888963407) % (1 << 64)
            return (seed >> 33) % n

        letters = "0123456789abcdefghijklmnopqrstuvwxyz"
        arenas, pools, mapped, live = [], [], [], 0
        for arena in range(self.ARENAS):
            letter = letters[below(36)]
            size = (letters.index(letter) + 1) * 8
            capacity, used = 4096 // size, []
            if arena % 2:
                cells = [letter + "#"] * 64
                used = [capacity] * 64
            else:
                cells = []
                for _ in range(64):
                    blocks = 1 + below(capacity)
                    used.append(blocks)
                    cells.append(letter + ("#" if blocks == capacity else str(min(9, blocks * 10 // capacity))))
            live += sum(used)
            full = sum(blocks == capacity for blocks in used)
            arenas.append(f"big {arena} 4096 64 0 0 0 {64 - full} {full} {sum(used)}\n")
            mapped.append(f"big {arena} 4096 {''.join(cells)}\n")
            pools.append(f"big {arena} - {size} 4096 {capacity} 64 {sum(used)} {','.join(map(str, used))}\n")
        held = self.ARENAS * 64 * 4096
        terms = f"{held} 0 0 0 0 0 0 0"
        demo = {name: read(os.path.join(DEMO, name)).splitlines(True) for name in ("arenas", "map", "heaps", "classes")}
        head = {name: "".join(line for line in lines if line.startswith("#")) for name, lines in demo.items()}
        texts = {"arenas": head["arenas"] + "".join(arenas), "map": head["map"] + "".join(mapped),
                 "pools": self.POOLS + "".join(pools), "caches": read(os.path.join(DEMO, "caches")),
                 "classes": head["classes"] + f"big 64 640000 0 {live} 0 0 0 {live} 0 0{' 0' * 10}\n",
                 "heaps": head["heaps"].replace(" returns", "")
                 + f"big pages 0 {held} {held} {terms} {live} {self.ARENAS} 0 0 0" + (" pool\n" if " returns" in head["heaps"] else "\n"),
                 "stats": "# pymalloc stats 1\n" + "".join(
                     f"{name} {value}\n" for name, value in zip(
                         ("in_blocks", "rounding", "free_blocks", "virgin", "empty_pools", "metadata", "pass_through", "in_flight", "held",
                          "arenas", "live", "limit_hits", "failures", "refused"), (*terms.split(), held, self.ARENAS, live, 0, 0, 0)))}
        for name, text in texts.items():
            write(self.path(name), text)

    def seconds(self, *arguments):
        """User and system time of the whole command; the least of three, as other work warms and cools caches."""
        least = None
        for _ in range(3):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            out = self.prints("--from", self.directory, *arguments)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            least = spent if least is None else min(least, spent)
        print(f"  {self.ARENAS} arenas, {' '.join(arguments)}: {least:.2f} s of CPU time, {len(out.splitlines())} lines")
        return least, out

    def test_in_time(self):
        table, _ = self.seconds("-o")
        mapped, out = self.seconds("map")
        self.assertLess(table, CPU_SECONDS)
        self.assertLess(mapped, CPU_SECONDS)
        self.assertLess(len(out.splitlines()), 60)
        self.assertRegex(out, r"\d+ more arenas")
        # a whole picture of it is bounded, too
        self.prints("--from", self.directory, "plot", "-o", self.path("x.svg"), "map")
        self.assertLess(os.path.getsize(self.path("x.svg")), 4 << 20)

    def test_all_of_it(self):
        self.seconds("frag")
        self.prints("--from", self.directory, "check")
