# SPDX-License-Identifier: GPL-2.0-only
"""The table, in a pipe."""

import os
import re

from case import Case, DEMO, SOAK, read


class Table(Case):
    def test_demo(self):
        self.golden("table.txt", self.prints("--from", DEMO, "-o"))

    def test_wide(self):
        out = self.prints("--from", DEMO, "--width", "160", "-s", "u")
        self.golden("table-wide.txt", out)

    def test_pipe_prints_once(self):
        self.assertEqual(self.prints("--from", DEMO), self.prints("--from", DEMO, "-o"))

    def test_width(self):
        for width in (40, 60, 80, 100, 132, 200):
            for line in self.prints("--from", SOAK, "--width", str(width)).splitlines():
                self.assertLessEqual(len(line), width)

    def test_columns_of_the_environment(self):
        self.assertEqual(self.prints("--from", DEMO, COLUMNS="100"), self.prints("--from", DEMO, "--width", "100"))

    def test_sort_keys(self):
        fields = {"a": 0, "s": 2, "l": 3}
        for key, field in fields.items():
            lines = self.prints("--from", SOAK, "-s", key).splitlines()
            values = [int(line.split()[field]) for line in lines[6:]]
            self.assertEqual(values, sorted(values, reverse=True), key)
        names = [line.split()[-1] for line in self.prints("--from", DEMO, "-s", "n").splitlines()[6:]]
        self.assertEqual(names, sorted(names))
        for key in "bcfopruvw":
            self.prints("--from", SOAK, "-s", key)

    def test_every_row(self):
        """Each cache and class of the snapshot is there."""
        classes = [line.split() for line in read(os.path.join(DEMO, "classes")).splitlines() if not line.startswith("#")]
        names = {f"{word[0]}:malloc-{word[1]}" for word in classes if word[1] != "total"}
        shown = {line.split()[-1] for line in self.prints("--from", DEMO, "--width", "120").splitlines()[6:]}
        self.assertEqual(shown, names)

    def test_no_color_in_a_pipe(self):
        for arguments in ((), ("map",), ("frag",), ("check",)):
            self.assertNotIn("\033", self.prints("--from", SOAK, *arguments))
        self.assertIn("\033", self.prints("--from", SOAK, "map", "--color=always"))

    def test_ascii(self):
        for arguments in (("--width", "160"), ("map",), ("map", "--color=always"), ("frag",)):
            self.assertTrue(self.prints("--from", DEMO, "--ascii", *arguments).isascii())
        for locale in ({"LC_ALL": "C"}, {"LC_ALL": "", "LANG": "C"}, {"LC_ALL": ""}, {"PYTHONIOENCODING": "ascii"}):
            self.assertTrue(self.prints("--from", DEMO, "map", **locale).isascii(), locale)
        self.assertFalse(self.prints("--from", DEMO, "map", LC_ALL="", LANG="de_DE.utf8").isascii())

    def test_limits_and_misuse(self):
        copy = self.copy({
            "stats": lambda text: re.sub(r"(double-free +)0", r"\g<1>7", re.sub(r"(limit_hits +)0", r"\g<1>3", text)),
            "heaps": lambda text: re.sub(r"(replay +pages +)      0", r"\g<1>9999999", text)})
        lines = self.prints("--from", copy).splitlines()
        self.assertRegex(lines[2], r"limits: replay at \d+% of 9.5M; hit 3 times; requests failed: 0")
        self.assertEqual(lines[3], "misuse: double-free 7")

    def test_new_columns_do_no_harm(self):
        def add(text):
            return "".join(line + (" more" if line.startswith("#heap") else "" if line.startswith("#") else " 17") + "\n"
                           for line in text.splitlines())
        self.assertEqual(self.prints("--from", self.copy({"arenas": add, "classes": add}), "frag"), self.prints("--from", DEMO, "frag"))

    def test_nothing_in_use(self):
        for arguments in ((), ("map",), ("frag",), ("check",)):
            self.prints("--from", f"{SOAK}@1", *arguments)
