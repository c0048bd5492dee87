"""Partitions by key, as the clients of others choose them."""

from __future__ import annotations

import pytest
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from penstock.streams.partitioners import CERTAIN, Partitioner, partition_of, recognise


@given(st.binary(max_size=40), st.integers(1, 64))
def test_murmur2_is_what_aiokafka_does(key: bytes, partitions: int) -> None:
    assert partition_of(key, partitions, "murmur2") == DefaultPartitioner()(
        key, list(range(partitions)), list(range(partitions))
    )


@pytest.mark.parametrize("partitioner", ["murmur2", "crc32"])
def test_a_partitioner_is_recognised_by_where_the_keys_are(partitioner: Partitioner) -> None:
    keys = [b"flight-%d" % number for number in range(CERTAIN)]
    sample = [(key, partition_of(key, 6, partitioner)) for key in keys]
    assert recognise(sample, 6) == partitioner
    assert recognise(sample[1:], 6) is None, "too few to be certain"
    assert recognise([*sample, (b"elsewhere", (partition_of(b"elsewhere", 6, partitioner) + 1) % 6)], 6) is None
    assert recognise(sample, 1) is None, "one partition tells nothing"
