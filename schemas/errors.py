"""The errors that reach a person.

Each class carries the facts a handler needs and writes its own sentence: the place, what was found, what was expected,
and the fix. Callers pass facts, never prose; the command line prints the sentence and exits with `exit_code`.
"""

from __future__ import annotations


class PenstockError(Exception):
    """Base of every error that is meant to be read by a person rather than debugged."""

    exit_code = 1


class ConfigurationError(PenstockError):
    """Something in `penstock.toml`, the environment or a command's arguments cannot be used.

    >>> print(ConfigurationError("penstock.toml", "window.max_rows", found="'many'", expected="a whole number"))
    penstock.toml: window.max_rows is 'many'; expected a whole number.
    >>> print(ConfigurationError("penstock.toml", "windw", found=None, expected="window", fix="Rename it."))
    penstock.toml: windw is missing or unknown; expected window. Rename it.
    """

    exit_code = 2

    def __init__(self, place: str, key: str, *, found: str | None, expected: str, fix: str = "") -> None:
        self.place, self.key, self.found, self.expected, self.fix = place, key, found, expected, fix
        state = "is missing or unknown" if found is None else f"is {found}"
        super().__init__(f"{place}: {key} {state}; expected {expected}.{' ' + fix if fix else ''}")


class UnreachableError(PenstockError):
    """A server that the command needs did not answer.

    >>> print(UnreachableError("Kafka", "localhost:9092", "connection refused", fix="Start it, or use --embedded."))
    Kafka at localhost:9092 cannot be reached: connection refused. Start it, or use --embedded.
    """

    exit_code = 3

    def __init__(self, server: str, address: str, reason: str, *, fix: str) -> None:
        self.server, self.address, self.reason, self.fix = server, address, reason, fix
        super().__init__(f"{server} at {address} cannot be reached: {reason}. {fix}")


class ModelRefused(PenstockError):
    """A model package failed one of its checks and will not serve.

    >>> print(ModelRefused("delay@3", "weights.safetensors does not match SHA256SUMS", fix="Package the model again."))
    Model delay@3 is refused: weights.safetensors does not match SHA256SUMS. Package the model again.
    """

    exit_code = 4

    def __init__(self, model: str, cause: str, *, fix: str = "") -> None:
        self.model, self.cause, self.fix = model, cause, fix
        super().__init__(f"Model {model} is refused: {cause}.{' ' + fix if fix else ''}")


class Conflict(PenstockError):
    """Somebody else changed the same record in between; nothing was written.

    >>> print(Conflict("the control record of flights", expected_revision=3, found_revision=4))
    the control record of flights is at revision 4, not 3: somebody changed it meanwhile. Look at it and try again.
    """

    exit_code = 5

    def __init__(self, what: str, *, expected_revision: int, found_revision: int) -> None:
        self.what, self.expected_revision, self.found_revision = what, expected_revision, found_revision
        super().__init__(
            f"{what} is at revision {found_revision}, not {expected_revision}: somebody changed it meanwhile. "
            "Look at it and try again."
        )
