"""Pin every dependency, transitive ones too, in pyproject.toml: `uv run .ci/pin.py` after changing one."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"
PINS = re.compile(r"^constraint-dependencies = \[.*?\]\n", re.MULTILINE | re.DOTALL)


def main() -> None:
    text = PYPROJECT.read_text()
    PYPROJECT.write_text(PINS.sub(lambda _: "constraint-dependencies = []\n", text))
    command = ["uv", "export", "--all-groups", "--all-extras", "--no-hashes", "--no-annotate", "--no-header", "-q"]
    exported = subprocess.run([*command, "--no-emit-project"], check=True, capture_output=True, text=True).stdout
    lines = "".join(f'    "{line}",\n' for line in exported.splitlines() if line and not line.startswith("#"))
    PYPROJECT.write_text(PINS.sub(lambda _: f"constraint-dependencies = [\n{lines}]\n", text))
    print(f"{PYPROJECT.name}: {lines.count(chr(10))} packages pinned")


if __name__ == "__main__":
    main()
