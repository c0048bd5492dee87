"""A canary comes, grows and goes under traffic: two workers agree on every key, and no event is lost or doubled.

What the model is not certain about goes to people meanwhile, in the same transactions; in the end a fallback steps in.
"""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from pipelines import Kafka, MakeProject, Witness, until
from traffic import Traffic, check_order, check_scores, decoded, flowing, repeats

from penstock.models.routing import Routing
from penstock.schemas.columns import Columns, Layout
from penstock.schemas.control import CANARY, CHAMPION, FALLBACK, Control, Experiment
from penstock.schemas.keys import hash_keys
from penstock.schemas.records import ModelRef
from penstock.streams.control import Change, change_control, read_control
from penstock.streams.control.changes import set_fallback, to_what_serves

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

KEYS = [b"customer-%d" % number for number in range(50)]
FACTORS = {1: 1.0, 2: 2.0}
ABSTAIN = (0.5, 0.7)
SETTINGS = f"""
[automation]
level = "partial"
abstain = {list(ABSTAIN)}
[fallback]
queue_ms = 0.001
leave_ms = 0.0
hold_s = 0.0
"""
"""Every event has waited too long: the fallback answers as soon as there is one."""


def key_of(number: int) -> bytes:
    return KEYS[number % len(KEYS)]


def variants(control: Control) -> dict[bytes, str]:
    """Key → where it goes."""
    if control.fallback is not None:
        return dict.fromkeys(KEYS, FALLBACK)
    routing = Routing(control)
    codes = routing.route(hash_keys(KEYS, len(KEYS)), Columns.missing(Layout(), len(KEYS)))
    return {key: routing.variants[code] for key, code in zip(KEYS, codes, strict=True)}


def to_canary(share: float, candidate: ModelRef) -> Change:
    """The change that gives the canary this share of the keys; none of them ends it."""

    def change(control: Control | None) -> Control:
        assert control is not None
        experiments = (Experiment("trial", share, {CANARY: 1.0}),) if share else ()
        named = {CANARY: candidate} if share else {}
        return msgspec.structs.replace(control, variants=named, experiments=experiments)

    return change


async def test_every_key_is_answered_by_its_variant_whatever_changes(
    kafka: Kafka, project_named: MakeProject, witness: Witness
) -> None:
    project = await project_named("routed", mode="exactly_once", more=SETTINGS)
    candidate = project.package(seed=2, factor=FACTORS[2])
    settings = project.settings
    topics = settings.topics
    workers = [project.start_worker(), project.start_worker()]
    await until(lambda: {0, 1} == workers[0].owns ^ workers[1].owns, "each worker scores one partition")

    async def follow(traffic: Traffic, revision: int) -> None:
        """Until both workers do, and events have come since."""
        words = f"Revision {revision} is in force"
        await until(lambda: all(words in worker.said for worker in workers), words)
        sent = len(traffic.sent)
        await until(lambda: len(traffic.sent) > sent + 200, "events under this revision")

    in_force = [await read_control(settings)]
    async with flowing(kafka.servers, topics.events.name, partitions=2, key_of=key_of) as traffic:
        for share in (0.3, 0.6, 0.0):
            change = to_canary(share, candidate)
            in_force.append(await change_control(settings, change, command="test", author="test", reason="a trial"))
            await follow(traffic, len(in_force))
        small = to_what_serves(settings.pipeline.name, lambda control: set_fallback(control, candidate))
        in_force.append(await change_control(settings, small, command="test", author="test", reason="too slow"))
        await follow(traffic, len(in_force))

    def counted(name: str) -> int:
        return int(sum(worker.metric(name) for worker in workers))

    await until(lambda: counted("penstock_predictions_total") == len(traffic.sent), "every event is answered")
    for_people = counted("penstock_reviews_total")
    to_act_on = len(traffic.sent) - for_people
    acted = await witness.read(topics.predictions.name, lambda seen: len(seen) >= to_act_on, timeout_s=30)
    reviewed = await witness.read(topics.review.name, lambda seen: len(seen) >= for_people, timeout_s=30)
    for each in (acted, reviewed):
        check_order(each)
        assert {ABSTAIN[0] <= one["score"] <= ABSTAIN[1] for one in decoded(each)} == {each is reviewed}
    assert {dict(record.headers).get("penstock-review") for record in reviewed} == {b"abstain"}

    records = [*acted, *reviewed]
    predictions = decoded(records)
    assert {prediction["id"] for prediction in predictions} == traffic.ids
    assert repeats(predictions) == 0
    check_scores(predictions, FACTORS)
    # Nobody waited for events under the first one.
    assert {prediction["routing_revision"] for prediction in predictions} - {1} == {2, 3, 4, 5}
    expected = {control.revision: variants(control) for control in in_force if control is not None}
    for record, prediction in zip(records, predictions, strict=True):
        assert record.key is not None
        assert prediction["variant"] == expected[prediction["routing_revision"]][record.key]
        assert prediction["version"] == (1 if prediction["variant"] == CHAMPION else candidate.version)
        assert prediction["fallback"] == ("overload" if prediction["variant"] == FALLBACK else None)
    on_canary = [{key for key, variant in expected[revision].items() if variant == CANARY} for revision in (2, 3, 4)]
    assert set() == on_canary[2] < on_canary[0] < on_canary[1] < set(KEYS)
    assert np.isclose(len(on_canary[0]) / len(KEYS), 0.3, atol=0.2)
