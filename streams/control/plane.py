"""The control plane: one compacted record per pipeline says what serves, and nothing else does.

Any process may write it, with no other alive: a person's command line or a role. Every writer uses the same
transactional id, so Kafka itself lets only the newest of them commit. One change, in order:

1. initialise the transactional producer: every older writer is fenced from here on, its open transaction aborted;
2. read the control topic to its end, committed records only;
3. check the revision and make the new state from the one that was read;
4. write the state to `control` and the decision to `decisions` in one transaction;
5. commit. Fenced anywhere in 3 to 5 means that another writer came after us: nothing of ours is visible, so wait a
   little and start again at 1. If the fence hid the answer to our commit, step 2 finds our own record and we are done;
6. wait until readers see it, so that whoever asks next gets this answer.

A writer that dies between 1 and 5 leaves nothing visible.
"""

from __future__ import annotations

import asyncio
import getpass
import logging
import os
import random
import socket
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from penstock.models.control_checks import check
from penstock.schemas.control import Control, Decision
from penstock.schemas.errors import Conflict, PenstockError
from penstock.schemas.gates import Look
from penstock.schemas.records import CONTROL_SCHEMA, DECISION_SCHEMA
from penstock.schemas.signing import ANYBODY, PrivateKey, TrustedKeys
from penstock.streams import kafka as clients
from penstock.streams.control.changes import Change
from penstock.streams.control.fencing import Fenced, abandon, fences
from penstock.streams.control.records import READING, UnreadableControl, read_control_record, silent
from penstock.streams.control.refusals import NothingServes
from penstock.streams.control.signatures import NOBODY, ControlSigner, signature_headers
from penstock.streams.reading import to_the_end, until_visible

if TYPE_CHECKING:
    from penstock.streams.settings import KafkaSettings, Settings

log = logging.getLogger(__name__)

WRITER_HEADER = "penstock-writer"
"""Names one attempt at a change, so that a writer recognises its own record after an answer was lost."""

TRANSACTION_TIMEOUT_MS = 15_000
"""A writer that dies inside its transaction holds back the readers of `control` no longer than this."""


class Contended(PenstockError):
    """So many writers changed the same record at once that this one never came through; nothing was written.

    >>> print(Contended("the control record of flights", attempts=30))
    the control record of flights: 30 attempts were each overtaken by another writer; expected one. Try again later.
    """

    exit_code = Conflict.exit_code

    def __init__(self, what: str, *, attempts: int) -> None:
        self.what, self.attempts = what, attempts
        super().__init__(
            f"{what}: {attempts} attempts were each overtaken by another writer; expected one. Try again later."
        )


def unix_ms() -> int:
    return time.time_ns() // 1_000_000


def default_author() -> str:
    """`user@host`, or the user's number where the machine has no name for it."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


@dataclass(frozen=True)
class _Log:
    """The control topic as read: the last state, who wrote each record, and what could not be read last."""

    current: Control | None
    written: Mapping[bytes, Control]
    unreadable: UnreadableControl | None


@dataclass(frozen=True)
class _Asked:
    """For a change: what, by whom, why, on what evidence, and from which revision alone (None: from any)."""

    change: Change
    command: str
    author: str
    reason: str
    look: Look | None
    expected_revision: int | None
    rewrite: bool
    key: PrivateKey | None


@dataclass(frozen=True)
class ControlPlane:
    """Reads and changes the control record of one pipeline.

    `clock` gives Unix ms. `max_attempts` bounds how often a change is tried again after a fence, with `backoff_s`
    doubling up to `max_backoff_s` and full jitter in between; no attempt takes longer than `deadline_s`. Where keys
    are `trusted`, records that none of them signed are not read; `signer` signs those that are written.
    """

    kafka: KafkaSettings
    pipeline: str
    control_topic: str
    decisions_topic: str
    clock: Callable[[], int] = unix_ms
    max_attempts: int = 30
    backoff_s: float = 0.1
    max_backoff_s: float = 5.0
    deadline_s: float = 30.0
    trusted: TrustedKeys = ANYBODY
    signer: ControlSigner = NOBODY

    @classmethod
    def of(cls, settings: Settings) -> ControlPlane:
        topics = settings.topics
        return cls(
            settings.kafka,
            settings.pipeline.name,
            topics.control.name,
            topics.decisions.name,
            trusted=settings.control_keys,
            signer=ControlSigner.of(settings),
        )

    @property
    def what(self) -> str:
        return f"the control record of {self.pipeline}"

    async def read(self) -> Control | None:
        """What serves now; None where nothing was ever decided. Records that cannot be read are logged and left out.

        Raises UnreachableError, TopicMissing.
        """
        try:
            async with clients.consumer(self.kafka, **READING) as consumer:
                return (await self._read_log(consumer, await self._partition(consumer))).current
        except TimeoutError as error:
            raise silent(self.kafka, self.deadline_s) from error

    async def serving(self) -> Control:
        """The same, where something must serve. Raises NothingServes."""
        if (control := await self.read()) is None:
            raise NothingServes(self.pipeline)
        return control

    async def change(
        self,
        change: Change,
        *,
        command: str,
        author: str | None = None,
        reason: str,
        expected_revision: int | None = None,
        look: Look | None = None,
        rewrite: bool = False,
    ) -> Control:
        """Write a new state and the decision that led to it; returns the state that now serves.

        `command` is what was asked for, in words a reader of `decisions` understands; `look` is the evidence that it
        rests on, where a gate asked for it. With `expected_revision` (0: nothing decided yet) the change is made only
        from that revision. A `change` that returns what it was given writes nothing, unless `rewrite` asks for it.
        Raises ConfigurationError or KeyUnusable where records must be signed and cannot be, Conflict, Contended,
        InvalidControl for a state that no worker could follow, UnreadableControl where a later version of Penstock
        wrote last, UnreachableError, TopicMissing, and whatever `change` raises.
        """
        key = self.signer.key()
        asked = _Asked(change, command, author or default_author(), reason, look, expected_revision, rewrite, key)
        tried: set[bytes] = set()
        for attempt in range(self.max_attempts):
            if attempt:
                backoff_s = min(self.max_backoff_s, self.backoff_s * 2**attempt)
                await asyncio.sleep(random.uniform(0, backoff_s))  # noqa: S311  (jitter, not a secret)
            writer = uuid.uuid4().hex.encode()
            try:
                async with asyncio.timeout(self.deadline_s):
                    return await self._attempt(asked, writer, frozenset(tried))
            except Fenced:
                log.info("%s: another writer was quicker at attempt %d", self.what, attempt + 1)
                tried.add(writer)
            except TimeoutError as error:
                raise silent(self.kafka, self.deadline_s) from error
        raise Contended(self.what, attempts=self.max_attempts)

    async def record(self, decision: Decision) -> None:
        """Append a decision that changes nothing: a staging, a note.

        It is one record, which Kafka writes whole or not at all, and it depends on no state: so it takes no transaction
        and above all not the writers' transactional id, whose initialisation would fence a change under way. Nobody's
        rollback is set back because somebody else took a note. Raises UnreachableError, TopicMissing.
        """
        try:
            async with (
                asyncio.timeout(self.deadline_s),
                clients.consumer(self.kafka, **READING) as consumer,
                clients.producer(self.kafka) as producer,
            ):
                [partition, *_] = await clients.partitions(consumer, self.decisions_topic)
                written = await producer.send_and_wait(
                    partition.topic,
                    key=self.pipeline.encode(),
                    value=msgspec.json.encode(decision),
                    partition=partition.partition,
                    headers=[DECISION_SCHEMA],
                )
                await until_visible(consumer, {partition: written.offset})
        except TimeoutError as error:
            raise silent(self.kafka, self.deadline_s) from error

    async def _attempt(self, asked: _Asked, writer: bytes, tried: frozenset[bytes]) -> Control:
        async with AsyncExitStack() as stack:
            consumer = await stack.enter_async_context(clients.consumer(self.kafka, **READING))
            partition = await self._partition(consumer)
            await clients.partitions(consumer, self.decisions_topic)
            with fences():
                producer = await stack.enter_async_context(
                    clients.producer(
                        self.kafka,
                        transactional_id=self.control_topic,
                        transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
                    )
                )
            found = await self._read_log(consumer, partition)
            for earlier in tried & found.written.keys():
                return found.written[earlier]
            if found.unreadable is not None and found.unreadable.newer:
                raise found.unreadable
            before = found.current
            revision = before.revision if before else 0
            if asked.expected_revision is not None and revision != asked.expected_revision:
                raise Conflict(self.what, expected_revision=asked.expected_revision, found_revision=revision)
            wanted = asked.change(before)
            if wanted == before and not asked.rewrite:
                return wanted
            check(wanted)
            after = msgspec.structs.replace(
                wanted, revision=revision + 1, author=asked.author, reason=asked.reason, time=self.clock()
            )
            written = await self._write(producer, before, after, asked, writer)
            await until_visible(consumer, written)
            return after

    async def _write(
        self, producer: AIOKafkaProducer, before: Control | None, after: Control, asked: _Asked, writer: bytes
    ) -> dict[TopicPartition, int]:
        """Where the state and the decision stand once they are committed."""
        decision = Decision(
            self.pipeline, after.revision, asked.command, after.author, after.reason, after.time, before, after,
            look=asked.look,
        )  # fmt: skip
        key, value = self.pipeline.encode(), msgspec.json.encode(after)
        signed = signature_headers(asked.key, self.control_topic, self.pipeline, value)
        # Known before the transaction begins, so that nothing comes between the two sends.
        for topic in (self.control_topic, self.decisions_topic):
            await producer.partitions_for(topic)
        with fences():
            await producer.begin_transaction()
            try:
                state = await producer.send(
                    self.control_topic,
                    key=key,
                    value=value,
                    partition=0,
                    headers=[CONTROL_SCHEMA, (WRITER_HEADER, writer), *signed],
                )
                trail = await producer.send(
                    self.decisions_topic,
                    key=key,
                    value=msgspec.json.encode(decision),
                    partition=0,
                    headers=[DECISION_SCHEMA, (WRITER_HEADER, writer)],
                )
                written = await asyncio.gather(state, trail)
            except KafkaError:
                await abandon(producer)
                raise
            await producer.commit_transaction()
        return {metadata.topic_partition: metadata.offset for metadata in written}

    async def _partition(self, consumer: AIOKafkaConsumer) -> TopicPartition:
        partition = (await clients.partitions(consumer, self.control_topic))[0]
        consumer.assign([partition])
        return partition

    async def _read_log(self, consumer: AIOKafkaConsumer, partition: TopicPartition) -> _Log:
        current: Control | None = None
        unreadable: UnreadableControl | None = None
        written: dict[bytes, Control] = {}
        async for records in to_the_end(consumer, [partition], deadline_s=self.deadline_s):
            for record in records:
                try:
                    control = read_control_record(record, self.pipeline, self.trusted)
                except UnreadableControl as error:
                    log.error("%s", error)
                    unreadable = error
                    continue
                if control is None:
                    continue
                if self.trusted and current is not None and control.revision <= current.revision:
                    # Once it was signed; that does not make it what serves.
                    log.error("Record %d of %s repeats revision %d.", record.offset, record.topic, control.revision)
                else:
                    current, unreadable = control, None
                    written[dict(record.headers).get(WRITER_HEADER, b"")] = control
        return _Log(current, written, unreadable)
