from __future__ import annotations

import tomllib

import pytest

from penstock.models.features import Catalogue
from penstock.schemas.errors import ConfigurationError
from penstock.streams.settings import Settings

HEAD = """
[pipeline]
name = "flights"
[events]
topic = "departures"
[entities.weather]
key = "{origin}:{time:hour-1}"
"""


def catalogue(text: str) -> Catalogue:
    return Settings.of(tomllib.loads(HEAD + text)).catalogue


def test_features_keep_the_order_of_the_file() -> None:
    found = catalogue(
        """
        [features.b]
        type = "float"
        [features.a]
        type = "int"
        """
    )

    assert [feature.name for feature in found.features] == ["b", "a"]


def test_an_event_feature_is_required_unless_something_stands_in() -> None:
    found = catalogue(
        """
        [features.required]
        type = "float"
        [features.optional]
        type = "float"
        missing = "nan"
        [features.defaulted]
        type = "vector(2)"
        default = [1, 2.5]
        """
    ).by_name

    assert (found["required"].path, found["required"].missing) == ("required", "reject")
    assert found["optional"].missing == "nan"
    assert (found["defaulted"].missing, found["defaulted"].default) == ("default", (1.0, 2.5))


def test_a_looked_up_feature_takes_its_name_for_the_field_and_the_entity_for_the_prefix() -> None:
    found = catalogue(
        """
        [features.visib]
        type = "float"
        entity = "weather"
        missing = "nan"
        max_age_s = 7200
        """
    )

    assert found.by_name["visib"].field == "visib"
    assert found.entities[0].prefix == "weather"
    assert found.entities[0].key.text == "{origin}:{time:hour-1}"


@pytest.mark.parametrize(
    ("feature", "sentence"),
    [
        ("type = 'double'", "features.x.type is 'double'; expected float, int, bool, category or vector(n)"),
        ("type = 'vector(0)'", "features.x.type is 'vector(0)'; expected"),
        ("path = 'x'", "features.x.type is missing; expected a string"),
        ("type = 'float'\nentity = 'weather'", 'features.x.missing is missing; expected missing = "nan"'),
        ("type = 'float'\nentity = 'wether'\ndefault = 1", "features.x.entity is 'wether'; expected weather"),
        ("type = 'float'\npath = 'x'\nentity = 'weather'\ndefault = 1", "features.x.path is given beside entity"),
        ("type = 'float'\nfield = 'y'", "features.x.field is 'y'; expected an entity beside it"),
        ("type = 'float'\nmax_age_s = 5", "features.x.max_age_s is 5"),
        ("type = 'float'\nentity = 'weather'\ndefault = 1\nmax_age_s = 0", "features.x.max_age_s is 0; expected more"),
        ("type = 'float'\ndefault = 1\nmissing = 'nan'", "features.x.missing is 'nan'; expected either missing or"),
        ("type = 'float'\nmissing = 'default'", "features.x.missing is 'default'; expected reject or nan"),
        ("type = 'float'\nrange = [2, 1]", "features.x.range is [2, 1]; expected the lowest value first"),
        ("type = 'float'\nrange = [1]", "features.x.range[1] is missing; expected a number"),
        ("type = 'category'\nrange = [1, 2]", "features.x.range is given for a category"),
        ("type = 'float'\ndefault = 'a'", "features.x.default is 'a'; expected a finite number, as the feature is a"),
        ("type = 'float'\ndefault = true", "features.x.default is true; expected a finite number"),
        ("type = 'float'\ndefault = nan", "features.x.default is nan; expected a finite number"),
        ("type = 'int'\ndefault = 1.5", "features.x.default is 1.5; expected a whole number"),
        ("type = 'int'\ndefault = -9223372036854775808", "expected a whole number of at most 64 bits"),
        ("type = 'bool'\ndefault = 1", "features.x.default is 1; expected true or false"),
        ("type = 'category'\ndefault = 1", "features.x.default is 1; expected a string"),
        ("type = 'vector(2)'\ndefault = [1]", "features.x.default is a list of 1; expected a list of 2 finite numbers"),
        ("type = 'float'\npath = 'a..b'", "features.x.path is 'a..b'; expected a dotted path into the event"),
        ("type = 'float'\ndefualt = 1", "features.x.defualt is unknown; expected default. Rename it."),
    ],
)
def test_a_feature_that_makes_no_sense_is_refused(feature: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        catalogue(f"[features.x]\n{feature}\n")

    assert sentence in str(caught.value)


def test_a_template_that_is_none_is_refused_with_the_reason() -> None:
    with pytest.raises(ConfigurationError, match=r"entities\.plane\.key is '\{tail:years\}'.*'years' is no unit"):
        catalogue("[entities.plane]\nkey = '{tail:years}'\n[features.x]\ntype = 'float'")


def test_one_path_cannot_be_a_value_and_an_object() -> None:
    with pytest.raises(ConfigurationError, match=r"penstock\.toml: the path 'a' is used as a value and as an object"):
        catalogue("[features.x]\ntype = 'float'\npath = 'a'\n[features.y]\ntype = 'float'\npath = 'a.b'")


def test_a_pipeline_without_features_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="features is missing"):
        catalogue("")
