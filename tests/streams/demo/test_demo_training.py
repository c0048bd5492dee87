from __future__ import annotations

import numpy as np
import pytest
import torch

from penstock.schemas.columns import Columns
from penstock.streams.demo.evaluation import auc, auc_by_month, overall_auc
from penstock.streams.demo.flights import Flights
from penstock.streams.demo.history import feature_columns
from penstock.streams.demo.lookups import Lookups
from penstock.streams.demo.network import DelayNetwork
from penstock.streams.demo.training import Adam, Trained, shuffled, train
from penstock.streams.settings import Settings


@pytest.fixture(scope="module")
def past(year: Flights) -> Flights:
    return year.months(1, 2)


@pytest.fixture(scope="module")
def past_columns(past: Flights, lookups: Lookups, settings: Settings) -> Columns:
    return feature_columns(settings.catalogue, past, lookups)


@pytest.fixture(scope="module")
def trained(past: Flights, past_columns: Columns) -> Trained:
    return train(past_columns, past.late)


def test_the_model_beats_the_origins_delay_in_every_month(
    year: Flights, lookups: Lookups, settings: Settings, trained: Trained
) -> None:
    rest = year.months(3, 12).thinned(40_000)
    columns = feature_columns(settings.catalogue, rest, lookups)
    scores = trained.scores(columns)
    rule = columns.floats[:, columns.layout.floats.index("origin_delay")]
    assert overall_auc(rest, scores) > 0.69
    by_month, by_rule = auc_by_month(rest, scores), auc_by_month(rest, rule)
    assert set(by_month) == set(range(3, 13))
    assert all(by_month[month] > by_rule[month] for month in by_month)


def test_training_twice_gives_the_same_weights(past: Flights, past_columns: Columns, trained: Trained) -> None:
    torch.manual_seed(99)
    again = train(past_columns, past.late).network.state_dict()
    for name, weights in trained.network.state_dict().items():
        assert torch.equal(weights, again[name]), name


def test_whoever_learns_from_shuffled_labels_learns_nothing(past: Flights, past_columns: Columns) -> None:
    late = shuffled(past.late)
    np.testing.assert_array_equal(late, shuffled(past.late))
    np.testing.assert_array_equal(np.sort(late), np.sort(past.late))
    scores = train(past_columns, late).scores(past_columns)
    assert 0.4 < auc(scores[past.labelled], past.late[past.labelled]) < 0.6


def test_training_leaves_the_callers_random_state_alone(past: Flights, past_columns: Columns) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(past_columns.take(slice(0, 2_000)), past.late[:2_000])
    assert torch.equal(torch.rand(3), expected)


def test_a_flight_of_which_nothing_is_known_still_gets_a_probability(trained: Trained, past_columns: Columns) -> None:
    unknown = Columns.missing(past_columns.layout, 3)
    scores = trained.scores(unknown)
    assert ((scores > 0) & (scores < 1)).all()
    np.testing.assert_allclose(scores, scores[0], rtol=1e-6)


def test_the_factory_builds_the_same_network_again(trained: Trained, past_columns: Columns) -> None:
    few = past_columns.take(slice(0, 100))
    rebuilt = DelayNetwork(**trained.arguments)
    rebuilt.load_state_dict(trained.network.state_dict())
    copy = Trained(rebuilt.eval(), trained.signature, trained.arguments)
    np.testing.assert_array_equal(copy.scores(few), trained.scores(few))


def test_a_missing_number_counts_as_the_mean_and_is_flagged_where_training_saw_it_missing() -> None:
    network = DelayNetwork(2, [3]).eval()
    network.fit_scaling(torch.tensor([[1.0, 5.0], [3.0, float("nan")], [2.0, 7.0]]))
    assert network.mean.tolist() == [2.0, 6.0]
    assert network.flagged.tolist() == [0.0, 1.0]
    categories = torch.zeros((2, 1), dtype=torch.int64)
    known, missing = network(torch.tensor([[2.0, 6.0], [float("nan"), 6.0]]), categories).tolist()
    assert known == missing


def test_auc_counts_ties_half() -> None:
    assert auc(np.array([1.0, 1.0]), np.array([0.0, 1.0])) == 0.5
    assert np.isnan(auc(np.array([1.0, 2.0]), np.array([1.0, 1.0])))


def test_adam_steps_as_torch_does() -> None:
    start = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    adam, reference = Adam([ours]), torch.optim.AdamW([theirs], lr=0.1, weight_decay=0.01)
    for _ in range(5):
        for parameter in (ours, theirs):
            [parameter.grad] = torch.autograd.grad((parameter**3).sum(), [parameter])
        adam.step(0.1)
        reference.step()
    assert torch.allclose(ours, theirs, atol=1e-6)
