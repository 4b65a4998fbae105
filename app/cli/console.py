"""`causeway console`: the window's tab, a picture of the screen, or the serial line in this terminal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from app.cli.refs import Usage, find_vm, sites_of
from app.cli.rows import Row, result
from app.cli.waiting import settled
from app.consoles import SessionState, png, trust
from backends.errors import AuthNeeded, Unreachable
from backends.model import Ref

if TYPE_CHECKING:
    from app.consoles.line import LineSession
    from app.services import Services


async def show(services: Services, args: Row) -> AsyncIterator[Row]:
    """The console in the window that is open, brought to the front."""
    if services.on_console is None:
        cure = "open the window: causeway; or use --serial or --screenshot FILE"
        raise Unreachable("no window is open that could show the console", cure=cure)
    ref = await _vm(services, args)
    services.on_console(ref)
    services.bring_to_front()
    yield result(data={"ref": str(ref)}, message="the window shows it")


async def screenshot(services: Services, args: Row) -> AsyncIterator[Row]:
    """The screen as a PNG file, at an absolute path."""
    path = Path(args["path"])
    await asyncio.to_thread(_writable, path)
    ref = await _vm(services, args)
    try:
        picture = await services.consoles.screenshot(ref, unproven=bool(args.get("unproven")))
    except AuthNeeded as error:
        if error.field == trust.FIELD:
            error.cure += "; or take it all the same: --unproven"
        raise
    try:
        await asyncio.to_thread(path.write_bytes, picture)
    except OSError as error:
        raise Usage(f"{path} cannot be written: {error.strerror}", cure="name another file") from None
    width, height = png.size(picture)
    data = {"ref": str(ref), "path": str(path), "width": width, "height": height, "bytes": len(picture)}
    yield result(data=data, message=f"{path}: {width}x{height} pixels")


async def line(services: Services, args: Row) -> AsyncIterator[Row]:
    """The serial line: a socket for the asker's terminal, then what happens to the line until the asker hangs up.

    Where the platform has no live line: what it kept of the output, once.
    """
    ref = await _vm(services, args)
    session = services.consoles.line(ref)
    if args.get("force"):
        session.take_over()
    try:
        await session.open()
        await session.live()
        if not session.interactive:
            yield result(data={"ref": str(ref), "output": session.kept})
            return
        async for row in _carried(services, session):
            yield row
        yield result(data={"ref": str(ref)}, message="left")
    finally:
        await session.close()


async def _carried(services: Services, session: LineSession) -> AsyncIterator[Row]:
    """The way to the line, then a note for every loss and return, until the other process hangs up."""
    relay = services.consoles.relay(session)
    changed = asyncio.Event()
    stop = session.subscribe(lambda event: changed.set())
    label = session.console.label if session.console is not None else "serial line"
    yield {"type": "line", "socket": relay.open(), "name": session.name, "label": label}
    carrying = asyncio.ensure_future(relay.ended())
    try:
        told = session.status
        while not carrying.done():
            changed.clear()
            if session.status != told:
                told = session.status
                yield {"type": "note", "message": _words(session)}
            waking = asyncio.ensure_future(changed.wait())
            try:
                await asyncio.wait({carrying, waking}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waking.cancel()
        carrying.result()
    finally:
        stop()
        carrying.cancel()
        await asyncio.wait({carrying})


def _words(session: LineSession) -> str:
    """What happened to the line, for the one who looks at it."""
    ref = session.ref
    if session.state == SessionState.LIVE:
        gap = f" after {session.gap_ms:.0f} ms" if session.gap_ms is not None else ""
        return f"{session.name} is back{gap}, on {ref.connection if ref else '?'}"
    return session.status.text or session.state.value


def _writable(path: Path) -> None:
    """Raises Usage where no file can be there."""
    try:
        if not path.parent.is_dir():
            raise Usage(f"there is no folder {path.parent}", cure="make it, or name another file")
        if path.is_dir():
            raise Usage(f"{path} is a folder", cure="name a file")
        if path.exists() and not path.is_file():
            # A pipe that nobody reads would be waited for without end.
            raise Usage(f"{path} is no plain file", cure="name another file")
    except OSError as error:
        raise Usage(f"{path} cannot be written: {error.strerror}", cure="name a shorter or another path") from None


async def _vm(services: Services, args: Row) -> Ref:
    await settled(services, sites_of(args["ref"]))
    return find_vm(args["ref"], services.inventory)


VERBS = {"console": show, "console-screenshot": screenshot, "console-line": line}
