"""What self-play is played with."""

from dataclasses import dataclass

from azr.domains.base import Domain
from azr.rollout.base import Generator, Renderer
from azr.sandbox.base import Sandbox


@dataclass(frozen=True, slots=True)
class Parts:
    """A domain and the services that it is played with.

    Attributes:
        domain: the tasks, and how they are judged.
        generator: samples from the current policy.
        sandbox: runs the model's programs.
        render: turns a text into a prompt for the generator.
    """

    domain: Domain
    generator: Generator
    sandbox: Sandbox
    render: Renderer
