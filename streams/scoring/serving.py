"""Which models answer: loaded before they serve, changed between two windows, closed when no record names them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from penstock.models.routing import Routing
from penstock.models.runtime import Runtime
from penstock.models.signature import Output, Signature
from penstock.monitoring.metrics.score import ScoreMetrics
from penstock.schemas.control import Control
from penstock.schemas.errors import PenstockError
from penstock.schemas.records import ModelRef
from penstock.streams.back_off import PATIENT, BackOff
from penstock.streams.registry import TRANSIENT

log = logging.getLogger("penstock.score")


class LoadedModel(Runtime, Protocol):
    """A runtime that says what its scores mean."""

    @property
    def signature(self) -> Signature: ...


class OutputDiffers(PenstockError):
    """A model that cannot stand beside the champion: its scores mean something else.

    >>> from penstock.schemas.records import ModelRef
    >>> print(OutputDiffers("canary", ModelRef("delay", 4), Output("value"), Output("probability")))
    The canary delay@4 gives a value; expected a probability, as the champion does. Promote it, or package it again.
    """

    def __init__(self, variant: str, model: ModelRef, found: Output, expected: Output) -> None:
        self.variant, self.model, self.found, self.expected = variant, model, found, expected
        super().__init__(
            f"The {variant} {model} gives {_kind(found)}; expected {_kind(expected)}, as the champion does. "
            "Promote it, or package it again."
        )


@dataclass(frozen=True)
class Serving:
    """What answers between two changes of the control record.

    revision  of the record
    routing   sends rows to places in `runtimes`
    runtimes  of `routing.variants`, the champion first
    fallback  the smaller model, where there is one
    """

    revision: int
    routing: Routing
    runtimes: tuple[Runtime, ...]
    fallback: Runtime | None = None

    @property
    def champion(self) -> Runtime:
        return self.runtimes[0]


class _Unread(NamedTuple):
    """How often in a row a model could not be read, and when it is tried again, in the event loop's time."""

    failures: int
    again_at: float


class Models:
    """Holds every model that the control record names, and changes `current` when all that answer are loaded.

    The newest record wins: one whose models are all there takes over at once, even while an older one is still
    loading. A record that cannot be followed as a whole changes nothing. The champion before the present one stays
    loaded, so that a rollback needs no loading.

    `load` blocks, and raises PenstockError for a model that fails its checks. What cannot be read now is tried again,
    later and later, while those that answer go on. `retire` is handed what closes a model that no record names any
    more.
    """

    def __init__(
        self,
        load: Callable[[ModelRef], LoadedModel],
        *,
        retire: Callable[[ModelRef, Callable[[], None]], None],
        metrics: ScoreMetrics,
        back_off: BackOff = PATIENT,
    ) -> None:
        self._load, self._retire, self._metrics, self._back_off = load, retire, metrics, back_off
        self.current: Serving | None = None
        self.serves = asyncio.Event()
        """Set once there is a `current`."""
        self._followed: Control | None = None
        self._wanted: Control | None = None
        """The newest record, while its models are still loading."""
        self._loaded: dict[ModelRef, LoadedModel] = {}
        self._unusable: set[ModelRef] = set()
        """Former champions that do not load any more: nobody waits for them."""
        self._unread: dict[ModelRef, _Unread] = {}
        self._work = asyncio.Event()

    def follow(self, control: Control) -> None:
        """Let the record take over, now or as soon as its models are loaded."""
        try:
            Routing(control)
        except PenstockError as refusal:
            self._refuse(control, refusal)
            return
        self._wanted = control
        self._take_over_when_loaded()

    async def keep_loaded(self) -> None:
        """Load what is missing, one model after another; runs as long as the worker."""
        while True:
            missing, now = self._missing(), asyncio.get_running_loop().time()
            model = next((model for model in missing if self._due(model) <= now), None)
            if model is None:
                self._work.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(min((self._due(model) - now for model in missing), default=None)):
                        await self._work.wait()
                continue
            try:
                loaded = await asyncio.to_thread(self._load, model)
            except TRANSIENT as error:
                self._put_off(model, error)
            except PenstockError as refusal:
                self._read(model)
                self._refuse_model(model, refusal)
            else:
                self._read(model)
                self._loaded[model] = loaded
                self._take_over_when_loaded()

    def _missing(self) -> list[ModelRef]:
        """What is to be loaded: first what is to answer, then what must be ready for a rollback."""
        wanted = [] if self._wanted is None else [*self._wanted.answering().values()]
        ready = [] if self._followed is None else [*self._followed.loaded()]
        named = [*wanted, *(model for model in ready if model not in self._unusable)]
        return [model for model in named if model not in self._loaded]

    def _due(self, model: ModelRef) -> float:
        """When to load it, in the event loop's time."""
        return self._unread[model].again_at if model in self._unread else 0.0

    def _put_off(self, model: ModelRef, error: Exception) -> None:
        before = self._unread.get(model)
        if before is None:
            log.warning("%s is not loaded yet; what answers stays, and it is tried again. %s", model, error)
        failures = 1 if before is None else before.failures + 1
        again_at = asyncio.get_running_loop().time() + self._back_off.delay_s(failures)
        self._unread[model] = _Unread(failures, again_at)
        self._metrics.unread.set(len(self._unread))

    def _read(self, model: ModelRef) -> None:
        """Whatever came of it, nobody waits for the registry any more."""
        self._unread.pop(model, None)
        self._metrics.unread.set(len(self._unread))

    def _take_over_when_loaded(self) -> None:
        control = self._wanted
        if control is not None and all(model in self._loaded for model in control.answering().values()):
            self._wanted = None
            try:
                self._check_outputs(control)
            except OutputDiffers as refusal:
                self._refuse(control, refusal)
            else:
                self._take_over(control)
        self._retire_unnamed()
        self._work.set()

    def _check_outputs(self, control: Control) -> None:
        expected = self._loaded[control.champion].signature.output
        for variant, model in control.answering().items():
            found = self._loaded[model].signature.output
            if (found.kind, found.classes) != (expected.kind, expected.classes):
                raise OutputDiffers(variant, model, found, expected)

    def _take_over(self, control: Control) -> None:
        routing, before = Routing(control), self._followed
        self.current = Serving(
            control.revision,
            routing,
            tuple(self._loaded[control.model_of(variant)] for variant in routing.variants),
            None if control.fallback is None else self._loaded[control.fallback],
        )
        self._followed = control
        self._metrics.revision.set(control.revision)
        self._unusable.clear()
        answering = {variant: self._loaded[model] for variant, model in control.answering().items()}
        self._metrics.serving(
            (variant, runtime.model.name, runtime.model.version, runtime.bit_stable)
            for variant, runtime in answering.items()
        )
        if before is None or before.champion != control.champion:
            champion = self.current.champion
            log.info("%s serves from now on (revision %d, %s)", champion.model, control.revision, champion.description)
        if len(answering) > 1 or (before is not None and len(before.answering()) > 1):
            who = ", ".join(f"{variant} {runtime.model}" for variant, runtime in answering.items())
            log.info("Revision %d is in force: %s", control.revision, who)
        self.serves.set()

    def _refuse_model(self, model: ModelRef, refusal: PenstockError) -> None:
        self._metrics.count_refused_model(str(model))
        if self._wanted is not None and model in self._wanted.answering().values():
            wanted, self._wanted = self._wanted, None
            self._refuse(wanted, refusal)
            self._retire_unnamed()
        elif self._followed is not None and model == self._followed.previous:
            self._unusable.add(model)
            log.error("There is no going back to the former champion. %s", refusal)
        else:
            log.warning("%s It is asked for no longer.", refusal)

    def _refuse(self, control: Control, refusal: PenstockError) -> None:
        self._metrics.count_refused_revision()
        log.error("Revision %d is not followed. %s", control.revision, refusal)

    def _retire_unnamed(self) -> None:
        records = [record for record in (self._followed, self._wanted) if record is not None]
        named = {model for record in records for model in record.loaded()}
        for model in self._loaded.keys() - named:
            self._retire(model, self._loaded.pop(model).close)
        for model in self._unread.keys() - named:
            self._read(model)


def _kind(output: Output) -> str:
    return f"classes {', '.join(output.classes)}" if output.kind == "classes" else f"a {output.kind}"
