# SPDX-License-Identifier: GPL-2.0-only
"""The table on a terminal, again and again, with keys. Plain escape sequences: every terminal that is
not dumb knows them; on a dumb one the table is printed again below the last."""

import os
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
        self.resized = False

    def __enter__(self):
        self.saved = termios.tcgetattr(self.fd)
        tty.setcbreak(self.fd)
        self.pipe = os.pipe()
        for end in self.pipe:
            os.set_blocking(end, False)
        # Signals end select(): their bytes arrive in the pipe.
        self.wakeup = signal.set_wakeup_fd(self.pipe[1])
        self.handlers = {number: signal.signal(number, handler) for number, handler in
                         ((signal.SIGWINCH, self._resize), (signal.SIGTERM, self._end), (signal.SIGHUP, self._end))}
        self.out.write(ENTER)
        return self

    def _resize(self, *_):
        self.resized = True

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
        ready, _, _ = select.select([self.fd, self.pipe[0]], [], [], seconds)
        if self.pipe[0] in ready:
            try:
                os.read(self.pipe[0], 512)
            except BlockingIOError:
                pass
        if self.fd not in ready:
            return ""
        text = os.read(self.fd, 16).decode("utf-8", "replace")
        return KEYS.get(text, text[0]) if text else None


def draw(out, screen, lines):
    """No line is wider than the terminal: a row that wraps would push out the top."""
    out.write(HOME + "".join(line + TO_END + "\r\n" for line in lines[:-1]) + lines[-1] + TO_END + BELOW)
    out.flush()


def help_lines():
    lines = ["sort by", ""]
    lines += [f"  {key}  {what}" for key, (what, _) in SORTS.items()]
    return lines + ["", "  space  look again       arrows, page up, page down  other rows", "  q      quit             any key leaves this help"]


class Looker:
    """What is looked at, now: debugfs, each time anew."""

    hint = "space: look again  ?: help  q: quit"

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

    hint = "space: next  backspace: back  ?: help  q: quit"

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
        return f"snapshot {self.at + 1} of {len(self.snapshots)}, {when} UTC"


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
            foot = f"{looker.title()}  sort: {key}  rows {min(first + 1, rows)}-{min(first + room, rows)} of {rows}  {looker.hint}"
            shown = help_lines() if helping else lines + [""] * (screen.height - 1 - len(lines)) + \
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
