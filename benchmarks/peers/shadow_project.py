"""The same project with a candidate in shadow: as large as the champion, or one that sleeps before it answers.

python -m peers.shadow_project candidate|sleeping
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import torch
from msgspec.structs import replace
from network import Sleeping, mlp
from peers.penstock_project import REFERENCE_ROWS, prepare
from workload import FEATURES, Task, feature_matrix

from penstock.models.package import write_package
from penstock.models.registry import Registry
from penstock.models.signature import Signature, TensorInput
from penstock.schemas.control import Control, Shadow
from penstock.streams.control import change_control
from penstock.streams.settings import Settings

SEED = 2014


async def prepare_shadow(folder: Path, task: Task, kind: str) -> None:
    """Write the project, let its model serve, and name the candidate in its control record."""
    await prepare(folder, task)
    settings = Settings.load(folder / "penstock.toml")
    matrix = feature_matrix(REFERENCE_ROWS)
    torch.manual_seed(SEED)
    sleeping = kind == "sleeping"
    package = write_package(
        folder / "packages",
        settings.catalogue,
        name=kind,
        network=(Sleeping() if sleeping else mlp()).eval(),
        factory="network:Sleeping" if sleeping else "network:mlp",
        signature=Signature(inputs=(TensorInput("input", FEATURES),)),
        reference={name: matrix[:, i] for i, name in enumerate(FEATURES)},
    )
    model = Registry(settings.registry_location).add(package)

    def shadowed(control: Control | None) -> Control:
        if control is None:
            raise RuntimeError("nothing serves")
        return replace(control, shadows=(Shadow(model),))

    await change_control(settings, shadowed, command="shadow", author="benchmark", reason="to be measured")


if __name__ == "__main__":
    asyncio.run(prepare_shadow(Path.cwd(), Task.of_this_process(), sys.argv[1]))
