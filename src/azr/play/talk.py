"""A conversation with a model: the prompt of each turn, and the answer token by token."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from azr.errors import UserError
from azr.models.load import LanguageModel
from azr.rollout.base import Sampling


@dataclass(slots=True)
class Talk:
    """A conversation with a model that has a chat template; without one, or with `raw`, it continues each text."""

    policy: LanguageModel
    sampling: Sampling
    raw: bool
    system: str = ""
    messages: list[dict[str, str]] = field(default_factory=list)

    def reset(self) -> None:
        """Forget what was said."""
        self.messages.clear()

    def prompt(self, text: str) -> str:
        """What the model reads if the user says `text` next."""
        if self.raw:
            return text
        begin = [{"role": "system", "content": self.system}] if self.system else []
        messages = [*begin, *self.messages, {"role": "user", "content": text}]
        try:
            whole = self.policy.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # a template raises what it likes, such as where it has no system message
            raise UserError(f"the chat template refuses this conversation: {error}") from None
        return str(whole)

    def answer(self, text: str) -> Iterator[str]:
        """Pieces of the answer as they are sampled. An answer that is closed early counts as far as it came.

        Raises:
            UserError: the conversation does not fit into the model's context.
        """
        ids = self.policy.encode(self.prompt(text))
        room = self.sampling.max_new_tokens
        if self.policy.context_length is not None:
            room = min(room, self.policy.context_length - len(ids))
        if room < 1 or not ids:
            reason = (
                f"{len(ids)} tokens leave no room in the context of {self.policy.context_length}" if ids else "empty"
            )
            raise UserError(f"{reason}; say less, or begin again with /reset")
        return self._answered(text, ids, room)

    def _answered(self, text: str, ids: tuple[int, ...], room: int) -> Iterator[str]:
        pieces: list[str] = []
        stream = _Stream(self.policy)
        thread = threading.Thread(target=self._generate, args=(ids, room, stream), daemon=True, name="azr-chat")
        thread.start()
        try:
            for piece in stream:
                pieces.append(piece)
                yield piece
        finally:
            stream.stop.set()
            thread.join()
            if not self.raw:
                said = {"role": "assistant", "content": "".join(pieces)}
                self.messages += [{"role": "user", "content": text}, said]

    def _generate(self, ids: tuple[int, ...], room: int, stream: _Stream) -> None:
        drawn = self.sampling.temperature > 0
        options = {"temperature": self.sampling.temperature, "top_p": self.sampling.top_p} if drawn else {}
        read = torch.tensor([ids], device=self.policy.device)
        try:
            self.policy.model.generate(
                input_ids=read,
                attention_mask=torch.ones_like(read),
                do_sample=drawn,
                **{"temperature": None, "top_p": None, "top_k": 0 if drawn else None, **options},
                max_new_tokens=room,
                eos_token_id=list(self.policy.eos_ids),
                pad_token_id=self.policy.eos_ids[0],
                streamer=stream,
                stopping_criteria=StoppingCriteriaList([_Stop(stream.stop)]),
            )
        except BaseException as error:
            stream.pieces.put(error)


class _Stream(BaseStreamer):  # type: ignore[misc]
    """Text of an answer while it grows. What may still be half a character is kept until it is whole."""

    def __init__(self, policy: LanguageModel) -> None:
        self.pieces: queue.SimpleQueue[str | BaseException | None] = queue.SimpleQueue()
        self.stop = threading.Event()
        self._policy, self._ids, self._said, self._prompted = policy, list[int](), 0, False

    def put(self, value: Any) -> None:
        if not self._prompted:  # transformers passes the prompt on first
            self._prompted = True
            return
        self._ids += value.flatten().tolist()
        self._say(self._policy.decode(self._ids))

    def end(self) -> None:
        self._say(self._policy.decode(self._ids), whole=True)
        self.pieces.put(None)

    def _say(self, text: str, *, whole: bool = False) -> None:
        if len(text) > self._said and (whole or not text.endswith("\ufffd")):
            self.pieces.put(text[self._said :])
            self._said = len(text)

    def __iter__(self) -> Iterator[str]:
        while (piece := self.pieces.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            yield piece


class _Stop(StoppingCriteria):  # type: ignore[misc]
    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        return torch.full((input_ids.shape[0],), self._stop.is_set(), device=input_ids.device, dtype=torch.bool)
