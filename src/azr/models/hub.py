"""Check quickly whether the Hugging Face hub can be reached, instead of waiting for its client's retries."""

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
"""Seconds between tries, for a network that is just coming up."""


def only_local(name: str) -> bool:
    """The value for transformers' `local_files_only`: whether a model, by folder or hub name, must be on this machine.

    Raises:
        HFValidationError: there is no such folder, and the name is not valid on the hub.
    """
    if Path(name).is_dir():
        return True
    validate_repo_id(name)
    return unreachable() is not None


def unreachable() -> str | None:
    """The hub's address if it does not answer, else None; also None with `HF_HUB_OFFLINE=1`.

    The hub's client would try six times per file, with 23 s of pauses in all, and up to a minute for each IP address of
    the hub. This check takes a fraction of a second when the hub is up.
    """
    if constants.HF_HUB_OFFLINE or answers(constants.ENDPOINT, within=constants.HF_HUB_ETAG_TIMEOUT):
        return None
    return str(constants.ENDPOINT)


def answers(address: str, *, within: float) -> bool:
    """Whether a connection can be made, through the proxy if there is one.

    The time until the response does not matter, only the connection. It is made in a thread, since a DNS lookup ignores
    timeouts, and each of a name's many addresses has a timeout of its own. `within` is seconds for all tries together.
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
        except (httpx.HTTPError, httpx.InvalidURL):  # the hub's client will meet and report it
            pass
        found.put(True)
        return
    found.put(False)
