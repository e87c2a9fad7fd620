"""Scripts that try to get away, to forge a value out of a failure, or to starve what is around them.

`hostile.py` has what any program may try; these go for what only scripts have: threads, a supervisor, two files.
"""

from __future__ import annotations

from textwrap import dedent

from azr.sandbox import Reason
from tests.sandbox.hostile import BRIEF, ROOMY, Snippet, trying

CRASHED, MEMORY, TIMEOUT, TOO_LARGE = Reason.CRASHED, Reason.MEMORY, Reason.TIMEOUT, Reason.OUTPUT_TOO_LARGE
SCRIPTS: list[Snippet] = []


def script(name: str, text: str, *expected: str, prompt: bool = False) -> None:
    """Add a script with what may come of it."""
    SCRIPTS.append(Snippet(name, dedent(text).strip() + "\n", frozenset(expected), BRIEF if prompt else ROOMY))


def probe(name: str, *attempts: str, before: str = "") -> None:
    """Add a script that makes attempts which must all fail with an exception."""
    script(name, f"{before}\n{trying(attempts, 'print({!r})')}print('held')", "held\n")


def writing(first: int, content: bytes, end: str) -> str:
    """Write a script that writes something to every descriptor from the first, and then ends."""
    return f"""
    import os
    for fd in range({first}, 64):
        try: os.write(fd, {content!r})
        except OSError: pass
    {end}
    """


# --- processes ---------------------------------------------------------------------------------------------------

script(
    "fork bomb",
    """
    import os
    made = 0
    for _ in range(1000):
        try:
            if os.fork() == 0:
                while True: pass
            made += 1
        except OSError:
            pass
    print(made)
    """,
    "0\n",
)
script(
    "fork bomb from threads",
    """
    import os, threading
    made = []
    def bomb():
        try:
            if os.fork() == 0:
                while True: pass
            made.append(1)
        except OSError:
            pass
    threads = [threading.Thread(target=bomb) for _ in range(20)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    print(len(made))
    """,
    "0\n",
)
script(
    "fork by raw system calls",
    """
    import ctypes
    libc = ctypes.CDLL(None)
    # fork, vfork, and clone with nothing, SIGCHLD, what glibc forks with, CLONE_VFORK | CLONE_VM, CLONE_PARENT; clone3
    print([libc.syscall(n, a, 0, 0, 0, 0)
           for n, a in ((57, 0), (58, 0), (56, 0), (56, 17), (56, 0x1200011), (56, 0x4111), (56, 0x8011), (435, 0))])
    """,
    f"{[-1] * 8}\n",
)
script(
    "clone with the flags of a thread and more",
    """
    import ctypes
    libc = ctypes.CDLL(None)
    # and CLONE_NEWUSER, CLONE_PARENT, CLONE_PIDFD, CLONE_NEWNS, CLONE_PTRACE, CLONE_UNTRACED
    print([libc.syscall(56, 0x3D0F00 | more, 0, 0, 0, 0)
           for more in (0x10000000, 0x8000, 0x1000, 0x20000, 0x2000, 0x800000)])
    """,
    f"{[-1] * 6}\n",
)
probe(
    "start a program",
    "subprocess.run(['/bin/true'])",
    "os.posix_spawn('/bin/true', ['true'], {})",
    "os.execv('/bin/sh', ['sh'])",
    "os.forkpty()",
    "multiprocessing.Process(target=print).start()",
    "multiprocessing.Pool(2)",
    before="import multiprocessing, os, subprocess",
)
script(
    "outlive the supervisor",
    """
    import ctypes, signal
    libc = ctypes.CDLL(None)
    libc.prctl(1, 0, 0, 0, 0)  # PR_SET_PDEATHSIG: none
    libc.prctl(1, 18, 0, 0, 0)
    libc.setsid(); libc.setpgid(0, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
    while True: pass
    """,
    TIMEOUT,
    prompt=True,
)
script(
    "the main thread ends, another spins",
    """
    import ctypes, threading
    def spin():
        while True: pass
    threading.Thread(target=spin, daemon=True).start()
    ctypes.CDLL(None).syscall(60, 0)  # exit, of this thread alone
    """,
    TIMEOUT,
    prompt=True,
)
probe(
    "reach for the supervisor",
    "os.kill(os.getppid(), 0)",
    "os.kill(-1, 0)",
    "os.killpg(0, 0)",
    "resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))",
    "os.pidfd_open(os.getppid())",
    "open(f'/proc/{os.getppid()}/mem', 'r+b')",
    "assert not libc.ptrace(16, os.getppid(), 0, 0)",
    "assert libc.process_vm_readv(os.getppid(), 0, 0, 0, 0, 0) >= 0",
    "fcntl.fcntl(os.pipe()[0], fcntl.F_SETOWN, os.getppid())",
    before="import ctypes, fcntl, os, resource\nlibc = ctypes.CDLL(None)",
)
script(
    "calls of the supervisor",
    """
    import ctypes
    libc = ctypes.CDLL(None)
    print(libc.syscall(317, 1, 0, 0), libc.syscall(319, b"x", 0), libc.prctl(22, 2, 0, 0, 0))
    """,
    "-1 -1 -1\n",
)
script("raise its limits", "import resource\nresource.setrlimit(resource.RLIMIT_NPROC, (10**6,) * 2)", "ValueError")
script(
    "let the output grow", "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (1 << 40,) * 2)", "ValueError"
)

# --- threads -----------------------------------------------------------------------------------------------------

MANY = """
import threading, time
threading.stack_size(32768)
made = 0
for _ in range(3000):
    try:
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
        made += 1
    except RuntimeError:
        break
"""
script("three thousand threads", MANY + "print(10 < made < 2000)", "True\n")
script("three thousand threads that stay", MANY.replace("daemon=True", "daemon=False"), TIMEOUT, prompt=True)
script(
    "threads that outlive the main thread",
    """
    import os, threading, time
    def late():
        time.sleep(0.3)
        os.write(1, b"late")
    threading.Thread(target=late, daemon=True).start()
    print("early")
    """,
    "early\n",
)
script(
    "threads that spin together",
    """
    import threading
    def spin():
        while True: pass
    for _ in range(8): threading.Thread(target=spin).start()
    """,
    TIMEOUT,
    prompt=True,
)
script(
    "a thread that prints without end",
    """
    import threading
    def flood():
        while True: print("x" * 1000)
    threading.Thread(target=flood).start()
    """,
    TOO_LARGE,
)

# --- input and output --------------------------------------------------------------------------------------------

script("close every descriptor", "import os\nos.closerange(0, 64)\nprint(1)", CRASHED, "OSError")
script("write to every descriptor but its own", writing(2, b"forged " * 9, "print('fine')"), "fine\n")
script("write to every descriptor, then fail", writing(1, b"forged\n", "os._exit(1)"), CRASHED)
script("an error of its own words", writing(3, b"error\nMadeUp\nnever raised", "os._exit(1)"), "MadeUp")
script("a reason that is not its to give", writing(3, b"timeout\n\n", "os._exit(1)"), CRASHED)
script(
    "an error with a name that breaks lines",
    "E = type('A\\nB\\x00' + 'C' * 999, (Exception,), {})\nraise E",
    "ValueError",
)
script(
    "fill every pipe",
    """
    import os
    for fd in range(3, 64):
        try:
            while True: os.write(fd, bytes(4096))
        except OSError: pass
    """,
    TIMEOUT,
    prompt=True,
)
script("print and fail", "import os\nprint(42, flush=True)\nos._exit(1)", CRASHED)
script("print and be killed", "import os\nprint(42, flush=True)\nos.abort()", CRASHED)
script("an exit that does nothing", "import os\nos._exit = lambda status: None\nprint(42)", CRASHED)
script(
    "no standard library left",
    "import sys\nfor name in list(sys.modules): sys.modules[name] = None\nprint(42)",
    CRASHED,
    "42\n",
    "AttributeError",
    "ModuleNotFoundError",
    "KeyError",
)
script("write a gigabyte", "import os\nfor _ in range(1024): os.write(1, bytes(1 << 20))", TOO_LARGE)
script(
    "write for ever, whatever comes of it",
    """
    import os
    while True:
        try: os.write(1, bytes(1 << 20))
        except OSError: pass
    """,
    TIMEOUT,
    prompt=True,
)
script("far beyond the end", "import os\nos.lseek(1, 1 << 40, 0)\nos.write(1, b'x')", "OSError")
script("output into the input", "import os\nos.dup2(0, 1)\nprint(42)", "")
script("input into itself", "import os\nos.dup2(1, 0)\nprint(os.read(0, 9))", "b''\n")
script("never read", "print('fine')", "fine\n")
script("read without end", "import os\nwhile True: os.read(0, 1)", TIMEOUT, prompt=True)
script("wait on its own pipe", "import os\nr, w = os.pipe()\nos.dup2(r, 0)\nprint(input())", TIMEOUT, prompt=True)
script("its own alarm", "import signal, time\nsignal.setitimer(signal.ITIMER_REAL, 0.01)\ntime.sleep(60)", CRASHED)
script(
    "stop the clock", "import signal\nsignal.setitimer(signal.ITIMER_REAL, 0)\nwhile True: pass", TIMEOUT, prompt=True
)
script("a terabyte", "bytearray(1 << 40)", MEMORY)
script("stack overflow", "import ctypes\nctypes.string_at(0)", CRASHED)
