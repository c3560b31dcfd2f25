# SPDX-License-Identifier: GPL-2.0-only
"""The pictures: their words and shapes."""

import os
import xml.etree.ElementTree

from case import Case, DEMO, SOAK, read


class Plots(Case):
    def outline(self, text):
        """The structure: words, and how many of each shape."""
        root = xml.etree.ElementTree.fromstring(text)
        counts, words = {}, []
        for element in root.iter():
            name = element.tag.split("}")[1]
            counts[name] = counts.get(name, 0) + 1
            if name in ("text", "desc") or (name == "title" and element in list(root)):
                words.append(element.text)
        return "".join(f"{name} {counts[name]}\n" for name in sorted(counts)) + "".join(f"| {word}\n" for word in words)

    def within(self, text):
        """Nothing that can be measured is outside of the paper."""
        root = xml.etree.ElementTree.fromstring(text)
        width, height = float(root.get("width")), float(root.get("height"))
        for element in root.iter():
            if element.tag.endswith("}text") or element.tag.endswith("}rect"):
                self.assertTrue(0 <= float(element.get("x", 0)) <= width and 0 <= float(element.get("y", 0)) <= height)
                self.assertGreaterEqual(float(element.get("width", 0)), 0)

    def draw(self, *arguments):
        path = self.path("x.svg")
        self.prints("plot", "-o", path, *arguments)
        text = read(path)
        self.within(text)
        self.assertIn("prefers-color-scheme: dark", text)
        return text

    def test_structure(self):
        for what in ("map", "classes", "ledger", "timeline"):
            text = self.draw("--from", SOAK, what)
            self.golden(f"plot-{what}.txt", self.outline(text))
            self.assertEqual(text, self.draw("--from", SOAK, what))

    def test_one_heap(self):
        for what in ("map", "classes", "ledger", "timeline"):
            self.assertIn("heap soak-pages", self.outline(self.draw("--from", SOAK, "--heap", "soak-pages", what)))

    def test_demo(self):
        for what in ("map", "classes", "ledger"):
            self.draw("--from", DEMO, what)

    def test_impossible(self):
        self.complains("--from", DEMO, "plot", "-o", self.path("x"), "timeline", about="more than one snapshot")
        self.complains("--from", f"{SOAK}@1", "plot", "-o", self.path("x"), "map", about="no arena")
        self.complains("--from", DEMO, "plot", "-o", self.path("none", "x"), "map", about="cannot be written")
        self.assertFalse(os.path.exists(self.path("x")))
