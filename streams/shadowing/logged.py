"""What the scored log has for a candidate, and what a person is told where it has not."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from penstock.models.features import Catalogue
from penstock.schemas.columns import Layout
from penstock.schemas.errors import PenstockError


class FeaturesNotLogged(PenstockError):
    """A candidate reads features that the scored log does not have: withheld for good, or not logged yet.

    place  of a record that lacks them; None: they are withheld
    end    where the log ends there now: records from this offset on can have them

    >>> print(FeaturesNotLogged("delay@5", ["wind", "snow"], "flights.scored, partition 0, offset 17", end=233))
    delay@5 reads 'wind' and 'snow', not logged at flights.scored, partition 0, offset 17. Rows are left out until \
they are: from offset 233 on they can be, once the score workers run with the features in their penstock.toml.
    >>> print(FeaturesNotLogged("delay@5", ["income"]))
    delay@5 reads 'income', which the scored log withholds: sensitive values stay out of it. Try a candidate that does \
without, or take `sensitive` from the feature.
    """

    exit_code = 4

    def __init__(self, model: str, features: Sequence[str], place: str | None = None, *, end: int = 0) -> None:
        self.model, self.features, self.place, self.end = model, tuple(features), place, end
        named = " and ".join(filter(None, [", ".join(map(repr, features[:-1])), repr(features[-1])]))
        super().__init__(
            f"{model} reads {named}, which the scored log withholds: sensitive values stay out of it. Try a candidate "
            "that does without, or take `sensitive` from the feature."
            if place is None
            else f"{model} reads {named}, not logged at {place}. Rows are left out until they are: from offset {end} "
            "on they can be, once the score workers run with the features in their penstock.toml."
        )


def check_not_withheld(model: str, features: Collection[str], catalogue: Catalogue) -> None:
    """Raises FeaturesNotLogged where a candidate reads a sensitive feature: its values stay out of the log."""
    withheld = [feature.name for feature in catalogue.features if feature.sensitive and feature.name in features]
    if withheld:
        raise FeaturesNotLogged(model, withheld)


def lacking(features: Collection[str], logged: Layout, catalogue: Layout | None = None) -> tuple[str, ...]:
    """Those of `features` that a block with the layout `logged` does not have, or not with the catalogue's type.

    >>> lacking(["wind", "seats"], Layout(floats=("wind",)), Layout(floats=("wind",), integers=("seats",)))
    ('seats',)
    >>> lacking(["wind"], Layout(integers=("wind",)), Layout(floats=("wind",)))
    ('wind',)
    """
    there, expected = _kinds(logged), _kinds(logged if catalogue is None else catalogue)
    return tuple(name for name in features if name not in there or there[name] != expected.get(name, there[name]))


def _kinds(layout: Layout) -> dict[str, tuple[str, int]]:
    return {
        **dict.fromkeys(layout.floats, ("float", 1)),
        **dict.fromkeys(layout.integers, ("integer", 1)),
        **dict.fromkeys(layout.categories, ("category", 1)),
        **{name: ("vector", width) for name, width in layout.vectors},
    }
