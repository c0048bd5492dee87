from __future__ import annotations

import pytest

from penstock.streams.demo.flights import Flights, load_flights
from penstock.streams.demo.lookups import Lookups
from penstock.streams.demo.project import write_project
from penstock.streams.settings import Settings


@pytest.fixture(scope="session")
def year() -> Flights:
    return load_flights()


@pytest.fixture(scope="session")
def lookups(year: Flights) -> Lookups:
    return Lookups.of(year)


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The demo's project, its servers not started."""
    return Settings.load(write_project(tmp_path_factory.mktemp("demo")), environ={})
