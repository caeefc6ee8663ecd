"""Poses as UDP datagrams, for programs that want the newest ones at once and can miss some."""

from __future__ import annotations

import json
import socket
from typing import Any

from pipeline.sink_errors import SinkError
from pipeline.sinks import frame_object
from pipeline.types import Frame, Image, Poses

LONGEST_DATAGRAM = 9000  # bytes of JSON: macOS sends no longer ones unless it is told to
EXPECTED = "expected HOST:PORT, such as 127.0.0.1:9000 or [::1]:9000"


class UdpSink:
    """One JSON object a datagram: the object of a JSON line, with `source`, `part` and `parts`.

    A frame with more people than fit in one datagram is sent as several with the same frame number, each with some of
    the people, part 1 to parts. Nobody needs to listen; what the system cannot send at once is counted in `unsent`.
    """

    def __init__(self, address: str) -> None:
        """address: HOST:PORT. Raises SinkError for one that is none or whose host is unknown."""
        host, separator, port = address.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not (separator and host and port.isdecimal() and 0 < int(port) < 65536):
            raise SinkError(f"UDP address {address!r}: {EXPECTED}")
        try:
            found = socket.getaddrinfo(host, int(port), type=socket.SOCK_DGRAM)
            # "localhost" may have both, and listeners mostly choose IPv4.
            family, kind, _, _, target = min(found, key=lambda entry: entry[0] != socket.AF_INET)
            self._socket = socket.socket(family, kind)
        except OSError as error:
            raise SinkError(f"UDP address {address!r}: {error.strerror or error}; {EXPECTED}") from error
        self._target: tuple[Any, ...] = target
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self.unsent = 0

    def wants_picture(self, frame: Frame) -> bool:
        """Never."""
        return False

    def write(self, frame: Frame, poses: Poses, picture: Image | None) -> None:
        """Send the people of a frame."""
        for datagram in datagrams({"source": frame.source, **frame_object(frame, poses)}):
            self.unsent += not self._sent(datagram)

    def close(self) -> None:
        """Free the socket."""
        self._socket.close()

    def unsent_in_words(self) -> str:
        """One line for a person; empty where everything was sent."""
        return f"UDP: {self.unsent} datagrams could not be sent" if self.unsent else ""

    def _sent(self, datagram: bytes) -> bool:
        try:
            self._socket.sendto(datagram, self._target)
        except OSError:  # full buffers, no network, no route: the next frame is another chance
            return False
        return True


def datagrams(found: dict[str, Any], longest: int = LONGEST_DATAGRAM) -> list[bytes]:
    """The object of a frame as JSON of at most `longest` bytes each; a single person's may be longer."""
    people = [json.dumps(person, allow_nan=False) for person in found["people"]]
    room = longest - len(_datagram(found, [], len(people), len(people)))
    parts: list[list[str]] = [[]]
    used = 0
    for person in people:
        if parts[-1] and used + len(person) + 2 > room:
            parts.append([])
            used = 0
        parts[-1].append(person)
        used += len(person) + 2
    return [_datagram(found, part, number, len(parts)) for number, part in enumerate(parts, 1)]


def _datagram(found: dict[str, Any], people: list[str], part: int, parts: int) -> bytes:
    """The object with these people, who are JSON already."""
    head = {key: value for key, value in found.items() if key != "people"}
    text = json.dumps({**head, "part": part, "parts": parts, "people": []}, allow_nan=False)
    return f"{text[:-2]}{', '.join(people)}]}}".encode()
