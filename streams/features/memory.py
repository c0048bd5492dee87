"""A feature store in memory, for tests and for trying out a catalogue: the same reading of values, no server."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from penstock.models.features import Catalogue
from penstock.schemas.events import DecodedEvents
from penstock.streams.features.search import Search, encode_categories, entity_look_ups
from penstock.streams.features.store import LookedUp, LookUpCounts


class InMemoryFeatures:
    """Hashes as Redis would hold them: `<prefix>:<key>` → field → text. `hashes` may change between windows."""

    def __init__(self, catalogue: Catalogue, hashes: Mapping[str, Mapping[str, str]]) -> None:
        self.hashes = hashes
        self.counts = LookUpCounts()
        self._prefixes = [entity.prefix for entity in catalogue.entities]
        self._entities = entity_look_ups(catalogue)
        self._features = len(catalogue.looked_up_features)

    async def look_up(self, events: DecodedEvents) -> LookedUp:
        shape = events.rows, self._features
        looked_up = LookedUp(np.zeros(shape, np.int64), np.zeros(shape, np.bool_))
        categories: dict[str, list[NDArray[np.object_]]] = {}
        for prefix, entity in zip(self._prefixes, self._entities, strict=True):
            search = Search(entity, entity.template.render(events))
            for keys in search.batches():
                search.receive(keys, [self._hash(f"{prefix}:{key}", entity.format.fields) for key in keys])
                self.counts.keys_fetched += len(keys)
            self.counts.rows += events.rows
            self.counts.rows_without_key += search.without_key
            search.fill(events.columns, looked_up.written, looked_up.malformed, slice(0, events.rows), categories)
        encode_categories(events.columns, categories)
        return looked_up

    def _hash(self, name: str, fields: tuple[str, ...]) -> list[bytes | None]:
        held = self.hashes.get(name, {})
        return [held[field].encode("utf-8", "surrogateescape") if field in held else None for field in fields]

    async def close(self) -> None: ...
