"""Settings of the Python domain: `domain.*` in the configuration."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from azr.config import DomainConfig, Share
from azr.types import ABDUCTION, DEDUCTION, ERROR, INDUCTION, Kind

FORBIDDEN_MODULES = tuple(
    (
        "asyncio bcrypt builtins calendar code codeop concurrent ctypes datetime faulthandler gc getpass glob hashlib "
        "hmac importlib inspect io locale logging mmap multiprocessing os pathlib pdb pebble pickle pkgutil platform "
        "pty random resource runpy secrets select shutil signal site socket ssl subprocess sys sysconfig tempfile "
        "threading time timeit trace traceback tracemalloc urllib uuid warnings weakref webbrowser"
    ).split()
)
"""The paper's list, and other modules for nondeterminism, processes, files and clocks."""


class PythonConfig(DomainConfig):
    """Programs, inputs and outputs: deduction, abduction, induction and, if added, error prediction."""

    available: ClassVar[tuple[Kind, ...]] = (DEDUCTION, ABDUCTION, INDUCTION, ERROR)

    name: Literal["python"] = "python"
    kinds: Annotated[tuple[Kind, ...], Field(strict=False)] = Field(
        (DEDUCTION, ABDUCTION, INDUCTION), description="kinds to play; `error` can be added; empty: all four"
    )
    induction_inputs: PositiveInt = Field(10, description="inputs that an induction proposal writes [N]")
    induction_shown: PositiveInt = Field(5, description="of those, pairs that the solver sees; the rest is hidden")
    composite_share: Share = Field(0.0, description="share of deduction and abduction proposals that must build on a g")
    extend_share: Share = Field(
        0.0, description="share of deduction and abduction proposals that add lines to a reference's program"
    )
    join_share: Share = Field(
        0.0, description="share of them that write an input for two references' programs, one after the other"
    )
    invented_half_life: PositiveFloat | None = Field(
        None,
        description="steps in which the share of deduction and abduction proposals that invent a program halves, in"
        " favour of those that build on a reference; null: it does not",
    )
    sizes: Annotated[int, Field(ge=0)] = Field(
        0,
        description="deduction and abduction proposals that invent or extend a program are asked for a number of"
        " statements, drawn from 1 to this; 0: for none",
    )
    line_numbers: bool = Field(
        False, description="number the lines of the program in a prompt that poses a task, by comments [N]"
    )
    program_bytes: PositiveInt = Field(4096, description="longer programs are rejected")
    forbidden_modules: Annotated[tuple[str, ...], Field(strict=False)] = FORBIDDEN_MODULES
    held_out: str = Field(
        "nursery-iid", description="held-out set for the evaluation during training; several are separated by commas"
    )

    @model_validator(mode="after")
    def _something_is_hidden(self) -> Self:
        if self.induction_shown >= self.induction_inputs:
            raise ValueError("induction_shown must be less than induction_inputs, or nothing is hidden")
        return self

    @model_validator(mode="after")
    def _shares_of_one_whole(self) -> Self:
        if self.composite_share + self.extend_share + self.join_share > 1:
            raise ValueError("composite_share, extend_share and join_share together must be at most 1")
        return self
