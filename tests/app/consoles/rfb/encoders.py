"""Pictures as a server would pack them: (height, width, 3) bytes R, G, B in, an encoding's data out. Plain and slow."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from itertools import groupby
from struct import pack

import numpy as np

Picture = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
Colour = tuple[int, int, int]


def raw(picture: Picture) -> bytes:
    """Our pixel format; the byte without meaning has some value."""
    height, width, _ = picture.shape
    words = np.full((height, width, 4), 0x5A, np.uint8)
    words[:, :, :3] = picture[:, :, ::-1]
    return words.tobytes()


def colours(picture: Picture) -> list[Colour]:
    return [(int(red), int(green), int(blue)) for red, green, blue in picture.reshape(-1, 3)]


def tiles(picture: Picture, size: int) -> Iterator[Picture]:
    height, width, _ = picture.shape
    for top in range(0, height, size):
        for left in range(0, width, size):
            yield picture[top : top + size, left : left + size]


def bgrx(colour: Colour) -> bytes:
    return bytes((*colour[::-1], 0x77))


def bgr(colour: Colour) -> bytes:
    return bytes(colour[::-1])


def rgb(colour: Colour) -> bytes:
    return bytes(colour)


def hextile(picture: Picture) -> bytes:
    """Each tile the shortest way that holds it, background and foreground inherited where they can be."""
    data, background, foreground = b"", None, None
    for tile in tiles(picture, 16):
        pixels = colours(tile)
        kinds = list(dict.fromkeys(pixels))
        if len(kinds) > 60:
            data += b"\1" + raw(tile)
            background = foreground = None
            continue
        flags, head = 0, b""
        if kinds[0] != background:
            background, flags, head = kinds[0], 2, bgrx(kinds[0])
        runs = []
        for row in range(tile.shape[0]):
            column = 0
            for colour, same in groupby(colours(tile[row : row + 1])):
                length = len(list(same))
                if colour != kinds[0]:
                    runs.append((colour, bytes([column << 4 | row, (length - 1) << 4])))
                column += length
        if len(runs) > 255:
            data += b"\1" + raw(tile)
            background = foreground = None
        elif len(kinds) == 2:
            if kinds[1] != foreground:
                foreground, flags, head = kinds[1], flags | 4, head + bgrx(kinds[1])
            data += bytes([flags | 8]) + head + bytes([len(runs)]) + b"".join(place for _, place in runs)
        elif runs:
            foreground = None
            body = b"".join(bgrx(colour) + place for colour, place in runs)
            data += bytes([flags | 24]) + head + bytes([len(runs)]) + body
        else:
            data += bytes([flags]) + head
    return data


def run_length(length: int) -> bytes:
    return b"\xff" * ((length - 1) // 255) + bytes([(length - 1) % 255])


def packed(rows: list[list[int]], bits: int) -> bytes:
    """Indices of `bits` bits, each row padded to a byte."""
    data = b""
    for row in rows:
        text = "".join(f"{index:0{bits}b}" for index in row)
        text += "0" * (-len(text) % 8)
        data += int(text, 2).to_bytes(len(text) // 8, "big")
    return data


def trle_tile(tile: Picture, kind: str) -> bytes:
    """One tile as "raw", "solid", "palette", "runs" or "palette runs"; raw where that cannot be."""
    pixels = colours(tile)
    kinds = list(dict.fromkeys(pixels))
    grouped = [(colour, len(list(same))) for colour, same in groupby(pixels)]
    if kind == "solid" and len(kinds) == 1:
        return b"\1" + bgr(kinds[0])
    if kind == "palette" and 2 <= len(kinds) <= 16:
        bits = 1 if len(kinds) == 2 else 2 if len(kinds) <= 4 else 4
        rows = [[kinds.index(pixel) for pixel in colours(tile[row : row + 1])] for row in range(tile.shape[0])]
        return bytes([len(kinds)]) + b"".join(map(bgr, kinds)) + packed(rows, bits)
    if kind == "runs":
        return b"\x80" + b"".join(bgr(colour) + run_length(length) for colour, length in grouped)
    if kind == "palette runs" and 2 <= len(kinds) <= 127:
        body = b"".join(
            bytes([kinds.index(colour)]) if length == 1 else bytes([kinds.index(colour) | 128]) + run_length(length)
            for colour, length in grouped
        )
        return bytes([128 + len(kinds)]) + b"".join(map(bgr, kinds)) + body
    return b"\0" + b"".join(map(bgr, pixels))


KINDS = ("raw", "solid", "palette", "runs", "palette runs")


class Streams:
    """zlib streams that live as long as a connection."""

    def __init__(self) -> None:
        self._streams = [zlib.compressobj() for _ in range(4)]

    def pack(self, data: bytes, number: int = 0) -> bytes:
        stream = self._streams[number]
        return stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH)

    def restart(self, number: int) -> None:
        self._streams[number] = zlib.compressobj()


def zrle(picture: Picture, streams: Streams, kind: Callable[[], str]) -> bytes:
    body = streams.pack(b"".join(trle_tile(tile, kind()) for tile in tiles(picture, 64)))
    return pack(">I", len(body)) + body


def compact(length: int) -> bytes:
    """Tight's length in one to three bytes."""
    if length < 1 << 7:
        return bytes([length])
    if length < 1 << 14:
        return bytes([length & 127 | 128, length >> 7])
    return bytes([length & 127 | 128, length >> 7 & 127 | 128, length >> 14])


def tight(picture: Picture, streams: Streams, number: int, kind: str) -> bytes:
    """As "fill", "palette", "gradient" or "plain"; plain where that cannot be."""
    pixels = colours(picture)
    kinds = list(dict.fromkeys(pixels))
    if kind == "fill" and len(kinds) == 1:
        return b"\x80" + rgb(kinds[0])
    if kind == "palette" and 2 <= len(kinds) <= 256:
        rows = [[kinds.index(pixel) for pixel in colours(row[None])] for row in picture]
        body = packed(rows, 1 if len(kinds) == 2 else 8)
        head = bytes([(4 | number) << 4, 1, len(kinds) - 1]) + b"".join(map(rgb, kinds))
        return head + tight_data(body, streams, number)
    if kind == "gradient":
        return bytes([(4 | number) << 4, 2]) + tight_data(differences(picture), streams, number)
    return bytes([number << 4]) + tight_data(picture.tobytes(), streams, number)


def tight_data(body: bytes, streams: Streams, number: int) -> bytes:
    if len(body) < 12:
        return body
    small = streams.pack(body, number)
    return compact(len(small)) + small


def differences(picture: Picture) -> bytes:
    """Tight's gradient filter, as the specification says it: a pixel at a time."""
    height, width, _ = picture.shape
    data = bytearray()
    for y in range(height):
        for x in range(width):
            for channel in range(3):
                left = int(picture[y, x - 1, channel]) if x else 0
                above = int(picture[y - 1, x, channel]) if y else 0
                corner = int(picture[y - 1, x - 1, channel]) if x and y else 0
                data.append((int(picture[y, x, channel]) - min(max(left + above - corner, 0), 255)) & 255)
    return bytes(data)
