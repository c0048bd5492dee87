"""Dead letters: an event that could not be scored, byte for byte, and in its headers where it came from and why.

A dead letter's record has the event's own key, value and headers, then the headers below, of which
`penstock-original-headers` is the last and says how many of the first are the event's own: so an event may carry any
headers, `penstock-` ones too. An event without a value (a tombstone) stays one: the topic is never compacted.

| header | content |
|---|---|
| penstock-schema | `dead-letter/1` |
| penstock-topic, -partition, -offset, -timestamp | the event's source; the broker's timestamp in Unix ms |
| penstock-stage, -error, -message | decode, validate, features, score or encode; a short stable name; one sentence |
| penstock-model | NAME@VERSION, where a model was at work |
| penstock-attempt | 1, and one more each time the event was replayed and died again |
| penstock-value-size, -value-sha256 | only where the value was left out because the broker refused it |
| penstock-cipher, -key-id | only where the value is encrypted (`penstock.schemas.sealing`), and with which key |
| penstock-original-headers | how many of the record's headers are the event's |
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, get_args

from penstock.schemas.errors import PenstockError
from penstock.schemas.events import ConsumedRecord
from penstock.schemas.records import DEAD_LETTER_SCHEMA, Stage
from penstock.schemas.sealing import CIPHER, NotOpened, SecretKey

Header = tuple[str, bytes]
KeyValueHeaders = tuple[bytes | None, bytes | None, list[Header]]

REPLAY_HEADER = "penstock-replayed-attempt"
"""On a replayed event: the attempt at which it died. Taken off again when it dies once more."""

_COUNT = "penstock-original-headers"
_MESSAGE_LIMIT = 4096


class NotADeadLetter(PenstockError):
    """A record of the dead-letters topic that Penstock did not write.

    >>> print(NotADeadLetter("penstock-offset is missing"))
    The record is no dead letter of Penstock: penstock-offset is missing.
    """

    def __init__(self, cause: str) -> None:
        self.cause = cause
        super().__init__(f"The record is no dead letter of Penstock: {cause}.")


class ValueLeftOut(PenstockError):
    """A dead letter without its value cannot be replayed from the dead-letters topic."""

    def __init__(self, topic: str, partition: int, offset: int, size: int) -> None:
        self.topic, self.partition, self.offset, self.size = topic, partition, offset, size
        super().__init__(
            f"The dead letter of {topic}, partition {partition}, offset {offset} has no value: its {size} bytes were "
            f"too many for the broker. Send the event again from its source; while {topic} keeps it, it lies there."
        )


class ValueSealed(PenstockError):
    """A dead letter whose value is encrypted, and cannot be read here.

    >>> print(ValueSealed("payments", 0, 17, "b1a05baceadee1d2"))
    The dead letter of payments, partition 0, offset 17 is encrypted with the key b1a05baceadee1d2, which is not here. \
Name its file in security.dead_letter_keys.
    """

    def __init__(self, topic: str, partition: int, offset: int, key_id: str, *, changed: bool = False) -> None:
        self.topic, self.partition, self.offset, self.key_id, self.changed = topic, partition, offset, key_id, changed
        rest = (
            "and was changed since: it cannot be read. Send the event again from its source."
            if changed
            else "which is not here. Name its file in security.dead_letter_keys."
        )
        place = f"{topic}, partition {partition}, offset {offset}"
        super().__init__(f"The dead letter of {place} is encrypted with the key {key_id}, {rest}")


class LeftOut(NamedTuple):
    """What stands for a value that the broker refused."""

    size: int
    sha256: str
    """Hexadecimal."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One event that ended here, and why.

    >>> letter = DeadLetter(b"JFK", b"{", (("traceparent", b"00-0af7"),), "departures", 0, 42, 1357034400000,
    ...                     "decode", "not_json", "The value is not JSON.")
    >>> key, value, headers = letter.to_record()
    >>> DeadLetter.from_record(key, value, headers) == letter
    True
    """

    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]
    """The event's own, in order, duplicates kept."""
    topic: str
    partition: int
    offset: int
    timestamp: int
    """The broker's, Unix ms."""
    stage: Stage
    error: str
    message: str
    """One sentence; the record keeps its first 4,096 characters."""
    model: str | None = None
    """NAME@VERSION."""
    attempt: int = 1
    left_out: LeftOut | None = None
    """None: `value` is the event's own."""
    sealed_with: str | None = None
    """The id of the key that `value` is encrypted with; None: it is not."""

    @classmethod
    def of(
        cls, record: ConsumedRecord, topic: str, partition: int, stage: Stage, error: str, message: str,
        model: str | None = None,
    ) -> DeadLetter:  # fmt: skip
        """The dead letter of an event as it was consumed. One that was replayed counts one attempt more."""
        headers, attempt = list(record.headers), 1
        for index in range(len(headers) - 1, -1, -1):
            name, text = headers[index]
            if name == REPLAY_HEADER and (text or b"").isdigit() and len(text) < 10:  # Kafka allows null here
                attempt = int(text) + 1
                del headers[index]
                break
        return cls(
            record.key, record.value, tuple(headers), topic, partition, record.offset, record.timestamp,
            stage, error, message, model, attempt,
        )  # fmt: skip

    def without_value(self) -> DeadLetter:
        """For a broker that refuses its size: the size and SHA-256 of the value in place of the value."""
        if self.value is None:
            return self
        return replace(self, value=None, left_out=LeftOut(len(self.value), hashlib.sha256(self.value).hexdigest()))

    def sealed(self, key: SecretKey) -> DeadLetter:
        """The same with its value encrypted, and bound to the event's place; a tombstone stays one."""
        if self.value is None:
            return self
        return replace(self, value=key.seal(self.value, context=self._place()), sealed_with=key.id)

    def opened(self, keys: Mapping[str, SecretKey]) -> DeadLetter:
        """The same with the event's own value, whether it was encrypted or not. Raises ValueSealed."""
        if self.sealed_with is None:
            return self
        if self.sealed_with not in keys:
            raise self._locked(self.sealed_with)
        try:
            value = keys[self.sealed_with].open(self.value or b"", context=self._place())
        except NotOpened as error:
            raise self._locked(self.sealed_with, changed=True) from error
        return replace(self, value=value, sealed_with=None)

    def _place(self) -> bytes:
        return f"dead-letter\n{self.partition} {self.offset} {self.topic}".encode()

    def _locked(self, key_id: str, *, changed: bool = False) -> ValueSealed:
        return ValueSealed(self.topic, self.partition, self.offset, key_id, changed=changed)

    def to_record(self) -> KeyValueHeaders:
        """Key, value and headers of its record in the dead-letters topic."""
        about = {
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "timestamp": self.timestamp,
            "stage": self.stage,
            "error": self.error,
            "message": self.message[:_MESSAGE_LIMIT],
            "attempt": self.attempt,
        }
        if self.model is not None:
            about["model"] = self.model
        if self.left_out is not None:
            about |= {"value-size": self.left_out.size, "value-sha256": self.left_out.sha256}
        if self.sealed_with is not None:
            about |= {"cipher": CIPHER, "key-id": self.sealed_with}
        # A message may quote what is no Unicode (lone surrogates): written escaped rather than refused.
        own = [(f"penstock-{name}", str(fact).encode(errors="backslashreplace")) for name, fact in about.items()]
        count = (_COUNT, b"%d" % len(self.headers))
        return self.key, self.value, [*self.headers, DEAD_LETTER_SCHEMA, *own, count]

    @classmethod
    def from_record(cls, key: bytes | None, value: bytes | None, headers: Sequence[Header]) -> DeadLetter:
        """What `to_record` was called on. Headers that were added behind it on the way are ignored.

        Raises NotADeadLetter.
        """
        last = max((index for index, (name, _) in enumerate(headers) if name == _COUNT), default=None)
        if last is None:
            raise NotADeadLetter(f"{_COUNT} is missing")
        originals = _number(_COUNT, headers[last][1] or b"")
        if originals < 0:
            raise NotADeadLetter(f"{_COUNT} is {originals}, not a count")
        if originals > last:
            raise NotADeadLetter(f"{_COUNT} is {originals}, but only {last} headers stand before it")
        facts = _Facts(headers[originals:last])
        schema = facts.text("schema")
        if schema.encode() != DEAD_LETTER_SCHEMA[1]:
            raise NotADeadLetter(f"penstock-schema is {schema!r}, not {DEAD_LETTER_SCHEMA[1].decode()!r}")
        return cls(
            key,
            value,
            tuple(headers[:originals]),
            facts.text("topic"),
            facts.number("partition"),
            facts.number("offset"),
            facts.number("timestamp"),
            facts.stage(),
            facts.text("error"),
            facts.text("message"),
            facts.text("model") if "model" in facts else None,
            facts.number("attempt"),
            LeftOut(facts.number("value-size"), facts.text("value-sha256")) if "value-size" in facts else None,
            facts.key_id(),
        )

    def replay(self) -> KeyValueHeaders:
        """The event once more, for its source topic: as it came, with the attempt counted in one more header.

        Raises ValueLeftOut when the dead letter does not have the value, ValueSealed when it was not `opened`.
        """
        if self.sealed_with is not None:
            raise self._locked(self.sealed_with)
        if self.left_out is not None:
            raise ValueLeftOut(self.topic, self.partition, self.offset, self.left_out.size)
        return self.key, self.value, [*self.headers, (REPLAY_HEADER, b"%d" % self.attempt)]


class _Facts:
    """Penstock's own headers, by name without prefix."""

    def __init__(self, headers: Sequence[Header]) -> None:
        self._values = {name.removeprefix("penstock-"): value or b"" for name, value in headers}

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def text(self, name: str) -> str:
        if name not in self._values:
            raise NotADeadLetter(f"penstock-{name} is missing")
        try:
            return self._values[name].decode()
        except UnicodeDecodeError as error:
            raise NotADeadLetter(f"penstock-{name} is not UTF-8") from error

    def number(self, name: str) -> int:
        return _number(f"penstock-{name}", self.text(name).encode())

    def key_id(self) -> str | None:
        if "cipher" not in self:
            return None
        if self.text("cipher") != CIPHER:
            raise NotADeadLetter(f"penstock-cipher is {self.text('cipher')!r}, not {CIPHER!r}")
        return self.text("key-id")

    def stage(self) -> Stage:
        found = self.text("stage")
        for stage in get_args(Stage):
            if found == stage:
                return stage  # type: ignore[no-any-return]
        raise NotADeadLetter(f"penstock-stage is {found!r}, not one of {', '.join(get_args(Stage))}")


def _number(name: str, text: bytes) -> int:
    digits = text.removeprefix(b"-")
    if not digits.isdigit() or len(digits) > 19:
        raise NotADeadLetter(f"{name} is {text!r}, not a whole number")
    return int(text)
