"""Running one role in this process, until a signal or a failure ends it."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from contextlib import suppress

import faust

from penstock.schemas.errors import PenstockError
from penstock.streams.app import create_app, group_of
from penstock.streams.delivery import FAILED
from penstock.streams.kafka import access_refused, client_options
from penstock.streams.log_filters import Repeats, connection_trouble, no_crash_twice, no_election
from penstock.streams.settings import Settings
from penstock.streams.transport import BlockApp
from penstock.streams.transport.predecessors import say_goodbye_for_the_dead

log = logging.getLogger("penstock.worker")


class _Worker(faust.Worker):
    """Faust's worker without its spinner, its log configuration and the second it sleeps at the end."""

    def __init__(self, app: BlockApp, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(app, loop=loop, quiet=True, override_logging=False, redirect_stdouts=False)
        self.spinner = None

    def run(self) -> None:
        """Until a signal has stopped everything in order. Raises what made a service fail."""
        self._starting_fut = asyncio.ensure_future(self.start(), loop=self.loop)
        try:
            with suppress(asyncio.CancelledError):  # a signal during the start
                self.loop.run_until_complete(self._starting_fut)
        finally:
            self.stop_and_shutdown()

    def _on_sigint(self) -> None:
        self._schedule_shutdown(signal.SIGINT)

    async def _sentinel_task(self) -> None:
        await asyncio.sleep(0)


def run_worker(role: str, settings: Settings) -> int:
    """Run `role` until SIGTERM or Ctrl-C, which finish and commit what is in flight; returns the exit code.

    Raises PenstockError for what a person can mend: a server that cannot be reached, a port that is taken.
    """
    configure_logging()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    group = group_of(role, settings)
    # Before the role and its model are loaded, which takes seconds: the others wait for the dead.
    for name in loop.run_until_complete(say_goodbye_for_the_dead(client_options(settings.kafka), group)):
        log.info("Took %s, which died on this host, out of the group %s", name, group)
    worker = _Worker(create_app(role, settings), loop)
    _spare_garbage_collection()
    _share_the_interpreter()
    try:
        worker.run()
    except PenstockError:
        raise
    except Exception as error:
        if (refused := access_refused(error, settings.kafka)) is not None:
            raise refused from error
        log.exception("The %s worker stopped; started again, it goes on from the last committed offset", role)
        return FAILED
    log.info("The %s worker has finished what was in flight and stopped", role)
    return 0


def _spare_garbage_collection() -> None:
    """Collect rarely, and never walk through what was imported: it stays.

    A full collection through all of torch holds the event loop for 0.3 s. The young ones, due after every 700 objects
    by default, cost a third of the worker's time while records pass through; little of what they see is garbage.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 1000)


def _share_the_interpreter() -> None:
    """Let the model's thread and the event loop take turns more often than every 5 ms.

    torch gives the interpreter up at every operation; a network of twenty of them would wait for it twenty times.
    """
    sys.setswitchinterval(0.0005)


def configure_logging(level: str = "INFO") -> None:
    """One line per message on standard error; libraries, and the comings and goings of services, only when wrong."""
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr, force=True
    )
    logging.getLogger("penstock").setLevel(level)
    logging.getLogger("penstock.streams").setLevel(logging.WARNING)
    [handler] = logging.getLogger().handlers
    for worth_a_line in (no_election, no_crash_twice, connection_trouble, Repeats("aiokafka")):
        handler.addFilter(worth_a_line)
    logging.getLogger("aiokafka.cluster").setLevel(logging.CRITICAL)  # a topic that is missing has a sentence of ours
