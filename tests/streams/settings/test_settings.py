from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.schemas.errors import ConfigurationError
from penstock.streams.settings import Settings
from penstock.streams.settings.errors import InvalidSettings

MINIMAL = """
[pipeline]
name = "flights"
[events]
topic = "departures"
[features.distance]
type = "float"
"""


def settings(text: str = "", environ: dict[str, str] | None = None) -> Settings:
    return Settings.of(tomllib.loads(MINIMAL + text), environ=environ)


def refusal(text: str = "", environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        settings(text, environ)
    return str(caught.value)


def test_what_the_file_leaves_out_has_a_default() -> None:
    found = settings()

    assert found.kafka.servers == ("localhost:9092",)
    assert found.window.max_rows == 4096
    assert found.delivery.mode == "at_least_once"
    assert found.topics.predictions.name == "flights.predictions"
    assert [feature.name for feature in found.event_schema.features] == ["distance"]


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        settings().window.max_rows = 1


def test_the_environment_wins_over_the_file() -> None:
    found = settings("[kafka]\npartitions = 4", {"PENSTOCK_KAFKA__PARTITIONS": "8", "PENSTOCK_EVENTS__TIME_UNIT": "s"})

    assert found.kafka.partitions == 8
    assert found.events.time_unit == "s"


@pytest.mark.parametrize("text", ["a:9092,b:9092", "a:9092, b:9092", '["a:9092", "b:9092"]'])
def test_a_list_in_the_environment_is_json_or_comma_separated(text: str) -> None:
    assert settings(environ={"PENSTOCK_KAFKA__SERVERS": text}).kafka.servers == ("a:9092", "b:9092")


def test_the_environment_reaches_features_by_name() -> None:
    found = settings(
        environ={"PENSTOCK_FEATURES__DISTANCE__RANGE": "0,6000", "PENSTOCK_FEATURES__DISTANCE__DEFAULT": "5"}
    )

    assert found.catalogue.by_name["distance"].range == (0.0, 6000.0)
    assert found.catalogue.by_name["distance"].default == 5.0


def test_an_empty_variable_and_one_that_is_no_setting_change_nothing() -> None:
    environ = {"PENSTOCK_REDIS__URL": "", "PENSTOCK_CONFIG": "x.toml", "PENSTOCK_DEBUG": "1", "PATH": "/bin"}

    assert settings(environ=environ) == settings()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[windw]\nmax_rows = 1", "penstock.toml: windw is unknown; expected window. Rename it."),
        ("[kafka]\nsevers = []", "penstock.toml: kafka.severs is unknown; expected servers. Rename it."),
        ("[window]\nmax_rows = 'many'", "penstock.toml: window.max_rows is 'many'; expected a whole number."),
        ("[window]\nmax_rows = 0", "penstock.toml: window.max_rows is 0; expected at least 1."),
        ("[window]\nmax_wait_ms = inf", "penstock.toml: window.max_wait_ms is inf; expected a finite number."),
        ("[window]\nmax_wait_ms = 9000", "penstock.toml: window.max_wait_ms is 9000; expected at most 1000"),
        ("[delivery]\ntransaction_ms = 1e5", "delivery.transaction_ms is 100000.0; expected at most 2000"),
        ("[kafka]\nservers = 'a:1'", "penstock.toml: kafka.servers is 'a:1'; expected a list."),
        ("[kafka]\nservers = ['a']", "penstock.toml: kafka.servers[0] is 'a'; expected host:port."),
        ("[kafka]\nservers = []", "penstock.toml: kafka.servers is empty; expected at least 1 entry."),
        (
            "[kafka]\ninstance_id = 'score 1'",
            "penstock.toml: kafka.instance_id is 'score 1'; expected letters, digits, '.', '_' and '-', at most 249 of "
            "them.",
        ),
        ("[kafka]\npartitions = true", "penstock.toml: kafka.partitions is true; expected a whole number."),
        ("[delivery]\nmode = 'twice'", "delivery.mode is 'twice'; expected at_least_once or exactly_once."),
        ("[redis]\nurl = 'http://x'", "redis.url is 'http://x'; expected redis://host:6379/0, or rediss:// for TLS."),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence(text: str, sentence: str) -> None:
    assert sentence in refusal(text)


def test_a_wrong_variable_is_named_instead_of_the_file() -> None:
    assert refusal(environ={"PENSTOCK_KAFKA__PARTITIONS": "many"}) == (
        "PENSTOCK_KAFKA__PARTITIONS: kafka.partitions is 'many'; expected a whole number."
    )
    assert refusal(environ={"PENSTOCK_WINDW__MAX_ROWS": "1"}) == (
        "PENSTOCK_WINDW__MAX_ROWS: windw is unknown; expected window. Rename it."
    )


def test_what_a_variable_leaves_missing_is_said_of_the_variable() -> None:
    assert refusal(environ={"PENSTOCK_FEATURES__NOPE__MAX_AGE_S": "3"}).startswith(
        "PENSTOCK_FEATURES__NOPE__MAX_AGE_S: features.nope.type is missing; expected"
    )
    assert refusal("[features.nope]\nmax_age_s = 3", {"PENSTOCK_FEATURES__NOPE__RANGE": "0,1"}).startswith(
        "penstock.toml: features.nope.type is missing; expected"
    )


@pytest.mark.parametrize("servers", ["nohost", "nohost,b:9092", "nohost,neither"])
def test_a_list_of_wrong_entries_is_not_called_empty(servers: str) -> None:
    sentences = refusal(environ={"PENSTOCK_KAFKA__SERVERS": servers}).splitlines()

    assert sentences[0] == "PENSTOCK_KAFKA__SERVERS: kafka.servers[0] is 'nohost'; expected host:port."
    assert not any("entry" in sentence for sentence in sentences)


def test_all_errors_are_shown_one_line_each() -> None:
    with pytest.raises(InvalidSettings) as caught:
        settings("[windw]\n[kafka]\npartitions = 0\nservers = 3")

    assert {error.key for error in caught.value.errors} == {"windw", "kafka.partitions", "kafka.servers"}
    assert len(str(caught.value).splitlines()) == 3


def test_what_must_be_there_is_missed_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings) as caught:
        Settings.of({})

    assert {error.key for error in caught.value.errors} == {"pipeline", "events", "features"}


def test_a_file_that_is_not_there_leads_to_init(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml: the file is missing.*penstock init"):
        Settings.load(tmp_path / "nowhere.toml")


def test_a_file_that_is_not_toml_is_refused_with_the_line(tmp_path: Path) -> None:
    file = tmp_path / "penstock.toml"
    file.write_text("[pipeline\n")

    with pytest.raises(ConfigurationError, match=r"not TOML: .*line 1"):
        Settings.load(file)


def test_paths_start_at_the_file(tmp_path: Path) -> None:
    file = tmp_path / "penstock.toml"
    file.write_text(MINIMAL)

    found = Settings.load(file, {})

    assert found.directory == tmp_path
    assert found.registry_location == str(tmp_path / "registry")
    assert Settings.load(file, {"PENSTOCK_MODELS__REGISTRY": "s3://b/m"}).registry_location == "s3://b/m"


SASL = """
[kafka]
security_protocol = "SASL_PLAINTEXT"
sasl_mechanism = "PLAIN"
sasl_username = "me"
"""


@given(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=6).map("Secret{}".format))
def test_no_representation_shows_a_secret(secret: str) -> None:
    environ = {
        "PENSTOCK_REDIS__URL": f"rediss://user:{secret}@cache:6380/1",
        "PENSTOCK_KAFKA__SASL_PASSWORD": secret,
        "PENSTOCK_MODELS__REGISTRY": f"sftp://user:{secret}@files/models",
    }

    found = settings(SASL, environ)

    assert secret not in f"{found!r} {found} {found.kafka!r} {found.redis!r} {found.models!r}"
    assert found.redis.url == "rediss://cache:6380/1"
    assert found.redis.password is not None
    assert found.redis.password.get_secret_value() == secret


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        (SASL + "sasl_pasword = 'hunter2'", {}),
        (SASL + "sasl_password = ['hunter2']", {}),
        ("[redis]\nurl = 'redis://:hunter2@x:port/0'", {}),
        ("[redis]\nurl = 'http://:hunter2@x'", {}),
        ("[redis]\nurl = 'redis://x?password=hunter2'", {}),
        ("[redis]\nurl = 'redis://:hunter2@x'\npassword = 'hunter2'", {}),
        (SASL, {"PENSTOCK_KAFKA__SASL_PASSWRD": "hunter2"}),
        ("[redis]\nurl = 'redis://:hunter2/@x'", {}),
        ("[redis]\nurl = 'redis://:hunter2@@x:y'", {}),
        ("[redis]\nurl = 'redis://u:6379/hunter2@x'", {}),
        ("[redis]\nurl = 'redis://u:6379#hunter2@x'", {}),
        ("[kafka]\nservers = ['kafka://u:hunter2@x:1']", {}),
        ("[kafka]\nservers = ['u:hunter2@x:1']", {}),
    ],
)
def test_no_error_shows_a_secret(text: str, environ: dict[str, str]) -> None:
    assert "hunter2" not in refusal(text, environ)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (SASL, "kafka.sasl_password is missing; expected a value, as security_protocol is SASL_PLAINTEXT."),
        (
            "[kafka]\nsecurity_protocol = 'SASL_SSL'",
            "kafka.sasl_mechanism is missing; expected PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512, as security_protocol is",
        ),
        ("[kafka]\nsasl_username = 'me'", "kafka.sasl_username is given; expected nothing, as security_protocol is"),
        ("[kafka]\nssl_ca_file = 'ca.pem'", "kafka.ssl_ca_file is given; expected nothing, as security_protocol is"),
        ("[kafka]\nsecurity_protocol = 'SSL'\nssl_key_file = 'k'", "kafka.ssl_certificate_file is missing; expected"),
        ("[kafka]\nsecurity_protocol = 'SSL'\nssl_ca_file = 'no.pem'", "no.pem'; expected a file"),
        ("[kafka]\nsecurity_protocol = 'TLS'", "expected PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"),
    ],
)
def test_security_must_be_of_a_piece(text: str, sentence: str) -> None:
    assert sentence in refusal(text)


@pytest.mark.parametrize("name", ["a b", "a/b", "ä", "x" * 240, ".."])
def test_a_pipeline_needs_a_name_that_topics_may_have(name: str) -> None:
    assert "pipeline.name is" in refusal(environ={"PENSTOCK_PIPELINE__NAME": name})


def test_events_may_not_come_from_a_topic_of_the_pipeline_itself() -> None:
    tree: dict[str, Any] = tomllib.loads(MINIMAL)
    tree["events"]["topic"] = "flights.scored"

    with pytest.raises(ConfigurationError, match=r"events\.topic is 'flights\.scored'"):
        Settings.of(tree)
