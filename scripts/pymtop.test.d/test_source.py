# SPDX-License-Identifier: GPL-2.0-only
"""Where snapshots come from, and recordings."""

import io
import os
import shutil
import subprocess
import tarfile

from case import Case, DEMO, PYMTOP, SOAK, modules, pymtop, read, write


class Sources(Case):
    def test_tar(self):
        for mode, name in (("w", "a.tar"), ("w:gz", "a.tar.gz"), ("w:xz", "a.tar.xz")):
            with tarfile.open(self.path(name), mode) as archive:
                archive.add(DEMO, "report/pymalloc")
                # heap/<name>/stats must not be taken for stats
                member = tarfile.TarInfo("report/pymalloc/heap/replay/stats")
                archive.addfile(member, io.BytesIO())
            self.assertEqual(self.prints("--from", self.path(name)), self.prints("--from", DEMO))
        with open(self.path("a.tar.gz"), "rb") as file:
            head = file.read()[:2000]
        with open(self.path("cut.tar.gz"), "wb") as file:
            file.write(head)
        self.complains("--from", self.path("cut.tar.gz"), about="cut.tar.gz")

    def test_tar_of_debugfs(self):
        """Files of debugfs have no size: tar takes them for empty."""
        with tarfile.open(self.path("a.tar"), "w") as archive:
            for name in os.listdir(DEMO):
                archive.addfile(tarfile.TarInfo(f"pymalloc/{name}"), io.BytesIO())
        self.complains("--from", self.path("a.tar"), about="cp -r first")

    def test_two_copies(self):
        with tarfile.open(self.path("a.tar"), "w") as archive:
            archive.add(DEMO, "first")
            archive.add(DEMO, "second")
        self.complains("--from", self.path("a.tar"), about="2 copies of pymalloc's debugfs")
        with tarfile.open(self.path("b.tar"), "w") as archive:
            archive.add(os.path.join(DEMO, "map"), "map")
        self.complains("--from", self.path("b.tar"), about="0 copies of pymalloc's debugfs")

    def test_directory_above(self):
        shutil.copytree(DEMO, self.path("debug", "pymalloc"))
        self.assertEqual(self.prints("--from", self.path("debug")), self.prints("--from", DEMO))

    def test_option_before_and_after(self):
        self.assertEqual(self.prints("--from", DEMO, "frag"), self.prints("frag", "--from", DEMO))

    def test_run_through_a_link(self):
        os.symlink(PYMTOP, self.path("pymtop"))
        done = subprocess.run([self.path("pymtop"), "--from", DEMO, "check", "-q"], check=False, capture_output=True)
        self.assertEqual((done.returncode, done.stderr), (0, b""))


class Recordings(Case):
    def test_round_trip(self):
        """What was recorded is what was read, to the byte, however it changed."""
        recording, = modules("recording")
        snapshots = recording.read(SOAK)
        writer = recording.Writer(self.path("x.rec"))
        for snapshot in snapshots:
            writer.add(snapshot, ("heaps", "stats", "caches", "classes", "arenas", "map", "pools", "verify"))
        again = recording.read(self.path("x.rec"))
        self.assertEqual(len(again), 9)
        for one, other in zip(snapshots, again):
            for name in ("heaps", "stats", "caches", "classes", "arenas", "map", "pools", "verify"):
                self.assertEqual(one.text(name), other.text(name))
        for old, new in (([], []), ("abc", "abc"), ("abc", ""), ("", "abc"), ("aabbc", "cba"), ("abcabc", "bcabca"), ("aaa", "aa")):
            changes = recording.differences(list(old), list(new))
            lines, at = [], 0
            for change in changes:
                if change[0] == "+":
                    lines.append(change[1:])
                else:
                    end = at + int(change[1:])
                    lines += list(old)[at:end] if change[0] == "=" else []
                    at = end
            self.assertEqual(lines, list(new))

    def test_compact(self):
        """What does not change costs next to nothing."""
        self.prints("--from", DEMO, "record", self.path("x.rec"), "-n", "1")
        once = os.path.getsize(self.path("x.rec"))
        os.unlink(self.path("x.rec"))
        self.prints("--from", DEMO, "record", self.path("x.rec"), "-n", "5", "-d", "0.05")
        self.assertLess(os.path.getsize(self.path("x.rec")), once + 4 * 300)

    def test_append(self):
        for _ in range(3):
            self.prints("--from", DEMO, "record", self.path("x.rec"), "-n", "2", "-d", "0.05")
        self.assertEqual(len(self.prints("replay", self.path("x.rec")).splitlines()), 7)
        self.assertEqual(self.prints("--from", f"{self.path('x.rec')}@6", "frag"), self.prints("--from", DEMO, "frag"))

    def test_cut_off(self):
        """A recording that was ended in the middle has what was whole, and can be gone on with."""
        text = read(SOAK)
        for at in (len(text) - 3, len(text) - 1000, len(text) - 30000):
            write(self.path("x.rec"), text[:at])
            lines = len(self.prints("replay", self.path("x.rec")).splitlines())
            self.assertLess(lines, 10)
            self.prints("--from", DEMO, "record", self.path("x.rec"), "-n", "1")
            self.assertEqual(len(self.prints("replay", self.path("x.rec")).splitlines()), lines + 1)
        write(self.path("x.rec"), text[:2000])
        self.complains("replay", self.path("x.rec"), about="no whole snapshot")

    def test_changed(self):
        text = read(SOAK)
        write(self.path("x.rec"), text.replace("\n=", "\n?", 1))
        self.complains("replay", self.path("x.rec"), about="cannot be understood")
        write(self.path("x.rec"), text.replace("recording 1", "recording 2"))
        self.complains("replay", self.path("x.rec"), about="another version")
        self.complains("--from", f"{SOAK}@10", about="has 9 snapshots")

    def test_not_over_others(self):
        write(self.path("letter"), "dear\n")
        self.complains("--from", DEMO, "record", self.path("letter"), about="no recording")
        self.assertEqual(read(self.path("letter")), "dear\n")

    def test_replay(self):
        self.golden("replay.txt", self.prints("replay", SOAK))

    def test_diff(self):
        self.golden("diff.txt", self.prints("diff", f"{SOAK}@4", f"{SOAK}@5"))
        self.assertEqual(self.prints("diff", SOAK), self.prints("diff", f"{SOAK}@1", f"{SOAK}@9"))
        self.assertEqual(self.prints("diff", DEMO, DEMO), "nothing has changed\n")
        self.complains("diff", DEMO, about="alone is one snapshot")
