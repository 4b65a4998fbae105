"""A snapshot as a disk: EBS direct's blocks read and written, in the mover process.

https://docs.aws.amazon.com/ebs/latest/APIReference/Welcome.html
"""

from __future__ import annotations

import base64
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from backends.disks import Extent, Handle
from backends.driver import Settings
from backends.ec2.clients import Clients
from backends.ec2.failures import call
from backends.errors import BackendError, Conflict, Invalid, OutcomeUnknown, Throttled, Unreachable
from backends.model import DiskSpec

BLOCK = 512 * 1024
PARALLEL = 8
ZERO = bytes(BLOCK)
PATIENCE_S = 60.0
"""How long one block is tried again while the endpoint is unreachable or asks us to slow down."""
_RECORD = 4 + 32


def persistently(function: Any, *, stop: threading.Event | None = None, **arguments: Any) -> Any:
    """Make a call that may be repeated, until it succeeds, fails for good, PATIENCE_S are over or `stop` is set."""
    stop = stop or threading.Event()
    end, pause = time.monotonic() + PATIENCE_S, 0.2
    while True:
        try:
            return call(function, **arguments)
        except (Unreachable, Throttled):
            if time.monotonic() + pause > end or stop.wait(pause):
                raise
            pause = min(pause * 2, 10.0)


class SnapshotSource:
    """A completed snapshot to read. `size` is the disk's own length, which may be less than whole GiB.

    Listing a snapshot again voids the tokens of the listing before, so that there is one listing at a time, and a
    refused token is answered by one new listing, whoever asks first.
    """

    block = BLOCK
    parallel = PARALLEL

    def __init__(self, spec: DiskSpec, settings: Settings) -> None:
        self.size = spec.size_bytes
        self._id = str(spec.args["snapshot"])
        self._clients = Clients(settings, attempts=2, read_s=60.0)
        self._ebs = self._clients.ebs(str(spec.args["region"]))
        self._lock = threading.Lock()
        self._tokens: dict[int, str] | None = None
        self._listing = 0

    def extents(self) -> Iterator[Extent]:
        """The blocks that hold something, as runs, with the gaps between them."""
        position = 0
        for index in sorted(self._listed()[0]):
            start, end = index * BLOCK, min((index + 1) * BLOCK, self.size)
            if start >= self.size:
                break
            if start > position:
                yield Extent(position, start - position, data=False)
            yield Extent(start, end - start)
            position = end
        if position < self.size:
            yield Extent(position, self.size - position, data=False)

    def read(self, offset: int, length: int) -> bytes:
        """Any part of the disk. Raises Conflict where a block's checksum is not that of its bytes."""
        parts = []
        end = min(offset + length, self.size)
        while offset < end:
            index, start = divmod(offset, BLOCK)
            count = min(BLOCK - start, end - offset)
            data = self._block(index)
            parts.append(data if count == BLOCK else data[start : start + count])
            offset += count
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def handle(self) -> Handle | None:
        return None

    def close(self) -> None:
        self._clients.close()

    def _listed(self, beyond: int = 0) -> tuple[dict[int, str], int]:
        """Tokens by block, from a listing later than number `beyond`, and the listing's number."""
        with self._lock:
            if self._tokens is None or self._listing <= beyond:
                self._tokens = self._list()
                self._listing += 1
            return self._tokens, self._listing

    def _list(self) -> dict[int, str]:
        tokens: dict[int, str] = {}
        page: dict[str, Any] = {}
        while True:
            answer = persistently(self._ebs.list_snapshot_blocks, SnapshotId=self._id, MaxResults=10_000, **page)
            if answer.get("BlockSize", BLOCK) != BLOCK:
                raise Invalid(f"snapshot {self._id} has blocks of {answer['BlockSize']} bytes, not {BLOCK}")
            tokens.update((each["BlockIndex"], each["BlockToken"]) for each in answer.get("Blocks", ()))
            if not answer.get("NextToken"):
                return tokens
            page = {"NextToken": answer["NextToken"]}

    def _block(self, index: int) -> bytes:
        tokens, listing = self._listed()
        if index not in tokens:
            return ZERO
        for attempt in range(3):
            try:
                return self._fetch(index, tokens[index])
            except Invalid:
                # The token is of a listing that is no longer the last one, or too old.
                if attempt == 2:
                    raise
                tokens, listing = self._listed(beyond=listing)
            except Conflict:
                if attempt == 2:
                    raise
        raise AssertionError("unreachable")

    def _fetch(self, index: int, token: str) -> bytes:
        def get() -> tuple[bytes, str]:
            answer = self._ebs.get_snapshot_block(SnapshotId=self._id, BlockIndex=index, BlockToken=token)
            return answer["BlockData"].read(), answer["Checksum"]

        answer: tuple[bytes, str] = persistently(get)
        data, checksum = answer
        if base64.b64encode(hashlib.sha256(data).digest()).decode() != checksum:
            raise Conflict(f"block {index} of {self._id} does not match its checksum", cure="try again")
        return data if len(data) == BLOCK else data.ljust(BLOCK, b"\0")


class SnapshotSink:
    """A pending snapshot to write. Blocks of zeros are never sent.

    `write` hands the blocks to threads of its own and returns; an error comes out of the next call. The checksums of
    what was sent are needed at the end, and a pending snapshot cannot be listed: with `sums` among the spec's
    arguments they are kept in that file (durable after `flush`), so that a broken copy can go on. Without it, a
    broken copy begins again: to send a block twice is allowed.
    """

    block = BLOCK
    parallel = 1

    def __init__(self, spec: DiskSpec, settings: Settings) -> None:
        self.size = spec.size_bytes
        self._id = str(spec.args["snapshot"])
        self._region = str(spec.args["region"])
        self._clients = Clients(settings, attempts=2, read_s=60.0)
        self._ebs = self._clients.ebs(self._region)
        self._sums: dict[int, bytes] = {}
        self._file = Path(str(spec.args["sums"])) if spec.args.get("sums") else None
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(PARALLEL, thread_name_prefix="blocks")
        self._room = threading.BoundedSemaphore(PARALLEL * 2)
        self._error: BaseException | None = None
        self._stop = threading.Event()
        self._sealed = False
        self._flying: set[Future[None]] = set()

    def resume_at(self, journaled: int) -> int:
        """The offset to go on from: `journaled` where the checksums of all before it were kept, else 0.

        The disk's end where the snapshot was completed, and only the answer to that was lost.
        """
        if self._state() == "completed":
            self._sealed = True
            return self.size
        if self._file is None or not self._file.exists():
            return 0
        raw = self._file.read_bytes()
        for at in range(0, len(raw) // _RECORD * _RECORD, _RECORD):
            self._sums[int.from_bytes(raw[at : at + 4], "big")] = raw[at + 4 : at + _RECORD]
        return journaled // BLOCK * BLOCK

    def write(self, offset: int, data: bytes) -> None:
        """Send blocks. `offset` is a multiple of the block size; the last block may be short."""
        if offset % BLOCK:
            raise Invalid(f"offset {offset} is not a multiple of {BLOCK}")
        for at in range(0, len(data), BLOCK):
            part = data if len(data) == BLOCK else data[at : at + BLOCK]
            if len(part) < BLOCK:
                if offset + at + len(part) < self.size:
                    raise Invalid(f"a block of {len(part)} bytes in the middle of the disk")
                part = part.ljust(BLOCK, b"\0")
            index = (offset + at) // BLOCK
            if part != ZERO or index in self._sums:
                self._send(index, part)

    def zero(self, offset: int, length: int) -> None:
        """Nothing is to be sent; blocks that a broken copy sent already are overwritten."""
        first, last = offset // BLOCK, -(-(offset + length) // BLOCK)
        with self._lock:
            sent = [index for index in self._sums if first <= index < last]
        for index in sent:
            self._send(index, ZERO)

    def flush(self) -> None:
        """Wait for what is under way, and make its checksums durable."""
        with self._lock:
            flying = list(self._flying)
        for future in flying:
            future.exception()
        self._check()
        if self._file is not None:
            self._keep(self._file)

    def commit(self) -> str:
        """Complete the snapshot with the checksum of all blocks; returns its id when it is completed."""
        if self._sealed:
            self._close()
            return self._id
        self.flush()
        linear = hashlib.sha256(b"".join(self._sums[index] for index in sorted(self._sums))).digest()
        try:
            persistently(
                self._ebs.complete_snapshot,
                SnapshotId=self._id,
                ChangedBlocksCount=len(self._sums),
                Checksum=base64.b64encode(linear).decode(),
                ChecksumAlgorithm="SHA256",
                ChecksumAggregationMethod="LINEAR",
            )
        except BackendError:
            # A repeated call is refused once the first, whose answer was lost, has gone through.
            if self._state() != "completed":
                raise
        self._wait_completed()
        self._close()
        return self._id

    def abort(self) -> None:
        """Remove the snapshot. Idempotent."""
        self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        try:
            call(self._clients.ec2(self._region).delete_snapshot, changes=True, SnapshotId=self._id)
        except BackendError as error:
            if "NotFound" not in str(error):
                raise
        finally:
            if self._file is not None:
                self._file.unlink(missing_ok=True)
            self._close()

    def handle(self) -> Handle | None:
        return None

    def _send(self, index: int, part: bytes) -> None:
        self._room.acquire()
        try:
            self._check()
            future = self._pool.submit(self._put, index, part)
        except BaseException:
            self._room.release()
            raise
        with self._lock:
            self._flying.add(future)
        future.add_done_callback(self._landed)

    def _landed(self, future: Future[None]) -> None:
        with self._lock:
            self._flying.discard(future)
            if not future.cancelled() and future.exception() is not None and self._error is None:
                self._error = future.exception()
        self._room.release()

    def _put(self, index: int, part: bytes) -> None:
        if self._error is not None:
            return
        digest = hashlib.sha256(part).digest()
        persistently(
            self._ebs.put_snapshot_block,
            stop=self._stop,
            SnapshotId=self._id,
            BlockIndex=index,
            BlockData=part,
            DataLength=BLOCK,
            Checksum=base64.b64encode(digest).decode(),
            ChecksumAlgorithm="SHA256",
        )
        with self._lock:
            self._sums[index] = digest

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _keep(self, path: Path) -> None:
        with self._lock:
            records = b"".join(index.to_bytes(4, "big") + digest for index, digest in sorted(self._sums.items()))
        fresh = path.with_suffix(".new")
        with fresh.open("wb") as file:
            file.write(records)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)

    def _state(self) -> str:
        answer = persistently(self._clients.ec2(self._region).describe_snapshots, SnapshotIds=[self._id])
        return str(answer["Snapshots"][0]["State"])

    def _wait_completed(self) -> None:
        end, pause = time.monotonic() + 1800, 0.1
        while (state := self._state()) != "completed":
            if state in ("error", "recoverable"):
                raise Conflict(f"snapshot {self._id} ended in state {state}")
            if time.monotonic() > end:
                raise OutcomeUnknown(f"snapshot {self._id} is still {state} after half an hour")
            time.sleep(pause)
            pause = min(pause * 2, 10.0)

    def _close(self) -> None:
        self._pool.shutdown(wait=False)
        self._clients.close()
