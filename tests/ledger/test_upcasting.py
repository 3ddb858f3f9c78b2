"""Every version of every event ever released stays readable.

``recorded/events.jsonl`` is only ever added to: a new field or version needs a new line there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from cleanup_scheduler.domain import events as e
from cleanup_scheduler.ledger import Ledger
from cleanup_scheduler.ledger.verifying import verify

from tests.ledger.samples import opened
from tests.ledger.test_tampering import run

RECORDED: list[dict[str, Any]] = [
    json.loads(line)
    for line in (Path(__file__).parent / "recorded" / "events.jsonl").read_text().splitlines()
]


class Renamed(e.Event, frozen=True, kw_only=True):
    """What ``HoldRequested`` might be some day: ``who`` became ``person``, and later ``persons``."""

    VERSION: ClassVar[int] = 3
    persons: list[str]
    why: str = ""


@pytest.mark.parametrize("sample", RECORDED, ids=lambda sample: f"{sample['type']}-{sample['version']}")
def test_every_recorded_sample_is_read(sample: dict[str, Any]) -> None:
    payload = e.decode(sample["type"], sample["version"], sample["payload"])
    expected = sample.get("newest", sample["payload"])  # what it says in the newest version
    assert e.encode(payload).decode() == expected


def test_every_version_that_this_program_writes_is_recorded() -> None:
    recorded = {(sample["type"], sample["version"]) for sample in RECORDED}
    written = {
        (name, version) for name, type_ in e.EVENT_TYPES.items() for version in range(1, type_.VERSION + 1)
    }
    assert recorded == written


def test_every_field_is_in_some_sample() -> None:
    for name, type_ in e.EVENT_TYPES.items():
        seen = {key for sample in RECORDED if sample["type"] == name for key in json.loads(sample["payload"])}
        assert seen >= set(type_.__struct_fields__), name


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program in which an event has changed twice."""
    monkeypatch.setitem(e.EVENT_TYPES, "HoldRequested", Renamed)
    monkeypatch.setitem(e._DECODERS, "HoldRequested", msgspec.json.Decoder(Renamed))
    monkeypatch.setitem(
        e.UPCASTS, ("HoldRequested", 1), lambda old: {"person": old["who"], "why": old["why"]}
    )
    monkeypatch.setitem(
        e.UPCASTS, ("HoldRequested", 2), lambda old: {"persons": [old["person"]], "why": old["why"]}
    )


@pytest.mark.usefixtures("newer")
def test_an_old_version_goes_through_every_version_in_between() -> None:
    newest = Renamed(persons=["eve"], why="look")
    assert e.decode("HoldRequested", 1, '{"who":"eve","why":"look"}') == newest
    assert e.decode("HoldRequested", 2, '{"person":"eve","why":"look"}') == newest
    assert e.decode("HoldRequested", 3, '{"persons":["eve"],"why":"look"}') == newest
    with pytest.raises(e.Unreadable, match="reads 1 to 3"):
        e.decode("HoldRequested", 4, "{}")


def test_what_is_stored_is_not_rewritten_when_it_is_upcast(
    ledger: Ledger, request: pytest.FixtureRequest
) -> None:
    hold = e.NewEvent(
        event_id="0" * 32,
        time=opened("s").time,
        producer="test",
        payload=e.HoldRequested(who="eve", why="look"),
        scope_id="s1",
    )
    ledger.append(hold)
    head = ledger.head()
    request.getfixturevalue("newer")
    (stored,) = ledger.read()
    assert (stored.version, stored.payload) == (1, Renamed(persons=["eve"], why="look"))
    assert verify(ledger, expected=head).intact
    assert not verify(ledger).unreadable


def test_an_event_of_a_newer_program_is_kept_and_skipped(ledger: Ledger) -> None:
    ledger.append(opened("s1"))
    values = "'x', 'RunFinished', 7, 'run-1', '', '2026-01-01T00:00:00Z', 'p', '{}'"
    columns = "event_id, type, version, run_id, scope_id, time, producer, payload"
    if ledger.backend.address.dialect == "sqlite":
        run(ledger, f"INSERT INTO events (position, {columns}, hash) VALUES (2, {values}, x'00')")
    else:
        run(ledger, f"INSERT INTO events ({columns}) VALUES ({values})")
    state = ledger.projection()
    assert state.catch_up() == 2
    assert "version 7" in ledger.read()[1].problem
    assert "version 7" in verify(ledger).unreadable[0].what
