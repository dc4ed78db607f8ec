"""A file that one process at a time holds; the system frees it however that process ends."""

from __future__ import annotations

import errno
from typing import IO, Any


_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


def try_lock(file: IO[Any]) -> bool:
    """
    Takes an open file for this process, until it is closed.

    Some network file systems have no locks: there every process gets it.

    Args:
        file: open for writing.

    Returns:
        `bool`: whether no other process holds it.

    Raises:
        OSError: if the system cannot say.
    """
    try:
        try:
            import fcntl
        except ImportError:  # Windows
            import msvcrt

            # A byte far behind any content, so that others can read the file.
            file.seek(1 << 40)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            return False
        if error.errno not in _WITHOUT_LOCKS:
            raise
    return True


__all__ = ["try_lock"]
