"""A session goes on with every heartbeat that is answered, counted from when it was sent."""

from __future__ import annotations

from penstock.streams.transport.sessions import Session


class Coordinator:
    """Answers heartbeats as it is told, after as long as it is told."""

    def __init__(self) -> None:
        self.now, self.takes_s, self.answers = 0.0, 0.0, True

    async def _do_heartbeat(self) -> bool:
        self.now += self.takes_s
        return self.answers


async def beat(coordinator: Coordinator) -> bool:
    return await coordinator._do_heartbeat()


async def test_an_answered_heartbeat_keeps_the_session() -> None:
    coordinator = Coordinator()
    session = Session(6.0, lambda: coordinator.now)
    session.listen(coordinator)
    for _ in range(3):
        coordinator.now += 5.0
        assert await beat(coordinator)
        assert not session.lapsed


async def test_one_that_is_refused_does_not() -> None:
    coordinator = Coordinator()
    session = Session(6.0, lambda: coordinator.now)
    session.listen(coordinator)
    coordinator.now, coordinator.answers = 7.0, False
    assert not await beat(coordinator)
    assert session.lapsed


async def test_an_answer_that_was_read_when_the_process_woke_up_is_of_before() -> None:
    coordinator = Coordinator()
    session = Session(6.0, lambda: coordinator.now)
    session.listen(coordinator)
    coordinator.takes_s = 30.0
    assert await beat(coordinator)
    assert session.lapsed
    coordinator.takes_s = 0.0
    assert await beat(coordinator)
    assert not session.lapsed
