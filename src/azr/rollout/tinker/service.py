"""A session on a service with the Tinker API: the model that learns there, and samplers of its weights."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import httpx

from azr.errors import UserError, nearest
from azr.rollout.tinker.failures import RESUME, explained, is_the_clients

if TYPE_CHECKING:
    from azr.config import ModelConfig

_Result = TypeVar("_Result")

DAY_SECONDS = 24 * 3600
_CONNECT_SECONDS = 20.0
_CLOSE_SECONDS = 20.0


class Pending(Protocol[_Result]):
    """What the client's methods return: a result that is on its way."""

    def future(self) -> Future[_Result]:
        """The future of the result."""
        ...


class TinkerService:
    """One session. Use as a context manager, which meets the service.

    The training client is made when it is first needed, so that a run that is resumed begins with its checkpoint.

    Args:
        config: names the model and the service.
        seed: of the adapter's first weights.

    Attributes:
        url: of the service.
        context: tokens that the model holds; None if the service does not say.

    Raises:
        UserError: on entering: the client is not installed, there is no key, or the service does not answer, refuses
            the key, or does not offer the model.
    """

    def __init__(self, config: ModelConfig, *, seed: int) -> None:
        assert config.hosted is not None
        self.base, self._config, self._seed = config.hosted, config, seed
        self.url = config.tinker.url or os.environ.get("TINKER_BASE_URL", "")
        self.context: int | None = None
        self._client: Any = None
        self._training: Any = None
        self._reference: Any = None
        self._making = asyncio.Lock()

    async def __aenter__(self) -> TinkerService:
        tinker = _client_library()
        from tinker.lib.base_url import resolve_base_url

        self.url = resolve_base_url(self.url or None)
        _check_key()
        await self._reach()
        self._client = tinker.ServiceClient(user_metadata={"created_by": "azr"}, base_url=self.url)
        rest = await self.done(_in_a_thread(lambda: tinker.RestClient(base_url=self.url)))
        self._choose((await self.done(rest.get_server_capabilities())).supported_models)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close("success" if kind is None else "errored" if issubclass(kind, Exception) else "interrupted")

    def close(self, status: str) -> None:
        """Tell the service that the session has ended, if it still answers. Safe to call twice."""
        client, self._client = self._client, None
        if client is not None:
            try:
                client.close(status).result(timeout=_CLOSE_SECONDS)
            except Exception as error:  # whatever it is, the run has its result, or a better error
                logging.getLogger(__name__).debug("the session was not closed: %s", error)

    async def done(self, pending: Pending[_Result], *, cancels: bool = False) -> _Result:
        """Wait for a result of the client.

        Args:
            pending: the result.
            cancels: whether the request ends if the caller is cancelled. A request to the training client must not:
                those behind it would wait for it forever.

        Raises:
            UserError: the service failed, refused or did not answer in time, after the client's own attempts.
        """
        result = asyncio.wrap_future(pending.future())
        result.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            await asyncio.wait((result,), timeout=self._config.tinker.timeout_seconds)
        except asyncio.CancelledError:
            if cancels:
                result.cancel()
            raise
        if not result.done():
            raise self._silent()
        with _Explained(self.url):
            return result.result()

    def now(self, pending: Pending[_Result]) -> _Result:
        """Wait for a result outside of an event loop, or where the loop has nothing else to do; raises as `done`."""
        with _Explained(self.url):
            try:
                return pending.future().result(self._config.tinker.timeout_seconds)
            except TimeoutError:
                raise self._silent() from None

    async def training(self) -> Any:
        """The client of the model that learns: the base model with a new adapter, unless `restore` was called."""
        async with self._making:
            if self._training is None:
                self._training = await self._create(self._config.lora.rank)
        return self._training

    async def reference(self) -> Any:
        """A client of the base model that never learns; its adapter is new, and so without effect."""
        async with self._making:
            if self._reference is None:
                self._reference = await self._create(1)
        return self._reference

    async def sampler(self, *, learns: bool) -> Any:
        """A client that samples from the weights as they are now; without learning, from the base model."""
        if not learns:
            making = _in_a_thread(lambda: self._client.create_sampling_client(base_model=self.base))
            return await self.done(await self.done(making))
        return await self.done((await self.training()).save_weights_and_get_sampling_client())

    async def tokenizer(self, *, learns: bool) -> Any:
        """The tokenizer that the service names, from the hub.

        Raises:
            UserError: it cannot be loaded.
        """
        client = await (self.training() if learns else self.sampler(learns=False))
        try:
            return await asyncio.to_thread(client.get_tokenizer)
        except Exception as error:  # of the hub, of transformers, or of a tokenizer's own code
            raise UserError(
                f"model {self._config.name}: its tokenizer cannot be loaded ({type(error).__name__}); set"
                " model.tokenizer=FOLDER, or a hub name"
            ) from error

    def save(self, name: str) -> str:
        """Save weights and optimizer on the service; returns the path there."""
        days = self._config.tinker.ttl_days
        saved = self.now(self._training.save_state(_unique(name), ttl_seconds=days and days * DAY_SECONDS))
        path: str = saved.path
        return path

    def restore(self, path: str, *, optimizer: bool = True) -> None:
        """Continue from what `save` saved, in a new training client."""
        create = self._client.create_training_client_from_state_with_optimizer
        if not optimizer:
            create = self._client.create_training_client_from_state
        self._training = self.now(self.now(_in_a_thread(lambda: create(path))))

    def export(self, folder: Path) -> None:
        """Download the adapter as it is now, in the service's format for other libraries, into a folder.

        Raises:
            UserError: the service has no such download, or it broke off.
            OSError: the disk is full or not writable.
        """
        import tinker

        path = self.now(self._training.save_weights_external(_unique("azr-export"), ttl_seconds=DAY_SECONDS)).path
        rest = tinker.RestClient(base_url=self.url)
        for name, url in sorted(self.now(rest.get_external_weights_urls(path)).urls.items()):
            target = (folder / name).resolve()
            if not target.is_relative_to(folder.resolve()):
                raise UserError(f"{path}: its file {name!r} lies outside of the folder; nothing was downloaded")
            target.parent.mkdir(parents=True, exist_ok=True)
            _download(url, target)

    async def _create(self, rank: int) -> Any:
        create = self._client.create_lora_training_client
        # As in this process, all linear layers but the output layer have adapters.
        making = _in_a_thread(lambda: create(self.base, rank=rank, seed=self._seed, train_unembed=False))
        return await self.done(await self.done(making))

    async def _reach(self) -> None:
        """Fail now if there is no such server: the client would try for minutes."""
        try:
            async with httpx.AsyncClient(timeout=_CONNECT_SECONDS) as http:
                await http.get(f"{self.url}/api/v1/healthz")
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise UserError(
                f"no Tinker service answers at {self.url} ({str(error) or type(error).__name__}); check"
                " model.tinker.url and the network"
            ) from None

    def _choose(self, offered: list[Any]) -> None:
        models = {model.model_name: model for model in offered if model.model_name and model.trainable is not False}
        if self.base not in models:
            raise UserError(
                f"model {self._config.name}: the Tinker service at {self.url} does not offer it"
                f" for training{nearest(self.base, models)}; it offers {', '.join(sorted(models)) or 'none'}"
            )
        self.context = models[self.base].max_context_length

    def _silent(self) -> UserError:
        seconds = self._config.tinker.timeout_seconds
        return UserError(
            f"the Tinker service at {self.url} gave no answer for {seconds:g} s"
            f" (model.tinker.timeout_seconds); {RESUME}"
        )


class _Explained:
    """Turns errors of the client into messages."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None and is_the_clients(error):
            raise explained(error, self._url) from None


def _in_a_thread(make: Callable[[], _Result]) -> Pending[_Result]:
    """Call what blocks, such as the client's first request, in a thread that does not keep the process alive."""
    future: Future[_Result] = Future()

    def run() -> None:
        try:
            future.set_result(make())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="azr-tinker", daemon=True).start()
    return _Threaded(future)


class _Threaded:
    def __init__(self, future: Future[Any]) -> None:
        self._future = future

    def future(self) -> Future[Any]:
        return self._future


def _client_library() -> Any:
    try:
        import tinker
    except ImportError as error:
        raise UserError(f"tinker:NAME needs the extra `tinker` ({error}): pip install 'azr[tinker]'") from error
    logging.getLogger("tinker").setLevel(logging.CRITICAL)  # what it logs as an error, it also raises
    logging.getLogger("tinker.lib.queue_state_logger").setLevel(logging.WARNING)
    return tinker


def _check_key() -> None:
    stored = Path.home() / ".tinker" / "credentials.json"
    if not (os.environ.get("TINKER_API_KEY") or os.environ.get("TINKER_CREDENTIAL_CMD") or stored.exists()):
        raise UserError("tinker:NAME needs a key for the Tinker service: set TINKER_API_KEY, or run: tinker auth login")


def _unique(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex[:8]}"


def _download(url: str, target: Path) -> None:
    try:
        with httpx.stream("GET", url, timeout=60.0, follow_redirects=True) as answer, target.open("wb") as file:
            answer.raise_for_status()
            for part in answer.iter_bytes():
                file.write(part)
    except httpx.HTTPError as error:
        # Without the address, which is signed.
        raise UserError(f"{target.name}: the download broke off ({type(error).__name__}); try again") from None
