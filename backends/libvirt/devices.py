"""A domain's screens and serial lines, read from its live XML. Pure: text in, values out."""

from __future__ import annotations

from dataclasses import dataclass

from backends.consoles import ConsoleKind
from backends.libvirt.domainxml import Node, Property, parsed

GRAPHICS = {"vnc": ConsoleKind.VNC, "spice": ConsoleKind.SPICE, "rdp": ConsoleKind.RDP}
OPENABLE = ("pty", "unix")
"""What kinds of character devices libvirt opens a console of."""


class _GraphicsNode(Node):
    type = Property("@type", str, "")
    port = Property("@port", int, 0)
    tls_port = Property("@tlsPort", int, 0)
    password = Property("@passwd", str, "")
    socket = Property("@socket", str, "")
    address = Property("@listen", str, "")


class _CharNode(Node):
    type = Property("@type", str, "pty")
    alias = Property("alias@name", str, "")
    port = Property("target@port", str, "0")
    target = Property("target@type", str, "serial")


@dataclass(frozen=True, slots=True)
class Graphics:
    """One screen: `index` among all graphics, as libvirt counts them; where it listens (ports 0: not there)."""

    index: int
    kind: ConsoleKind
    address: str = ""
    port: int = 0
    tls_port: int = 0
    socket: str = ""

    @property
    def listens(self) -> bool:
        return bool(self.socket or self.port or self.tls_port)


@dataclass(frozen=True, slots=True)
class SerialLine:
    """One character device. `target` is what the guest sees: serial, or virtio for a paravirtual console."""

    alias: str
    type: str
    target: str


def screens(xml: str) -> tuple[Graphics, ...]:
    """All graphics that a person can look at, in the order of the XML."""
    found = []
    for index, element in enumerate(parsed(xml).iterfind("devices/graphics")):
        node = _GraphicsNode(element)
        if node.type not in GRAPHICS:
            continue
        listens = list(node.each("listen"))
        address = next((one.get("address") for one in listens if one.get("address")), node.address)
        socket = next((one.get("socket") for one in listens if one.get("socket")), node.socket)
        ports = max(0, node.port), max(0, node.tls_port)
        found.append(Graphics(index, GRAPHICS[node.type], address or "", *ports, socket or ""))
    return tuple(found)


def secret(xml: str, index: int) -> str:
    """The password of a screen in an XML that was read with its secrets; "" for none."""
    elements = parsed(xml).findall("devices/graphics")
    return _GraphicsNode(elements[index]).password if index < len(elements) else ""


def serial_lines(xml: str) -> tuple[SerialLine, ...]:
    """All serial lines and paravirtual consoles; <console> that only repeats <serial> is left out."""
    found: dict[str, SerialLine] = {}
    for tag in ("serial", "console"):
        for element in parsed(xml).iterfind(f"devices/{tag}"):
            node = _CharNode(element)
            if tag == "console" and node.target == "serial" and found:
                continue
            target = node.target if tag == "console" else "serial"
            alias = node.alias or f"{'console' if target == 'virtio' else 'serial'}{node.port}"
            found.setdefault(alias, SerialLine(alias, node.type, target))
    return tuple(found.values())
