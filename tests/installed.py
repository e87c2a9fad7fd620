"""Packages with plug-ins, put on the path as an installation does it."""

import shutil
import tomllib
from pathlib import Path


def put(package: Path, site: Path) -> Path:
    """Copy a package's modules into a folder, with the metadata of its installation; returns the folder."""
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    meta = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    meta.mkdir(parents=True)
    for module in package.glob("*.py"):
        shutil.copy(module, site)
    (meta / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
        for group, points in project["entry-points"].items()
    ]
    (meta / "entry_points.txt").write_text("\n".join(groups))
    return site
