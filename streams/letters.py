"""Dead letters as records of their topic: encrypted where the pipeline has a key for that, and never too large."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.schemas.dead_letters import DeadLetter
from penstock.schemas.sealing import SecretKey
from penstock.schemas.topics import Topic
from penstock.streams.delivery import OutputRecord, bytes_of

_RECORD_OVERHEAD = 1024
"""Bytes that a batch and a record add to key, value and headers, at most."""


@dataclass(frozen=True)
class Letters:
    """Writes records for the dead-letters topic; `key` encrypts their values."""

    topic: Topic
    key: SecretKey | None = None

    def record(self, letter: DeadLetter) -> OutputRecord:
        """A letter that is larger than its topic takes goes without its value, which stays at its source."""
        record = (letter if self.key is None else letter.sealed(self.key)).to_record()
        fits = bytes_of(record) <= self.topic.max_message_bytes - _RECORD_OVERHEAD
        return record if fits else letter.without_value().to_record()
