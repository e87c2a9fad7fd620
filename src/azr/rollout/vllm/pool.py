"""Several servers as one: load is shared by outstanding requests, and what a lost server owed is asked of another."""

import sys
from collections.abc import Awaitable, Callable, Sequence

from azr.concurrency import gather
from azr.errors import UserError
from azr.rollout.vllm.server import LostServerError, VLLMServer


class Pool:
    """The servers of a run.

    Args:
        servers: at least one.
    """

    def __init__(self, servers: Sequence[VLLMServer]) -> None:
        self.servers = tuple(servers)
        self._lost: dict[VLLMServer, str] = {}

    def least_busy(self, requests: int) -> VLLMServer:
        """The server with the fewest outstanding requests, which is about to get that many more.

        Raises:
            UserError: none is left.
        """
        server = min(self._left(), key=lambda server: server.outstanding)
        server.outstanding += requests
        return server

    def lose(self, server: VLLMServer, reason: str) -> None:
        """Ask a server nothing more until it is given new weights."""
        if server not in self._lost:
            print(f"azr: vLLM at {server.url} is lost ({reason})", file=sys.stderr)
        self._lost[server] = reason

    async def with_each(self, work: Callable[[VLLMServer], Awaitable[None]], *, lost: bool = False) -> None:
        """Do something with every server that is left, at once; those that do not answer are lost.

        Args:
            work: to do.
            lost: also with lost servers, which count again if it succeeds: they may have been started anew.

        Raises:
            UserError: none is left, or the work raised it.
        """

        async def attempt(server: VLLMServer) -> None:
            try:
                await work(server)
            except LostServerError as error:
                self.lose(server, str(error))
            else:
                self._lost.pop(server, None)

        await gather(attempt(server) for server in (self.servers if lost else self._left()))
        self._left()

    async def close(self) -> None:
        """Close all connections."""
        for server in self.servers:
            await server.close()

    def _left(self) -> list[VLLMServer]:
        left = [server for server in self.servers if server not in self._lost]
        if not left:
            reasons = "; ".join(f"{server.url}: {reason}" for server, reason in self._lost.items())
            raise UserError(
                f"no vLLM server is left ({reasons}); start them again and continue with azr train --resume RUN"
            )
        return left
