"""The command line's words: options in, a request to the services out. Imports nothing heavy until a verb runs."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from app.cli import options
from app.cli.printer import (
    AskingPrinter,
    Printer,
    failed,
    show_added,
    show_connections,
    show_fields,
    show_move,
    show_objects,
    show_plan,
    show_tasks,
)

Row = dict[str, Any]
Show = Callable[[Any, Row], None]
StartWindow = Callable[[Path, "Path | None", "int | None", "Path | None"], int]

app = typer.Typer(
    name="causeway",
    help="One tree over all your virtual machines. Without a verb: the window.\n\nREF is connection/name, "
    "connection/id, or a name that only one has; an ambiguous one is exit code 2, with the candidates.",
    add_completion=False,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Offline = Annotated[bool, typer.Option("--offline", help="From the store, without asking any server.")]
A_REF = "connection/name, connection/id, or a name that only one has"
Refs = Annotated[list[str], typer.Argument(metavar="REF...", help=A_REF)]
AnRef = Annotated[str, typer.Argument(metavar="REF", help=A_REF)]
MIB = 2**20

USAGE_ERROR = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[1])
"""The parser's own name for it differs between its versions."""


def run(words: list[str], start_window: StartWindow) -> int:
    """Parse and do what `words` say. Returns the exit code, or raises SystemExit with it.

    Without a verb `start_window` is called: only the composition root knows the window. With --json, also what was
    not understood is said in JSON.
    """
    if "--json" not in words:
        app(args=words, prog_name="causeway", obj=start_window)
        return 0
    if sys.stdout is None:
        print("error: standard output is closed: there is nowhere to print JSON", file=sys.stderr)  # noqa: T201
        return 1
    try:
        return int(app(args=words, prog_name="causeway", obj=start_window, standalone_mode=False) or 0)
    except USAGE_ERROR as error:
        message = error.format_message()
        print(f"error: {message}", file=sys.stderr)  # noqa: T201
        failed(message, "see: causeway --help")
        return 2
    except typer.Abort:
        return 1


FOLDER = "The data folder; else ~/.local/share/causeway (Windows: %LOCALAPPDATA%/causeway)."


@app.callback()
def root(
    context: typer.Context,
    home: Annotated[str | None, typer.Option("--home", envvar="CAUSEWAY_HOME", help=FOLDER)] = None,
    vault_key_file: Annotated[Path | None, typer.Option(help="Opens the vault of secrets.")] = None,
    screenshot: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Write a picture of the window and end.")
    ] = None,
    demo: Annotated[int | None, typer.Option(metavar="[N]", help="Open with a demo connection of N VMs.")] = None,
) -> None:
    if context.invoked_subcommand == "playground" and "SUDO_UID" in os.environ:
        from app.cli.playground import home_of_caller

        folder = home_of_caller(home)
    else:
        from app.paths import home as private_home

        folder = private_home(home)
    start_window: StartWindow = context.obj
    context.obj = {"home": folder, "key": vault_key_file}
    if context.invoked_subcommand is None:
        raise typer.Exit(start_window(folder, screenshot, demo, vault_key_file))


def ask(
    context: typer.Context,
    verb: str,
    args: Row,
    *,
    as_json: bool = False,
    show: Show | None = None,
    printer: Printer | None = None,
) -> None:
    """Run a verb and end with its exit code."""
    raise typer.Exit(ask_code(context, verb, args, printer=printer or Printer(as_json, show)))


def ask_code(context: typer.Context, verb: str, args: Row, *, printer: Printer) -> int:
    """Run a verb; returns its exit code."""
    from app.cli.channel import run

    request = {"verb": verb, "args": args}
    try:
        work = run(context.obj["home"], request, printer, vault_key_file=context.obj["key"], prompt=_passphrase())
        code = asyncio.run(work, debug=bool(os.environ.get("CAUSEWAY_ASYNCIO_DEBUG")))
    except KeyboardInterrupt:
        code = 1
    finally:
        printer.close()
    return code


@app.command()
def connections(context: typer.Context, as_json: Json = False) -> None:
    """List the saved connections and how they are."""
    ask(context, "connections", {}, as_json=as_json, show=show_connections)


@app.command()
def connect(
    context: typer.Context,
    kind: Annotated[str, typer.Argument(help="libvirt, ec2, libcloud, demo, ...")],
    name: Annotated[str, typer.Argument(help="What it is called here.")],
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE")] = None,
    secret_file: Annotated[list[str] | None, typer.Option(metavar="NAME=PATH", help="A secret, from a file.")] = None,
    secret_env: Annotated[list[str] | None, typer.Option(metavar="NAME=VAR", help="From the environment.")] = None,
    secret_stdin: Annotated[str | None, typer.Option(metavar="NAME", help="From standard input.")] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Never change anything there.")] = False,
    production: Annotated[bool, typer.Option("--production", help="Marked in colour.")] = False,
    as_json: Json = False,
) -> None:
    """Check a connection and add it; a secret is never given as an option's value."""
    from app.cli.inputs import pairs, read_secrets

    args = {
        "kind": kind,
        "name": name,
        "settings": pairs(settings or [], "--set"),
        "secrets": read_secrets(secret_file or [], secret_env or [], secret_stdin),
        "read_only": read_only,
        "production": production,
    }
    ask(context, "connect", args, as_json=as_json, show=show_added)


@app.command()
def disconnect(
    context: typer.Context,
    name: str,
    yes: Annotated[bool, typer.Option("--yes", help="Also while a task or an undo needs it.")] = False,
    as_json: Json = False,
) -> None:
    """Forget a connection. Nothing happens to its VMs."""
    ask(context, "disconnect", {"name": name, "yes": yes}, as_json=as_json)


@app.command()
def ls(
    context: typer.Context,
    query: Annotated[list[str] | None, typer.Argument(metavar="[QUERY]", help="web state:running cpu>80 ...")] = None,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """List VMs and hosts, all or what a query matches."""
    ask(context, "ls", {"query": " ".join(query or []), "offline": offline}, as_json=as_json, show=show_objects)


@app.command()
def show(context: typer.Context, ref: AnRef, offline: Offline = False, as_json: Json = False) -> None:
    """Show everything about one object."""
    ask(context, "show", {"ref": ref, "offline": offline}, as_json=as_json, show=show_fields)


def _power(name: str, words: str) -> None:
    def command(context: typer.Context, refs: Refs, as_json: Json = False) -> None:
        ask(context, name, {"refs": refs}, as_json=as_json)

    app.command(name, help=words)(command)


_power("start", "Start VMs.")
_power("shutdown", "Ask the guests to shut down.")
_power("stop", "Force VMs off.")
_power("reboot", "Reboot VMs.")
_power("pause", "Pause VMs.")
_power("resume", "Let paused VMs go on.")


@app.command()
def delete(
    context: typer.Context,
    refs: Refs,
    disks: Annotated[bool, typer.Option("--disks", help="Their disks too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Delete VMs, with or without their disks."""
    if not yes:
        from app.cli.inputs import confirm

        confirm(f"Delete {', '.join(refs)} {'with all disks' if disks else 'and keep the disks'}?")
    ask(context, "delete", {"refs": refs, "disks": disks}, as_json=as_json)


def _planning(name: str, words: str, show: Show) -> None:
    """`plan` and `move` take the same words: what would be done, and what is done."""

    def command(
        context: typer.Context,
        ref: AnRef,
        to: options.Target,
        mode: options.AMode = None,
        copy: options.Copy = False,
        maps: options.Map = None,
        storage: options.Storage = "",
        flavor: options.Flavor = "",
        new_name: options.NewName = "",
        bandwidth: options.Bandwidth = None,
        parallel: options.Parallel = None,
        tls: options.Tls = False,
        peer_to_peer: options.PeerToPeer = False,
        tunnelled: options.Tunnelled = False,
        post_copy: options.PostCopy = False,
        auto_converge: options.AutoConverge = False,
        as_json: Json = False,
    ) -> None:
        if mode not in (None, "live", "warm", "cold"):
            raise typer.BadParameter(f"{mode!r} is not live, warm or cold", param_hint="--mode")
        wish = {"mode": mode, "copy": copy, "map": maps or [], "storage": storage, "flavor": flavor, "name": new_name}
        live = {
            "tls": tls,
            "peer_to_peer": peer_to_peer,
            "tunnelled": tunnelled,
            "post_copy": post_copy,
            "auto_converge": auto_converge,
            "parallel": parallel or 0,
            "bandwidth_bps": round((bandwidth or 0) * MIB),
        }
        chosen = {key: value for key, value in live.items() if value}
        ask(context, name, {"ref": ref, "to": to, **wish, "live": chosen}, as_json=as_json, show=show)

    app.command(name, help=words)(command)


_planning("plan", "Say what a move would do, and what stands in its way. Nothing is touched.", show_plan)
_planning("move", "Move a VM to another connection, host or zone. Ctrl+C takes it back.", show_move)


@app.command()
def tasks(context: typer.Context, as_json: Json = False) -> None:
    """List what was done, newest first."""
    ask(context, "tasks", {}, as_json=as_json, show=show_tasks)


@app.command()
def retry(context: typer.Context, task: str, as_json: Json = False) -> None:
    """Go on with a task that was interrupted, or that failed."""
    ask(context, "retry", {"task": task}, as_json=as_json)


@app.command()
def undo(
    context: typer.Context,
    task: str,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask where something is lost.")] = False,
    as_json: Json = False,
) -> None:
    """Take a task back, where that is possible."""
    asked: list[str] = []
    code = ask_code(context, "undo", {"task": task, "yes": yes}, printer=AskingPrinter(as_json, asked))
    if asked:
        from app.cli.inputs import confirm

        confirm(f"{asked[0]}. Undo it?")
        code = ask_code(context, "undo", {"task": task, "yes": True}, printer=Printer(as_json))
    raise typer.Exit(code)


@app.command()
def console(
    context: typer.Context,
    ref: AnRef,
    serial: Annotated[bool, typer.Option("--serial", help="The serial line, in this terminal. Ctrl+] leaves.")] = False,
    screenshot: Annotated[Path | None, typer.Option(metavar="FILE", help="The screen, as a PNG file.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Take the line from whoever holds it.")] = False,
    unproven: Annotated[
        bool, typer.Option("--unproven", help="A picture also where nothing proves whose screen it is.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show a VM's console in the window; its serial line here; or write a picture of its screen."""
    if serial and screenshot is not None:
        raise typer.BadParameter("choose one of --serial and --screenshot", param_hint="--serial")
    if serial:
        from app.cli.attach import LinePrinter

        ask(context, "console-line", {"ref": ref, "force": force}, printer=LinePrinter(as_json))
    elif screenshot is not None:
        args = {"ref": ref, "path": str(screenshot.absolute()), "unproven": unproven}
        ask(context, "console-screenshot", args, as_json=as_json)
    else:
        ask(context, "console", {"ref": ref}, as_json=as_json)


@app.command()
def capabilities(
    as_json: Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="A table for the documentation.")] = False,
) -> None:
    """Say what each kind of connection can do."""
    if as_json and markdown:
        raise typer.BadParameter("choose one of --markdown and --json", param_hint="--markdown")
    from app.cli.matrix import show_matrix

    show_matrix(as_json=as_json, markdown=markdown)


@app.command()
def playground(
    context: typer.Context,
    action: Annotated[str, typer.Argument(metavar="up|down|status")],
    as_json: Json = False,
) -> None:
    """Real KVM hosts and a cloud on this machine, to try things on."""
    from app.cli.playground import playground as act

    raise typer.Exit(act(context.obj["home"], action, as_json=as_json))


def _passphrase() -> Any:
    """Asks for the vault's passphrase on the terminal; None where there is none."""
    if not sys.stdin.isatty():
        return None
    from app.cli.inputs import ask_passphrase

    return ask_passphrase
