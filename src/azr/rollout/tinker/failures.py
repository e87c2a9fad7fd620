"""What a Tinker service or its client can answer instead of a result, as one line each that says what to do."""

from __future__ import annotations

from concurrent.futures import CancelledError

from azr.errors import UserError
from azr.http_client import one_line

RESUME = "the run can be resumed from its newest checkpoint: azr train --resume RUN"


def explained(error: BaseException, where: str) -> UserError:
    """An error of the client, or one that the service reported, as a message.

    Args:
        error: what the client raised.
        where: address of the service.
    """
    import tinker

    service, said = f"the Tinker service at {where}", one_line(_message(error))
    if isinstance(error, (tinker.AuthenticationError, tinker.PermissionDeniedError)):
        return UserError(f"{service} refuses the key ({said}); check TINKER_API_KEY")
    if isinstance(error, tinker.APIStatusError) and error.status_code == 402:
        return UserError(f"{service} asks for payment ({said}); once that is settled, {RESUME}")
    if isinstance(error, tinker.RateLimitError):
        return UserError(f"{service} is over its rate limit ({said}); wait a while, then {RESUME}")
    if isinstance(error, tinker.APIStatusError) and error.status_code in (404, 410):
        return UserError(f"{service} no longer knows the session, or what was asked for ({said}); {RESUME}")
    if isinstance(error, tinker.APIConnectionError):
        return UserError(f"{service} does not answer ({said}); check the network; {RESUME}")
    if isinstance(error, tinker.RequestFailedError):
        return UserError(f"{service} could not carry out a request ({said}); {RESUME}")
    if isinstance(error, tinker.APIError):
        return UserError(f"{service} refuses a request ({said}); {RESUME}")
    if isinstance(error, tinker.TinkerError):
        return UserError(f"{service} cannot be used ({said}); {RESUME}")
    # The client raises plain errors of Python where a session or the result of a request is lost.
    return UserError(f"{service} lost a request or the session ({said}); {RESUME}")


def is_the_clients(error: BaseException) -> bool:
    """Whether the client raised an error about the service, and not about what it was given by this process."""
    import tinker

    named = type(error).__module__.startswith("tinker")  # RetryableException is not a TinkerError
    lost = isinstance(error, (ValueError, RuntimeError)) and str(error).startswith(
        ("Error retrieving result", "Proto deserialization failed", "Server returned", "A previous request failed")
    )
    return named or lost or isinstance(error, (tinker.TinkerError, CancelledError))


def _message(error: BaseException) -> str:
    cause = error.__cause__ if str(error).startswith("A previous request failed") and error.__cause__ else error
    return str(getattr(cause, "message", "") or cause) or type(cause).__name__
