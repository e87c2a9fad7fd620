"""The table of all ratios: each script's lines are read as they are printed."""

import pytest
from table import SCRIPTS, Row, rows

OUTPUT = {
    "sandbox.py": (
        "programs per second          min    median       max\nvalidation                   100       120       130\n\n"
        "ratio                                  min  median     max  target\n"
        "validation / reference                1.02    1.10    1.30    1.00\n"
        "single / fork floor                   0.41    0.45    0.50\n",
        [Row("validation / reference", 1.02, 1.10, 5), Row("single / fork floor", 0.41, 0.45, 5)],
    ),
    "generate.py": (
        "azr       tokens/s: min   13000  median   14000  runs 7\nazr / generate: min 3.90  median 4.20  runs 7\n",
        [Row("azr / generate", 3.9, 4.2, 7)],
    ),
    "products.py": (
        "oneDNN is used on this processor\noneDNN / MKL, 1024 rows: min 1.75 median 2.12 runs 5   191 and 90 GFLOP/s\n",
        [Row("oneDNN / MKL, 1024 rows", 1.75, 2.12, 5)],
    ),
    "learn.py": (
        "now     wall s: min 2.10 median 2.20  processor s: min 2.00 median 2.10\n"
        "before / now, wall time: min 1.43 median 1.74 runs 5\n",
        [Row("before / now, wall time", 1.43, 1.74, 5)],
    ),
    "step.py": (
        "ratio to azr-2          wall time, then processor time\n"
        "before / azr-2          min 3.10  median 3.40  runs 5    min 2.00  median 2.20  runs 5\n",
        [Row("before / azr-2", 3.1, 3.4, 5)],
    ),
    "startup.py": (
        "import torch  wall      s: min 1.10 median 1.20   / import torch: min 1.00 median 1.00   runs 3\n"
        "azr --help    wall      s: min 0.15 median 0.16   / import torch: min 0.12 median 0.13   runs 3\n",
        [Row("azr --help / import torch", 0.12, 0.13, 3)],
    ),
}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.file)
def test_ratios_are_read_from_the_lines_of_a_script(script):
    text, expected = OUTPUT[script.file]
    assert rows(script, text, 5) == expected


def test_a_script_without_a_ratio_is_an_error():
    with pytest.raises(ValueError, match=r"generate\.py printed no ratio:\nnothing"):
        rows(SCRIPTS[1], "nothing", 5)
