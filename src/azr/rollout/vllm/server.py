"""One vLLM server, by its own routes. Checked against vLLM 0.32.

`/inference/v1/generate` takes and returns token ids, with the version of the weights that sampled them; servers without
`--enable-scale-out` have `/v1/completions` instead. The routes that change weights exist only under
VLLM_SERVER_DEV_MODE=1, and let anybody who reaches them run any method of the engine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx

from azr.errors import UserError
from azr.http_client import NoServerError, PatientClient, UnavailableError, one_line
from azr.rollout.openai_client import asked_to_wait, error_message, worth_another

_BACKOFF_SECONDS = 0.5
_SETTLING_SECONDS = 60.0
"""For routes that do not sample; the first `/server_info` takes seconds, since vLLM examines its machine."""

GENERATE, COMPLETIONS = "/inference/v1/generate", "/v1/completions"


class LostServerError(Exception):
    """A server does not answer, or does not sample from this run's weights."""


class NoRouteError(UserError):
    """A server lacks a route."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to sample: one completion of one prompt.

    Attributes:
        prompt_ids: the prompt's token ids.
        max_new_tokens: longest completion.
        temperature: 0 is greedy.
        top_p: nucleus mass.
        seed: of this completion alone.
        stop_ids: tokens that end a completion; empty: it goes on to its longest.
    """

    prompt_ids: Sequence[int]
    max_new_tokens: int
    temperature: float
    top_p: float
    seed: int
    stop_ids: Sequence[int]

    def fields(self) -> dict[str, Any]:
        """Sampling parameters, all named: for those left out, a server may take the defaults of its model's folder."""
        return {
            "n": 1,
            "max_tokens": self.max_new_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": 0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "seed": self.seed,
            "logprobs": 0,  # of the sampled token, without alternatives
            "stop_token_ids": list(self.stop_ids),
            "ignore_eos": not self.stop_ids,
        }


@dataclass(frozen=True, slots=True)
class Drawn:
    """One completion.

    Attributes:
        completion_ids: sampled token ids, with the one that ended it.
        logprobs: of each of them (nats).
        labels: of the weights that sampled it, in order; more than one if they changed meanwhile.
    """

    completion_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    labels: tuple[str, ...]


class VLLMServer:
    """Asks one server.

    Args:
        url: its address, without a route.
        key: for the header `Authorization`; empty: none is sent.
        connections: completions asked for at once, at most.
        attempts: how often a completion is asked for if the server is busy or unreachable.
        timeout_seconds: longest wait for a completion, or for weights to be loaded.
    """

    def __init__(self, url: str, *, key: str, connections: int, attempts: int, timeout_seconds: float) -> None:
        self.url, self.outstanding = url, 0
        self._seconds, self._route, self._model = timeout_seconds, GENERATE, ""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        client = partial(PatientClient, url, backoff_seconds=_BACKOFF_SECONDS, headers=headers, awaits_server=False)
        self._sampling = client(connections=connections, attempts=attempts)
        # Of its own, so that a change of weights never waits behind completions; not repeated, since it may have begun.
        self._control = client(connections=1, attempts=1)

    async def meet(self, *, longest: int, logprobs_mode: str | None, stale: bool) -> None:
        """Find out what the server offers.

        Args:
            longest: tokens of the longest prompt and completion together.
            logprobs_mode: the `--logprobs-mode` that is needed; None: any is right.
            stale: whether weights change while completions are awaited.

        Raises:
            LostServerError: it does not answer.
            UserError: it answers, but lacks what sampling or a change of weights needs.
        """
        listed = (await self.get("/v1/models"))["data"][0]
        self._model, context = listed["id"], listed["max_model_len"]
        if context is not None and context < longest:
            raise UserError(
                f"vLLM at {self.url} holds {context} tokens, but generation.max_prompt_tokens and the longest answer"
                f" come to {longest}; start it with --max-model-len {longest}, or lower the limits"
            )
        config = (await self.get("/server_info?config_format=json"))["vllm_config"]["model_config"]
        if logprobs_mode is not None and config["logprobs_mode"] != logprobs_mode:
            raise UserError(
                f"vLLM at {self.url} reports {config['logprobs_mode']}, which are not those of the sampling temperature"
                f" and top_p; start it with --logprobs-mode {logprobs_mode}"
            )
        self._route = GENERATE
        try:
            await self.draw(Request([0], 1, 1.0, 1.0, 0, []))
        except NoRouteError as error:
            if stale:  # /v1/completions does not tell which weights sampled, and asking afterwards would be too late
                raise UserError(f"{error}; generation.max_staleness above 0 needs that route") from None
            self._route = COMPLETIONS

    async def draw(self, request: Request) -> Drawn:
        """Sample one completion.

        Raises:
            LostServerError: the server does not answer, after all attempts.
            UserError: it refuses the request.
        """
        try:
            answer = await self._sampling.post(
                self._route, self._body(request), read=_settled, read_seconds=self._seconds
            )
        except UnavailableError as error:
            raise LostServerError(one_line(str(error))) from None
        content = self._content(self._route, answer)
        try:
            return _generated(content) if self._route == GENERATE else await self._completed(content)
        except (KeyError, TypeError, ValueError, IndexError):
            raise UserError(
                f"vLLM at {self.url} answers {self._route} in an unknown form; is it version 0.32?"
            ) from None

    async def label(self) -> str:
        """The label of the weights that the server samples from now.

        Raises:
            LostServerError, UserError: see `call`.
        """
        return str((await self.get("/weight_info"))["weight_version"])

    async def call(self, route: str, body: Mapping[str, Any] | None = None) -> Any:
        """Post to a route that does not sample; its answer.

        Raises:
            LostServerError: the server does not answer.
            UserError: it refuses, or lacks the route.
        """
        try:
            answer = await self._control.post(route, body or {}, read=lambda answer: answer, read_seconds=self._seconds)
        except NoServerError as error:
            raise LostServerError(f"no server there: {one_line(str(error))}") from None
        except UnavailableError as error:
            raise LostServerError(one_line(str(error))) from None
        return self._content(route, answer)

    async def get(self, route: str) -> Any:
        """Read a route; its answer.

        Raises:
            LostServerError, UserError: see `call`.
        """
        try:
            answer = await self._control.get(route, read_seconds=_SETTLING_SECONDS)
        except httpx.TransportError as error:
            raise LostServerError(one_line(str(error) or type(error).__name__)) from None
        return self._content(route, answer)

    async def close(self) -> None:
        """Close all connections. Safe to call twice."""
        await self._sampling.close()
        await self._control.close()

    def _body(self, request: Request) -> dict[str, Any]:
        fields = request.fields()
        if self._route == GENERATE:
            params = fields | {"detokenize": False}
            return {"model": self._model, "token_ids": list(request.prompt_ids), "sampling_params": params}
        return {"model": self._model, "prompt": list(request.prompt_ids), "return_token_ids": True, **fields}

    async def _completed(self, content: Any) -> Drawn:
        """Read an answer of `/v1/completions`, which does not say which weights sampled it."""
        choice = content["choices"][0]
        return _drawn(choice, choice["logprobs"]["token_logprobs"], (await self.label(),))

    def _content(self, route: str, answer: httpx.Response) -> Any:
        path, said = route.partition("?")[0], one_line(error_message(answer))
        if answer.status_code in (401, 403):
            raise UserError(f"vLLM at {self.url} refuses the API key (status {answer.status_code})")
        if answer.status_code in (404, 405):
            raise NoRouteError(
                f"vLLM at {self.url} has no {path}; start it with `azr serve`, or with VLLM_SERVER_DEV_MODE=1 and"
                " --enable-scale-out"
            )
        if answer.status_code != 200:
            raise UserError(f"vLLM at {self.url} refuses {path} with status {answer.status_code}: {said}")
        try:
            return answer.json()
        except ValueError:
            raise UserError(f"{self.url} does not answer {path} as vLLM does; is the address right?") from None


def _settled(answer: httpx.Response) -> httpx.Response:
    """An answer that another attempt would not change."""
    if worth_another(answer):
        raise UnavailableError(f"status {answer.status_code}: {error_message(answer)}", wait=asked_to_wait(answer))
    return answer


def _generated(content: Any) -> Drawn:
    """Read an answer of `/inference/v1/generate`."""
    choice = content["choices"][0]
    labels = tuple(span["version"] for span in choice["weight_versions"])
    return _drawn(choice, [token["logprob"] for token in choice["logprobs"]["content"]], labels)


def _drawn(choice: Any, logprobs: Sequence[float], labels: tuple[str, ...]) -> Drawn:
    """Put a completion together.

    Raises:
        LostServerError: somebody else made the server abort it.
        ValueError: it is empty, or its parts differ in length.
    """
    if choice["finish_reason"] not in ("stop", "length"):
        raise LostServerError(f"it ended a completion with {choice['finish_reason']}")
    ids = choice["token_ids"]
    if not ids or len(ids) != len(logprobs):
        raise ValueError(f"{len(ids)} tokens with {len(logprobs)} log-probabilities")
    return Drawn(tuple(ids), tuple(map(float, logprobs)), labels)
