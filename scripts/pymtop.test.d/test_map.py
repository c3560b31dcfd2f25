# SPDX-License-Identifier: GPL-2.0-only
"""The map, and fragmentation."""

import collections
import os
import re
import shutil

from case import Case, DEMO, SOAK, modules, read, write


class Map(Case):
    def test_demo(self):
        self.golden("map.txt", self.prints("--from", DEMO, "map"))

    def test_ascii_color(self):
        self.golden("map-ascii.txt", self.prints("--from", DEMO, "map", "--ascii"))
        self.golden("map-color.txt", self.prints("--from", DEMO, "map", "--color=always"))

    def test_class(self):
        out = self.prints("--from", DEMO, "map", "--class", "64", "--ascii")
        self.golden("map-class.txt", out)
        self.assertNotIn("caches", out)
        self.assertIn("* a cache", self.prints("--from", SOAK, "map", "--class", "cache", "--heap", "soak-pages"))

    def test_condensed(self):
        """All arenas are shown or counted, and --all shows all."""
        out = self.prints("--from", SOAK, "map")
        self.assertLess(len(out.splitlines()), 60)
        total, hidden = int(out.split()[0]), int(re.search(r"(?m)^(\d+) more arenas", out).group(1))

        def shown(text):
            of = re.findall(r"(?m)^ +\d+ +\d+K (?:.*?)(?: \+(\d+))?$(?!\n +[^\d\n])", text)
            lines = re.split(r"(?m)^arena|^ arena", text)[1:]
            return sum(len(re.findall(r"(?m)^ {0,6}\d+ +\d+K", part)) for part in lines) + \
                sum(int(n) for n in re.findall(r"(?m) \+(\d+)$", text)), of
        self.assertEqual(shown(out)[0] + hidden, total)
        everything = self.prints("--from", SOAK, "map", "--all")
        self.assertEqual(shown(everything)[0], total)

    def test_most_informative(self):
        """None that is left out has more pools that are partly used than one that is shown."""
        heapmap, source = modules("heapmap", "source")
        of = heapmap.groups(source.open_source(SOAK).look().arena_map())
        shown, left = heapmap.choose(of, 20, 64)

        def partly(group):
            return sum(fullness.isdigit() for fullness in group.cells[1::2])
        self.assertEqual((len(shown), len(left)), (20, len(of) - 20))
        self.assertGreaterEqual(min(map(partly, shown)), max(map(partly, left)))

    def test_width(self):
        for width in (40, 80, 120):
            for color in ("always", "never"):
                out = self.prints("--from", SOAK, "map", "--all", "--width", str(width), "--color", color)
                for line in re.sub("\033\\[[0-9;]*m", "", out).splitlines():
                    self.assertLessEqual(len(line), max(width, 71), line)

    def test_bad_requests(self):
        self.complains("--from", DEMO, "map", "--class", "65", about="no such size class")
        self.complains("--from", DEMO, "map", "--class", "many", about="no such size class")
        self.complains("--from", DEMO, "map", "--heap", "nobody", about="there is no heap nobody")


class Fragmentation(Case):

    def curve(self, text):
        return [tuple(line.split()[:2]) for line in text.split("Release curve")[1].splitlines() if re.match(r" +\d+ ", line)]

    def test_curve_of_pools(self):
        out = self.prints("--from", self.small("pool"), "frag")
        self.golden("frag-pools.txt", out)
        # 3 pools are free; then those with 1, 1, 3, 59 and 64 live blocks
        self.assertEqual(self.curve(out), [("0", "12K"), ("1", "16K"), ("2", "20K"), ("5", "24K"), ("64", "28K"), ("128", "32K")])

    def test_curve_of_arenas(self):
        out = self.prints("--from", self.small("arena"), "frag")
        self.golden("frag-arenas.txt", out)
        self.assertEqual(self.curve(out), [("59", "16K"), ("128", "32K")])

    def test_without_pools(self):
        directory = self.small("pool")
        os.unlink(os.path.join(directory, "pools"))
        out = self.prints("--from", directory, "frag")
        self.assertIn("there is no file pools", out)
        self.assertEqual(self.curve(out), [("59", "16K"), ("128", "32K")])

    def test_column_returns_absent(self):
        directory = self.small("pool")
        path = os.path.join(directory, "heaps")
        write(path, read(path).replace(" returns", "").replace(" 0 pool\n", " 0\n"))
        out = self.prints("--from", directory, "frag")
        self.assertEqual(out, self.prints("--from", self.again("pool"), "frag"))

    def again(self, returns):
        shutil.rmtree(self.path(returns))
        return self.small(returns)

    def test_all_comes_back(self):
        """The curve ends with every live block freed and every byte of every arena back."""
        out = self.prints("--from", DEMO, "frag", "--heap", "replay")
        held = sum((int(word[3]) - int(word[4])) * int(word[2]) for word in
                   (line.split() for line in read(os.path.join(DEMO, "arenas")).splitlines() if not line.startswith("#")))
        live = sum(int(line.split()[9]) for line in read(os.path.join(DEMO, "arenas")).splitlines() if not line.startswith("#"))
        last = self.curve(out)[-1]
        self.assertEqual(last[0], str(live))
        self.assertIn(f"{held / 2 ** 20:.1f}M", last[1])

    def test_whole_curve(self):
        """With every block freed every pool is back, whether pools or arenas come back."""
        ledger, source = modules("ledger", "source")
        kinds = set()
        for number in (4, 5, 8, 9):    # at rest: their files are of one moment
            snapshot = source.open_source(f"{SOAK}@{number}").look()
            live, size = collections.Counter(), collections.Counter()
            for row in snapshot.rows("arenas"):
                size[row["heap"]] += (row["pools"] - row["absent"]) * row["poolsize"]
            for row in snapshot.pools():
                live[row["heap"]] += row["live"]
            units = ledger.release_units(snapshot)
            for row in snapshot.heaps():
                steps = ledger.curve(units.get(row["heap"], []))
                if steps:
                    kinds.add(row["returns"])
                    self.assertEqual(steps[-1][:2], (live[row["heap"]], size[row["heap"]]))
                    self.assertLessEqual(len(steps), 12)
                    self.assertEqual([step[:2] for step in steps], sorted(step[:2] for step in steps))
                    self.assertLessEqual(sum(sum(step.pins.values()) for step in steps), live[row["heap"]])
        self.assertEqual(kinds, {"pool", "arena"})

    def test_demo(self):
        self.golden("frag.txt", self.prints("--from", DEMO, "frag"))
        self.golden("frag-soak.txt", self.prints("--from", f"{SOAK}@4", "frag"))
