"""Which files of a project contain a word: looked for file by file at first, then in an index of all names.

A word is a name, perhaps with a dot in front or a bracket behind (`.step(`). It counts where it stands alone, not as
a part of a longer name; the escaped line ends of a notebook's JSON end a name too.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable

SCANS = 30
"""Words after which an index of all is cheaper than to look for each."""
LARGE = 50_000_000
"""Bytes from which on files are read from the disk again for each word: two words are enough then."""
_DOT = ord(".")
_PART = frozenset(bytes([code]) for code in range(256) if re.match(rb"[\w\x80-\xff]", bytes([code])))
_NAME = re.compile(rb"(\.?)(?<![\w\x80-\xff\\])([A-Za-z_\x80-\xff][\w\x80-\xff]*)(\(?)")
_INDEXED = re.compile(rb"[A-Za-z_\x80-\xff][\w\x80-\xff]*\(?|\.[A-Za-z_\x80-\xff][\w\x80-\xff]*\(")


def contains(data: bytes, word: str) -> bool:
    """Whether a file's bytes contain a word."""
    needle = word.encode()
    at = data.find(needle)
    while at >= 0:
        if _begins(data, at) and _ends(data, at + len(needle)):
            return True
        at = data.find(needle, at + 1)
    return False


def _begins(data: bytes, at: int) -> bool:
    """Whether what stands here goes on with no name that began before; a dot begins anew."""
    if data[at] == _DOT or data[max(at - 2, 0) : at] in (b"\\n", b"\\t"):
        return True
    before = data[at - 1 : at]
    return before not in _PART and before != b"\\"


def _ends(data: bytes, end: int) -> bool:
    """Whether a name that stops here is not part of a longer one; a bracket ends one."""
    return data[end - 1 : end] not in _PART or data[end : end + 1] not in _PART


def words(data: bytes) -> set[bytes]:
    """All names in a file's bytes, those of its comments and texts among them, and with a bracket where one follows."""
    found = set()
    for dot, name, bracket in set(_NAME.findall(data.replace(b"\\n", b"  ").replace(b"\\t", b"  "))):
        found.add(name)
        if bracket:
            found.update((name + bracket, dot + name + bracket))
    return found


class Words:
    """The words of some files. `read` gives the bytes of one, or None where it cannot be read."""

    def __init__(self, paths: Callable[[], Iterable[str]], read: Callable[[str], bytes | None]) -> None:
        self._paths = paths
        self._read = read
        self._scans = 0
        self._index: dict[bytes, bytearray] | None = None
        self._indexed: list[str] = []

    def files_with(self, word: str) -> list[str]:
        """The files that contain a word, in their order."""
        if self._index is None and self._scans >= SCANS:
            self._index = self._read_all()
        if self._index is not None and _INDEXED.fullmatch(word.encode()):
            numbers = memoryview(self._index.get(word.encode(), b"")).cast("I")
            return [self._indexed[number] for number in numbers]
        return self._scanned(word)

    def _scanned(self, word: str) -> list[str]:
        found, size = [], 0
        for path in self._paths():
            data = self._read(path)
            if data is not None:
                size += len(data)
                if contains(data, word):
                    found.append(path)
        self._scans += 1 if size < LARGE else SCANS // 2
        return found

    def _read_all(self) -> dict[bytes, bytearray]:
        """Each word with the numbers of its files, as bytes: nothing that the cyclic collector has to walk through."""
        index: dict[bytes, bytearray] = {}
        self._indexed = list(self._paths())
        for number, path in enumerate(self._indexed):
            packed = struct.pack("I", number)
            for word in words(self._read(path) or b""):
                if word not in index:
                    index[word] = bytearray()
                index[word] += packed
        return index
