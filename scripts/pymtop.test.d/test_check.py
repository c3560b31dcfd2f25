# SPDX-License-Identifier: GPL-2.0-only
"""What pymtop check finds, and what no command can work with."""

import os

from case import Case, DEMO, SOAK, modules, pymtop, read, write


class Check(Case):
    def finds(self, change, what, source=DEMO):
        out = self.prints("--from", self.copy(change, source), "check", "-q", status=1)
        self.assertRegex(out, what)

    def test_well(self):
        self.golden("check.txt", self.prints("--from", DEMO, "check"))
        self.assertEqual(self.prints("--from", DEMO, "check", "-q"), "")

    def test_every_snapshot(self):
        for number in range(1, 10):
            self.prints("--from", f"{SOAK}@{number}", "check")

    def test_unbalanced_heap(self):
        out = self.prints("--from", self.copy({"heaps": lambda text: self.plus(text, "replay", 5, 1)}), "check", status=1)
        self.golden("check-unbalanced.txt", out)

    @staticmethod
    def plus(text, start, column, by):
        """One number of the row that begins so is another."""
        lines = text.split("\n")
        for number, line in enumerate(lines):
            if line.startswith(start):
                words = line.split()
                words[column] = str(int(words[column]) + by)
                lines[number] = " ".join(words)
                return "\n".join(lines)
        raise AssertionError(start)

    def test_each_term(self):
        for column in range(5, 13):
            self.finds({"heaps": lambda text, column=column: self.plus(text, "replay", column, 8)}, r"FAIL  exact  heap replay: .*\+8")
        for term in ("in_blocks", "virgin", "metadata", "held"):
            self.finds({"stats": lambda text, term=term: self.plus(text, term + " ", 1, 8)}, "FAIL  exact  stats: the eight terms")

    def test_rows(self):
        self.finds({"arenas": lambda text: self.plus(text, "replay", 6, 1)}, "FAIL  exact  arenas: heap replay, arena 0: .* pools by state")
        self.finds({"classes": lambda text: self.plus(text, "replay", 3, 900)}, "FAIL  exact  classes: replay:malloc-8")
        self.finds({"map": lambda text: text.replace("7#", "\"#", 1)}, "FAIL  exact  map: .* a pool that is no pool")

    def test_pools(self):
        directory = self.small("pool")
        self.prints("--from", directory, "check")
        for bad in ("3 68 64,3", "3 68 64,3,2", "3 132 65,64,3", "2 68 64,3,1"):
            self.finds({"pools": lambda text, bad=bad: text.replace("3 68 64,3,1", bad)}, "FAIL  exact  pools: heap h, arena 0, h:one", directory)

    def test_live_counts(self):
        """A copy says nothing about what happened while it was made; for debugfs itself that is counted."""
        ledger, source = modules("ledger", "source")
        many = self.copy({"stats": lambda text: self.plus(text, "live", 1, 900)})
        pools = self.copy({"arenas": lambda text: self.plus(text, "replay", 9, 9000)})
        for directory, what in ((many, "live blocks, all heaps"), (pools, "heap replay, live blocks in pools")):
            self.assertRegex(self.prints("--from", directory, "check"), f"note  about  {what}")
            for moved, ok in ((0, False), (899, directory == pools and None), (900, None)):
                found = [finding for finding in ledger.check(source.Directory(directory).look(), moved) if what in finding.text]
                self.assertEqual([finding.ok for finding in found], [ok], (what, moved))
        self.assertEqual({finding.ok for finding in ledger.check(source.Directory(DEMO).look(), 0)}, {True})

    def test_verify(self):
        self.finds({"verify": lambda text: text.replace("ok", "broken pool-count: replay arena 3")},
                   "FAIL  exact  verify: broken pool-count: replay arena 3")
        copy = self.copy()
        os.unlink(os.path.join(copy, "verify"))
        self.assertIn("not part of this one", self.prints("--from", copy, "check"))


class Trouble(Case):
    def test_truncated(self):
        for name in ("stats", "heaps", "caches", "classes", "arenas", "map"):
            self.complains("--from", self.copy({name: lambda text: text[:-7]}), "check", about=f"{name}")
            self.complains("--from", self.copy({name: lambda text: ""}), "check", about=f"{name} is empty")
        self.complains("--from", self.copy({"stats": lambda text: text[:text.index("metadata")]}), about="stats has no metadata")
        self.complains("--from", self.copy({"verify": lambda text: text.replace("ok\n", "")}), "check", about="verify says neither")

    def test_any_cut(self):
        """Wherever a file ends, there is a result or two lines, and never a traceback."""
        for name in ("stats", "heaps", "classes", "map"):
            text = read(os.path.join(DEMO, name))
            for at in range(0, len(text), max(1, len(text) // 7)):
                code, _, err = pymtop("--from", self.copy({name: lambda text, at=at: text[:at]}), "check", "-q")
                self.assertIn(code, (0, 1, 2))
                self.assertNotIn("Traceback", err)

    def test_version(self):
        self.complains("--from", self.copy({"map": lambda text: text.replace("map 1", "map 2")}), "map",
                       about="map has format version 2, and this pymtop knows 1")

    def test_odd_words(self):
        self.complains("--from", self.copy({"heaps": lambda text: text.replace(" 4096 ", " x ", 1)}), about="is \"x\", no number")
        self.complains("--from", self.copy({"arenas": lambda text: text + "replay 1 2\n"}), "frag", about="3 fields where 10 columns")
        self.complains("--from", self.copy({"map": lambda text: text + "replay 99 4096 7#7\n"}), "map", about="map, line")
        self.complains("--from", self.copy({"stats": lambda text: text + "live\n"}), about="not a name and a number")
        self.complains("--from", self.copy({"caches": lambda text: "hello\n"}), about="does not begin with")

    def test_nothing_there(self):
        self.complains("--from", self.path("none"), about="No such file")
        os.mkdir(self.path("empty"))
        self.complains("--from", self.path("empty"), about="none of pymalloc's files")
        copy = self.copy()
        os.unlink(os.path.join(copy, "classes"))
        self.complains("--from", copy, about="has no classes")
        self.complains("--from", os.path.join(DEMO, "stats"), about="one file of debugfs")
        write(self.path("text"), "hello\n")
        self.complains("--from", self.path("text"), about="no recording and no tar")
        write(self.path("nothing"), "")
        self.complains("--from", self.path("nothing"), about="is empty")

    def test_without_module(self):
        """This machine has no pymalloc: the module must never be loaded here."""
        if os.path.exists("/sys/kernel/debug/pymalloc"):
            self.skipTest("pymalloc is loaded")
        code, _, err = pymtop("-o")
        self.assertEqual(code, 2)
        self.assertRegex(err, "only root may|no debugfs|is not mounted|not loaded|there is no")

    def test_usage(self):
        for arguments in (("-s", "x"), ("-d", "0"), ("nonsense",), ("plot", "map"), ("plot", "-o", "x", "cake"), ("record",)):
            code, out, err = pymtop(*arguments)
            self.assertEqual((code, out), (2, ""), arguments)
            self.assertIn("usage:", err)

    def test_help(self):
        out = self.prints("--help")
        for key in "abclnopsuv":
            self.assertRegex(out, rf"(?m)^  {key}  \w")
        for command in ("map", "frag", "plot", "record", "replay", "diff", "check"):
            self.prints(command, "--help")
