"""What must hold for any bytes that a child may write: fuzzed by `run.py`, and tried on the corpus by the tests."""

from azr.sandbox import Job, Limits, Mode, Reason
from azr.sandbox.host.exchange import Report, Stop, outcomes

_SAID_BY_THE_HOST = {Reason.TIMEOUT, Reason.CRASHED, Reason.TAMPERED}
_NEVER = {Reason.NONDETERMINISTIC}


def check(data: bytes) -> None:
    """Read `data` as a job's settings and what its child wrote, and see that each input has one outcome that may be.

    The first four bytes are: mode and order of inputs, how the process ended, the longest value, the number of inputs.
    """
    setting, end, longest, count = data[:4].ljust(4, b"\0")
    job = Job("", ("1",) * (count % 5), mode=list(Mode)[setting % 3], limits=Limits(output_bytes=longest))
    report = Report(list(Stop)[end % len(Stop)], (end >> 3) - 25, float(end % 7), data[4:])
    found = outcomes(job, report, second=bool(setting & 4))
    assert len(found) == len(job.inputs)
    for outcome in found:
        assert (outcome.value is None) == (outcome.reason is not None)
        assert (outcome.error is None) == (outcome.reason is not Reason.ERROR)
        assert outcome.reason not in _NEVER
        if outcome.value is not None:
            assert len(outcome.value.encode()) <= longest
            assert job.mode is Mode.SCRIPT or (outcome.value.isprintable() and outcome.value)
        assert ((outcome.error or "") + outcome.detail).isprintable()
        assert max(len(outcome.error or ""), len(outcome.detail)) <= 200
    if report.stop in (Stop.TAMPERING, Stop.TOO_MUCH_OUTPUT):
        assert all(outcome.reason is Reason.TAMPERED for outcome in found)
    if any(outcome.reason is Reason.TAMPERED for outcome in found):
        assert len(set(found)) == 1  # who tampers has no value at all
    if report.exit_code == 0 and report.stop is Stop.NONE and not _SAID_BY_THE_HOST & {one.reason for one in found}:
        assert len(report.payload) >= 9 * len(job.inputs)  # every outcome was written
