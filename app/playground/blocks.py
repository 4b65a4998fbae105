"""The playground's block store: what EBS direct reads and writes, kept in sparse files.

Every snapshot and every volume has one image file and a table of its blocks. A finished image never changes, so
a volume made from a snapshot, or the reverse, is a hard link to the same file.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import threading
from dataclasses import dataclass, field
from pathlib import Path

BLOCK = 512 * 1024
GIB = 1024**3


class Refusal(Exception):
    """An error in EBS direct's own words: its exception name, its reason and the HTTP status."""

    def __init__(self, name: str, message: str, reason: str = "", status: int = 400) -> None:
        super().__init__(message)
        self.name = name
        self.reason = reason
        self.status = status


@dataclass(slots=True)
class Image:
    """The blocks of one snapshot or volume. `sums` holds the SHA256 digest of every block that was written."""

    id: str
    path: Path
    gib: int
    pending: bool = False
    sums: dict[int, bytes] = field(default_factory=dict)
    written: set[int] = field(default_factory=set)
    spoiled: set[int] = field(default_factory=set)
    listing: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class BlockStore:
    """All images below one folder. Everything here is blocking and may be called from several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._images: dict[str, Image] = {}
        self._secret = secrets.token_bytes(32)

    def create(self, ident: str, gib: int, *, pending: bool = False) -> Image:
        """An empty image of `gib` GiB; a pending one takes blocks until it is completed."""
        image = Image(ident, self._folder / f"{ident}.raw", gib, pending)
        image.path.touch(mode=0o600)
        self._images[ident] = image
        return image

    def clone(self, origin: str, ident: str, gib: int) -> Image:
        """A second name for a finished image, at least as large."""
        source = self._images.get(origin)
        if source is None:
            return self.create(ident, gib)
        image = Image(ident, self._folder / f"{ident}.raw", gib, sums=source.sums, spoiled=source.spoiled)
        os.link(source.path, image.path)
        self._images[ident] = image
        return image

    def inherit(self, parent: str, image: Image) -> None:
        """Begin a pending image with the blocks of a finished one."""
        source = self.get(parent)
        for index in source.sums:
            self._write(image, index, self._read(source, index))
        image.sums.update(source.sums)

    def delete(self, ident: str) -> None:
        image = self._images.pop(ident, None)
        if image is not None:
            image.path.unlink(missing_ok=True)

    def known(self, ident: str) -> bool:
        return ident in self._images

    def pending(self, ident: str) -> bool:
        image = self._images.get(ident)
        return image is not None and image.pending

    def get(self, ident: str) -> Image:
        """The image. Raises Refusal where there is none."""
        image = self._images.get(ident)
        if image is None:
            reason = "SNAPSHOT_NOT_FOUND"
            raise Refusal("ResourceNotFoundException", f"The snapshot {ident} does not exist.", reason, 404)
        return image

    def put(self, ident: str, index: int, data: bytes, checksum: str) -> str:
        """Write one block of a pending snapshot; `checksum` is its SHA256 in base 64. Returns that."""
        image = self.get(ident)
        digest = hashlib.sha256(data).digest()
        if not image.pending:
            raise Refusal("ValidationException", f"{ident} is not pending.", "INVALID_SNAPSHOT_ID")
        if len(data) != BLOCK:
            raise Refusal("ValidationException", f"A block has {BLOCK} bytes.", "INVALID_BLOCK")
        if not 0 <= index < image.gib * GIB // BLOCK:
            raise Refusal("ValidationException", f"Block {index} is outside the volume.", "INVALID_PARAMETER_VALUE")
        if base64.b64encode(digest).decode() != checksum:
            raise Refusal("ValidationException", "Checksum does not match the block data.", "INVALID_BLOCK")
        self._write(image, index, data)
        with image.lock:
            image.sums[index] = digest
            image.written.add(index)
        return checksum

    def flip(self, ident: str, index: int) -> None:
        """Spoil one byte of a stored block, as a storage does that nobody checks (fault tests)."""
        image = self.get(ident)
        data = bytearray(self._read(image, index))
        data[len(data) // 2] ^= 1
        self._write(image, index, bytes(data))
        image.spoiled.add(index)

    def complete(self, ident: str, count: int, checksum: str) -> None:
        """Seal a pending snapshot, having checked the number of its blocks and their LINEAR checksum."""
        image = self.get(ident)
        with image.lock:
            if count != len(image.written):
                text = f"{len(image.written)} blocks were written, not {count}."
                raise Refusal("ValidationException", text, "INVALID_PARAMETER_VALUE")
            linear = hashlib.sha256(b"".join(image.sums[i] for i in sorted(image.written))).digest()
            if checksum and base64.b64encode(linear).decode() != checksum:
                raise Refusal("ValidationException", "The aggregated checksum does not match.", "INVALID_CHECKSUM")
            image.pending = False

    def list(self, ident: str, start: int, limit: int, page: str) -> tuple[list[tuple[int, str]], str]:
        """A page of (index, token) from block `start`, and the next page's token ("" at the end).

        A listing from the beginning voids the tokens of every earlier one, as on AWS.
        """
        image = self.get(ident)
        if image.pending:
            raise Refusal("ValidationException", f"{ident} is pending.", "INVALID_SNAPSHOT_ID")
        if not 100 <= limit <= 10_000:
            raise Refusal("ValidationException", "MaxResults is 100 to 10000.", "INVALID_PARAMETER_VALUE")
        if page:
            first, _, mark = page.partition(":")
            if not first.isdigit() or not hmac.compare_digest(mark, self._token(image, f"page{first}")):
                raise Refusal("ValidationException", "The page token is not valid.", "INVALID_PAGE_TOKEN")
            start = int(first)
        else:
            image.listing += 1
        indexes = [i for i in sorted(image.sums) if i >= start]
        blocks = [(i, self._token(image, str(i))) for i in indexes[:limit]]
        rest = indexes[limit:]
        return blocks, f"{rest[0]}:{self._token(image, f'page{rest[0]}')}" if rest else ""

    def read(self, ident: str, index: int, token: str) -> tuple[bytes, str]:
        """A block's bytes and its checksum. Raises Refusal for a token that is not of the last listing."""
        image = self.get(ident)
        if index not in image.sums or not hmac.compare_digest(token, self._token(image, str(index))):
            raise Refusal("ValidationException", "The block token is not valid.", "INVALID_BLOCK_TOKEN")
        data = self._read(image, index)
        digest = hashlib.sha256(data).digest() if index in image.spoiled else image.sums[index]
        return data, base64.b64encode(digest).decode()

    def _token(self, image: Image, what: str) -> str:
        text = f"{image.id}|{image.listing}|{what}".encode()
        return base64.urlsafe_b64encode(hmac.digest(self._secret, text, "sha256")).decode()

    @staticmethod
    def _read(image: Image, index: int) -> bytes:
        with image.path.open("rb") as file:
            file.seek(index * BLOCK)
            return file.read(BLOCK).ljust(BLOCK, b"\0")

    @staticmethod
    def _write(image: Image, index: int, data: bytes) -> None:
        with image.path.open("r+b", buffering=0) as file:
            file.seek(index * BLOCK)
            file.write(data)
