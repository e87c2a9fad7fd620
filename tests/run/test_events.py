"""The `task` event of a step that is written by hand."""

import pytest

from azr.config import SandboxConfig
from azr.domains.base import Proposal, ProposalPrompt
from azr.domains.python.config import PythonConfig
from azr.domains.python.domain import PythonDomain
from azr.domains.python.tasks import program_task
from azr.run.events import step_events
from azr.selfplay.records import Episode, StepRecord, Stopwatch
from azr.types import DEDUCTION, Sample, Verdict

PROGRAM = "def f(a, b):\n    a = a + 1\n    b = b - a\n    return [a, b]"
TASK = program_task(DEDUCTION, {"program": PROGRAM, "input": "1, 2", "output": "[2, 0]"}, depth=3)


class WithoutLength:
    """A domain that was written before domains had a `length`."""

    def trivial(self, task):
        return None


@pytest.mark.parametrize(
    ("domain", "length"), [(PythonDomain(PythonConfig(), SandboxConfig()), 2), (WithoutLength(), None)]
)
def test_a_task_is_written_with_its_length_and_its_depth(domain, length):
    sample = Sample((), (), (), "", finished=True)
    proposal = Proposal(Verdict(True, 1.0, "accepted"), TASK)
    episode = Episode("1/propose/deduction/0000", ProposalPrompt(DEDUCTION, "", ()), sample, proposal)
    record = StepRecord(1, [episode], [], [], [], Stopwatch())
    (event,) = [event for event in step_events(record, domain) if event["event"] == "task"]
    assert (event["length"], event["task"]["depth"]) == (length, 3)
