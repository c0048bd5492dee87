"""Dead letters: the event comes back byte for byte, whatever its headers, however often it dies."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.schemas.dead_letters import REPLAY_HEADER, DeadLetter, Header, NotADeadLetter, ValueLeftOut, ValueSealed
from penstock.schemas.records import Stage
from penstock.schemas.sealing import SecretKey, SecretKeys

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
NAMES = TEXT | st.sampled_from(["penstock-schema", "penstock-attempt", "penstock-original-headers", "traceparent"])
HEADERS = st.lists(st.tuples(NAMES, st.binary(max_size=5) | st.sampled_from([b"0", b"3"])), max_size=5).map(tuple)
OFFSETS = st.integers(0, 2**63 - 1)
LETTERS = st.builds(
    DeadLetter,
    key=st.none() | st.binary(max_size=9),
    value=st.none() | st.binary(max_size=9),
    headers=HEADERS,
    topic=TEXT,
    partition=st.integers(0, 2**31 - 1),
    offset=OFFSETS,
    timestamp=st.integers(-1, 2**63 - 1),
    stage=st.sampled_from(get_args(Stage)),
    error=TEXT,
    message=TEXT,
    model=st.none() | TEXT,
    attempt=st.integers(1, 10**6),
    left_out=st.none(),
)


@dataclass
class Consumed:
    """A record as the transport hands it over."""

    key: bytes | None
    value: bytes | None
    headers: list[Header]
    offset: int = 42
    timestamp: int = 1_357_034_400_000


LETTER = DeadLetter.of(
    Consumed(b"JFK", b"{", [("penstock-schema", b"mine/9"), ("a", b"1"), ("a", b"2")]),
    "departures",
    2,
    "decode",
    "not_json",
    "The value is not JSON.",
    "delay@3",
)


@given(LETTERS, st.lists(st.tuples(st.just("tracing-agent"), st.binary(max_size=5)), max_size=2))
def test_a_dead_letter_reads_back_as_it_was_written(letter: DeadLetter, added_on_the_way: list[Header]) -> None:
    key, value, headers = letter.to_record()
    assert (key, value, tuple(headers[: len(letter.headers)])) == (letter.key, letter.value, letter.headers)
    assert DeadLetter.from_record(key, value, [*headers, *added_on_the_way]) == letter


@given(LETTERS)
def test_a_dead_letter_of_a_dead_letter_reads_back_too(letter: DeadLetter) -> None:
    """Somebody may consume the dead-letters topic as events: its records are events like others."""
    outer = replace(letter, headers=tuple(letter.to_record()[2]))
    assert DeadLetter.from_record(*outer.to_record()) == outer


@given(LETTERS)
def test_replayed_and_dead_again_it_is_one_attempt_further_and_otherwise_the_same(letter: DeadLetter) -> None:
    key, value, headers = letter.replay()
    again = DeadLetter.of(
        Consumed(key, value, headers, letter.offset, letter.timestamp),
        letter.topic, letter.partition, letter.stage, letter.error, letter.message, letter.model,
    )  # fmt: skip
    assert again == replace(letter, attempt=letter.attempt + 1)


def test_an_events_own_header_of_that_name_does_not_count_unless_it_is_a_number() -> None:
    letter = DeadLetter.of(Consumed(None, None, [(REPLAY_HEADER, b"soon")]), "t", 0, "decode", "tombstone", "None.")
    assert letter.attempt == 1
    assert letter.headers == ((REPLAY_HEADER, b"soon"),)


def test_without_its_value_it_says_what_the_value_was() -> None:
    short = LETTER.without_value()
    assert short.value is None
    assert short.left_out == (1, hashlib.sha256(b"{").hexdigest())
    assert DeadLetter.from_record(*short.to_record()) == short
    with pytest.raises(ValueLeftOut, match="departures, partition 2, offset 42 has no value: its 1 bytes"):
        short.replay()


KEY, OTHER = SecretKey(bytes(32)), SecretKey(bytes(range(32)))


@settings(deadline=None)  # the first example loads the library
@given(LETTERS)
def test_encrypted_it_reads_back_byte_for_byte_with_its_key(letter: DeadLetter) -> None:
    read = DeadLetter.from_record(*letter.sealed(KEY).to_record())
    assert read.opened(SecretKeys.of([OTHER, KEY])) == letter
    assert read.opened({KEY.id: KEY}).replay() == letter.replay()
    assert letter.opened({}) == letter


def test_without_its_key_nothing_of_its_value_is_seen() -> None:
    letter = replace(LETTER, value=b'{"iban": "DE02120300000000202051"}')
    sealed = letter.sealed(KEY)
    key, value, headers = sealed.to_record()
    assert b"DE02" not in b"".join([key or b"", value or b"", *(text for _, text in headers)])
    assert dict(headers)["penstock-key-id"] == KEY.id.encode()
    with pytest.raises(ValueSealed, match=rf"offset 42 is encrypted with the key {KEY.id}, which is not here"):
        sealed.opened({OTHER.id: OTHER})
    with pytest.raises(ValueSealed):
        sealed.replay()


def test_what_was_encrypted_for_one_event_is_of_no_other() -> None:
    sealed = LETTER.sealed(KEY)
    for moved in (replace(sealed, offset=43), replace(sealed, topic="arrivals"), replace(sealed, value=b"short")):
        with pytest.raises(ValueSealed, match="was changed since"):
            moved.opened({KEY.id: KEY})


def test_a_tombstone_stays_one() -> None:
    tombstone = replace(LETTER, value=None)
    assert tombstone.without_value() == tombstone
    assert tombstone.to_record()[1] is None
    assert tombstone.sealed(KEY) == tombstone


def test_headers_tell_any_reader_where_and_why() -> None:
    told = dict(LETTER.to_record()[2])
    assert told["penstock-schema"] == b"dead-letter/1"
    assert told["penstock-topic"] == b"departures"
    assert told["penstock-partition"] == b"2"
    assert told["penstock-offset"] == b"42"
    assert told["penstock-stage"] == b"decode"
    assert told["penstock-error"] == b"not_json"
    assert told["penstock-model"] == b"delay@3"
    assert told["penstock-attempt"] == b"1"


def test_a_message_that_is_no_unicode_or_endless_is_still_written() -> None:
    letter = DeadLetter.of(Consumed(None, b"", []), "t", 0, "score", "failed", "\ud800" + "x" * 10**6)
    message = DeadLetter.from_record(*letter.to_record()).message
    assert message.startswith("\\ud800x")
    assert len(message) < 5000


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("penstock-offset", None, "penstock-offset is missing"),
        ("penstock-original-headers", None, "penstock-original-headers is missing"),
        ("penstock-original-headers", b"99", "only 13 headers stand before it"),
        ("penstock-original-headers", b"-1", "penstock-original-headers is -1, not a count"),
        ("penstock-partition", b"two", "penstock-partition is b'two', not a whole number"),
        ("penstock-offset", b"9" * 5000, "not a whole number"),
        ("penstock-stage", b"lunch", "penstock-stage is 'lunch'"),
        ("penstock-message", b"\xff", "not UTF-8"),
        ("penstock-schema", b"dead-letter/2", "penstock-schema is 'dead-letter/2'"),
    ],
)
def test_a_record_that_is_no_dead_letter_is_refused(name: str, value: bytes | None, says: str) -> None:
    key, content, headers = LETTER.to_record()
    own = headers[len(LETTER.headers) :]
    changed = [(n, v if n != name else value) for n, v in own]
    kept = [(n, v) for n, v in changed if v is not None]
    with pytest.raises(NotADeadLetter, match=says):
        DeadLetter.from_record(key, content, [*LETTER.headers, *kept])
