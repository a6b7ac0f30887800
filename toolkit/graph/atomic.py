"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows.
    fcntl = None

__all__ = ["sweep", "write_atomically"]


def write_atomically(path: Path, text: bytes | Callable[[BinaryIO], None]) -> None:
    """Replaces `path` by a file that holds `text`, or what that writes into it.

    The new file has no name until it is whole, where the system can do that. Then it takes a
    hidden one for a moment, as no system call puts a file without a name in another's place. A
    process that is killed in that moment leaves the whole file there: `sweep` removes it.
    """
    sweep(path.parent, path.name)
    name = f"{path.parent}/.{path.name}.{os.getpid()}.tmp"
    try:
        handle = _open_unnamed(path.parent)
        with os.fdopen(handle or os.open(name, _NEW_FILE, 0o600), "wb") as file:
            if fcntl is not None:
                with contextlib.suppress(OSError):  # A file system without locks.
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            text(file) if callable(text) else file.write(text)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.fileno(), _mode(path))
            if handle is not None:
                Path(name).unlink(missing_ok=True)
                # Naming a directory makes Python call linkat, which follows the link.
                own = f"/proc/self/fd/{file.fileno()}"
                os.link(own, name, src_dir_fd=file.fileno(), follow_symlinks=True)
            os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def sweep(folder: Path, name: str = "*") -> None:
    """Removes what writers that were killed left of `folder/name`: files that no one locks."""
    if fcntl is None:
        return
    for stray in folder.glob(f".{name}.*.tmp"):
        with contextlib.suppress(OSError), stray.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            stray.unlink(missing_ok=True)


_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


def _open_unnamed(folder: Path) -> int | None:
    """A file without a name in `folder`; None where the file system has no such thing."""
    if not hasattr(os, "O_TMPFILE") or not os.path.isdir("/proc/self/fd"):
        return None
    try:
        return os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o600)
    except IsADirectoryError:  # An old kernel that does not know the flag.
        return None
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EINVAL):
            return None
        raise


def _mode(path: Path) -> int:
    """The permissions that the file has, or that a new one would get."""
    if path.exists():
        return path.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _sync_folder(folder: Path) -> None:
    """Makes the rename survive a power cut, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
