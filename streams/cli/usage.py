"""Wrong usage in sentences of our own: typer passes on pydantic's, which name its types and functions."""

from __future__ import annotations

import typer


def say_what_is_expected(error: typer.BadParameter) -> None:
    """Rewrite the message of an argument or option that was not accepted, where it is pydantic's."""
    if type(error.__cause__).__name__ != "ValidationError":
        return
    from pydantic import ValidationError

    from penstock.streams.settings.errors import expected_of, shown

    if isinstance(error.__cause__, ValidationError):
        details = error.__cause__.errors(include_url=False)[0]
        if details["type"] == "value_error":
            error.message = details["msg"].removeprefix("Value error, ")
        else:
            error.message = f"it is {shown(details['input'])}; expected {expected_of(details)}."
