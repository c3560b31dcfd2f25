# SPDX-License-Identifier: GPL-2.0-only
"""What all tests of pymtop need."""

import atexit
import importlib
import lzma
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

DATA = os.path.dirname(os.path.realpath(__file__))
PYMTOP = os.path.join(os.path.dirname(DATA), "pymtop")
DEMO = os.path.join(DATA, "demo")


def pymtop(*arguments, **more):
    """Exit status, what it prints, what it complains of. Nothing of the caller's terminal counts."""
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONIOENCODING": "utf-8"}
    environment.update(more)
    done = subprocess.run([sys.executable, PYMTOP, *arguments], env=environment, stdin=subprocess.DEVNULL,
                          capture_output=True, encoding="utf-8", timeout=300, check=False)
    return done.returncode, done.stdout, done.stderr


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def write(path, text):
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)


def modules(*names):
    """Parts of pymtop, for what its output does not tell."""
    sys.dont_write_bytecode = True
    if PYMTOP + ".d" not in sys.path:
        sys.path.insert(0, PYMTOP + ".d")
    return [importlib.import_module(name) for name in names]


def unpack():
    """The recording, in a directory that is there as long as we are."""
    directory = tempfile.mkdtemp(prefix="pymtop.")
    atexit.register(shutil.rmtree, directory)
    path = os.path.join(directory, "soak.rec")
    with lzma.open(os.path.join(DATA, "soak.rec.xz"), "rt", encoding="ascii", newline="\n") as packed:
        write(path, packed.read())
    return path


SOAK = unpack()


class Case(unittest.TestCase):
    maxDiff = 4000

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="pymtop.")
        self.addCleanup(shutil.rmtree, self.directory)

    def path(self, *names):
        return os.path.join(self.directory, *names)

    def copy(self, change=None, source=DEMO):
        """A copy of the demo's files; change: name of a file and what is done to its text."""
        target = tempfile.mkdtemp(dir=self.directory)
        for name in os.listdir(source):
            text = read(os.path.join(source, name))
            for which, how in (change or {}).items():
                if which == name:
                    text = how(text)
            write(os.path.join(target, name), text)
        return target

    def golden(self, name, text):
        path = os.path.join(DATA, name)
        if os.environ.get("PYMTOP_REGENERATE"):
            write(path, text)
        self.assertEqual(text, read(path))

    def prints(self, *arguments, status=0, **more):
        code, out, err = pymtop(*arguments, **more)
        self.assertEqual((code, err), (status, ""))
        return out

    def complains(self, *arguments, about):
        code, out, err = pymtop(*arguments)
        self.assertEqual((code, out), (2, ""), err)
        self.assertNotIn("Traceback", err)
        self.assertIn(about, err)
        # what is wrong, and what to do
        self.assertRegex(err, r"\Apymtop: error: .+\n    .+\n\Z")

    POOLS = ("# pymalloc pools 1\n# a row for each cache in each arena; blocks: the live blocks of each of its pools there\n"
             "#heap                  arena cache                   size poolsize capacity   pools      live blocks\n")

    def small(self, returns):
        """Two arenas of four pools, whose release curve can be made by hand."""
        directory = self.path(returns)
        os.mkdir(directory)
        write(os.path.join(directory, "stats"), "# pymalloc stats 1\n" + "".join(f"{name} {value}\n" for name, value in (
            ("in_blocks", 8192), ("rounding", 0), ("free_blocks", 12288), ("virgin", 4096), ("empty_pools", 8192),
            ("metadata", 0), ("pass_through", 0), ("in_flight", 0), ("held", 32768), ("arenas", 2), ("live", 128),
            ("limit_hits", 0), ("failures", 0), ("refused", 0))))
        write(os.path.join(directory, "heaps"), "# pymalloc heaps 1\n#heap provider limit held high in_blocks rounding "
              "free_blocks virgin empty_pools metadata pass_through in_flight live arenas limit_hits failures refused returns\n"
              f"h pages 0 32768 32768 8192 0 12288 4096 8192 0 0 0 128 2 0 0 0 {returns}\n")
        write(os.path.join(directory, "caches"), "# pymalloc caches 1\n#heap cache size stride align capacity poolsize live high "
              "cached free virgin pools full allocs frees failures flags\n"
              "h one 64 64 8 64 4096 68 128 0 124 0 3 1 68 0 0 -\nh two 64 64 8 64 4096 60 60 0 4 64 2 0 60 0 0 -\n")
        write(os.path.join(directory, "classes"), "# pymalloc classes 1\n#heap size pools full live cached free virgin allocs "
              "frees failures >=0% >=10% >=20% >=30% >=40% >=50% >=60% >=70% >=80% >=90%\n")
        write(os.path.join(directory, "arenas"), "# pymalloc arenas 1\n#heap arena poolsize pools absent virgin empty used full live\n"
              "h 0 4096 4 0 0 1 2 1 69\nh 1 4096 4 0 1 1 2 0 59\n")
        write(os.path.join(directory, "map"), "# pymalloc map 1\n#heap arena poolsize pools\nh 0 4096 *#*0--*0\nh 1 4096 *0*9..--\n")
        write(os.path.join(directory, "pools"), self.POOLS + "h 0 one 64 4096 64 3 68 64,3,1\nh 0 two 64 4096 64 1 1 1\n"
              "h 1 two 64 4096 64 1 59 59\n")
        write(os.path.join(directory, "verify"), "# pymalloc verify 1\nok\n")
        return directory
