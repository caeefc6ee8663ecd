"""What video files say of their own length, where it is more exact than what OpenCV makes of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

AVI, MP4, MATROSKA = "avi", "mp4", "matroska"
MP4_STARTS = frozenset((b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide"))
MOST_MOOV = 1 << 28  # bytes of an mp4's index that are read
NEAR_ENDS = 1 << 18  # bytes at a Matroska file's start and end where its tags are sought
DURATION_TAG = re.compile(rb"DURATION[^0-9]{1,40}([0-9]{2,4}):([0-9]{2}):([0-9]{2}\.[0-9]+)")


def container(path: Path) -> str | None:
    """AVI, MP4 (and mov) or MATROSKA (and WebM), by the file's first bytes; None for anything else."""
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except OSError:
        return None
    if start[:4] == b"RIFF" and start[8:] == b"AVI ":
        return AVI
    if start[4:8] in MP4_STARTS:
        return MP4
    return MATROSKA if start[:4] == b"\x1a\x45\xdf\xa3" else None


def shown_s(path: Path) -> float | None:
    """Seconds of video that an mp4, mov or Matroska file announces; None where it does not say.

    An mp4's number of frames also counts those that its edit list hides, and a Matroska file's duration is that of its
    longest track, often the sound.
    """
    kind = container(path)
    try:
        with path.open("rb") as file:
            if kind == MP4:
                return _video_track_s(_moov(file))
            return _shortest_track_s(file) if kind == MATROSKA else None
    except OSError:
        return None


def _moov(file: BinaryIO) -> bytes:
    """The content of an mp4's `moov` box (ISO/IEC 14496-12, 8.2.1); empty where there is none."""
    place, end = 0, file.seek(0, 2)
    while place + 8 <= end:
        file.seek(place)
        header = file.read(16)
        size, start = int.from_bytes(header[:4], "big"), 8
        if size == 1:
            size, start = int.from_bytes(header[8:], "big"), 16
        if header[4:8] == b"moov":
            file.seek(place + start)
            return file.read(min(size - start, MOST_MOOV)) if size > start else b""
        if size < start:
            break
        place += size
    return b""


def _video_track_s(moov: bytes) -> float | None:
    """The duration in the header of the first video track, edit list included, over the movie's time scale."""
    boxes = dict(_boxes(moov))
    time_scale = _number(boxes.get(b"mvhd", b""), 12, 20, 4)
    for name, track in _boxes(moov):
        parts = dict(_boxes(track)) if name == b"trak" else {}
        handler = dict(_boxes(parts.get(b"mdia", b""))).get(b"hdlr", b"")
        if handler[8:12] == b"vide" and time_scale:
            header = parts.get(b"tkhd", b"")
            duration = _number(header, 20, 28, 8 if header[:1] == b"\1" else 4)
            return duration / time_scale if duration else None
    return None


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and content of the boxes one after the other; ends at what is none."""
    place = 0
    while place + 8 <= len(content):
        size = int.from_bytes(content[place : place + 4], "big")
        if size < 8:
            return
        yield content[place + 4 : place + 8], content[place + 8 : place + size]
        place += size


def _number(box: bytes, place: int, place_version_1: int, length: int) -> int:
    """A number of a full box, whose version 1 has longer times before it; 0 where the box is too short."""
    start = place_version_1 if box[:1] == b"\1" else place
    return int.from_bytes(box[start : start + length], "big") if len(box) >= start + length else 0


def _shortest_track_s(file: BinaryIO) -> float | None:
    """The least of the DURATION tags, which FFmpeg and mkvmerge write for each track."""
    start = file.read(NEAR_ENDS)
    file.seek(max(file.seek(0, 2) - NEAR_ENDS, 0))
    found = DURATION_TAG.findall(start + file.read(NEAR_ENDS))
    return min(
        (int(hours) * 3600 + int(minutes) * 60 + float(seconds) for hours, minutes, seconds in found), default=None
    )
