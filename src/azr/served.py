"""Models that a server has, by the name that stands for them: NAME@http://host:port/v1."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit


class Served(NamedTuple):
    """A model that a server has: the name that it goes by there, and the server's address."""

    name: str
    url: str


def served(model: str) -> Served | None:
    """Read a model's name; None for a model that is loaded here.

    Raises:
        ValueError: the address is none, or brings a password or a key along, which would end up in every log.
    """
    if (found := re.fullmatch(r"(.+)@(https?://.*)", model)) is None:
        return None
    address = urlsplit(found[2])
    if "@" in address.netloc or address.query or address.fragment:
        raise ValueError("a served model's address takes no password and no ?key=value; see model.endpoint.key_env")
    if not address.hostname or address.port == 0:  # reading the port raises where it is no number
        raise ValueError("a served model is named NAME@http://host:port/v1")
    return Served(found[1], found[2].rstrip("/"))
