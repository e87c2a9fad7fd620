"""Handwritten records in the publishers' formats, so that tests need no files of the benchmarks."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from pathlib import Path
from typing import Any

HUMANEVAL = [
    {
        "task_id": "HumanEval/900",
        "prompt": 'def double(x: float) -> float:\n    """ Twice x.\n    >>> double(1.5)\n    3.0\n    """\n',
        "entry_point": "double",
        "canonical_solution": "    return 2 * x\n",
        "test": (
            "import random\n\n\ndef check(candidate):\n    assert candidate(1.5) == 3.0\n"
            "    for _ in range(5):\n        x = random.randint(0, 99)\n        assert abs(candidate(x) - 2 * x) < 1e-6\n"
            "    assert candidate(candidate(1)) == 4, 'twice'\n"
        ),
    },
    {
        "task_id": "HumanEval/901",
        "prompt": 'def shift(s):\n    return s[1:] + s[:1]\n\n\ndef unshift(s):\n    """ Undo shift. """\n',
        "entry_point": "unshift",
        "canonical_solution": "    return s[-1:] + s[:-1]\n",
        "test": "def check(candidate):\n    for s in ('abc', '', 'x'):\n        assert candidate(shift(s)) == s\n",
    },
]

MBPP = [
    {
        "task_id": 2,
        "text": "Write a function to find the elements that two tuples share.",
        "code": "def shared(a, b):\r\n  return tuple(sorted(set(a) & set(b)))",
        "test_list": ["assert shared((1, 2), (2, 3)) == (2,)", "assert shared((1,), (2,)) == ()"],
        "test_setup_code": "",
        "challenge_test_list": [],
    },
    {
        "task_id": 367,
        "text": "Write a function to count the nodes of a list.",
        "code": "class Node:\n    def __init__(self, next):\n        self.next = next\n\ndef count(node):\n"
        "    return 0 if node is None else 1 + count(node.next)",
        "test_list": ["assert count(chain) == 2", "assert (count(None)) == 0"],
        "test_setup_code": "chain = Node(Node(None))",
        "challenge_test_list": [],
    },
]

CRUXEVAL = [
    {"id": "sample_0", "code": "def f(a, k):\n    return [k(x) for x in a]", "input": "[1, 2], lambda x: x > 1",
     "output": "[False, True]"},
    {"id": "sample_1", "code": "def f():\n    return {'a': (1.5, None)}", "input": "", "output": "{'a': (1.5, None)}"},
]  # fmt: skip

HUMANEVAL_PLUS = [
    {
        "task_id": "HumanEval/32",
        "prompt": 'def find_zero(xs: list):\n    """ Find a zero of the polynomial. """\n',
        "entry_point": "find_zero",
        "canonical_solution": "    return -xs[0] / xs[1]\n",
        "base_input": [[[1, 2]], [[-6, 3]]],
        "plus_input": [[[10, 4]]],
        "atol": 1e-4,
        "contract": "",
    },
    {
        "task_id": "HumanEval/33",
        "prompt": 'def halves(xs):\n    """ Half of each. """\n',
        "entry_point": "halves",
        "canonical_solution": "    return [x / 2 for x in xs]\n",
        "base_input": [[[1, 3]]],
        "plus_input": [[[]], [[1e9]]],
        "atol": 0,
        "contract": "",
    },
]

MBPP_PLUS = [
    {
        "task_id": "Mbpp/2",
        "prompt": '"""\nShared elements.\nassert set(similar_elements((3, 4), (4, 5))) == {4}\n"""\n',
        "entry_point": "similar_elements",
        "canonical_solution": "\ndef similar_elements(a, b):\n  return tuple(set(a) & set(b))\n",
        "base_input": [[[3, 4], [4, 5]]],
        "plus_input": [[[1, 2, 3], [3, 2]]],
        "atol": 0,
        "assertion": "assert set(similar_elements((3, 4), (4, 5))) == {4}",
    },
    {
        "task_id": "Mbpp/737",
        "prompt": '"""\nCheck whether a string starts with a vowel.\n"""\n',
        "entry_point": "check_str",
        "canonical_solution": "\nimport re\ndef check_str(s):\n  return re.match('[aeiou]', s)\n",
        "base_input": [["annie"], ["dawood"]],
        "plus_input": [[""]],
        "atol": 0,
        "assertion": 'assert check_str("annie")',
    },
    {
        "task_id": "Mbpp/252",
        "prompt": '"""\nAbsolute value of a complex number.\n"""\n',
        "entry_point": "size",
        "canonical_solution": "\ndef size(z):\n  return abs(z)\n",
        "base_input": [["(3+4j)"]],
        "plus_input": [["1j"]],
        "atol": 0,
        "assertion": "assert size(3 + 4j) == 5.0",
    },
]

APPS = [
    {
        "problem_id": 0,
        "question": "Add the two numbers.",
        "solutions": json.dumps(["a, b = map(int, input().split())\nprint(a + b)\n"]),
        "input_output": json.dumps({"inputs": ["1 2\n", "3 4\n"], "outputs": ["3\n", "7\n"]}),
        "difficulty": "interview",
        "starter_code": "",
    },
    {
        "problem_id": 1,
        "question": "Say how often each letter comes.",
        "solutions": json.dumps(["class Solution:\n    def count(self, s: str) -> List[int]:\n        return (len(s),)"]),
        "input_output": json.dumps({"fn_name": "count", "inputs": [["ab"], [""]], "outputs": [[[2]], [[0]]]}),
        "difficulty": "introductory",
        "starter_code": "class Solution:\n    def count(self, s: str) -> List[int]:\n",
    },
    {"problem_id": 2, "question": "?", "solutions": "", "input_output": "", "difficulty": "competition",
     "starter_code": ""},
    {"problem_id": 3, "question": "?", "solutions": "", "input_output": '{"inputs": [], "outputs": []}',
     "difficulty": "competition", "starter_code": ""},
]  # fmt: skip


def packed(tests: list[dict[str, Any]]) -> str:
    """Private tests as LiveCodeBench packs them."""
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(tests)))).decode()


LIVECODEBENCH = [
    {
        "question_title": "Sum", "question_content": "Print the sum.", "platform": "atcoder", "question_id": "abc1",
        "contest_id": "abc", "contest_date": "2024-01-01T00:00:00", "starter_code": "", "difficulty": "easy",
        "public_test_cases": json.dumps([{"input": "1 2", "output": "3", "testtype": "stdin"}]),
        "private_test_cases": packed([{"input": "5 5", "output": "10", "testtype": "stdin"}]),
        "metadata": "{}",
        "solution": "import sys\nprint(sum(map(int, sys.stdin.read().split())))",
    },
    {
        "question_title": "Pow", "question_content": "Power modulo.", "platform": "leetcode", "question_id": "2999",
        "contest_id": "w", "contest_date": "2024-01-01T00:00:00",
        "starter_code": "class Solution:\n    def power(self, a: int, b: int) -> int:\n        ", "difficulty": "hard",
        "public_test_cases": json.dumps([{"input": "2\n10", "output": "24", "testtype": "functional"}]),
        "private_test_cases": json.dumps([{"input": "3\n2", "output": "9", "testtype": "functional"}]),
        "metadata": json.dumps({"func_name": "power"}),
        "solution": "class Solution:\n    def power(self, a: int, b: int) -> int:\n        return pow(a, b, 1000)",
    },
]  # fmt: skip

EXECUTION = [
    {"question_id": "2777", "id": "sample_0", "function_name": "minimumCost", "difficulty": "easy",
     "contest_id": "b", "contest_date": "2024-01-01T00:00:00", "problem_id": "1", "numsteps": 3,
     "code": "def minimumCost(s: str) -> int:\n    return s.count('0')", "input": "minimumCost(s = '0011')",
     "output": "2"},
]  # fmt: skip

FILES = {
    "HumanEval.jsonl": HUMANEVAL,
    "mbpp.jsonl": MBPP,
    "cruxeval.jsonl": CRUXEVAL,
    "HumanEvalPlus.jsonl": HUMANEVAL_PLUS,
    "MbppPlus.jsonl": MBPP_PLUS,
    "apps.jsonl": APPS,
    "livecodebench/test.jsonl": LIVECODEBENCH,
    "execution.jsonl": EXECUTION,
}
BENCHMARKS = (
    "humaneval mbpp cruxeval-i cruxeval-o humaneval+ mbpp+ apps livecodebench livecodebench-execution"
).split()


def write_files(folder: Path) -> Path:
    """Write all records as JSONL and return the folder."""
    for name, records in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder
