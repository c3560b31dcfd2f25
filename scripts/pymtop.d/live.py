# SPDX-License-Identifier: GPL-2.0-only
"""The table on a terminal, again and again, with keys. Plain escape sequences: every terminal that is
not dumb knows them; on a dumb one the table is printed again below the last."""

import os
import re
import select
import signal
import sys
import termios
import time
import tty

from form import DIM
from table import SORTS, table

ENTER, LEAVE = "\033[?1049h\033[?25l", "\033[?25h\033[?1049l"
HOME, TO_END, BELOW = "\033[H", "\033[K", "\033[J"
KEYS = {"\033[A": "up", "\033[B": "down", "\033[5~": "page up", "\033[6~": "page down", "\033[H": "home", "\033[1~": "home",
        "\033OA": "up", "\033OB": "down", "\033OH": "home"}


class Terminal:
    """Raw keys and the other screen, given back whatever happens."""

    def __init__(self, out):
        self.out = out
        self.fd = sys.stdin.fileno()
        self.pressed = []

    def __enter__(self):
        self.saved = termios.tcgetattr(self.fd)
        tty.setcbreak(self.fd)
        self.pipe = os.pipe()
        for end in self.pipe:
            os.set_blocking(end, False)
        # Signals end select(): their bytes arrive in the pipe.
        self.wakeup = signal.set_wakeup_fd(self.pipe[1])
        self.handlers = {number: signal.signal(number, handler) for number, handler in
                         ((signal.SIGWINCH, self._resize), (signal.SIGTSTP, self._stop), (signal.SIGTERM, self._end),
                          (signal.SIGHUP, self._end))}
        self.out.write(ENTER)
        return self

    def _stop(self, *_):
        """Ctrl-Z: the terminal is the shell's until we go on."""
        self.out.write(LEAVE)
        self.out.flush()
        termios.tcsetattr(self.fd, termios.TCSADRAIN, self.saved)
        os.kill(os.getpid(), signal.SIGSTOP)
        tty.setcbreak(self.fd)
        self.out.write(ENTER)

    @staticmethod
    def _resize(*_):
        """That it ends select() is enough: the size is asked for before each look."""

    @staticmethod
    def _end(*_):
        raise SystemExit(0)

    def __exit__(self, *_):
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self.wakeup)
        for end in self.pipe:
            os.close(end)
        try:
            self.out.write(LEAVE)
            self.out.flush()
            termios.tcsetattr(self.fd, termios.TCSADRAIN, self.saved)
        except (OSError, termios.error):
            pass    # the terminal is gone

    def key(self, seconds):
        """A key; "" after so many seconds or a resize; None when nobody can press one any more."""
        if self.pressed:
            return self.pressed.pop(0)
        ready, _, _ = select.select([self.fd, self.pipe[0]], [], [], seconds)
        if self.pipe[0] in ready:
            try:
                os.read(self.pipe[0], 512)
            except BlockingIOError:
                pass
        if self.fd not in ready:
            return ""
        text = os.read(self.fd, 256).decode("utf-8", "replace")
        if not text:
            return None
        # Several may have come at once.
        self.pressed = [KEYS.get(key, key) for key in re.findall("\033[\\[O][0-9;]*[A-Za-z~]|.", text, re.DOTALL)]
        return self.pressed.pop(0)


def draw(out, screen, lines):
    """No line is wider than the terminal: a row that wraps would push out the top."""
    out.write(HOME + "".join(line + TO_END + "\n" for line in lines[:-1]) + lines[-1] + TO_END + BELOW)
    out.flush()


def help_lines():
    lines = ["sort by", ""]
    lines += [f"  {key}  {what}" for key, (what, _) in SORTS.items()]
    return lines + ["", "  space      look again; of a recording, the next snapshot",
                    "  backspace  of a recording, the snapshot before",
                    "  arrows     other rows; page up and page down, too", "  q          quit; any other key leaves this help"]


class Looker:
    """What is looked at, now: debugfs, each time anew."""

    hint = "space look again  ? help  q quit"

    def __init__(self, source, delay):
        self.source, self.delay = source, delay
        self.now, self.before = source.look(), None
        self.now.stats()

    def step(self, _):
        self.before, self.now = self.now, self.source.look()

    def title(self):
        return time.strftime("%H:%M:%S", time.localtime(self.now.time))


class Player:
    """What is looked at: a recording, snapshot by snapshot; with a delay it plays by itself."""

    hint = "space next  ? help  q quit"

    def __init__(self, snapshots, delay=None):
        self.snapshots, self.delay, self.at = snapshots, delay, 0

    def step(self, by):
        self.at = max(0, min(len(self.snapshots) - 1, self.at + by))

    @property
    def now(self):
        return self.snapshots[self.at]

    @property
    def before(self):
        return self.snapshots[self.at - 1] if self.at else None

    def title(self):
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(self.now.time))
        return f"{self.at + 1}/{len(self.snapshots)} {when} UTC"


def dumb(looker, screen, key):
    """Below each other, until somebody ends it."""
    while True:
        lines, _ = table(looker.now, screen, key, looker.before)
        print(f"{looker.title()}\n" + "\n".join(lines) + "\n", flush=True)
        if isinstance(looker, Player) and looker.at + 1 == len(looker.snapshots):
            return
        time.sleep(looker.delay or 0)
        looker.step(1)


def run(looker, screen, key):
    if screen.dumb or not sys.stdin.isatty():
        dumb(looker, screen, key)
        return
    out, first, helping = screen.out, 0, False
    with Terminal(out) as terminal:
        due = time.monotonic() + (looker.delay or 0)
        while True:
            screen.measure()
            room = max(1, screen.height - 7)
            lines, rows = table(looker.now, screen, key, looker.before, first, room)
            if first and first >= rows:
                first = max(0, rows - room)
                continue
            foot = f"{looker.title()}  sort {key}  rows {min(first + 1, rows)}-{min(first + room, rows)}/{rows}  {looker.hint}"
            shown = [line[:screen.width] for line in help_lines()] if helping else lines + [""] * (screen.height - 1 - len(lines)) + \
                [screen.paint(foot[:screen.width - 1], DIM)]
            draw(out, screen, shown[:screen.height])
            left = max(0.0, due - time.monotonic()) if looker.delay else None
            pressed = terminal.key(left)
            if pressed is None or pressed in ("q", "Q", "\x04"):
                return
            if helping and pressed:
                helping = False
            elif pressed in SORTS:
                key, first = pressed, 0
            elif pressed in ("?", "h"):
                helping = True
            elif pressed in ("up", "down", "page up", "page down", "home"):
                by = {"up": -1, "down": 1, "page up": -room, "page down": room, "home": -first}[pressed]
                first = max(0, min(first + by, max(0, rows - room)))
            elif pressed == " " or (looker.delay and time.monotonic() >= due):
                looker.step(1)
                due = time.monotonic() + (looker.delay or 0)
            elif pressed in ("\x7f", "\b"):
                looker.step(-1)
