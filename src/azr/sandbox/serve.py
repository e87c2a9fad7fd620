"""`azr sandbox serve`: this machine's sandbox over HTTP, for runs on other machines. `protocol.py` has the messages.

Whoever reaches the server may run programs in the sandbox, and nothing else. aiohttp reads the requests.
"""

import asyncio
import hmac
import os
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from aiohttp import web

from azr import __version__
from azr.sandbox.base import Job, Limits, Sandbox, SandboxError
from azr.sandbox.doctor import Check, doctor, witness
from azr.sandbox.host.spawn import HostLimitError
from azr.sandbox.protocol import PROTOCOL, REQUEST_BYTES, Info, excess, guest_digest, read_job, write_outcomes

_BODY_SECONDS = 60.0
"""A request whose body takes longer to arrive is refused, so that none keeps its place for nothing."""

_END_SECONDS = 10.0
"""After SIGTERM, jobs that still run after so long are cancelled; their clients run them elsewhere."""

_VERSION = Job("import sys\ndef f(): return '%d.%d.%d' % sys.version_info[:3]")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class SandboxServer:
    """Serves a sandbox, which it closes at the end.

    Args:
        sandbox: runs the jobs.
        backend: its name.
        capacity: jobs that it gets at once; the bodies of others are not read yet.
        most: the highest limits of a job.
        token: that requests must carry; empty: none.
        allow_unsafe: serve even if a protection does not hold, and say so to clients.
        examine: tries the protections, before the first request.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        *,
        backend: str,
        capacity: int,
        most: Limits,
        token: str = "",
        allow_unsafe: bool = False,
        examine: Callable[[Sandbox], Awaitable[list[Check]]] = doctor,
    ) -> None:
        self._sandbox, self._backend, self._most = sandbox, backend, most
        self._capacity, self._token, self._allow_unsafe, self._examine = capacity, token, allow_unsafe, examine
        self._places = asyncio.Semaphore(capacity)
        self._running = 0
        self.info: Info | None = None
        """What it tells of itself; None before it has started."""

    def app(self) -> web.Application:
        """The application; its start examines the sandbox.

        Raises:
            SandboxError: on start, a protection does not hold, or the sandbox cannot run anything.
        """
        app = web.Application(client_max_size=REQUEST_BYTES, middlewares=[self._authorize])
        app.add_routes([web.get("/info", self._tell), web.post("/run", self._run)])
        app.cleanup_ctx.append(self._life)
        return app

    async def _life(self, app: web.Application) -> AsyncIterator[None]:
        try:
            checks = await self._examine(self._sandbox)
            missing = [check.name for check in checks if not check.holds]
            if missing and not self._allow_unsafe:
                raise SandboxError(
                    f"backend {self._backend} does not isolate programs here ({', '.join(missing)}); `azr sandbox"
                    " doctor` has the details; allow_unsafe=true serves it anyway, and clients have to allow it too"
                )
            (version,) = await self._sandbox.run(_VERSION)
            with witness() as canary:
                self.info = self._describe((version.value or "").strip("'"), isolated=not missing, canary=canary)
                yield
        finally:
            await self._sandbox.close()

    def _describe(self, python: str, *, isolated: bool, canary: Path) -> Info:
        return Info(
            protocol=PROTOCOL,
            instance=secrets.token_hex(8),
            azr=__version__,
            guest=guest_digest(),
            python=python,
            backend=self._backend,
            tier=getattr(self._sandbox, "tier", None),
            isolated=isolated,
            capacity=self._capacity,
            limits=self._most,
            canary=str(canary),
            pid=os.getpid(),
            running=0,
        )

    @web.middleware
    async def _authorize(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if self._token and not hmac.compare_digest(given, f"Bearer {self._token}".encode()):
            return _refusal(401, "the token is missing or wrong")
        return await handler(request)

    async def _tell(self, request: web.Request) -> web.Response:
        assert self.info is not None
        return web.json_response(self.info.model_copy(update={"running": self._running}).model_dump(mode="json"))

    async def _run(self, request: web.Request) -> web.Response:
        """Run a job. If the client hangs up, aiohttp cancels this, and with it the job."""
        assert self.info is not None
        if request.query.get("instance", self.info.instance) != self.info.instance:
            return _refusal(409, "it was started anew")
        if request.content_type != "application/json":  # a page in a browser cannot send this without asking first
            return _refusal(415, "the body must be application/json")
        if (request.content_length or 0) > REQUEST_BYTES:
            return _refusal(413, f"the body has {request.content_length} bytes, {REQUEST_BYTES} are allowed")
        async with self._places:
            try:
                async with asyncio.timeout(_BODY_SECONDS):
                    job = read_job(await request.read())
            except web.HTTPRequestEntityTooLarge:
                return _refusal(413, f"the body has more than {REQUEST_BYTES} bytes")
            except TimeoutError:
                return _refusal(408, "the body did not arrive in time")
            except ValueError as error:
                return _refusal(400, str(error))
            if asked := excess(job.limits, self._most):
                return _refusal(422, f"limits: {asked}")
            self._running += 1
            try:
                outcomes = await self._sandbox.run(job)
            except SandboxError as error:
                return _refusal(422 if isinstance(error, HostLimitError) else 503, str(error))
            finally:
                self._running -= 1
        return web.Response(body=write_outcomes(outcomes), content_type="application/json")


def _refusal(status: int, reason: str) -> web.Response:
    return web.json_response({"error": " ".join(reason.split())}, status=status)


def serve(server: SandboxServer, host: str, port: int, *, protected: bool) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        server: what to serve.
        host: address to listen on.
        port: port to listen on; 0 chooses a free one.
        protected: whether requests need a token; if not, a warning says who may reach the server.

    Raises:
        SandboxError: the address cannot be used, or see `SandboxServer.app`.
    """
    listening = _listen(host, port)
    name = f"[{host}]" if ":" in host else host
    address = f"http://{name}:{listening.getsockname()[1]}"
    if not protected:
        print(
            f"azr: warning: whoever reaches {address} may run programs in this sandbox; set AZR_SANDBOX_TOKEN, or keep"
            " it on a private network",
            file=sys.stderr,
            flush=True,
        )

    def ready(_: str) -> None:
        info = server.info
        assert info is not None
        tier = f" ({info.tier})" if info.tier else ""
        label = "" if info.isolated else ", NOT isolated"
        print(f"{address}: {info.backend}{tier}{label}, Python {info.python}, {info.capacity} jobs at once", flush=True)

    web.run_app(
        server.app(),
        sock=listening,
        print=ready,
        access_log=None,
        shutdown_timeout=_END_SECONDS,
        handler_cancellation=True,
    )


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
        except BaseException:
            listening.close()
            raise
    except (OSError, OverflowError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise SandboxError(
            f"--host {host} --port {port}: {reason}; choose another, or port 0 for any free one"
        ) from None
    return listening
