"""Who may see the live view: where it listens, the token, and which pages of a browser may ask."""

from __future__ import annotations

import errno
import hmac
import ipaddress
import os
import re
import secrets
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from pipeline.sink_errors import SinkError

TOKEN_FORM = "[A-Za-z0-9_-]{8,128}"
LOCAL_NAMES = frozenset(("localhost", "127.0.0.1", "::1"))
ELSEWHERE = "192.0.2.1"  # reserved for examples: nothing is sent there


@dataclass(frozen=True)
class LiveAccess:
    """address: what the server listens on. token: what is demanded; None where only this machine can connect.

    names: what the Host header may say; None for anything, where a token is demanded from other machines anyway.
    """

    address: str
    token: str | None
    names: frozenset[str] | None

    def host_allowed(self, host: str) -> bool:
        """Whether a Host header is one of this machine: a page of another name that resolves to it may not ask."""
        return self.names is None or host_name(host) in self.names

    def origin_allowed(self, origin: str | None, host: str) -> bool:
        """Whether a browser's page may connect: only our own; programs send no Origin."""
        return origin is None or urlsplit(origin).netloc.lower() == host.lower()

    def admits(self, *given: str | None) -> bool:
        """Whether one of these is the token, compared in constant time."""
        if self.token is None:
            return True
        expected = self.token.encode()
        return any(hmac.compare_digest(expected, text.encode("utf-8", "replace")) for text in given if text)


def live_access(address: str, token: str | None) -> LiveAccess:
    """The rules for an address to listen on; a token is made where one is needed and none given.

    Raises SinkError for a token that does not fit into an address line.
    """
    if token is not None and not re.fullmatch(TOKEN_FORM, token):
        raise SinkError("the token for --serve should be 8 to 128 letters, digits, - or _")
    if not is_loopback(address):
        return LiveAccess(address, token or secrets.token_urlsafe(16), None)
    return LiveAccess(address, token, LOCAL_NAMES | {address.lower()})


def is_loopback(address: str) -> bool:
    """Whether only this machine can connect to the address."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address.lower() == "localhost"


def listen(address: str, port: int) -> socket.socket:
    """A socket that listens; port 0: any free one. Raises SinkError that says what to choose instead."""
    where = f"--serve {port} on {address}"
    if not 0 <= port < 65536:
        raise SinkError(f"{where}: expected a port of 1 to 65535")
    try:
        found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)
        family, _, _, _, target = min(found, key=lambda entry: entry[0] != socket.AF_INET)
        both = address == "::" and socket.has_dualstack_ipv6()
        return socket.create_server(target[:2], family=family, backlog=64, dualstack_ipv6=both)
    except PermissionError as error:
        raise SinkError(f"{where}: ports below 1024 need more rights; choose one above") from error
    except socket.gaierror as error:
        raise SinkError(f"{where}: not an address; expected one of this machine, or 0.0.0.0 for all of them") from error
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        hint = "choose another port" if taken else "expected an address of this machine, or 0.0.0.0"
        raise SinkError(f"{where}: {os.strerror(error.errno or 0)}; {hint}") from error


def host_name(host: str) -> str:
    """The name in a Host header, without the port."""
    return re.sub(r":\d*$", "", host).removeprefix("[").removesuffix("]").lower()


def url_of(listening: socket.socket) -> str:
    """The address line for a browser; for a socket on all addresses, with the one that other machines see."""
    address, port = listening.getsockname()[:2]
    if ipaddress.ip_address(address).is_unspecified:
        address = _address_outwards()
    return f"http://[{address}]:{port}/" if ":" in address else f"http://{address}:{port}/"


def _address_outwards() -> str:
    """Which of this machine's addresses a connection to elsewhere would have, or else the machine's name."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((ELSEWHERE, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return socket.gethostname()
