# SPDX-License-Identifier: GPL-2.0-only
"""One look at the allocator: the files of debugfs, parsed when they are asked for.

A table has its columns in a line that begins with #; columns are found by their names, so
that a module that has more of them does no harm.
"""

from trouble import Trouble

VERSION = 1
# In the order in which they are read: what must agree is near to each other.
FILES = ("heaps", "stats", "caches", "classes", "arenas", "map", "pools", "verify")
NEEDED = ("heaps", "stats", "caches", "classes", "arenas", "map")
LEDGER = ("in_blocks", "rounding", "free_blocks", "virgin", "empty_pools", "metadata",
          "pass_through", "in_flight")
EVENTS = ("limit_hits", "failures", "refused")
TEXT_COLUMNS = frozenset(("heap", "provider", "cache", "flags", "returns", "blocks"))

# What debugfs.c calls class_letters, and sizeclass.h's sizes
LETTERS = ("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ@%"
           "!$&()+/:;<=>?[]^")
CACHE = "*"
FULLNESS = "0123456789#"
VIRGIN, EMPTY, ABSENT = "..", "--", "~~"


def class_size(letter):
    """Bytes of a block of the size class that has this letter in the map."""
    index = LETTERS.index(letter)
    if index < 64:
        return (index + 1) * 8
    doubling, step = divmod(index - 64, 8)
    return (8192 << doubling) // (15 - step) // 8 * 8


SIZES = {letter: class_size(letter) for letter in LETTERS}


class Snapshot:
    """The texts of the files by their names; read(name) gives one, or None."""

    def __init__(self, where, read, time=None):
        self.where = where
        self.time = time
        self._read = read
        self._texts = {}
        self._parsed = {}

    def text(self, name):
        if name not in self._texts:
            self._texts[name] = self._read(name)
        return self._texts[name]

    def lines(self, name):
        """Its lines without the first, which must say that it is what it should be."""
        text = self.text(name)
        if text is None:
            raise Trouble(f"{self.where}: there is no file {name}",
                          "a copy needs all files: cp -r /sys/kernel/debug/pymalloc <directory>")
        if not text:
            raise Trouble(f"{self.where}: {name} is empty",
                          "tar and the like take files of debugfs for empty: cp -r first, then pack the copy")
        if not text.endswith("\n"):
            raise Trouble(f"{self.where}: {name} is truncated: its last line has no end",
                          "copy it again: cp -r /sys/kernel/debug/pymalloc <directory>")
        lines = text.split("\n")
        lines.pop()
        word = lines[0].split()
        if word[:2] != ["#", "pymalloc"] or len(word) != 4 or word[2] != name:
            raise Trouble(f"{self.where}: {name} does not begin with \"# pymalloc {name} {VERSION}\"",
                          "it is no file of pymalloc's debugfs, or was changed; copy it again")
        if word[3] != str(VERSION):
            raise Trouble(f"{self.where}: {name} has format version {word[3]}, and this pymtop knows {VERSION}",
                          "use the pymtop that belongs to that pymalloc")
        return lines[1:]

    def broken(self, name, number, why):
        return Trouble(f"{self.where}: {name}, line {number}: {why}",
                       "the file is truncated or was changed; copy it again")

    def rows(self, name):
        """Its table, a dictionary for each row."""
        if name in self._parsed:
            return self._parsed[name]
        columns, rows = None, []
        for number, line in enumerate(self.lines(name), 2):
            if line.startswith("#"):
                if line.startswith("#heap"):
                    columns = line[1:].split()
                    converters = [str if column in TEXT_COLUMNS else int for column in columns]
                continue
            words = line.split()
            if columns is None:
                raise self.broken(name, number, "a row before the line that names the columns")
            if len(words) != len(columns):
                raise self.broken(name, number, f"{len(words)} fields where {len(columns)} columns are named")
            try:
                rows.append({column: convert(word) for column, word, convert in zip(columns, words, converters)})
            except ValueError:
                rows.append(self._total(name, number, columns, words))
        if columns is None:
            raise self.broken(name, 2, "no line names the columns")
        self._parsed[name] = rows
        return rows

    def _total(self, name, number, columns, words):
        """A row whose size is "total"; no other word may stand where a number should."""
        row = {}
        for column, word in zip(columns, words):
            if column in TEXT_COLUMNS or (column, word) == ("size", "total"):
                row[column] = word
            elif word.lstrip("-").isdigit():
                row[column] = int(word)
            else:
                raise self.broken(name, number, f"{column} is \"{word}\", no number")
        return row

    def stats(self):
        """Name and value, and the names of the kinds of misuse."""
        if "stats" not in self._parsed:
            values, misuse, section = {}, {}, ""
            for number, line in enumerate(self.lines("stats"), 2):
                if line.startswith("#"):
                    section = line
                    continue
                words = line.split()
                if len(words) != 2 or not words[1].lstrip("-").isdigit():
                    raise self.broken("stats", number, "not a name and a number")
                (misuse if "misuse" in section else values)[words[0]] = int(words[1])
            missing = [name for name in (*LEDGER, "held", "live", "arenas", *EVENTS) if name not in values]
            if missing:
                raise Trouble(f"{self.where}: stats has no {', '.join(missing)}",
                              "the file is truncated; copy it again")
            self._parsed["stats"] = values, misuse
        return self._parsed["stats"]

    def heaps(self):
        rows = self.rows("heaps")
        for row in rows:
            row.setdefault("returns", "pool")
        return rows

    def arena_map(self):
        """Heap, arena, bytes of a pool, and its pools, two characters each."""
        if "map" not in self._parsed:
            rows = []
            for number, line in enumerate(self.lines("map"), 2):
                if line.startswith("#"):
                    continue
                # A pool's characters may look like anything, but never like a space.
                words = line.split()
                if len(words) != 4 or len(words[3]) % 2 or not (words[1].isdigit() and words[2].isdigit()):
                    raise self.broken("map", number, "not a heap, an arena, a size and two characters for each pool")
                rows.append((words[0], int(words[1]), int(words[2]), words[3]))
            self._parsed["map"] = rows
        return self._parsed["map"]

    def pools(self):
        """The file pools, or None of a module that has none. blocks: text, see live_blocks()."""
        if self.text("pools") is None:
            return None
        return self.rows("pools")

    def verify(self):
        """What is broken, or None if the file is not there."""
        if self.text("verify") is None:
            return None
        lines = self.lines("verify")
        broken = [line for line in lines if line.startswith("broken ")]
        if not broken and "ok" not in lines:
            raise Trouble(f"{self.where}: verify says neither \"ok\" nor what is broken",
                          "the file is truncated; copy it again")
        return broken


def live_blocks(row):
    """The live blocks of each pool of a row of the file pools."""
    return [int(word) for word in row["blocks"].split(",")]


def owner(row):
    """How a row of caches, classes or pools is called: sessions, session:sessions, replay:malloc-64."""
    name = row.get("cache", "-")
    if name == "-":
        name = f"malloc-{row['size']}"
    return name if row["heap"] == "default" else f"{row['heap']}:{name}"
