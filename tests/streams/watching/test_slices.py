"""Watch remembers which values are slices of their own: a restart does not begin to tell others apart."""

from __future__ import annotations

import msgspec
import numpy as np
from scored_rows import scored_rows

from penstock.monitoring.config import LabelsConfig
from penstock.monitoring.counting.binning import Binning
from penstock.schemas.records import Label
from penstock.schemas.scored import ScoredBlock
from penstock.streams.watching.config import WatchConfig
from penstock.streams.watching.partition import PartitionWatch

CONFIG = WatchConfig(4, 60_000, 0, 1000, LabelsConfig(slices=("tail",)))


def binning(_: ScoredBlock) -> Binning:
    raise AssertionError("nothing is summarised here")


class Given:
    """A record with this value."""

    key, headers, timestamp = None, (), 0

    def __init__(self, value: bytes) -> None:
        self.value = value


def judged(watch: PartitionWatch, first: int, tails: list[str]) -> set[str]:
    """The slices that rows with these values come to; each row has its label."""
    block = scored_rows([0.9] * len(tails), first_offset=first, categories={"tail": tails})
    labels = [Given(msgspec.json.encode(Label(name, 1.0, 5))) for name in block.ids]
    watch.labels.put(labels)
    watch.scored_again.put(block, first)
    return {name for quality in watch.scored_again.summaries for _, _, name in quality.groups if name}


def test_slices_are_the_same_after_a_restart() -> None:
    watch = PartitionWatch(2, CONFIG, binning=binning, clock=lambda: 0)
    tails = [f"N{number}" for number in range(20)]
    assert judged(watch, 0, tails) == {f"tail={tail}" for tail in tails}
    state = {name: value for name, value in watch.changes().items() if value is not None}
    restarted = PartitionWatch(2, CONFIG, binning=binning, clock=lambda: 0, state=state)
    assert judged(restarted, 20, ["N99", "N7", "N98", "N7"]) == {"tail=N7", "tail=…other"}
    assert sum(quality.labelled for quality in restarted.scored_again.summaries) == 4
    assert np.concatenate([quality.delays for quality in restarted.scored_again.summaries]).sum() == 4
