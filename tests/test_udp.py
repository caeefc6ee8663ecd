from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.sink_errors import SinkError
from pipeline.sinks import frame_object, json_line
from pipeline.types import Poses
from pipeline.udp import LONGEST_DATAGRAM, UdpSink, datagrams
from tests.fakes import frame_of, picture, poses_at


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as open_socket:
        open_socket.bind(("127.0.0.1", 0))
        open_socket.settimeout(5)
        yield open_socket


def crowd(people: int) -> Poses:
    return poses_at([[10.5 * index, 20, 10.5 * index + 30, 90] for index in range(people)])


def received(listener: socket.socket) -> Any:
    return json.loads(listener.recv(70_000))


def test_a_datagram_is_the_json_line_with_its_source(listener: socket.socket) -> None:
    sink = UdpSink(f"127.0.0.1:{listener.getsockname()[1]}")
    for index, people in enumerate((2, 0)):
        frame, poses = frame_of(picture(), index), crowd(people)
        sink.write(frame, poses, None)
        expected = {"source": "test", "part": 1, "parts": 1, **json.loads(json_line(frame, poses))}
        assert received(listener) == expected
    sink.close()
    assert (sink.unsent, sink.unsent_in_words()) == (0, "")


def test_a_crowd_arrives_whole_in_numbered_parts(listener: socket.socket) -> None:
    sink = UdpSink(f"localhost:{listener.getsockname()[1]}")
    sink.write(frame_of(picture(), 7), crowd(100), None)
    first = received(listener)
    parts = [first, *(received(listener) for _ in range(first["parts"] - 1))]
    sink.close()
    assert first["parts"] > 1
    assert [(part["frame"], part["part"], part["parts"]) for part in parts] == [
        (7, number, first["parts"]) for number in range(1, first["parts"] + 1)
    ]
    assert [person["id"] for part in parts for person in part["people"]] == list(range(1, 101))


@pytest.mark.parametrize("longest", [400, 2000, LONGEST_DATAGRAM])
def test_no_part_is_too_long_unless_one_person_is(longest: int) -> None:
    found = {"source": "Eingang süd", **frame_object(frame_of(picture()), crowd(40))}
    parts = [json.loads(part) for part in datagrams(found, longest)]
    for sent, part in zip(datagrams(found, longest), parts, strict=True):
        assert len(sent) <= longest or len(part["people"]) == 1
    assert [person for part in parts for person in part["people"]] == found["people"]


def test_a_run_goes_on_when_nobody_listens_or_nothing_can_be_sent(listener: socket.socket) -> None:
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    sink = UdpSink(address)
    for index in range(200):
        sink.write(frame_of(picture(), index), crowd(20), None)
    sink.close()
    before = sink.unsent
    sink.write(frame_of(picture()), crowd(1), None)
    assert sink.unsent == before + 1
    assert sink.unsent_in_words() == f"UDP: {sink.unsent} datagrams could not be sent"


@pytest.mark.parametrize(
    "address", ["9000", "localhost:", ":9000", "localhost:none", "localhost:70000", "no.host.invalid:9"]
)
def test_an_address_that_is_none_is_a_mistake_in_one_line(address: str) -> None:
    with pytest.raises(SinkError, match=r"UDP address '.*': .*expected HOST:PORT") as mistake:
        UdpSink(address)
    assert "\n" not in str(mistake.value)
