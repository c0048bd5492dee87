"""Models that answer in a known way, and control records that send rows to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from penstock.models.routing import Routing
from penstock.models.runtime import Runtime, Scores
from penstock.models.signature import Output, Signature, TensorInput
from penstock.schemas.columns import Columns, Floats
from penstock.schemas.control import CANARY, Control, Experiment
from penstock.schemas.records import ModelRef
from penstock.streams.scoring.serving import Serving

CHAMPION_1, CANARY_2, SMALL = ModelRef("sum", 1), ModelRef("sum", 2), ModelRef("small", 1)


@dataclass
class Model:
    """Scores the first float feature as `says` does; `fails` is raised instead, on golden rows unless it is `sound`."""

    model: ModelRef
    says: Callable[[Floats], Floats] = lambda x: x
    fails: Exception | None = None
    sound: bool = False
    outputs: int = 1
    features: tuple[str, ...] = ("x",)
    description: str = "test"
    bit_stable: bool = True
    calls: list[int] = field(default_factory=list)
    closed: bool = False

    @property
    def signature(self) -> Signature:
        output = Output() if self.outputs == 1 else Output("classes", tuple(f"c{i}" for i in range(self.outputs)))
        return Signature((TensorInput("x", self.features),), output)

    def score(self, columns: Columns) -> Scores:
        assert not self.closed, f"{self.model} was closed"
        self.calls.append(columns.rows)
        if self.fails is not None:
            raise self.fails
        score = self.says(columns.floats[:, 0]).astype(np.float32)
        scores = None if self.outputs == 1 else np.stack([score] * self.outputs, axis=1)
        return Scores(score, scores, np.isfinite(score))

    def check(self) -> None:
        if self.fails is not None and not self.sound:
            raise self.fails

    def close(self) -> None:
        self.closed = True


def control(
    revision: int = 1,
    champion: ModelRef = CHAMPION_1,
    *,
    canary: ModelRef | None = None,
    share: float = 0.3,
    previous: ModelRef | None = None,
    fallback: ModelRef | None = None,
) -> Control:
    return Control(
        "test", revision, champion, "", "", 0,
        previous=previous,
        variants={} if canary is None else {CANARY: canary},
        experiments=() if canary is None else (Experiment("canary", share, {CANARY: 1.0}),),
        fallback=fallback,
    )  # fmt: skip


def serving(control: Control, *models: Runtime) -> Serving:
    routing, loaded = Routing(control), {model.model: model for model in models}
    return Serving(
        control.revision,
        routing,
        tuple(loaded[control.model_of(variant)] for variant in routing.variants),
        None if control.fallback is None else loaded[control.fallback],
    )
