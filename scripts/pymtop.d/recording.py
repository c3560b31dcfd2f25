# SPDX-License-Identifier: GPL-2.0-only
"""Recordings: snapshots one after the other in a text file, each but the first as changes."""

import os

from snapshot import FILES, Snapshot
from trouble import Trouble

MAGIC = "# pymalloc recording"
HEAD = f"""{MAGIC} 1
# "snapshot <seconds since 1970> full|changes", then for each file of debugfs "file <name>" and
# how its lines come from those of the snapshot before (none, if it is full), first to last:
#   =N      the next N lines are as they were
#   -N      the next N lines are gone
#   +TEXT   this line is new
# and "end". A snapshot without an end was not written to the end and does not count.
"""


def differences(old, new):
    """Lists of lines. In the order of the lines: those of tables have names, which rarely repeat."""
    position = {}
    for number, line in enumerate(old):
        position.setdefault(line, number)
    at, same, out = 0, 0, []

    def flush():
        nonlocal same
        if same:
            out.append(f"={same}")
            same = 0

    for line in new:
        found = at if at < len(old) and old[at] == line else position.get(line, -1)
        if found < at:
            flush()
            out.append("+" + line)
            continue
        if found > at:
            flush()
            out.append(f"-{found - at}")
        same += 1
        at = found + 1
    flush()
    return out


class Writer:
    """Appends to a file, that may be there already."""

    def __init__(self, path):
        self.path = path
        self.before = None
        try:
            self.file = open(path, "a+", encoding="ascii", errors="replace", newline="\n")
            self.file.seek(0)
            head = self.file.read(len(MAGIC) + 3)
            size = self.file.seek(0, os.SEEK_END)
            if size:
                check_head(path, head)
                with open(path, "rb") as tail:
                    tail.seek(-1, os.SEEK_END)
                    if tail.read() != b"\n":
                        self.file.write("\n")
            else:
                self.file.write(HEAD)
        except OSError as error:
            raise Trouble(f"{path} cannot be written: {error.strerror}", "name another file") from None

    def add(self, snapshot, names):
        texts = {name: snapshot.text(name) for name in names}
        out = [f"snapshot {snapshot.time:.3f} {'changes' if self.before else 'full'}"]
        for name in names:
            if texts[name] is None:
                continue
            snapshot.lines(name)
            lines = texts[name].split("\n")[:-1]
            out.append(f"file {name}")
            out += differences((self.before or {}).get(name, []), lines)
            texts[name] = lines
        out.append("end\n")
        try:
            self.file.write("\n".join(out))
            self.file.flush()
        except OSError as error:
            raise Trouble(f"{self.path} cannot be written: {error.strerror}", "make room, or name another file") from None
        self.before = {name: lines for name, lines in texts.items() if lines is not None}


def check_head(path, head):
    if not head.startswith(MAGIC):
        raise Trouble(f"{path} is there, and is no recording", "name another file")
    if head[len(MAGIC):].split("\n")[0].strip() != "1":
        raise Trouble(f"{path} is a recording of another version; this pymtop knows 1",
                      "use the pymtop that has made it, or name another file")


def read(path):
    """The snapshots of a recording, those that are whole."""
    with open(path, encoding="ascii", errors="replace", newline="\n") as file:
        lines = file.read().split("\n")
    check_head(path, lines[0] + "\n")
    starts = [number for number, line in enumerate(lines) if line.startswith("snapshot ")]
    snapshots, before = [], None
    for start, end in zip(starts, starts[1:] + [len(lines)]):
        while not lines[end - 1] or lines[end - 1].startswith("#"):
            end -= 1
        if lines[end - 1] != "end":
            # cut off when pymtop was ended; the next one, if any, is a full one
            before = None
            continue
        time, before = _whole(path, lines, start, end, before)
        snapshots.append(_snapshot(f"{path}@{len(snapshots) + 1}", before, time))
    if not snapshots:
        raise Trouble(f"{path} has no whole snapshot", "it is truncated; record again")
    return snapshots


def _whole(path, lines, start, end, before):
    """The time of one snapshot, and the lines of its files by name."""
    number, new, into, old, at = start, {}, None, [], 0
    try:
        _, time, kind = lines[start].split()
        time = float(time)
        if kind == "full":
            before = {}
        elif kind != "changes" or before is None:
            raise ValueError
        for number in range(start + 1, end - 1):
            line = lines[number]
            if line.startswith("file ") and line[5:] in FILES:
                into = new[line[5:]] = []
                old, at = before.get(line[5:], []), 0
            elif into is not None and line[:1] == "+":
                into.append(line[1:])
            elif into is not None and line[:1] in ("=", "-") and line[1:].isdigit() and at + int(line[1:]) <= len(old):
                if line[0] == "=":
                    into += old[at:at + int(line[1:])]
                at += int(line[1:])
            else:
                raise ValueError
    except ValueError:
        raise Trouble(f"{path}, line {number + 1}: \"{lines[number][:40]}\" cannot be understood",
                      "the recording was changed; what is in it up to there is of use if you cut it off") from None
    return time, new


def _snapshot(where, lines, time):
    return Snapshot(where, lambda name: "\n".join(lines[name]) + "\n" if name in lines else None, time)
