"""What tests ask of real servers, wherever these run: the types of the fixtures in `tests/conftest.py`."""

from __future__ import annotations

from typing import Protocol


class Kafka(Protocol):
    """A broker, embedded or in a container."""

    @property
    def servers(self) -> list[str]:
        """Its bootstrap servers."""


class MakeTopics(Protocol):
    """Creates topics that no other test uses and returns their names, in the order of the labels."""

    async def __call__(
        self, *labels: str, partitions: int = 1, settings: dict[str, str] | None = None
    ) -> list[str]: ...
