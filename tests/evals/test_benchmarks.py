"""Every benchmark in its publisher's format: all gold answers are correct, and no broken answer is."""

from __future__ import annotations

import json
import os
import pickle

import pytest

from azr.concurrency import gather
from azr.errors import UserError
from azr.evals import benchmarks
from azr.evals.answerers import broken_answerer, gold_answerer
from azr.evals.benchmarks import livecodebench
from azr.evals.problems import Form
from azr.evals.runner import Runner
from azr.evals.templates import NAMES, Template
from azr.evals.variants import VARIANTS
from tests.evals.samples import APPS, BENCHMARKS, write_files


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("data"))


async def reasons(answerer, benchmark, template, sandbox):
    """The verdict's reason for each answer to each problem, judged on the path that a model's completion takes."""
    runner = Runner(sandbox, seconds=answerer.seconds or 10.0)

    async def one(problem, text):
        answer = template.answer(problem, text)
        return "no_answer" if answer is None else (await problem.judge.judge(answer, runner)).reason

    asked = [
        (problem, reply.text) for problem in benchmark.problems for reply in await answerer.replies(problem, "", "", 1)
    ]
    found = await gather(one(problem, text) for problem, text in asked)
    return {(problem.id, text): reason for (problem, text), reason in zip(asked, found, strict=True)}


@pytest.mark.parametrize("template", NAMES)
@pytest.mark.parametrize("name", BENCHMARKS)
async def test_gold_answers_are_right_through_every_template(name, template, data, sandbox):
    chosen = Template(template)
    found = await reasons(gold_answerer(chosen), benchmarks.LOADERS[name](data), chosen, sandbox)
    assert set(found.values()) == {"correct"}, found


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", BENCHMARKS)
async def test_broken_answers_are_wrong(name, variant, data, sandbox):
    chosen = Template("complete")
    found = await reasons(broken_answerer(chosen, VARIANTS[variant]), benchmarks.LOADERS[name](data), chosen, sandbox)
    assert "correct" not in found.values(), found
    assert "no_reference" not in found.values(), found


def test_problems_without_tests_are_listed_as_errata(data):
    assert benchmarks.LOADERS["apps"](data).errata == dict.fromkeys(("2", "3"), "published without tests")


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_problem_of_a_benchmark_gets_equally_many_forgeries(name, data):
    counts = {len(VARIANTS["forged"].answers(problem)) for problem in benchmarks.LOADERS[name](data).problems}
    assert len(counts) == 1
    assert counts.pop() >= 6


def test_apps_is_read_from_the_folders_of_its_archive_too(tmp_path):
    for record in APPS[:2]:
        folder = tmp_path / "APPS" / "test" / f"{record['problem_id']:04d}"
        folder.mkdir(parents=True)
        (folder / "question.txt").write_text(record["question"])
        (folder / "metadata.json").write_text(json.dumps({"difficulty": record["difficulty"], "url": ""}))
        (folder / "input_output.json").write_text(record["input_output"])
        (folder / "solutions.json").write_text(record["solutions"])
        if record["starter_code"]:
            (folder / "starter_code.py").write_text(record["starter_code"])
    found = benchmarks.LOADERS["apps"](tmp_path).problems
    assert [problem.form for problem in found] == [Form.SCRIPT, Form.PROGRAM]
    assert [problem.group for problem in found] == ["interview", "introductory"]


def test_packed_tests_that_would_import_something_are_refused():
    class Evil:
        def __reduce__(self):
            return os.system, ("true",)

    import base64
    import zlib

    text = base64.b64encode(zlib.compress(pickle.dumps(Evil()))).decode()
    with pytest.raises(pickle.UnpicklingError, match="only a string is expected"):
        livecodebench._unpacked(text)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no HumanEvalPlus.jsonl or HumanEvalPlus.jsonl.gz there, which humaneval\+"):
        benchmarks.LOADERS["humaneval+"](tmp_path)


def test_a_file_that_is_not_jsonl_is_refused(tmp_path):
    (tmp_path / "mbpp.jsonl").write_text("{")
    with pytest.raises(UserError, match=r"mbpp.jsonl: cannot be read"):
        benchmarks.LOADERS["mbpp"](tmp_path)
