"""A zygote's own loop, in a process of the test's and without a jail."""

import os

import pytest

from azr.sandbox import Job
from azr.sandbox.guest.wire import HEADER, NONCE_BYTES, pack_job
from azr.sandbox.host.exchange import content
from azr.sandbox.jail import zygote

JOB = b"n" * NONCE_BYTES + pack_job(content(Job("def f(x): return x", ("1",)), second=False))


@pytest.fixture
def serve():
    """Have a loop serve jobs that wait in its pipe; gives how many it served before it ended, all of them dead."""

    def served(jobs, numbers):
        pipes = [os.pipe() for _ in range(3)]
        (jobs_read, jobs_write), (results_read, results_write), (payload_read, payload_write) = pipes
        os.write(jobs_write, JOB * jobs)
        os.close(jobs_write)
        pid = os.fork()
        if pid == 0:
            try:
                theirs = [os.dup(descriptor) for descriptor in (jobs_read, results_write, payload_read, payload_write)]
                high = [os.dup2(descriptor, 200 + place) for place, descriptor in enumerate(theirs)]
                os.closerange(3, 200)
                for wanted, descriptor in enumerate(high, zygote.JOBS):
                    os.dup2(descriptor, wanted)
                os.closerange(200, 204)
                zygote._serve(2**40, numbers, orphans=False, scripts=None)
            finally:
                os._exit(0)
        for descriptor in (jobs_read, results_write, payload_read, payload_write):
            os.close(descriptor)
        with open(results_read, "rb") as pipe:
            written = pipe.read()
        os.waitpid(pid, 0)
        count = at = 0
        while at < len(written):
            status, length, _ = HEADER.unpack_from(written, at)
            assert status == 0
            at += HEADER.size + length
            count += 1
        return count

    return served


def test_a_zygote_serves_until_there_are_no_more_jobs(serve):
    assert serve(5, None) == 5
    assert serve(5, range(2, 2**22)) == 5


def test_a_zygote_whose_process_ids_are_used_up_ends_between_two_jobs(serve):
    assert serve(5, range(0)) == 1
