"""Programs that try to break out, forge, starve, spy or stay behind, each with what must come of it.

A snippet is a program with a function `f` of no arguments. `SECRET`, `CANARY`, `SCRATCH` and `HOST` in its text are
replaced with the name of a secret environment variable, the path of a file with a secret, the folder it is in, and the
process id of the host.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from textwrap import dedent, indent

from azr.sandbox import Limits, Reason

ROOMY = Limits(wall_seconds=20, cpu_seconds=10, memory_bytes=128 * 2**20)
BRIEF = Limits(wall_seconds=0.3, cpu_seconds=10, memory_bytes=128 * 2**20)

HELD = "'held'"
"""The value of a probe all of whose attempts failed."""


@dataclass(frozen=True)
class Snippet:
    """A hostile program.

    Attributes:
        name: what it tries.
        program: defines `f`.
        expected: what may come of it: reasons, names of exceptions, canonical values.
        limits: what it may use.
    """

    name: str
    program: str
    expected: frozenset[str]
    limits: Limits


SNIPPETS: list[Snippet] = []


def program(name: str, text: str, *expected: str, limits: Limits = ROOMY) -> None:
    """Add a program with what may come of it."""
    SNIPPETS.append(Snippet(name, dedent(text).strip() + "\n", frozenset(expected), limits))


def probe(name: str, *attempts: str, before: str = "") -> None:
    """Add a program that makes attempts which must all fail with an exception."""
    body = indent(trying(attempts, "return {!r}") + "return 'held'\n", "    ")
    SNIPPETS.append(Snippet(name, f"{before}\ndef f():\n{body}", frozenset({HELD}), ROOMY))


def trying(attempts: Iterable[str], escaped: str) -> str:
    """Write statements that make attempts, each followed by the statement `escaped` with a message in it."""
    return "".join(
        f"try:\n{indent(dedent(attempt).strip(), '    ')}\n    {escaped.format(f'ESCAPED by attempt {number}')}\n"
        "except Exception:\n    pass\n"
        for number, attempt in enumerate(attempts)
    )


TIMEOUT, CRASHED, MEMORY, TAMPERED = Reason.TIMEOUT, Reason.CRASHED, Reason.MEMORY, Reason.TAMPERED
SYNTAX, TOO_LARGE, UNSUPPORTED = Reason.SYNTAX, Reason.OUTPUT_TOO_LARGE, Reason.UNSUPPORTED_VALUE

# --- time --------------------------------------------------------------------------------------------------------

program("spin", "def f():\n while True: pass", TIMEOUT, limits=BRIEF)
program("spin at import", "while True: pass", TIMEOUT, limits=BRIEF)
program("power tower", "def f(): return 10**10**10", TIMEOUT, MEMORY, limits=BRIEF)
program("regex backtracking", "import re\ndef f(): return re.match('(a+)+b', 'a' * 40)", TIMEOUT, limits=BRIEF)
program("sleep", "import time\ndef f(): time.sleep(600)", TIMEOUT, limits=BRIEF)
program(
    "deadlock", "import threading\ndef f():\n k = threading.Lock(); k.acquire(); k.acquire()", TIMEOUT, limits=BRIEF
)
program("wait on a pipe", "import os\ndef f(): os.read(os.pipe()[0], 1)", TIMEOUT, "OSError", limits=BRIEF)
program(
    "swallow everything",
    """
    def f():
        while True:
            try:
                while True: pass
            except BaseException:
                continue
    """,
    TIMEOUT,
    limits=BRIEF,
)
program(
    "mask every signal, then spin",
    """
    import signal
    def f():
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
        for number in range(1, 65):
            try: signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError): pass
        while True: pass
    """,
    TIMEOUT,
    limits=BRIEF,
)
program(
    "die never",
    """
    import ctypes
    def f():
        libc = ctypes.CDLL(None)
        libc.prctl(1, 0, 0, 0, 0)  # PR_SET_PDEATHSIG: none
        libc.setsid(); libc.setpgid(0, 0)
        while True: libc.pause(); libc.sleep(600)
    """,
    TIMEOUT,
    limits=BRIEF,
)
program(
    "repr that loops", "class E(Exception):\n def __str__(s):\n  while 1: pass\ndef f(): raise E", TIMEOUT, limits=BRIEF
)
program(
    "hash that loops", "class K:\n def __hash__(s):\n  while 1: pass\ndef f(): return {K(): 1}", TIMEOUT, limits=BRIEF
)

# --- memory and size ---------------------------------------------------------------------------------------------

program("a terabyte at once", "def f(): return len(bytearray(1 << 40))", MEMORY)
program("slow growth", "def f():\n a = []\n while True: a.append(bytearray(1 << 20))", MEMORY)
program("zlib bomb", "import zlib\ndef f(): return len(zlib.decompress(zlib.compress(bytes(1 << 27))))", MEMORY)
program("doubling string", "def f():\n s = 'x'\n while True: s += s", MEMORY)
program("a list of itself, repeated", "def f(): return [[]] * (1 << 34)", MEMORY)
program("quarter of a gigabyte", "def f(): return 'x' * (64 << 20)", TOO_LARGE)
program("wide value", "def f(): return [0] * 100_000", TOO_LARGE)
program("small in memory, huge as text", "def f():\n x = []\n for _ in range(30): x = [x, x]\n return x", TOO_LARGE)
program("huge integer", "def f(): return 7 ** 300_000", TOO_LARGE)
program("value in itself", "def f():\n x = []\n x.append(x)\n return x", UNSUPPORTED)
program("dict in itself", "def f():\n x = {}\n x[1] = x\n return x", UNSUPPORTED)
program("million deep", "def f():\n x = []\n for _ in range(10**6): x = [x]\n return x", UNSUPPORTED, CRASHED)
program(
    "million deep repr",
    "def f():\n x = []\n for _ in range(10**6): x = [x]\n return repr(x)",
    "RecursionError",
    CRASHED,
)
program("stdout flood", "def f():\n for _ in range(300_000): print('x' * 100)\n return 1", "1")
program("stderr flood", "import sys\ndef f():\n for _ in range(300_000): sys.stderr.write('y' * 100)\n return 1", "1")
program(
    "mmap flood",
    "import ctypes\ndef f():\n for _ in range(10**6):\n  if ctypes.CDLL(None).mmap(0, 1<<24, 3, 34, -1, 0) == -1: return 'held'",
    HELD,
)

# --- the interpreter's own limits --------------------------------------------------------------------------------

program("recursion", "def f(): return f()", "RecursionError")
program(
    "C stack overflow",
    "import sys\nsys.setrecursionlimit(10**9)\ndef f(): return f()",
    CRASHED,
    MEMORY,
    "RecursionError",
)
program("unary minuses", "def f(): return " + "-" * 15_000 + "1", SYNTAX, CRASHED)
program("nested parentheses", "def f(): return " + "(" * 5_000 + ")" * 5_000, SYNTAX)
program("nested brackets in an eval", "def f(): return eval('[' * 100_000)", "SyntaxError", MEMORY)
program("null dereference", "import ctypes\ndef f(): return ctypes.string_at(0)", CRASHED)
program(
    "bytecode from nowhere",
    "def f(): exec(f.__code__.replace(co_code=b'\\xff\\x7f' * 40, co_stacksize=9))",
    CRASHED,
    "SystemError",
    TIMEOUT,
    limits=BRIEF,
)
program("abort", "import os\ndef f(): os.abort()", CRASHED)
program("null byte", "def f(): return 1\0", SYNTAX)
program(
    "marshalled garbage",
    "import marshal\ndef f(): exec(marshal.loads(b'\\xe3' + bytes(60)))",
    CRASHED,
    "ValueError",
    "EOFError",
    "TypeError",
    "SystemError",
    "AttributeError",
)
program(
    "trace our code",
    "import sys\ndef f():\n sys.settrace(lambda *a: 1 / 0)\n return 1",
    "1",
    CRASHED,
    "ZeroDivisionError",
)
program(
    "a profiler that exits", "import os, sys\ndef f():\n sys.setprofile(lambda *a: os._exit(0))\n return 1", CRASHED
)

# --- leaving, killing, staying -----------------------------------------------------------------------------------

program("sys.exit", "import sys\ndef f(): sys.exit(0)", "SystemExit")
program("os._exit", "import os\ndef f(): os._exit(0)", CRASHED)
program("exit like a child without work", "import os\ndef f(): os._exit(3)", CRASHED)
program("KeyboardInterrupt", "def f(): raise KeyboardInterrupt", "KeyboardInterrupt")
program("GeneratorExit", "def f(): raise GeneratorExit", "GeneratorExit")
program("exit at import", "raise SystemExit(0)", "SystemExit")
program("exit by atexit", "import atexit, os\natexit.register(os._exit, 7)\ndef f(): return 1", "1")
# Signal 0 is judged like any other and does no harm where a jail that is being worked on leaks.
probe(
    "kill",
    "os.kill(os.getpid(), 9)",
    *[f"os.kill({who}, 0)" for who in ("os.getppid()", "1", "-1", "0", "HOST")],
    before="import os",
)
probe(
    "raise a signal",
    "signal.raise_signal(9)",
    "os.killpg(0, 9)",
    "signal.pthread_kill(threading.get_ident(), 9)",
    before="import os, signal, threading",
)
probe("fork", "os.fork()", before="import os")
probe("forkpty", "os.forkpty()", before="import os")
program(
    "fork bomb",
    """
    import os
    def f():
        made = 0
        for _ in range(1000):
            try:
                if os.fork() == 0:
                    while True: pass
                made += 1
            except OSError:
                pass
        return made
    """,
    "0",
)
program(
    "fork by raw system calls",
    """
    import ctypes
    def f():
        libc = ctypes.CDLL(None)
        return [libc.syscall(n, a, 0, 0, 0, 0) for n, a in ((57, 0), (58, 0), (56, 17), (56, 0x1200011), (435, 0))]
    """,
    "[-1, -1, -1, -1, -1]",
)
program(
    "a thousand threads",
    """
    import threading, time
    def f():
        made = 0
        for _ in range(1000):
            try:
                threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
                made += 1
            except RuntimeError:
                pass
        return made
    """,
    "0",
)
probe(
    "a thread pool",
    "ThreadPoolExecutor().submit(print).result()",
    before="from concurrent.futures import ThreadPoolExecutor",
)
probe(
    "multiprocessing",
    "import multiprocessing\nmultiprocessing.Pool(2)",
    "import multiprocessing\nmultiprocessing.Process(target=print).start()",
)
probe(
    "subprocess",
    "import subprocess\nsubprocess.run(['/bin/true'])",
    "import subprocess\nsubprocess.run('true', shell=True)",
)
program("system", "import os\ndef f(): return os.system('true') == 0", "False")
probe("posix_spawn", "os.posix_spawn('/bin/true', ['true'], {})", before="import os")
probe("exec", "os.execv('/bin/sh', ['sh'])", "os.execv('/proc/self/exe', ['python'])", before="import os")
program(
    "leave the process group",
    """
    import ctypes
    def f():
        libc = ctypes.CDLL(None)
        return [libc.setsid(), libc.setpgid(0, 0), libc.daemon(0, 0), libc.vhangup()]
    """,
    "[-1, -1, -1, -1]",
)

# --- files -------------------------------------------------------------------------------------------------------

probe(
    "read files",
    *[
        f"open({path!r}).read()"
        for path in (
            "/etc/passwd",
            "/etc/hostname",
            "CANARY",
            "/proc/self/environ",
            "/proc/1/environ",
            "/proc/HOST/environ",
            "/proc/self/maps",
            "/proc/self/mem",
            "/dev/mem",
            "/sys/kernel/uevent_seqnum",
        )
    ],
)
probe(
    "list folders",
    *[
        f"os.listdir({path!r})"
        for path in ("SCRATCH", "/root", "/home", "/etc", "/proc/self/fd", "/proc/HOST/fd", "/tmp")
    ]
    + ["assert os.listdir('/') != []\nopen('/' + os.listdir('/')[0] + '/x', 'w')"],
    before="import os",
)
probe(
    "write files",
    *[
        f"open({path!r}, 'w').write('x')"
        for path in ("CANARY", "SCRATCH/new", "/tmp/new", "/new", "/dev/shm/new", "/var/tmp/new", "new")
    ]
    + ["open('CANARY', 'a').write('x')"],
)
probe(
    "write into the standard library",
    "open(os.__file__, 'a').write('x')",
    "open(os.path.dirname(os.__file__) + '/evil.py', 'w').write('x')",
    "os.unlink(os.__file__)",
    before="import os",
)
probe(
    "links and nodes",
    "os.symlink('/etc', 'SCRATCH/l')",
    "os.link('CANARY', 'SCRATCH/l')",
    "os.mkfifo('SCRATCH/p')",
    "os.mknod('SCRATCH/n')",
    "os.mkdir('SCRATCH/d')",
    "os.symlink('/etc', '/tmp/l')",
    before="import os",
)
probe(
    "files without names",
    "os.memfd_create('x')",
    "os.open('SCRATCH', os.O_TMPFILE | os.O_RDWR)",
    "os.open('/tmp', os.O_TMPFILE | os.O_RDWR)",
    "tempfile.TemporaryFile()",
    "os.open('/dev/shm', os.O_TMPFILE | os.O_RDWR)",
    before="import os, tempfile",
)
probe(
    "change files",
    "os.chmod('CANARY', 0o777)",
    "os.chown('CANARY', 0, 0)",
    "os.utime('CANARY')",
    "os.truncate('CANARY', 0)",
    "os.unlink('CANARY')",
    "os.rename('CANARY', 'SCRATCH/r')",
    "os.rmdir('SCRATCH')",
    "os.setxattr('CANARY', 'user.x', b'x')",
    before="import os",
)
probe(
    "other roots",
    "os.chroot('/')",
    "os.chdir('..')",
    "os.fchdir(3)",
    "os.open('../../../../../../etc/passwd', 0)",
    *[f"os.open('../../../../etc/passwd', 0, dir_fd={fd})" for fd in range(10)],
    before="import os",
)
probe("shared memory", "from multiprocessing import shared_memory\nshared_memory.SharedMemory(create=True, size=10)")
program(
    "installed packages",
    """
    import os, sys
    def f():
        found = []
        for folder in ('site-packages', 'dist-packages', 'test'):
            try: names = os.listdir(os.path.join(sys.path[0], folder))
            except OSError: continue
            for name in names:
                try: found.append(open(os.path.join(sys.path[0], folder, name)).name)
                except OSError: pass
        return found
    """,
    "[]",
)
program(
    "open by way of __subclasses__",
    """
    def f():
        seen, stack, found = set(), [object], []
        while stack:
            for kind in type.__subclasses__(stack.pop()):
                if kind not in seen:
                    seen.add(kind); stack.append(kind)
        for kind in seen:
            try:
                found.append(kind('/etc/passwd').read(10))
            except Exception:
                pass
        return [x for x in found if b'root' in (x if type(x) is bytes else str(x).encode())]
    """,
    "[]",
    CRASHED,
    TIMEOUT,
)

# --- network -----------------------------------------------------------------------------------------------------

probe(
    "sockets",
    *[f"socket.socket({family}, {kind})" for family in (1, 2, 10, 16, 17, 31, 38, 40, 44) for kind in (1, 2, 3, 5)],
    before="import contextlib\nwith contextlib.suppress(ImportError):\n    import socket",
)
program(
    "sockets by raw system calls",
    """
    import ctypes
    def f():
        libc = ctypes.CDLL(None)
        made = [libc.socket(family, kind, 0) for family in range(46) for kind in (1, 2, 3, 5)]
        pair = (ctypes.c_int * 2)()
        return set(made + [libc.socketpair(1, 1, 0, pair), libc.accept(0, 0, 0), libc.bind(0, 0, 0)])
    """,
    "{-1}",
)
probe(
    "urlopen",
    "import urllib.request\nurllib.request.urlopen('http://127.0.0.1/')",
    "import http.client\nhttp.client.HTTPConnection('127.0.0.1').connect()",
)

# --- the kernel --------------------------------------------------------------------------------------------------

program(
    "raw system calls",
    """
    import ctypes
    # ptrace, unshare, setns, mount, umount2, pivot_root, chroot, bpf, perf_event_open, keyctl, add_key, userfaultfd,
    # io_uring_setup, process_vm_readv, process_vm_writev, kexec_load, init_module, reboot, sethostname, setuid, setgid,
    # setresuid, capset, personality, memfd_create, memfd_secret, pidfd_open, pidfd_send_signal, pidfd_getfd, tgkill,
    # tkill, rt_sigqueueinfo, shmget, msgget, semget, mq_open, timer_create, eventfd2, epoll_create1, inotify_init1,
    # fanotify_init, execve, execveat, open_by_handle_at, seccomp, landlock_restrict_self, vmsplice, tee, mlock,
    # io_uring_enter, io_uring_register
    CALLS = (101, 272, 308, 165, 166, 155, 161, 321, 298, 250, 248, 323, 425, 310, 311, 246, 175, 169, 170, 105, 106,
             117, 126, 135, 319, 447, 434, 424, 438, 234, 200, 129, 29, 68, 64, 240, 222, 290, 291, 294, 300, 59, 322,
             304, 317, 446, 278, 276, 149, 426, 427)
    def f():
        libc = ctypes.CDLL(None, use_errno=True)
        through = []
        for number in CALLS:
            result = libc.syscall(number, 0, 0, 0, 0, 0, 0)
            if result != -1 or ctypes.get_errno() != 1:
                through.append((number, result, ctypes.get_errno()))
        return through
    """,
    "[]",
)
program(
    "system calls of other ABIs",
    """
    import ctypes
    def f(): return ctypes.CDLL(None).syscall(0x40000000 + 39)
    """,
    CRASHED,
)
program(
    "executable memory",
    """
    import ctypes
    def f():
        libc = ctypes.CDLL(None); libc.mmap.restype = ctypes.c_ssize_t
        page = libc.mmap(None, ctypes.c_size_t(4096), 3, 34, -1, ctypes.c_size_t(0))
        return [libc.mmap(None, ctypes.c_size_t(4096), 7, 34, -1, ctypes.c_size_t(0)),
                libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(4096), 7), page > 0]
    """,
    "[-1, -1, True]",
)
probe(
    "raise limits",
    *[
        f"resource.setrlimit(resource.{name}, (-1, -1))"
        for name in ("RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_NPROC", "RLIMIT_NOFILE", "RLIMIT_FSIZE", "RLIMIT_CORE")
    ],
    before="import resource",
)
probe(
    "limits of others",
    *[f"resource.prlimit({target}, resource.RLIMIT_CPU, (1, 1))" for target in ("os.getppid()", "1", "HOST")],
    before="import os, resource",
)
probe(
    "priority and place",
    "os.nice(-5)",
    "os.setpriority(0, os.getppid(), 5)",
    "os.sched_setaffinity(os.getppid(), {0})",
    "os.sched_setscheduler(0, 1, os.sched_param(1))",
    before="import os",
)
probe(
    "become someone",
    "os.setuid(0)",
    "os.setresuid(0, 0, 0)",
    "os.setgid(0)",
    "os.setgroups([0])",
    "os.seteuid(0)",
    before="import os",
)
program("who am I", "import os\ndef f(): return os.getuid() == 0 or os.geteuid() == 0", "False")
probe(
    "signals by way of a pipe",
    *[f"fcntl.fcntl(os.pipe()[0], {command}, HOST)" for command in ("fcntl.F_SETOWN", "15", "10", "1031")],
    "fcntl.ioctl(os.pipe()[0], 0x8901, b'0000')",
    "fcntl.ioctl(0, 0x5412, b'x')",
    before="import fcntl, os",
)
probe(
    "packets in the pipe for outcomes",
    "fcntl.fcntl(6, fcntl.F_SETFL, os.O_DIRECT)",
    "fcntl.fcntl(6, fcntl.F_SETFL, os.O_NONBLOCK)",
    "os.pipe2(os.O_DIRECT)",
    before="import fcntl, os",
)
probe("descriptors", "while True: os.dup(0)", before="import os")
probe("pipes", "while True: os.pipe()", before="import os")
probe(
    "new code in C",
    "import _ssl",
    "import sqlite3",
    "import ctypes\nctypes.CDLL('libseccomp.so.2')",
    "import numpy",
    "import torch",
    "import azr.cli",
)

# --- spying ------------------------------------------------------------------------------------------------------

program(
    "environment",
    "import os\ndef f(): return sorted(os.environ), os.environb, os.getenv('SECRET')",
    UNSUPPORTED,
    "([], {}, None)",
)
program(
    "environment of the C library",
    """
    import ctypes
    def f():
        environ = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), 'environ')
        found = []
        while environ and environ[len(found)]:
            found.append(environ[len(found)])
        return found
    """,
    "[]",
)
program(
    "frames of callers",
    """
    import sys
    def f():
        found, frame = [], sys._getframe()
        while frame:
            places = (*frame.f_locals.values(), *frame.f_code.co_consts, *frame.f_globals.values())
            found += [repr(x)[:9999] for x in places]
            frame = frame.f_back
        return [x[:99] for x in found for s in (('other', 'job'), ('answer', 'key')) if '-'.join(s) in x]
    """,
    "[]",
)
program(
    "everything that gc knows",
    """
    import gc
    def f():
        found = [x for x in gc.get_objects() if type(x) in (list, tuple, dict)]
        found = [x for y in found for x in (y.values() if type(y) is dict else y) if type(x) in (str, bytes)]
        words = [(a + '-' + b) for a, b in (('other', 'job'), ('answer', 'key'))]
        return [x[:99] for x in found for w in words if w in (x if type(x) is str else x.decode('latin1'))]
    """,
    "[]",
)
program(
    "memory of the process",
    """
    import ctypes
    def f():
        words = [(a + '-' + b + '-data').encode() for a, b in (('other', 'job'), ('answer', 'key'))]
        found, base = 0, id(words) & ~0xfffff
        for at in range(base, base + (1 << 20), 1 << 12):
            found += sum(ctypes.string_at(at, 1 << 12).count(w) > len(words) + 9 for w in words)
        return found
    """,
    "0",
    CRASHED,
)
program(
    "descriptors of other jobs",
    """
    import os, select
    def f():
        found = []
        for fd in range(64):
            try:
                if select.select([fd], [], [], 0)[0]:
                    found.append((fd, os.read(fd, 1000)))
            except OSError:
                pass
        return [x for x in found if x[1]]
    """,
    "[]",
)
probe(
    "descriptors of the zygote",
    *[f"os.open('/proc/{who}/fd/{fd}', os.O_RDONLY | os.O_NONBLOCK)" for who in ("1", "HOST") for fd in (3, 4, 5)]
    + [f"os.open(f'/proc/{{os.getppid()}}/fd/{fd}', os.O_RDONLY | os.O_NONBLOCK)" for fd in (3, 4, 5)]
    + ["os.open(f'/proc/{os.getppid()}/mem', os.O_RDONLY)"],
    before="import os",
)
program(
    "what the module search finds",
    "import sys\ndef f(): return [p for p in sys.path if 'site-packages' in p or 'src' in p]",
    "[]",
)

# --- forging -----------------------------------------------------------------------------------------------------

program(
    "write a record by hand",
    "import os, struct\ndef f():\n os.write(6, struct.pack('=BIHH', 0, 4, 0, 0) + b'1234')\n os._exit(0)",
    "1234",
)
program(
    "two records for one input",
    "import os, struct\ndef f():\n os.write(6, struct.pack('=BIHH', 0, 1, 0, 0) + b'1')\n return 2",
    TAMPERED,
)
program("garbage before the record", "import os\ndef f():\n os.write(6, b'garbage')\n return 2", TAMPERED)
program(
    "a frame of the zygote",
    "import os, struct\ndef f():\n os.write(6, struct.pack('=iId', 0, 14, 0.0) + bytes(14))\n return 2",
    TAMPERED,
)
program(
    "a reason that is the host's", "import os\ndef f():\n os.write(6, bytes([9]) + bytes(8))\n os._exit(0)", TAMPERED
)
program(
    "an unprintable value",
    "import os, struct\ndef f():\n os.write(6, struct.pack('=BIHH', 0, 2, 0, 0) + b'1\\n')\n os._exit(0)",
    TAMPERED,
)
program(
    "a value that is too long",
    "import os, struct\ndef f():\n os.write(6, struct.pack('=BIHH', 0, 20000, 0, 0) + b'1' * 20000)\n os._exit(0)",
    TAMPERED,
)
program(
    "flood every descriptor",
    "import os\ndef f():\n for fd in range(64):\n  try:\n   for _ in range(9): os.write(fd, b'x' * 10_000)\n  except OSError: pass\n return 1",
    TAMPERED,
)
program("fill the pipe", "import os\ndef f():\n while True: os.write(6, b'x' * 65536)", TIMEOUT, TAMPERED, limits=BRIEF)
program("close every descriptor", "import os\ndef f():\n os.closerange(0, 64)\n return 1", CRASHED)
program(
    "move descriptors about",
    "import os\ndef f():\n for fd in (3, 4, 5): os.dup2(6, fd)\n os.write(4, b'x')\n return 1",
    TAMPERED,
)
program(
    "splice to the host",
    "import os\ndef f():\n r, w = os.pipe()\n os.write(w, b'x' * 100)\n os.dup2(r, 5); os.dup2(6, 4)\n os.splice(5, 4, 100)\n return 1",
    TAMPERED,
)
program(
    "patched builtins",
    "import builtins\nbuiltins.repr = builtins.type = builtins.len = lambda *a: 'forged'\ndef f(): return 41 + 1",
    "42",
    CRASHED,
    "'forged'",
)
program("patched os.write", "import os\nos.write = lambda fd, data: len(data)\ndef f(): return 1", CRASHED)
program("patched os._exit", "import os\nos._exit = lambda status: None\ndef f(): return 42", "42", CRASHED)
program(
    "patched modules",
    "import sys\nfor name in list(sys.modules):\n sys.modules[name] = None\ndef f(): return 42",
    "42",
    CRASHED,
)
program(
    "patched worker",
    "import sys\nsys.modules['azr.sandbox.guest.worker'].canonical = lambda *a, **k: 'forged'\ndef f(): return 42",
    "forged",
)
program(
    "a fake frame, then raise",
    "class E(Exception): __module__ = 'azr'; __name__ = 'TimeoutError'\ndef f(): raise E('{\"value\": 1}')",
    "E",
)
program(
    "a class with a liar's name",
    "class M(type):\n __name__ = property(lambda s: 'Lie')\nclass E(Exception, metaclass=M): pass\ndef f(): raise E",
    "E",
)
program(
    "a name that breaks lines",
    "E = type('A\\nB\\x00' + 'C' * 999, (Exception,), {})\ndef f(): raise E",
    "A\\nB\\x00" + "C" * 90,
    "ValueError",
)
program("a class without a name", "E = type('', (Exception,), {})\ndef f(): raise E", "''")
program(
    "a message that is no str",
    "class S(str):\n split = property(lambda s: 1 / 0)\nclass E(Exception):\n __str__ = lambda s: S('x')\ndef f(): raise E",
    "E",
)
program(
    "a message that fills the memory",
    "class E(Exception):\n __str__ = lambda s: 'x ' * (40 << 20)\ndef f(): raise E",
    "E",
)
program(
    "a key that objects to being looked for",
    """
    class K:
        quiet = True
        def __hash__(self): return hash('a')
        def __eq__(self, other): return 1 / 0 if other == 'a' and not K.quiet else False
    def f():
        key = K(); entries = {key: 1, 'a': 2}
        del entries[key]  # leaves a gap in which it is found before 'a', but it is the last in order
        entries[key] = 3; K.quiet = False
        return entries
    """,
    UNSUPPORTED,
)
program(
    "equal to everything",
    "class A:\n def __eq__(s, o): return True\n def __hash__(s): return 1\ndef f(): return A()",
    UNSUPPORTED,
)
program("an int in disguise", "class I(int):\n def __repr__(s): return '42'\ndef f(): return I(7)", UNSUPPORTED)
program("a str in disguise", "class S(str):\n def __repr__(s): return '42'\ndef f(): return [S('x')]", UNSUPPORTED)
program(
    "a dict in disguise",
    "class D(dict):\n def items(s): return [(1, 2)]\n keys = values = items\ndef f(): return D()",
    UNSUPPORTED,
)
program("pickled payload", "class P:\n def __reduce__(s): return (print, ('x',))\ndef f(): return P()", UNSUPPORTED)
program("repr that exits", "class P:\n def __repr__(s): raise SystemExit\ndef f(): return P()", UNSUPPORTED)
program("message that exits", "class E(Exception):\n def __str__(s): raise SystemExit\ndef f(): raise E", "E")
program("class that is not", "class C:\n __class__ = int\ndef f(): return C()", UNSUPPORTED)
program("not a number", "def f(): return float('nan')", UNSUPPORTED)
program("lone surrogate", "def f(): return chr(0xd800)", "'\\ud800'")
