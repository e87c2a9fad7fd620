"""What a zygote leaves behind: bytes in its pipes, and a process to reap.

The host shares its end of the payload pipe with the zygote, which may move bytes out of it as long as it lives. So the
host reads there only when the results have ended (the zygote is dead), and until the payload has ended too (its child
is dead). No read blocks.
"""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Callable
from typing import NamedTuple

from azr.sandbox.guest.wire import HEADER, NONCE_BYTES
from azr.sandbox.host.spawn import Channels

_READ_BYTES = 2**18
_MOST_BYTES = 2**21  # more than the payload pipe can hold
_PATIENCE = 5.0
"""Seconds until a guard that was told to end is killed itself, and the pipes are closed whatever they hold."""


class Left(NamedTuple):
    """The last bytes of a zygote and its child, which are dead."""

    results: bytes = b""  # a part of a frame, or frames that the host had not read when it had the zygote killed
    payload: bytes = b""  # what the child wrote and the zygote had not moved

    def of_run(self, nonce: bytes) -> bytes | None:
        """Return what the run at the head wrote, without its nonce; None if no process had taken it."""
        found = self.payload
        if len(self.results) >= HEADER.size:  # it had ended, and the zygote had begun to move what it wrote
            _, length, _ = HEADER.unpack_from(self.results)
            moved = self.results[HEADER.size : HEADER.size + length]
            found = moved + self.payload[: length - len(moved)]
        return found[NONCE_BYTES:] if found.startswith(nonce) else None


class Remains:
    """A zygote that was killed or has died, until its pipes are read and its process is reaped.

    `results` is what was read of its results and is not a whole frame. `on_read` gets what it left, or nothing after
    `_PATIENCE`; None if nobody needs that. `on_buried` is called at the end.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        channels: Channels,
        results: bytes,
        on_read: Callable[[Left], None] | None,
        on_buried: Callable[[Remains], None],
    ) -> None:
        self._loop, self._channels, self._pid = loop, channels, os.getpid()
        self._results, self._payload = bytearray(results), bytearray()
        self._on_read, self._on_buried = on_read, on_buried
        self._open = [channels.jobs, channels.results, channels.payload]
        self._buried = False
        channels.process.terminate()  # the guard, which kills the zygote and its child
        if loop.is_closed():
            return
        if on_read is None:
            self._close_pipes()
        else:
            loop.add_reader(channels.results, self._read_results)
        loop.add_reader(channels.death, self._bury)
        self._timer = loop.call_later(_PATIENCE, self._insist)

    def close(self) -> None:
        """Wait until the process has ended, and read nothing more."""
        if not self._buried:
            poll = select.poll()
            poll.register(self._channels.death, select.POLLIN)
            if not poll.poll(_PATIENCE * 1000):
                self._channels.process.kill()
            self._bury()
        self._stop_reading(Left())

    def _read_results(self) -> None:
        data = self._read(self._channels.results, self._results)
        if data == b"":
            self._loop.remove_reader(self._channels.results)
            os.set_blocking(self._channels.payload, False)  # not earlier: the zygote shares the flag
            self._loop.add_reader(self._channels.payload, self._read_payload)

    def _read_payload(self) -> None:
        data = self._read(self._channels.payload, self._payload)
        if data == b"" or len(self._payload) > _MOST_BYTES:
            self._stop_reading(Left(bytes(self._results), bytes(self._payload)))

    def _read(self, descriptor: int, into: bytearray) -> bytes | None:
        """Read what is there; nothing at the end, None if there is no more for now, or in a fork of the host."""
        if os.getpid() != self._pid:
            return None
        try:
            data = os.read(descriptor, _READ_BYTES)
        except BlockingIOError:
            return None
        into += data
        return data

    def _insist(self) -> None:
        if os.getpid() == self._pid:
            self._channels.process.kill()
            self._stop_reading(Left())

    def _stop_reading(self, left: Left) -> None:
        self._close_pipes()
        on_read, self._on_read = self._on_read, None
        if on_read is not None:
            on_read(left)
        self._end()

    def _close_pipes(self) -> None:
        for descriptor in self._open:
            if not self._loop.is_closed():
                self._loop.remove_reader(descriptor)
            os.close(descriptor)
        self._open.clear()

    def _bury(self) -> None:
        if os.getpid() != self._pid:
            return
        if not self._loop.is_closed():
            self._loop.remove_reader(self._channels.death)
        os.close(self._channels.death)
        self._channels.process.wait()
        self._buried = True
        self._end()

    def _end(self) -> None:
        if self._buried and not self._open:
            if not self._loop.is_closed():
                self._timer.cancel()
            self._on_buried(self)
