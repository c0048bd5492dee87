"""A window's blocks by partition: what is decoded together goes out as one run of outputs per partition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from faust.types import TP

from penstock.schemas.events import ConsumedRecord
from penstock.streams.delivery import Outputs
from penstock.streams.scoring.outputs import Made
from penstock.streams.scoring.scoring import Run
from penstock.streams.transport.blocks import Block


class Arrival(NamedTuple):
    """A block with the Faust event that acknowledges it."""

    event: Any
    block: Block

    @property
    def rows(self) -> int:
        return self.block.rows

    @property
    def size(self) -> int:
        return self.block.size

    @property
    def followed(self) -> bool:
        return self.block.followed

    @property
    def generation(self) -> int:
        """Of the consumer group, in which it was fetched."""
        generation: int = self.event.message.generation_id
        return generation


class Stretch(NamedTuple):
    """A window's blocks of one partition, in order, and their place in the window's records."""

    run: Run
    generation: int
    arrivals: list[Arrival]

    def records(self) -> Iterator[ConsumedRecord]:
        for arrival in self.arrivals:
            yield from arrival.block.records

    def outputs(self, made: Made) -> Outputs:
        """What came of it, for delivery."""

        def acknowledge() -> None:
            for arrival in self.arrivals:
                arrival.event.ack()

        return Outputs(
            tp=TP(self.run.topic, self.run.partition),
            records=made.records,
            next_offset=self.arrivals[-1].block.next_offset,
            generation=self.generation,
            acknowledge=acknowledge,
            scored=made.scored,
        )


def by_partition(arrivals: Sequence[Arrival]) -> Iterator[Stretch]:
    """Blocks of one partition and generation together, in order, so that each partition's outputs go out as one."""
    together: dict[tuple[str, int, int], list[Arrival]] = {}
    for arrival in arrivals:
        together.setdefault((arrival.block.topic, arrival.block.partition, arrival.generation), []).append(arrival)
    start = 0
    for (topic, partition, generation), members in together.items():
        stop = start + sum(arrival.rows for arrival in members)
        yield Stretch(Run(topic, partition, start, stop), generation, members)
        start = stop
