"""A Penstock project for one run of its score role, in the current folder: settings, packaged model, topics, control.

Everything is made as a user would make it; then `python -m penstock worker score` runs here, in a process of its own.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from network import seeded
from workload import FEATURES, WINDOW, Task, feature_matrix

from penstock.models.package import write_package
from penstock.models.registry import Registry
from penstock.models.signature import Signature, TensorInput
from penstock.streams import topics
from penstock.streams.control import use_champion
from penstock.streams.settings import Settings

REFERENCE_ROWS = 20_000

SETTINGS = """\
[pipeline]
name = "{name}"

[kafka]
servers = [{servers}]

[events]
topic = "{events}"
id = "id"
time = "time"

[models]
registry = "registry"
device = "cpu"

[window]
max_rows = {window}

[delivery]
mode = "{mode}"
commit_interval_ms = 250.0

[scored]
enabled = {log}

[admin]
port = 0
"""


def settings_text(task: Task) -> str:
    general = SETTINGS.format(
        name=task.predictions.removesuffix(".predictions"),
        servers=", ".join(f'"{server}"' for server in task.servers.split(",")),
        events=task.events,
        window=WINDOW,
        mode=task.mode,
        log=str(task.log).lower(),
    )
    return general + "".join(f'\n[features.{name}]\ntype = "float"\n' for name in FEATURES)


async def prepare(folder: Path, task: Task) -> None:
    """Write the project and let its model serve."""
    (folder / "penstock.toml").write_text(settings_text(task))
    settings = Settings.load(folder / "penstock.toml")
    matrix = feature_matrix(REFERENCE_ROWS)
    package = write_package(
        folder / "packages",
        settings.catalogue,
        name="mlp",
        network=seeded(),
        factory="network:mlp",
        signature=Signature(inputs=(TensorInput("input", FEATURES),)),  # Sequential.forward calls its argument so
        reference={name: matrix[:, i] for i, name in enumerate(FEATURES)},
    )
    model = Registry(settings.registry_location).add(package)
    await topics.create(settings)
    await use_champion(settings, model, author="benchmark", reason="to be measured")


if __name__ == "__main__":
    asyncio.run(prepare(Path.cwd(), Task.of_this_process()))
