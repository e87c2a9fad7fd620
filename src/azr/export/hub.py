"""`azr export RUN --push NAME`: an exported model or dataset in a repository on the Hugging Face hub.

Everything goes through the hub's own client. The repository is created before anything is exported, so that a wrong
name, a missing token or missing rights are reported within a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from azr import __version__
from azr.errors import UserError

CARD = "README.md"
RepositoryKind = Literal["model", "dataset"]


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository on the hub."""

    name: str
    """With its owner, `owner/name`, except in a dry run, where the owner of a bare name is not known."""
    kind: RepositoryKind
    public: bool

    def __str__(self) -> str:
        return f"{'public' if self.public else 'private'} {self.kind} repository {self.name}"


def check_name(name: str) -> None:
    """Check the form of a repository's name, without asking the hub.

    Raises:
        UserError: the hub would refuse it.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(
            f"--push {name}: not a valid name on the hub, which has the form owner/name: {reason}"
        ) from None


def open_repository(name: str, kind: RepositoryKind, *, public: bool) -> Repository:
    """Return the repository of that name, which is created if there is none.

    Raises:
        UserError: the name is not valid, there is no token or it has no right to write, the hub cannot be reached, or
            the repository is public without `public`: it would publish what was to be private.
    """
    from huggingface_hub import HfApi, get_token

    from azr.models.hub import unreachable

    check_name(name)
    if get_token() is None:
        raise UserError(f"--push {name}: no token for the hub; log in with: hf auth login, or set HF_TOKEN")
    if address := unreachable():
        raise UserError(f"--push {name}: {address} does not answer; check the network, or HF_ENDPOINT")
    with _explained(name):
        api = HfApi()
        full_name = api.create_repo(name, repo_type=kind, private=not public, exist_ok=True).repo_id
        is_public = not api.repo_info(full_name, repo_type=kind).private
    if is_public and not public:
        raise UserError(
            f"--push {name}: {full_name} is public already; add --public to upload there, or use another name"
        )
    return Repository(full_name, kind, is_public)


def upload(folder: Path, to: Repository, message: str) -> str:
    """Upload a folder as one commit, and return the address of the repository.

    Raises:
        UserError: the upload failed; the repository is as it was before.
    """
    from huggingface_hub import HfApi

    with _explained(to.name):
        commit = HfApi().upload_folder(
            repo_id=to.name, folder_path=folder, repo_type=to.kind, commit_message=f"{message} (azr {__version__})"
        )
    return str(commit.repo_url)


def listing(folder: Path) -> Iterator[str]:
    """Describe what would be uploaded: the size in bytes and name of each file, then the card."""
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    for name, size in sorted(sizes.items()):
        yield f"{size:>15,}  {name}"
    yield f"{sum(sizes.values()):>15,}  bytes in {len(sizes)} files"
    yield f"\n{CARD}:\n"
    yield (folder / CARD).read_text("utf-8")


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn what the hub's client raises into one line."""
    import httpx
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        yield
    except HfHubHTTPError as error:
        raise UserError(f"--push {name}: {_refusal(error)}") from error
    except (httpx.HTTPError, OfflineModeIsEnabled, OSError, RuntimeError) as error:
        cause = error.__cause__ or error
        if isinstance(cause, HfHubHTTPError):  # the client wraps what happens to a large file
            raise UserError(f"--push {name}: {_refusal(cause)}") from error
        raise UserError(f"--push {name}: the upload failed ({_first_line(cause)}); run the command again") from error
    except ValueError as error:  # the card or an answer that the client does not accept
        raise UserError(f"--push {name}: the hub refuses it: {' '.join(str(error).split())}") from error


def _refusal(error: Exception) -> str:
    """Say why the hub refused a request, and what to do."""
    status = error.response.status_code  # type: ignore[attr-defined]
    if status == 401:
        return "the hub does not accept the token; log in again with: hf auth login, or correct HF_TOKEN"
    if status == 403:
        return "the token may not write there; use a token with the right to write, or a name under your own account"
    if status == 404:
        return "no such owner on the hub, or the token may not see it; check the name"
    said = getattr(error, "server_message", None) or _first_line(error)
    return f"the hub answers with status {status}: {said}"


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
