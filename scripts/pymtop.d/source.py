# SPDX-License-Identifier: GPL-2.0-only
"""Where snapshots come from: debugfs, a copy of it, a tar of a copy, a recording."""

import errno
import os
import tarfile
import time

import recording
from snapshot import FILES, NEEDED, Snapshot
from trouble import Trouble

DEBUGFS = "/sys/kernel/debug/pymalloc"


def read_text(path):
    """What is in a file, or None if there is none."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        if error.errno == errno.EPERM and os.geteuid() == 0:
            raise Trouble(f"the kernel does not allow to read {path}",
                          "it is locked down, see /sys/kernel/security/lockdown; read a copy with --from") from None
        raise Trouble(f"{path} cannot be read: only root may", "run pymtop as root, or read a copy with --from") from None
    except OSError as error:
        raise Trouble(f"{path} cannot be read: {error.strerror}", "is the module being unloaded? try again") from None


class Directory:
    """debugfs itself, or a copy; each look reads it again."""

    def __init__(self, path):
        self.path = path

    def look(self):
        return Snapshot(self.path, lambda name: read_text(os.path.join(self.path, name)), self.time())

    def time(self):
        """Now, for debugfs, whose files have no size; when a copy was made."""
        try:
            status = os.stat(os.path.join(self.path, "heaps"))
        except OSError:
            return time.time()
        return status.st_mtime if status.st_size else time.time()


class Still:
    """Something that does not change, read once: a list of snapshots, the last is what is shown."""

    def __init__(self, snapshots):
        self.snapshots = snapshots

    def look(self):
        return self.snapshots[-1]


def why_no_debugfs():
    """The default directory is not there: say what has to be done."""
    if os.geteuid() != 0 and not os.access("/sys/kernel/debug", os.X_OK):
        return Trouble(f"{DEBUGFS} cannot be read: only root may", "run pymtop as root, or read a copy with --from")
    if "debugfs" not in (read_text("/proc/filesystems") or "debugfs"):
        return Trouble("this kernel has no debugfs", "it was built without CONFIG_DEBUG_FS; read a copy with --from")
    if " debugfs " not in (read_text("/proc/mounts") or ""):
        return Trouble("debugfs is not mounted", "run: mount -t debugfs debugfs /sys/kernel/debug")
    if not os.path.exists("/sys/module/pymalloc"):
        return Trouble("the module pymalloc is not loaded", "run: modprobe pymalloc; or read a copy with --from")
    return Trouble(f"pymalloc is loaded, but there is no {DEBUGFS}",
                   "debugfs may be switched off: no debugfs=off on the kernel command line")


def read_tar(path):
    texts, times = {}, []
    try:
        with tarfile.open(path) as archive:
            found = {}
            for member in archive:
                directory, name = os.path.split(member.name)
                if member.isfile() and name in FILES:
                    found.setdefault(directory, {})[name] = member
            # heap/<name> and cache/<name> have a file stats, too.
            whole = [directory for directory in found if "heaps" in found[directory]]
            if len(whole) != 1:
                raise Trouble(f"{path}: {len(whole)} copies of pymalloc's debugfs are in this archive",
                              "unpack it and name one directory with --from" if whole else
                              "make one: cp -r /sys/kernel/debug/pymalloc <directory>; tar -cf <file> <directory>")
            for name, member in found[whole[0]].items():
                texts[name] = archive.extractfile(member).read().decode("ascii", "replace")
                times.append(member.mtime)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise Trouble(f"{path}: the archive is damaged: {error}", "copy it again") from None
    return Snapshot(path, texts.get, max(times))


def open_file(path, which):
    with open(path, "rb") as file:
        head = file.read(len(recording.MAGIC) + 1).decode("ascii", "replace")
    if head.startswith(recording.MAGIC):
        snapshots = recording.read(path)
        if which is not None:
            if not 1 <= which <= len(snapshots):
                raise Trouble(f"{path} has {len(snapshots)} snapshots, there is no number {which}",
                              "pymtop replay shows them all")
            snapshots = [snapshots[which - 1]]
        return Still(snapshots)
    if head.startswith("# pymalloc "):
        raise Trouble(f"{path} is one file of debugfs, or a recording of another version",
                      "pymtop needs the whole directory, or what this pymtop has recorded")
    if not os.path.getsize(path):
        raise Trouble(f"{path} is empty", "copy it again")
    if tarfile.is_tarfile(path):
        return Still([read_tar(path)])
    raise Trouble(f"{path} is no recording and no tar archive", "name a copy of debugfs, a tar of one, or a recording")


def open_source(path):
    """What --from names: a directory, an archive, or a recording; FILE@N is its snapshot N."""
    if path is None:
        # A directory in a place where nobody may look seems not to be there.
        if not os.path.isdir(DEBUGFS) or not os.access(DEBUGFS, os.X_OK):
            raise why_no_debugfs()
        return Directory(DEBUGFS)
    which = None
    base, at, number = path.rpartition("@")
    if at and number.isdigit() and not os.path.exists(path):
        path, which = base, int(number)
    try:
        if os.path.isfile(path):
            return open_file(path, which)
        os.stat(path)
    except OSError as error:
        raise Trouble(f"{path}: {error.strerror}", "name a copy of debugfs, a tar of one, or a recording") from None
    names = os.listdir(path) if os.access(path, os.R_OK | os.X_OK) else []
    missing = [name for name in NEEDED if name not in names]
    if len(missing) == len(NEEDED):
        inner = os.path.join(path, "pymalloc")
        if "pymalloc" in names and os.path.isdir(inner):
            return open_source(inner)
        raise Trouble(f"{path} has none of pymalloc's files, or may not be read",
                      "make a copy: cp -r /sys/kernel/debug/pymalloc <directory>")
    if missing:
        raise Trouble(f"{path} has no {', '.join(missing)}", "the copy is not whole: cp -r /sys/kernel/debug/pymalloc <directory>")
    return Directory(path)
