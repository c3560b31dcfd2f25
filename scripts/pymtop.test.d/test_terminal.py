# SPDX-License-Identifier: GPL-2.0-only
"""The live table on a terminal of the kernel's."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

from case import Case, DEMO, PYMTOP, SOAK, read, write


class Terminal(Case):
    """The live table on a terminal of the kernel's."""

    def start(self, *arguments, **more):
        """Runs it on one of 80 x 24."""
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "utf-8", "TERM": "xterm-256color", **more}
        self.pid, self.fd = pty.fork()
        if not self.pid:
            try:
                self.resize(80, 24, 0)
                os.execve(sys.executable, [sys.executable, PYMTOP, *arguments], environment)
            finally:
                os._exit(126)
        self.addCleanup(os.close, self.fd)
        self.seen = ""

    def resize(self, width, height, fd=None):
        fcntl.ioctl(self.fd if fd is None else fd, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def until(self, pattern):
        """What comes until something is there. Only a hang takes the time."""
        due = time.monotonic() + 60
        while not re.search(pattern, self.seen):
            ready, _, _ = select.select([self.fd], [], [], max(0.0, due - time.monotonic()))
            self.assertTrue(ready, f"no {pattern} in {self.seen[-2000:]!r}")
            try:
                self.seen += os.read(self.fd, 65536).decode("utf-8", "replace")
            except OSError:
                break    # it has ended
        self.assertRegex(self.seen, pattern)
        seen, self.seen = self.seen, ""
        return seen

    def press(self, keys, pattern):
        os.write(self.fd, keys.encode())
        return self.until(pattern)

    def ends(self):
        """Its exit status, and how it leaves the terminal."""
        self.until(r"\033\[\?25h\033\[\?1049l")
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def test_keys(self):
        self.start("--from", DEMO, "-d", "600")
        first = self.until("q quit")
        self.assertTrue(first.startswith("\033[?1049h"))
        self.assertRegex(first, r"sort c  rows 1-17/76")
        self.assertLess(first.index("malloc-64"), first.index("malloc-80"))
        self.assertRegex(self.press("s", "q quit"), r"sort s(?s:.)*rows 1-17/76")
        self.press("\033[6~", "rows 18-34/76")
        self.press("\033[B", "rows 19-35/76")
        self.press("\033[H", "rows 1-17/76")
        self.press("?", "any other key leaves")
        self.press("x", "sort s")
        self.press(" ", "sort s")
        os.write(self.fd, b"q")
        self.assertEqual(self.ends(), 0)

    def test_resize(self):
        self.start("--from", DEMO, "-d", "600")
        self.until("rows 1-17/76")
        for width, height, pattern in ((120, 40, "rows 1-33/76"), (20, 5, "rows"), (200, 100, "rows 1-76/76"), (80, 24, "rows 1-17/76")):
            self.resize(width, height)
            out = self.until("J") if width == 20 else self.until(pattern)
            for line in re.sub("\033\\[[0-9;?]*[a-zA-Z]", "", out).split("\r\n"):
                self.assertLessEqual(len(line), width, line)
        os.write(self.fd, b"q")
        self.assertEqual(self.ends(), 0)

    def test_signals(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            self.start("--from", DEMO, "-d", "600")
            self.until("q quit")
            os.kill(self.pid, number)
            self.assertEqual(self.ends(), 0)

    def test_looks_again(self):
        copy = self.copy()
        self.start("--from", copy, "-d", "0.2")
        self.until(r"20757 live blocks")
        text = read(os.path.join(copy, "stats"))
        write(os.path.join(copy, "new"), re.sub(r"(?m)^live .*", "live 4711", text))
        os.rename(os.path.join(copy, "new"), os.path.join(copy, "stats"))
        self.until("4711 live blocks")
        os.unlink(os.path.join(copy, "heaps"))
        self.until("there is no file heaps")
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]), 2)

    def test_replay(self):
        self.start("replay", SOAK)
        self.until("1/9 ")
        self.press("  ", "3/9 ")
        self.press("\177", "2/9 ")
        os.write(self.fd, b"q")
        self.assertEqual(self.ends(), 0)

    def test_colors(self):
        self.start("--from", DEMO, "-d", "600", NO_COLOR="1")
        self.assertNotRegex(self.until("q quit"), r"\033\[[0-9;]*m")
        os.write(self.fd, b"q")
        self.assertEqual(self.ends(), 0)
        self.start("--from", DEMO, "map")
        self.assertIn("\033[38;5;", self.until("heap replay(?s:.)*\n"))
        os.waitpid(self.pid, 0)

    def test_dumb(self):
        self.start("--from", DEMO, "-d", "0.05", TERM="dumb")
        out = self.until("(?s)misuse.*misuse")
        self.assertNotIn("\033", out)
        os.kill(self.pid, signal.SIGINT)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]), 0)
