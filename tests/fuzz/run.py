"""Fuzzes the reader of a child's bytes with atheris, guided by the branches that it takes.

    pip install 'azr[fuzz]'
    python -m tests.fuzz.run /tmp/found tests/fuzz/corpus -max_total_time=300

New inputs that reach further go to the first folder. One that breaks a rule is printed and written to `crash-...`: put
it in `tests/fuzz/corpus`, where the tests try it from then on.
"""

import sys

import atheris

with atheris.instrument_imports(include=["azr.sandbox"]):
    from tests.fuzz.child_bytes import check

if __name__ == "__main__":
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
