"""The control record: the whole routing state of a pipeline, and the trail of decisions that led to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from penstock.schemas.gates import Look
from penstock.schemas.records import ModelRef

CHAMPION = "champion"
"""The variant that answers wherever nothing says otherwise. It is no arm's name, but an A/B test may have it as one."""
CANARY = "canary"
FALLBACK = "fallback"
"""The variant of rows that a smaller model answered, because the one they were routed to could not."""

Mode = Literal["manual", "propose", "automatic"]
"""What becomes of a gate's verdict: a person acts; a person confirms what was proposed; the judge acts."""


class Experiment(msgspec.Struct, frozen=True, omit_defaults=True):
    """A share of the keys, divided among arms: a canary is one with a single arm.

    name   also the salt: under another name the keys are drawn anew, independently
    share  of the keys that take part, 0 to 1: raising it moves no key off its arm
    arms   variant → weight; `champion` may be one of them, the control group of an A/B test
    """

    name: str
    share: float
    arms: dict[str, float]


class Rule(msgspec.Struct, frozen=True, omit_defaults=True):
    """Events that go to a variant whatever the shares say: a feature flag.

    name     for people
    variant  where they go
    keys     they have one of these keys; empty: any
    feature  they have one of `values` in this category, int or bool feature; None: whatever they have
    values   as text: `JFK`, `3`, `true`
    """

    name: str
    variant: str
    keys: tuple[str, ...] = ()
    feature: str | None = None
    values: tuple[str, ...] = ()


class Shadow(msgspec.Struct, frozen=True, omit_defaults=True):
    """A candidate that scores what was scored, and answers nobody.

    sample  share of the keys that it scores, 0 to 1; candidates' samples lie within each other
    """

    model: ModelRef
    sample: float = 1.0


class Rollout(msgspec.Struct, frozen=True, omit_defaults=True):
    """A candidate on its way to become the champion, stage by stage.

    id         of this attempt; also the name of its experiment
    candidate  what is tried
    champion   what it is compared with, and what answers again after a rollback
    stages     shares of the keys, ascending; 0 is shadow alone, 1 everybody
    stage      index into `stages`
    mode       what becomes of a verdict
    baking     the candidate has been promoted; the former champion goes on in its shadow, ready to come back
    """

    id: str
    candidate: ModelRef
    champion: ModelRef
    stages: tuple[float, ...]
    stage: int = 0
    mode: Mode = "manual"
    baking: bool = False

    @property
    def share(self) -> float:
        """Of the keys that the candidate answers."""
        return 1.0 if self.baking else self.stages[self.stage]


class Control(msgspec.Struct, frozen=True, omit_defaults=True):
    """The only truth about what serves. Compacted, one key per pipeline.

    An event goes to the variant of the first rule that fits it, else to its arm in the first experiment that its key
    takes part in, else to the champion.

    previous     the champion before this one: workers keep it loaded, so that a rollback takes one window
    variants     name → model, beside the champion
    fallback     a smaller model that answers under load, or where a model fails
    rolled_back  what the last rollback took away, until somebody else is let in: rolling back twice is hardly meant
    """

    pipeline: str
    revision: int
    champion: ModelRef
    author: str
    reason: str
    time: int
    previous: ModelRef | None = None
    variants: dict[str, ModelRef] = {}
    rules: tuple[Rule, ...] = ()
    experiments: tuple[Experiment, ...] = ()
    shadows: tuple[Shadow, ...] = ()
    rollout: Rollout | None = None
    fallback: ModelRef | None = None
    rolled_back: ModelRef | None = None

    def model_of(self, variant: str) -> ModelRef:
        """Raises KeyError for a variant that there is not."""
        if variant == CHAMPION:
            return self.champion
        if variant == FALLBACK and self.fallback is not None:
            return self.fallback
        return self.variants[variant]

    def answering(self) -> dict[str, ModelRef]:
        """Variant → model of all that may answer now, the champion first.

        >>> control = Control("p", 1, ModelRef("m", 1), "", "", 0, variants={"canary": ModelRef("m", 2)})
        >>> list(control.answering())
        ['champion', 'canary']
        """
        answering = {CHAMPION: self.champion, **self.variants}
        return answering if self.fallback is None else {**answering, FALLBACK: self.fallback}

    def loaded(self) -> Iterator[ModelRef]:
        """Every model that a score worker holds ready, each once: those that answer, and the previous champion."""
        candidates = [*self.answering().values(), *([self.previous] if self.previous else [])]
        yield from dict.fromkeys(candidates)


class Staging(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `penstock stage` found out about a model: whether it may be deployed.

    model, digest  of the package that was tried
    passed         every check held, and the gate did not show it to be worse
    checks         each check in words, with whether it held
    look           the gate's numbers over the replay; None where there was nothing to replay
    """

    model: ModelRef
    digest: str
    passed: bool
    checks: tuple[tuple[str, bool], ...] = ()
    look: Look | None = None


class Decision(msgspec.Struct, frozen=True, omit_defaults=True):
    """One entry of the audit trail: a change of the routing, a look of a gate, or a staging.

    revision       of the control record: the new one after a change, the one in force otherwise
    command        what was asked for, in words; `look` and `stage` for the two others
    author         a person, or `judge`
    before, after  of a change
    look           the numbers of a look, and of the look that led to a change
    staging        of a staging
    """

    pipeline: str
    revision: int
    command: str
    author: str
    reason: str
    time: int
    before: Control | None = None
    after: Control | None = None
    look: Look | None = None
    staging: Staging | None = None
