"""The peer: who is at an end of a connection, as the system knows it.

A program may act for somebody whom the system doesn't know, such as the user of its pages. Its
acts then name both, first the one for whom the system vouches: no client passes for another.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from contextlib import suppress
from typing import Final, NamedTuple

from engine.domain.validation import MAX_BY_CHARACTERS, check_text, kept_text

try:
    import pwd
except ModuleNotFoundError:  # Windows
    pwd = None  # type: ignore[assignment]

UNKNOWN: Final = "unknown"
_LOCAL_PEERCRED: Final = 1  # of macOS, which Python doesn't name
_LOCAL_PEERPID: Final = 2
_XUCRED_BYTES: Final = 76


class Peer(NamedTuple):
    """A process and its user, as they were when it connected."""

    user_id: int
    process_id: int

    def described(self) -> str:
        """Return a text for the history and the audit. Looks the user's name up, and may block."""
        name = UNKNOWN  # such as in a container
        with suppress(KeyError, OSError):
            name = pwd.getpwuid(self.user_id).pw_name
        return self._text(name)

    def without_name(self) -> str:
        """Return the same text, without looking the name up."""
        return self._text(UNKNOWN)

    def _text(self, name: str) -> str:
        numbers = f" (uid {self.user_id}, pid {self.process_id})"
        return f"user {kept_text(name, MAX_BY_CHARACTERS - len(numbers) - 5)}{numbers}"


def peer_of(connection: socket.socket) -> Peer | None:
    """Return who has connected; None if the system doesn't tell."""
    with suppress(OSError, struct.error):
        return _told_of(connection)
    return None


def _told_of(connection: socket.socket) -> Peer | None:
    if sys.platform == "linux":
        form = struct.Struct("iII")
        told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, form.size)
        process_id, user_id, _ = form.unpack(told)
    elif sys.platform == "darwin":
        told = connection.getsockopt(0, _LOCAL_PEERCRED, _XUCRED_BYTES)
        _, user_id = struct.unpack_from("2I", told)
        process_id = connection.getsockopt(0, _LOCAL_PEERPID)
    else:
        return None
    return Peer(user_id, process_id)


def this_operator() -> str:
    """Return the operating system's user of this process, such as ``user ann (uid 1000, pid 7)``.

    The effective one: that is who may write.
    """
    effective_user = getattr(os, "geteuid", None)
    if effective_user is None:  # Windows
        return f"user {UNKNOWN} (pid {os.getpid()})"
    return Peer(effective_user(), os.getpid()).described()


def acting_for(peer: str, whom: str) -> str:
    """Return the text for the history and the audit of a peer who acts for somebody.

    Raises:
        InvalidValueError: The other text is of the wrong size or form.
    """
    both = f"{peer} for {check_text('for_whom', whom, MAX_BY_CHARACTERS)}"
    return kept_text(both, MAX_BY_CHARACTERS)
