"""Talking to a model: what it reads, how its answer comes, what the commands do."""

import io
import sys
from itertools import islice

import pytest

from azr.config import ModelConfig
from azr.errors import UserError
from azr.models.load import load_model
from azr.play import chat as command
from azr.play.chat import Request, chat
from azr.play.talk import Talk
from azr.rollout.base import Sampling
from tests.tiny import tiny_model

TEMPLATE = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]"
GREEDY = Sampling(12, temperature=0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("model"), context=64)


@pytest.fixture(scope="module")
def policy(folder):
    return load_model(ModelConfig(name=str(folder), device="cpu"))


@pytest.fixture
def talk(policy, monkeypatch):
    monkeypatch.setattr(policy.tokenizer, "chat_template", TEMPLATE)
    return Talk(policy, GREEDY, raw=False, system="be brief")


@pytest.fixture
def lines(monkeypatch):
    """Answers input() with lines, then Ctrl-D; an exception among them is raised."""

    def type_(*typed):
        todo = iter(typed)

        def read(prompt=""):
            line = next(todo, EOFError())
            if isinstance(line, BaseException):
                raise line
            return line

        monkeypatch.setattr("builtins.input", read)

    return type_


def test_the_model_reads_the_conversation_through_its_template(talk):
    first = "".join(talk.answer("hi"))
    assert talk.prompt("and?") == f"[system]be brief[user]hi[assistant]{first}[user]and?[assistant]"
    talk.reset()
    assert talk.prompt("hi") == "[system]be brief[user]hi[assistant]"


def test_an_answer_is_what_the_model_samples_in_one_go(policy, talk):
    import torch

    ids = policy.encode(talk.prompt("hi"))
    whole = policy.model.generate(torch.tensor([ids]), max_new_tokens=12, do_sample=False)
    pieces = list(talk.answer("hi"))
    assert len(pieces) > 1
    assert "".join(pieces) == policy.decode(whole[0, len(ids) :].tolist())


def test_a_raw_text_is_continued_and_forgotten(policy):
    talk = Talk(policy, GREEDY, raw=True)
    "".join(talk.answer("def f("))
    assert (talk.prompt("def g("), talk.messages) == ("def g(", [])


def test_an_answer_that_is_stopped_is_kept_as_far_as_it_came(talk):
    answer = talk.answer("hi")
    pieces = list(islice(answer, 2))
    answer.close()
    assert talk.messages[-1] == {"role": "assistant", "content": "".join(pieces)}


def test_a_conversation_that_does_not_fit_is_refused(talk):
    with pytest.raises(UserError, match=r"leave no room in the context of 64; say less, or begin again with /reset"):
        talk.answer("x" * 100)


def test_ctrl_c_stops_an_answer_and_the_conversation_goes_on(talk, lines, capsys, monkeypatch):
    def interrupted(text):
        if text == "first":
            yield "so"
            raise KeyboardInterrupt
        yield "done"

    monkeypatch.setattr(Talk, "answer", lambda self, text: interrupted(text))
    lines("first", KeyboardInterrupt(), "second")
    command._converse(talk)
    assert capsys.readouterr().out == "so [stopped]\n\n(Ctrl-D leaves)\ndone\n\n"


def test_commands_set_the_system_message_and_leave(talk, lines, capsys):
    lines("hi", "/system be long", "/nothing", "/quit", "never read")
    command._converse(talk)
    assert (talk.system, talk.messages) == ("be long", [])
    assert "/nothing: no such command here; there is /reset, /system TEXT, /quit" in capsys.readouterr().out


def test_lines_that_end_in_a_backslash_go_on(lines):
    lines("<program>\\", "x\\", "")
    assert command._typed() == "<program>\nx\n"


def test_a_pipe_is_answered_once_and_nothing_else_is_printed(folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("def f("))
    chat(Request(str(folder), GREEDY, assignments=["model.device=cpu", "threads=1"]))
    policy = load_model(ModelConfig(name=str(folder), device="cpu"))
    assert capsys.readouterr().out == "".join(Talk(policy, GREEDY, raw=True).answer("def f(")) + "\n"


@pytest.mark.parametrize(
    ("typed", "request_", "message"),
    [
        (" \n", Request("nursery", GREEDY), "standard input is empty"),
        ("hi", Request("m@http://127.0.0.1:1", GREEDY), "to ask a server, use its own client"),
        ("hi", Request("nursery", GREEDY, system="x"), "continues text without a chat template"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(typed, request_, message, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    with pytest.raises(UserError, match=message) as refused:
        chat(request_)
    assert "\n" not in str(refused.value)
