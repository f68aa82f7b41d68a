"""Messages between our processes: JSON behind its length, over a pipe or a socket.

May import nothing of ours: it is used on both sides of the fork server.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from typing import Any

# Bound here, so that code which puts its own in their place does not cut itself off.
_dumps, _write = json.dumps, os.write

LENGTH = struct.Struct("!Q")

# A record with some thousand samples is about a megabyte. What claims to be longer than this is no message of ours.
LONGEST = 256 * 1024**2


class Garbled(ValueError):
    """What came over a pipe is no message of ours."""


def pack(message: Any) -> bytes:
    """The message as bytes. Raises TypeError or ValueError for what is not JSON."""
    body = _dumps(message, separators=(",", ":")).encode()
    return LENGTH.pack(len(body)) + body


def write(descriptor: int, packed: bytes) -> None:
    """Write a whole message. Raises OSError when the other side is gone."""
    left = memoryview(packed)
    while left:
        left = left[_write(descriptor, left) :]


class Inbox:
    """Puts messages together from the bytes that arrive."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> None:
        self._bytes += data

    def messages(self) -> Iterator[Any]:
        """The messages that are whole by now. Raises Garbled for what is none."""
        while len(self._bytes) >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._bytes)
            if length > LONGEST:
                raise Garbled(f"a message of {length} bytes")
            end = LENGTH.size + length
            if len(self._bytes) < end:
                return
            body = bytes(self._bytes[LENGTH.size : end])
            del self._bytes[:end]
            try:
                message = json.loads(body)
            except ValueError as error:
                raise Garbled(str(error)) from error
            yield message

    @property
    def begun(self) -> bool:
        """Whether a message has begun that is not whole yet."""
        return bool(self._bytes)
