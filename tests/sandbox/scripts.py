"""Scripts as contestants write them, each with an input and what a judge would see printed.

Each stands for an idiom of reading, printing, recursing or ending that is common among solutions of APPS and
LiveCodeBench.
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent


@dataclass(frozen=True)
class Script:
    """A correct script.

    Attributes:
        name: the idiom.
        program: the script.
        given: its standard input.
        printed: its standard output.
    """

    name: str
    program: str
    given: str
    printed: str


SCRIPTS: list[Script] = []
PAIR, SUM = "2\n1 2\n3 4\n", "3\n7\n"


def script(name: str, program: str, given: str = PAIR, printed: str = SUM) -> None:
    """Add a script; unless told otherwise it reads a count and as many pairs, and prints their sums."""
    SCRIPTS.append(Script(name, dedent(program).strip() + "\n", given, printed))


# --- reading -----------------------------------------------------------------------------------------------------

script("input()", "for _ in range(int(input())):\n    a, b = map(int, input().split())\n    print(a + b)")
script(
    "input = sys.stdin.readline",
    """
    import sys
    input = sys.stdin.readline
    for _ in range(int(input())):
        print(sum(map(int, input().split())))
    """,
)
script(
    "sys.stdin.buffer.readline",
    """
    import sys
    input = sys.stdin.buffer.readline
    for _ in range(int(input())):
        print(sum(map(int, input().split())))
    """,
)
script(
    "sys.stdin.buffer.read",
    """
    import sys
    n, *rest = map(int, sys.stdin.buffer.read().split())
    for a, b in zip(rest[::2], rest[1::2]):
        print(a + b)
    """,
)
script(
    "for line in sys.stdin",
    """
    import sys
    next(sys.stdin)
    for line in sys.stdin:
        print(sum(map(int, line.split())))
    """,
)
script(
    "open(0).read()", "n, *lines = open(0).read().splitlines()\nfor l in lines:\n    print(sum(map(int, l.split())))"
)
script("open(0) as a list", "n, *lines = open(0)\nfor l in lines:\n    print(sum(map(int, l.split())))")
script(
    "sys.stdin = open(0)",
    """
    import sys
    sys.stdin = open(0)
    for _ in range(int(input())):
        print(sum(map(int, input().split())))
    """,
)
script(
    "os.read(0, n)",
    """
    import os
    n, *rest = map(int, os.read(0, 10**7).split())
    for a, b in zip(rest[::2], rest[1::2]):
        print(a + b)
    """,
)
script(
    "BytesIO(os.read(0, os.fstat(0).st_size))",
    """
    import io, os
    input = io.BytesIO(os.read(0, os.fstat(0).st_size)).readline
    for _ in range(int(input())):
        print(sum(map(int, input().split())))
    """,
)
script(
    "FastIO",
    """
    import os, sys
    from io import BytesIO, IOBase
    BUFSIZE = 8192
    class FastIO(IOBase):
        newlines = 0
        def __init__(self, file):
            self._fd = file.fileno()
            self.buffer = BytesIO()
            self.writable = "x" in file.mode or "r" not in file.mode
            self.write = self.buffer.write if self.writable else None
        def read(self):
            while True:
                b = os.read(self._fd, max(os.fstat(self._fd).st_size, BUFSIZE))
                if not b:
                    break
                ptr = self.buffer.tell()
                self.buffer.seek(0, 2), self.buffer.write(b), self.buffer.seek(ptr)
            self.newlines = 0
            return self.buffer.read()
        def readline(self):
            while self.newlines == 0:
                b = os.read(self._fd, max(os.fstat(self._fd).st_size, BUFSIZE))
                self.newlines = b.count(b"\\n") + (not b)
                ptr = self.buffer.tell()
                self.buffer.seek(0, 2), self.buffer.write(b), self.buffer.seek(ptr)
            self.newlines -= 1
            return self.buffer.readline()
        def flush(self):
            if self.writable:
                os.write(self._fd, self.buffer.getvalue())
                self.buffer.truncate(0), self.buffer.seek(0)
    class IOWrapper(IOBase):
        def __init__(self, file):
            self.buffer = FastIO(file)
            self.flush = self.buffer.flush
            self.writable = self.buffer.writable
            self.write = lambda s: self.buffer.write(s.encode("ascii"))
            self.read = lambda: self.buffer.read().decode("ascii")
            self.readline = lambda: self.buffer.readline().decode("ascii")
    sys.stdin, sys.stdout = IOWrapper(sys.stdin), IOWrapper(sys.stdout)
    input = lambda: sys.stdin.readline().rstrip("\\r\\n")
    for _ in range(int(input())):
        print(sum(map(int, input().split())))
    """,
)
script(
    "mmap of the input",
    """
    import mmap
    data = mmap.mmap(0, 0, access=mmap.ACCESS_READ)
    for _ in range(int(data.readline())):
        print(sum(map(int, data.readline().split())))
    """,
)
script(
    "fileinput",
    """
    import fileinput
    lines = fileinput.input()
    next(lines)
    for line in lines:
        print(sum(map(int, line.split())))
    """,
)
script(
    "until EOFError",
    """
    while True:
        try:
            print(sum(map(int, input().split())))
        except EOFError:
            break
    """,
    "1 2\n3 4",
)
script(
    "input.txt only where it is there",
    """
    import os, sys
    if os.path.exists("input.txt"):
        sys.stdin = open("input.txt")
        sys.stdout = open("output.txt", "w")
    for _ in range(int(input())):
        print(sum(map(int, input().split())))
    """,
)
script(
    "seek and read again", "import sys\nsys.stdin.read()\nsys.stdin.seek(0)\nprint(len(sys.stdin.read()))", PAIR, "10\n"
)

# --- printing ----------------------------------------------------------------------------------------------------

script("os.write(1, ...)", "import os\nn, *l = open(0)\nos.write(1, b'3\\n')\nos.write(1, b'7\\n')")
script("print(flush=True)", "import os\nprint(3, flush=True)\nos.write(1, b'7\\n')")
script("sys.stdout.buffer", "import sys\nsys.stdout.buffer.write(b'3\\n7\\n')")
script("print = sys.stdout.write", "import sys\nprint = sys.stdout.write\nprint('3\\n')\nprint('7\\n')")
script(
    "atexit writes what was collected",
    """
    import atexit, io, sys
    _OUTPUT = io.StringIO()
    sys.stdout = _OUTPUT
    @atexit.register
    def write():
        sys.__stdout__.write(_OUTPUT.getvalue())
    print(3)
    print(7)
    """,
)
script("atexit with os.write", "import atexit, os\natexit.register(lambda: os.write(1, b'7\\n'))\nprint(3, flush=True)")
script("open(1, 'w') never closed", "out = open(1, 'w')\nout.write('3\\n')\nout.write('7\\n')")
script("its write alone is kept", "write = open(1, 'w').write\nwrite('3\\n')\nwrite('7\\n')")
script("sys.stdout = open(1, 'w')", "import sys\nsys.stdout = open(1, 'w', 8192)\nprint(3)\nprint(7)")
script("print to standard error", "import sys\nprint('debug', file=sys.stderr)\nprint(3)\nprint(7)")
script(
    "redirect_stdout",
    """
    import io
    from contextlib import redirect_stdout
    with redirect_stdout(io.StringIO()) as kept:
        print(3)
        print(7)
    print(kept.getvalue(), end="")
    """,
)
script("base64", "import base64\nprint(base64.b64encode(input().encode()).decode())", "hi", "aGk=\n")

# --- ending ------------------------------------------------------------------------------------------------------

script("exit()", "print(3)\nprint(7)\nexit()\nprint('never')")
script("quit()", "print(3)\nprint(7)\nquit()")
script("exit(0) in a function", "def main():\n    print(3)\n    print(7)\n    exit(0)\nmain()\n1 / 0")
script("sys.exit(main())", "import sys\ndef main():\n    print(3)\n    print(7)\nsys.exit(main())")
script("os._exit(0) after a flush", "import os, sys\nprint(3)\nprint(7)\nsys.stdout.flush()\nos._exit(0)")
script("__main__", "def main():\n    print(3)\n    print(7)\nif __name__ == '__main__':\n    main()")

# --- recursing and waiting ---------------------------------------------------------------------------------------

script(
    "a thread with a large stack",
    """
    import sys, threading
    sys.setrecursionlimit(10**6)
    threading.stack_size(2**26)
    def depth(n):
        return 0 if n == 0 else 1 + depth(n - 1)
    def main():
        input()
        print(depth(20000))
    threading.Thread(target=main).start()
    """,
    PAIR,
    "20000\n",
)
script(
    "a thread that is joined",
    """
    import sys, threading
    sys.setrecursionlimit(1 << 20)
    threading.stack_size(1 << 27)
    def main():
        for _ in range(int(input())):
            print(sum(map(int, input().split())))
    thread = threading.Thread(target=main)
    thread.start()
    thread.join()
    """,
)
script(
    "a pool of threads",
    """
    from concurrent.futures import ThreadPoolExecutor
    n, *lines = open(0)
    with ThreadPoolExecutor(4) as pool:
        print(*pool.map(lambda line: sum(map(int, line.split())), lines), sep="\\n")
    """,
)
script(
    "threads that take turns",
    """
    import threading
    turns = [threading.Semaphore(1), threading.Semaphore(0)]
    def say(me, text):
        for _ in range(3):
            turns[me].acquire()
            print(text, end="")
            turns[1 - me].release()
    threads = [threading.Thread(target=say, args=pair) for pair in ((0, "foo"), (1, "bar"))]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    """,
    "",
    "foobar" * 3,
)
script(
    "resource limits raised",
    """
    import resource, sys
    resource.setrlimit(resource.RLIMIT_STACK, (resource.getrlimit(resource.RLIMIT_STACK)[1],) * 2)
    sys.setrecursionlimit(10**5)
    def f(n): return 0 if n == 0 else 1 + f(n - 1)
    print(f(5000))
    """,
    PAIR,
    "5000\n",
)
script("recursion in the main thread", "def f(n): return 0 if n == 0 else 1 + f(n - 1)\nprint(f(900))", "", "900\n")
script(
    "bootstrap by a generator",
    """
    from types import GeneratorType
    def bootstrap(f, stack=[]):
        def wrapped(*args):
            if stack: return f(*args)
            to = f(*args)
            while True:
                if type(to) is GeneratorType:
                    stack.append(to); to = next(to)
                else:
                    stack.pop()
                    if not stack: return to
                    to = stack[-1].send(to)
        return wrapped
    @bootstrap
    def depth(n):
        yield 0 if n == 0 else (yield depth(n - 1)) + 1
    print(depth(10000))
    """,
    "",
    "10000\n",
)
script("a long input", "import sys\nprint(sum(map(int, sys.stdin)))", "1\n" * 200_000, "200000\n")
