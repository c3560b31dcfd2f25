# SPDX-License-Identifier: GPL-2.0-only
"""What went wrong and what to do about it: all errors that are not bugs of pymtop."""


class Trouble(Exception):
    """Shown in two lines; pymtop ends with 2."""

    def __init__(self, what, advice):
        super().__init__(what)
        self.what = what
        self.advice = advice
