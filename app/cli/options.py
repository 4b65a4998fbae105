"""The options of `plan` and `move`, as the parser takes them."""

from __future__ import annotations

from typing import Annotated

import typer

LIVE = "Live moves"

Target = Annotated[str, typer.Option("--to", metavar="TARGET", help="A connection, host or zone, named as a REF is.")]
AMode = Annotated[str | None, typer.Option("--mode", help="live, warm or cold; else the best that is possible.")]
Copy = Annotated[bool, typer.Option("--copy", help="Leave the source as it is.")]
Map = Annotated[list[str] | None, typer.Option("--map", metavar="network=A:B", help="Which network becomes which.")]
Storage = Annotated[str, typer.Option("--storage", metavar="P", help="The target's pool.")]
Flavor = Annotated[str, typer.Option("--flavor", metavar="F", help="The target's flavor.")]
NewName = Annotated[str, typer.Option("--name", metavar="NAME", help="What it is called there.")]
Bandwidth = Annotated[
    float | None, typer.Option("--bandwidth", metavar="MiB/s", min=1, max=100_000, help="At most so much.")
]
Parallel = Annotated[
    int | None,
    typer.Option("--parallel", metavar="N", min=2, max=16, help="Connections at once.", rich_help_panel=LIVE),
]
Tls = Annotated[bool, typer.Option("--tls", help="Encrypt what crosses the network.", rich_help_panel=LIVE)]
PeerToPeer = Annotated[
    bool, typer.Option("--peer-to-peer", help="Let the hosts talk to each other.", rich_help_panel=LIVE)
]
Tunnelled = Annotated[bool, typer.Option("--tunnelled", help="Through libvirt's own connection.", rich_help_panel=LIVE)]
PostCopy = Annotated[bool, typer.Option("--post-copy", help="Switch first, fetch memory after.", rich_help_panel=LIVE)]
AutoConverge = Annotated[
    bool, typer.Option("--auto-converge", help="Slow the guest down if it never ends.", rich_help_panel=LIVE)
]
