"""The user's folder of host parts that were compiled here.

An entry KEY.json names the library by its own checksum, or says why there is none; both are written
aside and renamed, the entry last, so that concurrent runs see all of it or nothing. Machine code is
loaded only from a folder and a file that are the user's and that nobody else can write, and whose
bytes are those of the checksum.
"""

import hashlib
import json
import os
import re
import stat
import tempfile
from pathlib import Path

from msgspec import Struct

FOLDER = "host"
CHECKSUM = re.compile("[0-9a-f]{64}")
MOST_BYTES = 1 << 30
FORMAT = 1
"""Of entries; a part of the key."""


class CacheError(Exception):
    """The cache cannot be used; the text is one line."""


class Entry(Struct, frozen=True):
    """A library, or why there is none."""

    library: Path | None
    why: str = ""


def key(model: bytes, *conditions: str) -> str:
    """What identifies a build: the part, and all that its machine code depends on."""
    digest = hashlib.sha256(repr((FORMAT, *conditions)).encode())
    digest.update(model)
    return digest.hexdigest()


def folder() -> Path:
    """The cache's folder, made if need be. Raises CacheError if others could write there."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(home) if os.path.isabs(home) else Path("~/.cache").expanduser()
    path = root / "dnncc" / FOLDER
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
    except (OSError, RuntimeError) as error:
        raise CacheError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise CacheError(f"{path} is not a folder of this user's")
    if found.st_mode & 0o077:
        raise CacheError(f"{path} is open to other users; remove it, or chmod 700 if you trust it")
    return path


def find(place: Path, name: str) -> Entry | None:
    """The entry of that key; None if there is none that can be trusted."""
    try:
        told = json.loads(own_bytes(place / f"{name}.json"))
        checksum, why = told["library"], str(told["why"])
        if checksum is None:
            return Entry(None, why)
        library = place / f"{checksum}.so"
        whole = bool(CHECKSUM.fullmatch(checksum)) and digest(own_bytes(library)) == checksum
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return Entry(library) if whole else None


def own_bytes(path: Path) -> bytes:
    """The file's bytes. Raises OSError if it is not a plain file of this user's alone."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        found = os.fstat(file.fileno())
        ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
        if not ours or found.st_mode & 0o022 or found.st_size > MOST_BYTES:
            raise PermissionError(f"{path} is not to be trusted")
        return file.read()


def add(place: Path, name: str, library: bytes | None, why: str = "") -> Entry:
    """Write an entry; another run's of the same key is replaced. Raises OSError."""
    checksum = None if library is None else digest(library)
    path = None if library is None else place / f"{checksum}.so"
    if path is not None and library is not None:
        replace(path, library)
    told = {"library": checksum, "why": why}
    replace(place / f"{name}.json", json.dumps(told).encode())
    return Entry(path, why)


def replace(path: Path, data: bytes) -> None:
    """Put a file there, whole or not at all, which only the user can write."""
    number, temporary = tempfile.mkstemp(dir=path.parent)  # mode 0600
    try:
        with open(number, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
