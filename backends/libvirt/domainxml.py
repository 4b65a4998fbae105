"""Domain XML by declared properties. What is not edited stays as it was: a round trip is C14N-equal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar, overload

from lxml import etree

from backends.errors import Invalid

NAMESPACE = "https://causeway.dev/xmlns/domain/1"
PREFIX = "causeway"
METADATA = f"{{{NAMESPACE}}}vm"
PLACEHOLDER = "causeway-secret-{}"
SECRETS = ("passwd",)
"""Attributes whose value is a password, on whatever element."""
UNITS = {"b": 1, "bytes": 1, "KB": 1000, "k": 1024, "KiB": 1024, "MB": 10**6, "M": 1 << 20, "MiB": 1 << 20}
UNITS |= {"GB": 10**9, "G": 1 << 30, "GiB": 1 << 30, "TB": 10**12, "T": 1 << 40, "TiB": 1 << 40}

T = TypeVar("T", bound=str | int)
Element = Any
"""An lxml element; its type is not public."""


def parsed(text: str) -> Element:
    """The root of an XML text, comments and all. Raises Invalid for anything that is not well formed."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_blank_text=False, huge_tree=False)
    try:
        return etree.fromstring(text.encode(), parser)
    except etree.XMLSyntaxError as error:
        raise Invalid(f"this is not well-formed XML: {error.msg}", cure="mend it there", field="xml") from None


def serial(root: Element) -> str:
    return str(etree.tostring(root, encoding="unicode"))


class Property(Generic[T]):
    """One value in the XML: the text of an element, or an attribute of it (`path@name`), read and written in place."""

    def __init__(self, path: str, kind: type[T], default: T) -> None:
        self._path, _, self._attribute = path.partition("@")
        self._kind: Callable[[str], T] = kind
        self._default: T = default

    @overload
    def __get__(self, owner: None, kind: Any) -> Property[T]: ...
    @overload
    def __get__(self, owner: Node, kind: Any) -> T: ...
    def __get__(self, owner: Node | None, kind: Any) -> T | Property[T]:
        if owner is None:
            return self
        node = owner.node.find(self._path) if self._path else owner.node
        value = None if node is None else node.get(self._attribute) if self._attribute else node.text
        try:
            return self._default if value is None else self._kind(value.strip())
        except ValueError:
            return self._default

    def __set__(self, owner: Node, value: T) -> None:
        node = owner.node
        for name in filter(None, self._path.split("/")):
            child = node.find(name)
            node = etree.SubElement(node, name) if child is None else child
        if self._attribute:
            node.set(self._attribute, str(value))
        else:
            node.text = str(value)


class Node:
    """An element with declared properties."""

    def __init__(self, node: Element) -> None:
        self.node = node

    def has(self, path: str) -> bool:
        return self.node.find(path) is not None

    def each(self, path: str) -> Iterator[Element]:
        yield from self.node.iterfind(path)


class DiskNode(Node):
    device = Property("@device", str, "disk")
    type = Property("@type", str, "file")
    target = Property("target@dev", str, "")
    bus = Property("target@bus", str, "")
    format = Property("driver@type", str, "raw")
    cache = Property("driver@cache", str, "")
    order = Property("boot@order", int, 0)
    pool = Property("source@pool", str, "")
    volume = Property("source@volume", str, "")
    backing = Property("backingStore/source@file", str, "")

    @property
    def source(self) -> str:
        """Where its bytes are: a path, pool/volume, or a network name; empty for an empty drive."""
        source = self.node.find("source")
        if source is None:
            return ""
        for name in ("file", "dev", "name", "dir", "path"):
            if source.get(name):
                return str(source.get(name))
        return f"{self.pool}/{self.volume}" if self.volume else ""

    def move_to(self, path: str) -> None:
        """Point it at another file."""
        source = self.node.find("source")
        source.set("file", path)

    @property
    def readonly(self) -> bool:
        return self.has("readonly") or self.device in ("cdrom", "floppy")

    @property
    def shareable(self) -> bool:
        return self.has("shareable")

    @property
    def encrypted(self) -> bool:
        return self.has("encryption") or self.has("source/encryption")


class NicNode(Node):
    type = Property("@type", str, "network")
    mac = Property("mac@address", str, "")
    model = Property("model@type", str, "")
    bridge = Property("source@bridge", str, "")
    network_name = Property("source@network", str, "")

    @property
    def network(self) -> str:
        source = self.node.find("source")
        if source is None:
            return ""
        return str(source.get("network") or source.get("bridge") or source.get("dev") or "")

    def connect_to(self, network: str, bridge: str = "") -> None:
        """Plug it into another network (or bridge)."""
        source = self.node.find("source")
        if source is None:
            source = etree.SubElement(self.node, "source")
        source.attrib.clear()
        self.type = "bridge" if bridge else "network"
        source.set("bridge" if bridge else "network", bridge or network)


class Domain(Node):
    """A whole domain definition."""

    name = Property("name", str, "")
    uuid = Property("uuid", str, "")
    type = Property("@type", str, "qemu")
    title = Property("title", str, "")
    vcpus = Property("vcpu", int, 1)
    arch = Property("os/type@arch", str, "")
    machine = Property("os/type@machine", str, "")
    loader_type = Property("os/loader@type", str, "")
    loader = Property("os/loader", str, "")
    nvram = Property("os/nvram", str, "")
    kernel = Property("os/kernel", str, "")
    emulator = Property("devices/emulator", str, "")
    firmware_name = Property("os@firmware", str, "")
    tpm = Property("devices/tpm/backend@type", str, "")

    @classmethod
    def parse(cls, text: str) -> Domain:
        """Read a definition. Raises Invalid where it is none."""
        root = parsed(text)
        if root.tag != "domain":
            raise Invalid(f"this is a <{root.tag}>, not a <domain>", field="xml")
        return cls(root)

    def text(self) -> str:
        return serial(self.node)

    @property
    def memory_bytes(self) -> int:
        node = self.node.find("memory")
        return 0 if node is None else int(node.text) * UNITS.get(node.get("unit", "KiB"), 1024)

    @property
    def firmware(self) -> str:
        """`uefi` or `bios`."""
        return "uefi" if self.firmware_name == "efi" or self.loader_type == "pflash" else "bios"

    @property
    def os(self) -> str:
        """The guest's system as libosinfo's id says, shortened (debian/12), empty where nobody noted it."""
        for node in self.node.iter("{http://libosinfo.org/xmlns/libvirt/domain/1.0}os"):
            return "/".join(str(node.get("id", "")).rstrip("/").rsplit("/", 2)[-2:])
        return ""

    @property
    def disks(self) -> list[DiskNode]:
        return [DiskNode(node) for node in self.each("devices/disk")]

    @property
    def nics(self) -> list[NicNode]:
        return [NicNode(node) for node in self.each("devices/interface")]

    @property
    def agent(self) -> bool:
        """Whether the guest's agent is connected."""
        return any(
            node.get("name") == "org.qemu.guest_agent.0" and node.get("state") == "connected"
            for node in self.each("devices/channel/target")
        )

    @property
    def metadata(self) -> dict[str, str]:
        """Tags, group and migration id kept in our own namespace."""
        node = self.node.find(f"metadata/{METADATA}")
        return {} if node is None else read_metadata(node)

    def set_metadata(self, values: Mapping[str, str]) -> None:
        """Replace our part of the metadata; nothing else of it is touched."""
        outer = self.node.find("metadata")
        old = None if outer is None else outer.find(METADATA)
        if old is not None:
            outer.remove(old)
        if values:
            if outer is None:
                outer = etree.SubElement(self.node, "metadata")
            outer.append(write_metadata(values))


def read_metadata(node: Element) -> dict[str, str]:
    return {item.get("name", ""): item.text or "" for item in node.iterfind("{*}tag")}


def write_metadata(values: Mapping[str, str], *, qualified: bool = True) -> Element:
    """Our metadata element; libvirt's setMetadata wants it unqualified and adds the namespace itself."""
    node = etree.Element(METADATA, nsmap={PREFIX: NAMESPACE}) if qualified else etree.Element("vm")
    for name, value in sorted(values.items()):
        etree.SubElement(node, f"{{{NAMESPACE}}}tag" if qualified else "tag", {"name": name}).text = value
    return node


class Secret:
    """A password in the XML: an attribute, or the text of a cookie."""

    def __init__(self, node: Element, attribute: str) -> None:
        self._node = node
        self._attribute = attribute

    @property
    def value(self) -> str:
        return str((self._node.get(self._attribute) if self._attribute else self._node.text) or "")

    @value.setter
    def value(self, value: str) -> None:
        if self._attribute:
            self._node.set(self._attribute, value)
        else:
            self._node.text = value


def _secrets(root: Element) -> list[Secret]:
    """All passwords, in document order."""
    found = []
    for node in root.iter(etree.Element):
        found += [Secret(node, name) for name in SECRETS if node.get(name)]
        if node.tag == "cookie" and node.text:
            found.append(Secret(node, ""))
    return found


def redacted(text: str) -> str:
    """The same XML with every password replaced by asterisks."""
    root = parsed(text)
    for secret in _secrets(root):
        secret.value = "***"
    return serial(root)


def masked(text: str) -> str:
    """The same XML with numbered placeholders instead of passwords; `unmasked` puts them back."""
    root = parsed(text)
    for number, secret in enumerate(_secrets(root), 1):
        secret.value = PLACEHOLDER.format(number)
    return serial(root)


def unmasked(text: str, secret: str) -> str:
    """`text` with its placeholders replaced by the passwords of `secret`, the definition they were taken from."""
    known = {PLACEHOLDER.format(number): item.value for number, item in enumerate(_secrets(parsed(secret)), 1)}
    root = parsed(text)
    for item in _secrets(root):
        if item.value.startswith(PLACEHOLDER.format("")):
            if item.value not in known:
                raise Invalid(f"the placeholder {item.value} stands for no password", cure="write one", field="xml")
            item.value = known[item.value]
    return serial(root)


def same(left: str, right: str) -> bool:
    """Whether two XML texts say the same (C14N)."""
    return canonical(left) == canonical(right)


def canonical(text: str) -> bytes:
    return bytes(etree.tostring(parsed(text), method="c14n"))
