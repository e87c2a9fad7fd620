"""A small server that speaks OpenAI's completions, for tests: over a Hugging Face folder, or, without one, over nothing.

Requests and answers have the fields of OpenAI's API reference (completions, chat completions, models) and of its errors.

    python -m tests.openai_server [--model FOLDER] [--key KEY] [--single ignore|refuse] [--backwards] [--faults FAULT ...]

prints the port it listens on and serves the model `served` until its standard input ends. Without a folder a completion
repeats the prompt and says which choice it is. `--single` is a server without `n`: it ignores the field, or refuses it.
`--backwards` lists choices last first. The first requests meet the given faults, one each: `drop` (no answer), a status
such as `503` (429 asks to be left alone for a second), `other` (an answer of some other service), `echo` (a refusal that
repeats the request's headers). `GET /asked` gives the bodies of all requests without a fault, `GET /peak` the most that
were under way at once.
"""

from __future__ import annotations

import argparse
import threading
import time
from typing import Any

from tests.json_server import JSONHandler, serve

CONTEXT = 2000


class Folder:
    """Writes with a model from a folder, by transformers alone."""

    def __init__(self, folder: str) -> None:
        import torch
        from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

        torch.set_num_threads(1)
        self._torch, self._lock = torch, threading.Lock()
        self._model = AutoModelForCausalLM.from_pretrained(folder).eval()
        self._tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)

    def __call__(self, prompt: str, request: dict[str, Any]) -> tuple[str, int, str]:
        with self._lock, self._torch.inference_mode():
            self._torch.manual_seed(request["seed"] + request["choice"])
            ids = self._tokenizer(prompt, return_tensors="pt").input_ids
            how = {"do_sample": True, "temperature": request["temperature"], "top_p": request["top_p"], "top_k": 0}
            how = how if request["temperature"] else {"do_sample": False}
            end = self._tokenizer.eos_token_id
            written = self._model.generate(
                ids, **how, max_new_tokens=request["max_tokens"], eos_token_id=end, pad_token_id=end
            )[0, ids.shape[1] :].tolist()
        ended = written[-1:] == [end]
        return self._tokenizer.decode(written[:-1] if ended else written), len(written), "stop" if ended else "length"


def repeat(prompt: str, request: dict[str, Any]) -> tuple[str, int, str]:
    """Stand in for a model where a test is about what goes over the wire."""
    return f"{prompt} #{request['choice']}", 7, "length" if "cut" in prompt else "stop"


class Handler(JSONHandler):
    """One connection."""

    options: argparse.Namespace
    write: Any = staticmethod(repeat)
    lock = threading.Lock()
    asked: list[dict[str, Any]] = []  # noqa: RUF012
    running = peak = 0

    def get(self) -> None:
        told = {"/asked": self.asked, "/peak": Handler.peak, "/v1/models": {"data": [{"id": "served"}]}}
        self.answer(200 if self.path in told else 404, told.get(self.path))

    def post(self, request: dict[str, Any]) -> None:
        with self.lock:
            fault = self.options.faults.pop(0) if self.options.faults else None
        if fault == "drop":
            self.close_connection = True
        elif fault == "other":
            self.answer(200, {"hello": "world"})
        elif fault == "echo":
            self._refuse(400, f"strange header: {self.headers['Authorization']}")
        elif fault is not None:
            self._refuse(int(fault), "told to")
        elif self.options.key and self.headers["Authorization"] != f"Bearer {self.options.key}":
            self._refuse(401, f"incorrect key: {self.headers['Authorization']}")
        elif self.path not in ("/v1/completions", "/v1/chat/completions"):
            self._refuse(404, "no such route")
        elif request["model"] != "served":
            self._refuse(404, f"the model {request['model']} does not exist")
        elif request.get("n", 1) > 1 and self.options.single == "refuse":
            self._refuse(400, "only one completion choice is allowed")
        else:
            self._complete(request)

    def _complete(self, request: dict[str, Any]) -> None:
        chat = "chat" in self.path
        prompt = f"user: {request['messages'][0]['content']}" if chat else request["prompt"]
        if len(prompt) + request["max_tokens"] > CONTEXT:
            self._refuse(400, f"this model's maximum context length is {CONTEXT} tokens")
            return
        with self.lock:
            self.asked.append(request | {"path": self.path})
            Handler.running += 1
            Handler.peak = max(Handler.peak, Handler.running)
        time.sleep(0.03 if self.write is repeat else 0)  # so that requests which come together are seen together
        n = 1 if self.options.single else request.get("n", 1)
        written = [self.write(prompt, request | {"choice": choice}) for choice in range(n)]
        with self.lock:
            Handler.running -= 1
        choices = [
            {"index": index, "finish_reason": why}
            | ({"message": {"role": "assistant", "content": text}} if chat else {"text": text})
            for index, (text, _, why) in enumerate(written)
        ]
        usage = {"completion_tokens": sum(tokens for _, tokens, _ in written)}
        self.answer(200, {"choices": choices[::-1] if self.options.backwards else choices, "usage": usage})

    def _refuse(self, status: int, message: str) -> None:
        self.answer(status, {"error": {"message": message}}, {"Retry-After": "1"} if status == 429 else {})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model")
    parser.add_argument("--key")
    parser.add_argument("--single", choices=["ignore", "refuse"])
    parser.add_argument("--backwards", action="store_true")
    parser.add_argument("--faults", nargs="*", default=[])
    Handler.options = parser.parse_args()
    if Handler.options.model:
        Handler.write = Folder(Handler.options.model)
    serve(Handler)


if __name__ == "__main__":
    main()
