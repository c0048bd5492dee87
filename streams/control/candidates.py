"""Whether a model may be tried or deployed: staged as it is, and fed by what the scored log holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.schemas.errors import ModelRefused
from penstock.schemas.records import ModelRef

if TYPE_CHECKING:
    from penstock.models.features import Catalogue
    from penstock.streams.control.trail import Trail
    from penstock.streams.settings import Settings

QUIET_MS = 600_000
"""A partition whose newest block was scored so much earlier than the log's newest tells nothing of what workers write
today: no event has come to it since."""


class FeaturesWithheld(ModelRefused):
    """A candidate reads sensitive features, whose values never reach the scored log.

    >>> print(FeaturesWithheld("fraud@2", ["iban"]))
    Model fraud@2 is refused: it reads iban, which is sensitive, so that its values are never in the scored log. \
Try it on live traffic: penstock canary start fraud@2.
    """

    def __init__(self, model: str, features: Sequence[str]) -> None:
        self.features = tuple(features)
        are = "is" if len(features) == 1 else "are"
        cause = f"it reads {', '.join(features)}, which {are} sensitive, so that its values are never in the scored log"
        super().__init__(model, cause, fix=f"Try it on live traffic: penstock canary start {model}.")


class FeaturesNotLogged(ModelRefused):
    """A candidate reads features that the newest blocks of the scored log do not have yet.

    `from_offsets` has the partitions of the log in question, each with the offset from which the features can be there.

    >>> print(FeaturesNotLogged("delay@2", ["wind"], {0: 812, 3: 790}))
    Model delay@2 is refused: the scored log has no wind yet; it can have it from offset 812 of partition 0, 790 of \
partition 3 on. Restart the score workers with this catalogue, and try again once they have scored something.
    """

    def __init__(self, model: str, features: Sequence[str], from_offsets: Mapping[int, int]) -> None:
        self.features, self.from_offsets = tuple(features), dict(from_offsets)
        where = ", ".join(f"{offset} of partition {number}" for number, offset in sorted(from_offsets.items()))
        what = "it" if len(features) == 1 else "them"
        super().__init__(
            model,
            f"the scored log has no {', '.join(features)} yet; it can have {what} from offset {where} on",
            fix="Restart the score workers with this catalogue, and try again once they have scored something.",
        )


@dataclass(frozen=True)
class Newest:
    """The newest block of a partition of the scored log.

    features   that its rows have
    scored_at  Unix ms, by the brokers' clock
    end        the next offset of the log
    """

    features: frozenset[str]
    scored_at: int
    end: int


def require_staged(trail: Trail, model: ModelRef, *, digest: str) -> None:
    """Raises ModelRefused unless the last staging of this very package passed."""
    fix = f"First: penstock stage {model}. In an emergency: --force with --reason."
    staging = trail.latest_staging(model, digest=digest)
    if staging is None:
        raise ModelRefused(str(model), "it has not been staged", fix=fix)
    if not staging.passed:
        failed = [check for check, held in staging.checks if not held]
        why = "; ".join(failed) or (staging.look.reason.rstrip(".") if staging.look else "see penstock decisions")
        raise ModelRefused(str(model), f"its staging did not pass: {why}", fix=fix)


def require_logged(
    model: ModelRef, features: Sequence[str], catalogue: Catalogue, newest: Mapping[int, Newest]
) -> None:
    """Raises FeaturesWithheld or FeaturesNotLogged unless a shadow can be fed from the scored log.

    Args:
        model: the candidate.
        features: that it reads.
        catalogue: the pipeline's; it has them all.
        newest: what each partition of the log ends with; one without any block is left out.
    """
    sensitive = [name for name in features if catalogue.by_name[name].sensitive]
    if sensitive:
        raise FeaturesWithheld(str(model), sensitive)
    today = max((block.scored_at for block in newest.values()), default=0) - QUIET_MS
    without = {
        number: missing
        for number, block in newest.items()
        if block.scored_at >= today and (missing := set(features) - block.features)
    }
    if without:
        names = [name for name in features if any(name in missing for missing in without.values())]
        raise FeaturesNotLogged(str(model), names, {number: newest[number].end for number in without})


async def newest_blocks(settings: Settings) -> dict[int, Newest]:
    """What each partition of the scored log ends with. Raises UnreachableError, TopicMissing, CorruptBlock."""
    from penstock.schemas.scored import decode
    from penstock.streams.reading import newest_records

    topic, found = settings.topics.scored.name, {}
    for (_, number), (record, end) in (await newest_records(settings.kafka, topic)).items():
        place = f"{topic}, partition {number}, offset {record.offset}"
        block = decode(record.value, record.headers, place=place)
        found[number] = Newest(frozenset(block.columns.layout.names), record.timestamp, end)
    return found
