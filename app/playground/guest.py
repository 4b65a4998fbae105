"""The tiny real guest: a Debian kernel, a busybox initramfs with a heartbeat, and a disk that boots by itself.

The packages are downloaded and unpacked, never installed; what is built of them is kept for the next time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from app.playground.errors import PlaygroundError
from app.playground.initrd import Archive, modules

CACHE = Path("/var/cache/causeway/playground")
"""Root's own folder: what root runs and boots from must not be writable by anyone else."""
KERNELS = ("linux-image-cloud-amd64", "linux-image-virtual")
"""Meta packages of a small kernel for guests: Debian's, Ubuntu's."""
PACKAGES = ("busybox-static", "grub-pc-bin", "grub-common")
MODULES = (
    *("virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "virtio_balloon", "virtio_rng", "virtio_scsi"),
    *("sd_mod", "ata_piix", "nvme", "ena", "xen_blkfront", "xen_netfront", "button", "evdev", "ext4", "af_packet"),
)
SCRIPTS = {"init": "init", "agent": "bin/agent"}
"""Files of this folder, and what each is in the guest."""
VERSION = b"1"
"""Change it when the build changes: what was built before is then built again."""
UNUSED_S = 86_400.0
"""So long a version stays that is not this one's: another checkout on the machine may be using it."""
SECTOR = 512
START = 2048
"""First sector of the partition; GRUB's core lives in the gap before it."""
DISK_BYTES = 64 * 2**20
DATA_BYTES = 16 * 2**20
WORDS = (
    "console=tty0 console=ttyS0,115200 quiet panic=5 mitigations=off nokaslr no_timer_check tsc=reliable "
    "random.trust_cpu=on"
)
"""The kernel's command line; those after `panic` make an emulated boot a second shorter."""
KVM = Path("/dev/kvm")
KVM_PROBE = 8.0
"""Seconds in which a guest must boot with KVM; a real one takes one."""


@dataclass(frozen=True, slots=True)
class GuestFiles:
    """What a guest boots from. `disk` boots by BIOS and GRUB alone; `data` is a small empty ext4 disk."""

    kernel: Path
    initrd: Path
    disk: Path
    data: Path

    @classmethod
    def inside(cls, folder: Path) -> GuestFiles:
        return cls(folder / "vmlinuz", folder / "initrd.gz", folder / "disk.raw", folder / "data.raw")

    def complete(self) -> bool:
        return all(path.is_file() for path in (self.kernel, self.initrd, self.disk, self.data))


def guest_files(report: Callable[[str], None], cache: Path = CACHE) -> GuestFiles:
    """The guest's files, built when this version of the guest is not there yet (the only step that needs a network)."""
    scripts = _scripts()
    version = hashlib.sha256(VERSION + repr((scripts, MODULES, WORDS)).encode()).hexdigest()[:12]
    files = GuestFiles.inside(cache / version)
    if files.complete():
        os.utime(files.kernel.parent)
        return files
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(cache), tempfile.TemporaryDirectory(dir=cache) as name:
        if files.complete():
            return files
        work = Path(name)
        report("Downloading the guest's packages (32 MB, once)")
        packages = _unpack(work)
        report("Building the guest")
        built = GuestFiles.inside(work / "built")
        built.kernel.parent.mkdir()
        _build(packages, built, scripts)
        _keep(built.kernel.parent, files.kernel.parent)
    return files


def _scripts() -> dict[str, bytes]:
    """The guest's own programs, by their path in it."""
    folder = resources.files("app.playground")
    return {path: (folder / name).read_bytes() for name, path in SCRIPTS.items()}


def _keep(built: Path, place: Path) -> None:
    """Put a finished build in its place; what nobody used for long goes, and what an interrupted build left."""
    shutil.rmtree(place, ignore_errors=True)
    built.rename(place)
    for old in place.parent.iterdir():
        unused = time.time() - old.stat().st_mtime > UNUSED_S
        if old not in (place, built.parent) and (unused or not GuestFiles.inside(old).complete()):
            shutil.rmtree(old, ignore_errors=True)


def tidy(cache: Path = CACHE) -> None:
    """Remove what an interrupted build left."""
    if cache.is_dir():
        with locked(cache):
            for folder in cache.iterdir():
                if not GuestFiles.inside(folder).complete():
                    shutil.rmtree(folder)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Only one process at a time is in here. The folder itself is locked: no lock file remains."""
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def domain_type(files: GuestFiles) -> str:
    """ "kvm" where a guest really runs with KVM, else "qemu". Asked once per start of the machine.

    /dev/kvm may open, create a machine, and still run nothing (seen in nested machines): so a guest is booted.
    """
    machine = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    answer = files.kernel.parent / "accelerator"
    known = answer.read_text(encoding="utf-8").split() if answer.exists() else []
    if known[:1] != [machine]:
        known = [machine, "kvm" if KVM.exists() and _boots_with_kvm(files) else "qemu"]
        answer.write_text(" ".join(known), encoding="utf-8")
    return known[1]


def _boots_with_kvm(files: GuestFiles) -> bool:
    command = ["qemu-system-x86_64", "-machine", "pc,accel=kvm", "-m", "96", "-no-reboot"]
    command += ["-nodefaults", "-display", "none", "-serial", "stdio"]
    command += ["-kernel", str(files.kernel), "-initrd", str(files.initrd), "-append", WORDS]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    stop = threading.Timer(KVM_PROBE, process.kill)
    stop.start()
    with process:
        ready = any("READY" in line for line in process.stdout or ())
        process.kill()
    stop.cancel()
    return ready


def _unpack(work: Path) -> Path:
    """Download and unpack the packages below `work`.

    Raises:
        PlaygroundError: the packages cannot be had; names the command that helps.
    """
    debs, root = work / "debs", work / "root"
    debs.mkdir()
    root.mkdir()
    names = [*_kernel(), *PACKAGES]
    done = subprocess.run(["apt-get", "download", "-q", *names], cwd=debs, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PlaygroundError(
            f"The guest's packages could not be downloaded: {done.stderr.strip().splitlines()[-1:]}",
            "sudo apt-get update",
        )
    for deb in sorted(debs.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", deb, root], check=True, capture_output=True)
    return root


def _kernel() -> list[str]:
    """The names of the kernel's packages: what the meta package depends on."""
    for meta in KERNELS:
        done = subprocess.run(["apt-cache", "depends", meta], capture_output=True, text=True, check=False)
        image = [line.split()[-1] for line in done.stdout.splitlines() if "Depends: linux-image-" in line]
        if image:
            extra = image[0].replace("linux-image-", "linux-modules-")
            return [image[0]] if meta == KERNELS[0] else [image[0], extra]
    raise PlaygroundError("No kernel package for the guest is known to apt", "sudo apt-get update")


def _build(packages: Path, to: GuestFiles, scripts: dict[str, bytes]) -> None:
    kernel = next((packages / "boot").glob("vmlinuz-*"))
    shutil.copy(kernel, to.kernel)
    to.initrd.write_bytes(_initrd(packages, scripts))
    _ext4(to.data, DATA_BYTES, None)
    _bootable(packages, to)


def _initrd(packages: Path, scripts: dict[str, bytes]) -> bytes:
    busybox = next(path for path in (packages / "bin/busybox", packages / "usr/bin/busybox") if path.exists())
    archive = Archive()
    for folder in ("bin", "dev", "proc", "sys", "lib", "lib/modules", "etc"):
        archive.folder(folder)
    archive.device("dev/console", 5, 1)
    archive.device("dev/null", 1, 3)
    archive.file("bin/busybox", busybox.read_bytes(), 0o755)
    archive.link("bin/sh", "busybox")
    for path, script in scripts.items():
        archive.file(path, script, 0o755)
    loaded = modules(packages, MODULES)
    archive.file("modules.order", "".join(f"{name}\n" for name in loaded).encode())
    for name, data in loaded.items():
        archive.file(f"lib/modules/{name}", data)
    return archive.packed()


def _ext4(image: Path, size: int, content: Path | None, start: int = 0) -> None:
    """An ext4 file system in a file from byte `start` on, filled by mke2fs itself: no mount, no loop device."""
    with image.open("wb") as file:
        file.truncate(size)
    fill = ["-d", str(content)] if content else []
    features = "^has_journal,^metadata_csum,^64bit"
    extended = f"offset={start},root_owner=0:0"
    command = ["mke2fs", "-q", "-F", "-t", "ext4", "-O", features, "-m", "0", *fill, "-E", extended, str(image)]
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    subprocess.run(
        [*command, f"{(size - start) // 1024}k"], check=True, capture_output=True, env={**os.environ, "PATH": path}
    )


def _bootable(packages: Path, to: GuestFiles) -> None:
    """A disk with an MBR, GRUB's core in the gap after it, and one partition with kernel and initramfs."""
    root = to.disk.parent / "root"
    (root / "boot/grub").mkdir(parents=True)
    shutil.copy(to.kernel, root / "boot/vmlinuz")
    shutil.copy(to.initrd, root / "boot/initrd.gz")
    (root / "boot/grub/grub.cfg").write_text(
        "serial --unit=0 --speed=115200\nterminal_output console serial\nset timeout=0\nmenuentry guest {\n"
        f"  linux /boot/vmlinuz {WORDS} guest.name=app-01\n"
        "  initrd /boot/initrd.gz\n}\n",
        encoding="utf-8",
    )
    _ext4(to.disk, DISK_BYTES, root, START * SECTOR)
    shutil.rmtree(root)
    grub = packages / "usr/lib/grub/i386-pc"
    core = to.disk.with_name("core.img")
    parts = ["biosdisk", "part_msdos", "ext2", "normal", "linux", "serial", "terminal", "echo", "configfile"]
    command = [str(packages / "usr/bin/grub-mkimage"), "-O", "i386-pc", "-d", str(grub), "-p", "(hd0,msdos1)/boot/grub"]
    subprocess.run([*command, "-o", str(core), *parts], check=True, capture_output=True)
    entry = struct.pack("<B3sB3sII", 0x80, b"\xfe\xff\xff", 0x83, b"\xfe\xff\xff", START, DISK_BYTES // SECTOR - START)
    signature = struct.pack("<IH", 0x43575931, 0)
    record = (grub / "boot.img").read_bytes()[:440] + signature + entry + b"\0" * 48 + b"\x55\xaa"
    code = core.read_bytes()
    if len(code) > (START - 1) * SECTOR:
        raise PlaygroundError("GRUB's core does not fit before the partition")
    with to.disk.open("r+b") as disk:
        disk.write(record + code)
    core.unlink()
