"""What every contender is given: the events, the network with its weights, and the function that scores a window.

An event is `{"id", "time", "f00" … "f15"}`: about 430 bytes of JSON with 16 floats. The network is an MLP 16-64-64-1
with a sigmoid. Both come from fixed seeds, so that a run can be repeated and every contender's scores compared.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import starmap
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

FEATURES = tuple(f"f{i:02d}" for i in range(16))
FIRST_EVENT_TIME = 1_357_016_400_000
WINDOW = 4096
"""Rows per inference call, for every contender that can batch."""

TASK_VARIABLE = "PENSTOCK_BENCHMARK_TASK"
HEADERS = [("penstock-schema", b"prediction/1")]

_PREDICTION = (
    b'{"id":%b,"score":%.9g,"variant":"champion","model":"mlp","version":1,"routing_revision":1,"event_time":%d,'
    b'"source":{"partition":%d,"offset":%d},"scores":null,"defaulted":[],"fallback":null}'
)


class Task(msgspec.Struct, frozen=True):
    """Where a contender reads and writes; travels to its process in an environment variable."""

    servers: str
    events: str
    predictions: str
    scored: str
    group: str
    weights: str
    directory: str
    log: bool = False
    """Whether the contender also writes the scored log."""
    mode: str = "at_least_once"
    """Penstock's delivery mode."""

    def environment(self) -> dict[str, str]:
        return {TASK_VARIABLE: msgspec.json.encode(self).decode()}

    @classmethod
    def of_this_process(cls) -> Task:
        return msgspec.json.decode(os.environ[TASK_VARIABLE], type=cls)


Event: Any = msgspec.defstruct("Event", [("id", str), ("time", int), *((name, float) for name in FEATURES)], gc=False)


def feature_matrix(count: int) -> NDArray[np.float64]:
    """[count, 16], uniform in [-1, 1): the same whatever `count` is, row by row."""
    return np.random.default_rng(2013).random((count, len(FEATURES))) * 2 - 1


def events(count: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and JSON values."""
    for i, row in enumerate(feature_matrix(count).tolist()):
        fields = {"id": f"event-{i:07d}", "time": FIRST_EVENT_TIME + i, **dict(zip(FEATURES, row, strict=True))}
        yield b"key-%d" % (i % 1000), msgspec.json.encode(fields)


class Window(msgspec.Struct, gc=False):
    """A scored window: its events, their features [rows, 16] float32 and scores [rows] float32."""

    events: Sequence[Any]
    matrix: NDArray[np.float32]
    scores: NDArray[np.float32]

    def predictions(self, partition: int, offsets: Iterable[int]) -> list[bytes]:
        """JSON with the fields of Penstock's prediction, in its order."""
        quote = msgspec.json.encode
        return [
            _PREDICTION % (quote(event.id), score, event.time, partition, offset)
            for event, score, offset in zip(self.events, self.scores.tolist(), offsets, strict=True)
        ]


class Scorer:
    """Every peer's user code, the fastest known: decode event by event, pack one matrix, one forward pass.

    All peers call the same function, so what differs between them is what the framework costs.
    """

    def __init__(self, weights: str) -> None:
        import torch
        from network import mlp
        from safetensors.torch import load_file

        torch.set_num_threads(1)  # with 5,000 parameters a second thread only costs
        self._torch = torch
        self._network = mlp().eval()
        self._network.load_state_dict(load_file(weights))
        self._decode = msgspec.json.Decoder(Event).decode
        self._values = attrgetter(*FEATURES)
        self._pack = struct.Struct(f"{len(FEATURES)}f").pack

    def score(self, values: Iterable[bytes]) -> Window:
        events = list(map(self._decode, values))
        packed = bytearray().join(starmap(self._pack, map(self._values, events)))
        matrix = np.frombuffer(packed, np.float32).reshape(len(events), len(FEATURES))
        with self._torch.inference_mode():
            scores = self._network(self._torch.from_numpy(matrix)).squeeze(1).numpy()
        return Window(events, matrix, scores)
