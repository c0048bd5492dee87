"""Which candidates are asked: loaded before they are, changed between two records, closed when no record names them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence

from penstock.models.features import Catalogue
from penstock.models.runtime import Runtime
from penstock.monitoring.metrics.shadow import ShadowMetrics
from penstock.schemas.control import Control, Shadow
from penstock.schemas.errors import PenstockError
from penstock.schemas.records import ModelRef
from penstock.streams.control.candidates import require_logged
from penstock.streams.registry import TRANSIENT
from penstock.streams.shadowing.scorer import ShadowScorer

log = logging.getLogger("penstock.shadow")


class Candidates:
    """Holds the candidates of the control record, and gives them to each record of the log as one scorer.

    A candidate that is refused is said in a sentence and counted; the others go on. One that cannot be read now is left
    to `try_again`. `load` blocks. `retire` is handed what closes a candidate that no record names any more: it may
    still be computing.
    """

    def __init__(
        self,
        load: Callable[[ModelRef], Runtime],
        *,
        catalogue: Catalogue,
        slices: Sequence[str],
        metrics: ShadowMetrics,
        retire: Callable[[Callable[[], None]], None],
    ) -> None:
        self._load, self._retire, self._metrics = load, retire, metrics
        self._catalogue, self._slices = catalogue, tuple(slices)
        self._runtimes: dict[ModelRef, Runtime] = {}
        self.scorer: ShadowScorer | None = None
        """None: nobody is asked."""
        self._asked: dict[ModelRef, float] = {}
        self._shadows: Sequence[Shadow] = ()
        self._unread: set[ModelRef] = set()
        self._in_turn = asyncio.Lock()

    async def follow(self, control: Control | None) -> None:
        """Ask the candidates that the record names: those that are loaded at once, the others as they come."""
        async with self._in_turn:
            self._shadows = () if control is None else control.shadows
            await self._change(self._shadows, {shadow.model for shadow in self._shadows})

    async def try_again(self) -> bool:
        """Load what could not be read; whether nothing of that is left."""
        if self._unread:
            async with self._in_turn:
                await self._change(self._shadows, set(self._unread))
        return not self._unread

    async def _change(self, shadows: Sequence[Shadow], wanted: Collection[ModelRef]) -> None:
        """Ask those that are named, as far as they are loaded; the `wanted` ones are loaded for that."""
        named = {shadow.model for shadow in shadows}
        gone = [self._runtimes.pop(model) for model in list(self._runtimes) if model not in named]
        self._ask(shadows)
        self._unread &= named
        for runtime in gone:  # whatever is submitted from here on does without them
            log.info("%s is not asked any more", runtime.model)
            self._retire(runtime.close)
        for shadow in shadows:
            missing = shadow.model in wanted and shadow.model not in self._runtimes
            if missing and (loaded := await self._loaded(shadow)) is not None:
                self._runtimes[shadow.model] = loaded
                self._ask(shadows)
                share = 100 * shadow.sample
                log.info("%s is asked about %g %% of the keys (%s)", shadow.model, share, loaded.description)
        self._metrics.unread.set(len(self._unread))

    def _ask(self, shadows: Sequence[Shadow]) -> None:
        asked = {shadow.model: shadow.sample for shadow in shadows if shadow.model in self._runtimes}
        if asked == self._asked:
            return
        self._asked = asked
        self._metrics.show_candidates({str(model): sample for model, sample in asked.items()})
        candidates = [(self._runtimes[model], sample) for model, sample in asked.items()]
        self.scorer = ShadowScorer(candidates, self._slices, catalogue=self._catalogue.layout) if candidates else None

    async def _loaded(self, shadow: Shadow) -> Runtime | None:
        try:
            runtime = await asyncio.to_thread(self._load, shadow.model)
            try:
                require_logged(shadow.model, runtime.features, self._catalogue, {})
            except PenstockError:
                runtime.close()
                raise
        except TRANSIENT as error:
            if shadow.model not in self._unread:
                log.warning("The candidate %s is not asked yet; it is tried again. %s", shadow.model, error)
            self._unread.add(shadow.model)
            return None
        except PenstockError as refusal:
            log.error("The candidate %s is not asked. %s", shadow.model, refusal)
        except Exception as error:  # its code, and its hunger for memory, are its own: the others go on
            log.error(
                "The candidate %s is not asked: loading it raised %s: %s", shadow.model, type(error).__name__, error
            )
        else:
            self._unread.discard(shadow.model)
            return runtime
        self._unread.discard(shadow.model)
        self._metrics.count_refused(str(shadow.model))
        return None
