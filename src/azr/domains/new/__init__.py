"""`azr domains new NAME`: a package with a small working domain, to start from."""

import re
from importlib import resources
from pathlib import Path

from azr import plugins
from azr.domains.registry import GROUP
from azr.errors import UserError

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
COMMANDS = ("new", "show", "try")
"""Words that `azr domains` reads as its own."""
FILES = {
    "pyproject.toml": "pyproject.txt",
    "README.md": "readme.txt",
    "{module}.py": "domain.txt",
    "{name}.toml": "config.txt",
    "tests/test_{module}.py": "tests.txt",
}
"""The files of a package, and their templates. These are not Python files, so that no tool takes them for some."""


def write(name: str, folder: Path) -> Path:
    """Write the package of a new domain, and return its folder.

    Raises:
        UserError: the name is unsuitable or taken, or the folder exists or cannot be written.
    """
    _check(name)
    module, title = f"azr_{name.replace('-', '_')}", "".join(part.capitalize() for part in name.split("-"))
    values = {"@name@": name, "@module@": module, "@Title@": title}
    try:
        folder.mkdir(parents=True)
        (folder / "tests").mkdir()
        for target, template in FILES.items():
            text = resources.files(__name__).joinpath(template).read_text(encoding="utf-8")
            for word, value in values.items():
                text = text.replace(word, value)
            (folder / target.format(name=name, module=module)).write_text(text, encoding="utf-8")
    except FileExistsError:
        raise UserError(f"{folder}: exists already; choose another name or folder, or remove it") from None
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {(error.strerror or str(error)).lower()}") from None
    return folder


def _check(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{name}: a domain's name has lower-case letters, digits and single hyphens, and begins with a letter"
        )
    if name in COMMANDS:
        raise UserError(f"{name}: a command of azr domains; choose another name")
    if name in plugins.names(GROUP):
        raise UserError(f"{name}: a domain of this name is installed already; choose another name")
