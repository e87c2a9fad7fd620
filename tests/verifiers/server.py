"""A model that proposes and solves by a script, behind OpenAI's chat completions: `python -m tests.verifiers.server`.

Of the proposals, every third is no task at all and the others are f(x) = x + number, new each time. Of the attempts,
every second is right. Prints its port, and serves until its standard input ends.
"""

import itertools
import re
from typing import Any

from tests.json_server import JSONHandler, serve

PROPOSAL = "<answer><program>\ndef f(x):\n    return x + {number}\n</program><input>1</input></answer>"


class Handler(JSONHandler):
    """One connection."""

    proposals, attempts = itertools.count(1), itertools.count(1)

    def get(self) -> None:
        self.answer(404, None)

    def post(self, request: dict[str, Any]) -> None:
        prompt = request["messages"][-1]["content"]
        if request["model"] == "broken":
            self.answer(400, {"error": {"message": "told to"}})
            return
        message = {"role": "assistant", "content": self._text(prompt)}
        usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
        about = {"id": "one", "object": "chat.completion", "created": 0, "model": request["model"], "usage": usage}
        self.answer(200, about | {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})

    def _text(self, prompt: str) -> str:
        if prompt.rstrip().endswith("<propose>"):
            number = next(self.proposals)
            return PROPOSAL.format(number=1000 + number) if number % 3 else "I cannot think of one."
        solved = re.findall(r"return x \+ (\d+)", prompt)
        return f"<answer>{int(solved[-1]) + (1 if next(self.attempts) % 2 else 2)}</answer>"


if __name__ == "__main__":
    serve(Handler)
