"""Whether the Hugging Face hub can be reached: found out at once, so that nobody waits for its client's retries."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import httpx
from huggingface_hub import constants, get_session
from huggingface_hub.utils import validate_repo_id

_PAUSES = (1.0, 2.0)
"""Seconds between tries, for a network that comes up only now."""


def only_local(name: str) -> bool:
    """What transformers is to be told as `local_files_only`: whether a model can only come from this machine.

    Args:
        name: a folder, which needs no hub, or a name on the hub.

    Raises:
        HFValidationError: no folder has that name, and nothing on the hub could.
    """
    if Path(name).is_dir():
        return True
    validate_repo_id(name)
    return unreachable() is not None


def unreachable() -> str | None:
    """The hub's address if nobody answers there, else None; also None where `HF_HUB_OFFLINE=1` says not to ask.

    The hub's client would try six times for every file, with 23 s of pauses in all, and up to a minute for each address
    that the hub's name stands for. One look first costs a fraction of a second where all is well.
    """
    if constants.HF_HUB_OFFLINE or answers(constants.ENDPOINT, within=constants.HF_HUB_ETAG_TIMEOUT):
        return None
    return str(constants.ENDPOINT)


def answers(address: str, *, within: float) -> bool:
    """Whether a connection can be made, through the proxy if there is one.

    How long the answer itself takes does not matter: a slow hub is there. In a thread, since a name server that keeps
    silent obeys no timeout, and a name may stand for many addresses that do.

    Args:
        address: as in `HF_ENDPOINT`.
        within: seconds for all tries together.
    """
    found: SimpleQueue[bool] = SimpleQueue()
    Thread(target=_ask, args=(address, within, found), daemon=True).start()
    try:
        return found.get(timeout=within)
    except Empty:
        return False


def _ask(address: str, patience: float, found: SimpleQueue[bool]) -> None:
    def trace(event: str, _: Mapping[str, Any]) -> None:
        if event.endswith("send_request_headers.complete"):  # connected, encryption included
            found.put(True)

    for pause in (*_PAUSES, None):
        try:
            get_session().head(address, timeout=patience, follow_redirects=False, extensions={"trace": trace})
        except (httpx.ConnectError, httpx.ConnectTimeout):
            if pause is not None:
                time.sleep(pause)
            continue
        except (httpx.HTTPError, httpx.InvalidURL):  # the hub's client meets it again, and tells it
            pass
        found.put(True)
        return
    found.put(False)
