"""Print azr's dependencies, one per line, so that an image can install them before it has azr's own code.

Usage: python requirements.py [EXTRAS, separated by commas]
"""

import sys
import tomllib
from pathlib import Path


def requirements(project: dict, extras: list[str]) -> list[str]:
    """The dependencies of a `[project]` table and of some of its extras.

    Raises:
        SystemExit: there is no such extra.
    """
    known = project["optional-dependencies"]
    for extra in extras:
        if extra not in known:
            sys.exit(f"EXTRAS: azr has no extra {extra!r}; it has {', '.join(sorted(known))}")
    return [*project["dependencies"], *(line for extra in extras for line in known[extra])]


if __name__ == "__main__":
    table = tomllib.loads(Path(__file__).with_name("pyproject.toml").read_text(encoding="utf-8"))
    names = sys.argv[1] if len(sys.argv) > 1 else ""
    print("\n".join(requirements(table["project"], [name.strip() for name in names.split(",") if name.strip()])))
