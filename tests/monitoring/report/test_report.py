"""The page says what happened, first things first, and tells no secret; read as a browser reads it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser

import histories
import numpy as np
import pytest
from histories import DAY_MS, HOUR_MS, MODEL, MONDAY, SENSITIVE
from msgspec.structs import replace

from penstock.monitoring.config import LabelsConfig
from penstock.monitoring.quality.measure import measure
from penstock.monitoring.report.data import ReportData
from penstock.monitoring.report.findings import Reference
from penstock.monitoring.report.page import Page, make_page, render
from penstock.schemas.alerts import Alert, Cause, Whereabouts
from penstock.schemas.profile import ReferenceProfile
from penstock.schemas.scored import ScoredBlock
from penstock.schemas.summaries import SignalCounts

DAYS = 8
LABELS = LabelsConfig(maturity_s=3600.0, slices=("origin",), groups=("origin",))
VOID = {"meta", "br"}


@pytest.fixture(scope="module")
def profile() -> ReferenceProfile:
    return histories.profile(np.random.default_rng(1))


def blocks(
    *, shift: float = 0.0, missing: float = 0.0, origins: tuple[str, ...] = histories.ORIGINS
) -> Iterator[ScoredBlock]:
    """Two segments a day; what drifts does so in the second half."""
    rng = np.random.default_rng(2)
    for segment in range(2 * DAYS):
        late = segment >= DAYS
        columns = histories.columns(rng, histories.SEGMENT_ROWS, shift=shift * late, origins=origins)
        columns.floats[rng.random(columns.rows) < missing * late, 1] = np.nan
        yield histories.block(columns, segment, MONDAY + segment * 12 * HOUR_MS)


def data_of(profile: ReferenceProfile, *, labels: bool = False, **drift: float) -> ReportData:
    rng = np.random.default_rng(3)
    data = ReportData()
    for segment, block in enumerate(blocks(**drift)):  # type: ignore[arg-type]
        data.add_summary(histories.summary(block, profile))
        if labels:
            truth = (rng.random(block.rows) < block.score).astype(np.float64)
            truth[rng.random(block.rows) < 0.25] = np.nan
            data.add_quality(
                measure(
                    block,
                    truth,
                    block.event_times + 60_000,
                    LABELS,
                    segment=segment,
                    part=0,
                    complete=True,
                    watermark=0,
                )
            )
    return data


def page_of(data: ReportData, profile: ReferenceProfile, *, references: Mapping[str, Reference] | None = None) -> Page:
    known = {MODEL: histories.reference(profile)} if references is None else references
    return make_page(data, known, pipeline="flights", labels=LABELS, sensitive=SENSITIVE, made_ms=MONDAY)


class Reader(HTMLParser):
    """Fails where tags do not close in order; keeps what is shown, tags and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.shown = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.shown += data if self.open[-1:] != ["style"] else ""


def read(page: Page) -> Reader:
    reader = Reader()
    reader.feed(render(page))
    reader.close()
    assert not reader.open
    return reader


def test_the_first_sentence_says_what_differs_most(profile: ReferenceProfile) -> None:
    page = page_of(data_of(profile, shift=2.0), profile)
    assert page.headline.startswith(
        "1 of 6 features differs from the training data of delay@3, most of all distance: mean 998 → 1,1"
    )
    assert [card.name for card in page.cards if card.differs] == ["distance"]
    assert read(page).shown.index("1 of 6 features") < read(page).shown.index("Features")


def test_without_drift_nothing_differs(profile: ReferenceProfile) -> None:
    page = page_of(data_of(profile), profile)
    assert page.headline == "None of 6 features differs from the training data of delay@3. No alerts."


def test_features_come_in_the_order_of_their_difference(profile: ReferenceProfile) -> None:
    page = page_of(data_of(profile, shift=3.0, missing=0.5, origins=("EWR", "JFK", "XXX")), profile)  # type: ignore[arg-type]
    assert [card.name for card in page.cards if card.differs] == ["origin", "distance", "wind"]
    assert [card.what for card in (page.cards[0], page.cards[2])] == ["LGA 34 % → 0 %", "missing 0 % → 26 %"]


def test_the_heat_map_darkens_when_the_drift_begins(profile: ReferenceProfile) -> None:
    page = page_of(data_of(profile, shift=2.0), profile)
    cells = {
        int(place): style
        for style, d in re.findall(r'<path class="(h\d)" d="([^"]*)"', page.cards[0].strip)
        for place in re.findall(r"M(\d+) 0", d)
    }
    over_time = [cells[place] for place in sorted(cells)]
    assert len(over_time) == 2 * DAYS
    assert set(over_time[:DAYS]) <= {"h0", "h1", "h2"}
    assert set(over_time[DAYS:]) == {"h5"}


def test_names_and_values_are_shown_and_never_run(profile: ReferenceProfile) -> None:
    evil = "<script>alert(1)</script>\"'&"
    renamed = profile.features | {evil: profile.features["distance"]}
    odd = histories.profile(np.random.default_rng(1))
    odd = replace(odd, features=renamed)
    data = ReportData()
    for block in blocks(origins=("EWR", "<img src=x onerror=alert(1)>", "LGA")):
        summary = histories.summary(block, profile)
        summary.signals[f"feature:{evil}"] = summary.signals["feature:distance"]
        summary.served.clear()
        summary.served[evil, evil, 1] = block.rows
        data.add_summary(summary)
    data.add_alert(
        Alert("id<b>", "raised", "warning", evil, evil, "data_drift", MONDAY, MONDAY, MONDAY, 1,
              [Cause(evil, "data_drift", "location", "ecusum", 1.0, {evil: 1.0}, {evil: 2.0}, slice=evil)],
              model=evil, note=evil, acknowledged_by=evil)
    )  # fmt: skip
    page = make_page(data, {MODEL: histories.reference(odd)}, pipeline=evil, labels=LABELS, made_ms=0)
    reader = read(page)
    assert evil in reader.shown
    assert not reader.tags & {"script", "img", "b<"}
    assert not [name for name, _ in reader.attributes if name.startswith("on")]


def test_nothing_is_fetched(profile: ReferenceProfile) -> None:
    reader = read(page_of(data_of(profile, labels=True), profile))
    assert not reader.tags & {"script", "link", "img", "iframe", "object", "image", "use"}
    assert all(value.startswith("#") for name, value in reader.attributes if name in ("href", "src"))
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in reader.attributes
    assert "url(" not in render(page_of(data_of(profile), profile))


def test_every_picture_has_a_text(profile: ReferenceProfile) -> None:
    html = render(page_of(data_of(profile, labels=True), profile))
    assert html.count("<svg") == len(re.findall(r'<svg [^>]*role="img" aria-label="[^"]+', html))


def test_sensitive_features_are_named_and_their_values_are_not(profile: ReferenceProfile) -> None:
    data = data_of(profile, labels=True)
    data.add_alert(
        Alert("a", "raised", "warning", "income moved", "flights", "data_drift", MONDAY, MONDAY, MONDAY, 1,
              [Cause("feature:income", "data_drift", "location", "ecusum", 1.0, {"mean": histories.INCOME},
                     {"mean": histories.INCOME}, slice="sex=F-withheld")])
    )  # fmt: skip
    html = render(page_of(data, profile))
    assert "income" in html
    assert "withheld." in html
    assert "-withheld" not in html
    assert not re.search(r"31[,.]?33\d", html)


def test_thirty_features_over_a_year_stay_below_a_megabyte(profile: ReferenceProfile) -> None:
    many = {f"distance_{i}": profile.features["distance"] for i in range(28)}
    wide = replace(profile, features=profile.features | many)
    data = ReportData()
    rng = np.random.default_rng(4)
    one = histories.summary(histories.block(histories.columns(rng, 256, shift=1), 0, MONDAY), profile)
    one.signals.update({f"feature:{name}": one.signals["feature:distance"] for name in many})
    for day in range(365):
        times = (MONDAY + day * DAY_MS, MONDAY + (day + 1) * DAY_MS)
        data.add_summary(replace(one, segment=day, event_times=times))
    html = render(page_of(data, profile, references={MODEL: histories.reference(wide)}))
    assert len(html.encode()) < 500_000


def test_alerts_stand_with_their_causes_and_on_the_axis(profile: ReferenceProfile) -> None:
    data = data_of(profile)
    data.add_alert(
        Alert("drift-1", "ongoing", "critical", "distance moved", "flights", "data_drift", MONDAY + 4 * DAY_MS,
              MONDAY + 5 * DAY_MS, MONDAY + 5 * DAY_MS, 3,
              [Cause("feature:distance", "data_drift", "location", "ecusum", 9.0, {"mean": 1000.0}, {"mean": 1400.0})],
              evidence=Whereabouts(0, 2048, 2303))
    )  # fmt: skip
    later = MONDAY + 400 * DAY_MS
    data.add_alert(
        Alert("operations-1", "cleared", "info", "quiet", "flights", "operations", later, later, later, 1, [])
    )
    page = page_of(data, profile)
    assert page.headline.endswith("2 alerts (1 critical, 1 not cleared).")
    assert [mark.title for mark in page.marks] == ["2013-06-07 00:00 distance moved"]
    assert page.alerts[1].causes == ["distance: mean 1,000 → 1,400 (location)"]
    assert 45 < page.marks[0].place < 55
    assert "0-2048 to 0-2303" in read(page).shown


def test_quality_is_told_beside_the_training_datas(profile: ReferenceProfile) -> None:
    page = page_of(data_of(profile, labels=True), profile)
    assert page.quality is not None
    assert re.search(r"AUC (is|fell|rose) .*on the training data.*; 75 % of the outcomes are known\.", page.headline)
    [by_origin] = page.quality.slices
    assert {value for value, _, _ in by_origin.rows} == set(histories.ORIGINS)
    assert [gap.partition(":")[0] for gap in by_origin.gaps] == ["Selection rate", "True positive rate"]
    assert page.quality.delay.startswith("Labels come")


def test_a_stretch_over_two_models_compares_each_part_with_its_own(profile: ReferenceProfile) -> None:
    newer = histories.profile(np.random.default_rng(9))
    data = ReportData()
    for segment, block in enumerate(blocks()):
        name, own = (MODEL, profile) if segment < DAYS else ("delay@4", newer)
        data.add_summary(histories.summary(block, own, reference=name))
    both = {MODEL: histories.reference(profile), "delay@4": histories.reference(newer, "delay@4")}
    page = page_of(data, profile, references=both)
    assert page.reference == "delay@4"
    assert "2,048 rows counted with the profile of delay@4" in page.notes[0]
    assert page.headline.startswith("None of 6 features differs")


def test_without_a_profile_the_rest_is_told(profile: ReferenceProfile) -> None:
    page = page_of(data_of(profile), profile, references={})
    assert page.headline == "There is no reference profile to compare with. No alerts."
    assert "The profile of delay@3 cannot be read" in page.notes[0]
    assert "Events per 6 hours" in read(page).shown


def test_a_change_of_quality_is_news_only_when_it_is_no_chance(profile: ReferenceProfile) -> None:
    rng = np.random.default_rng(5)
    told = {}
    for noise in (0.0, 0.6):
        data = ReportData()
        for segment, block in enumerate(blocks()):
            data.add_summary(histories.summary(block, profile))
            truth = np.where(
                rng.random(block.rows) < noise, rng.random(block.rows) < 0.5, rng.random(block.rows) < block.score
            )
            data.add_quality(
                measure(
                    block, truth.astype(np.float64), block.event_times, LABELS,
                    segment=segment, part=0, complete=True, watermark=0,
                )
            )  # fmt: skip
        told[noise] = page_of(data, profile).headline
    assert re.search(r"AUC is 0\.\d+, as on the training data", told[0.0])
    assert re.search(r"AUC fell from 0\.\d+ on the training data to", told[0.6])


def test_several_outputs_are_shown_by_how_often_each_wins(profile: ReferenceProfile) -> None:
    data = ReportData()
    for segment, block in enumerate(blocks()):
        summary = histories.summary(block, profile)
        wins = [[256, 0, 0, 0, 0], [0, 64, 192, 0, 0]][segment >= DAYS]
        data.add_summary(
            replace(summary, signals={**summary.signals, "class:champion": SignalCounts(np.array(wins, np.int64))})
        )
    [_, outputs, _] = page_of(data, profile).plots
    assert outputs.legend == ("output 0", "output 1", "output 2")
    assert "output 0 from 100 to 0; output 1 from 0 to 25; output 2 from 0 to 75" in outputs.picture


def test_a_feature_that_the_log_leaves_out_is_named(profile: ReferenceProfile) -> None:
    data = ReportData()
    for block in blocks():
        summary = histories.summary(block, profile)
        del summary.signals["feature:income"]
        data.add_summary(summary)
    page = page_of(data, profile)
    [note] = page.notes
    assert note.startswith("Nothing was counted of income: ")
    assert page.headline.startswith("None of 5 features")
