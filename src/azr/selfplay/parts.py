"""What self-play and evaluation are built from, as protocols."""

from __future__ import annotations

from dataclasses import dataclass

from azr.domains.base import Domain
from azr.rollout.base import Generator, Renderer
from azr.sandbox.base import Sandbox


@dataclass(frozen=True, slots=True)
class Parts:
    """The domain and the services that play it.

    Attributes:
        domain: what is proposed, and how it is judged.
        generator: samples from the current policy.
        sandbox: runs what was written.
        render: makes a prompt for the generator.
    """

    domain: Domain
    generator: Generator
    sandbox: Sandbox
    render: Renderer
