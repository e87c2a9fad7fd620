"""Settings of the primes domain: `domain.*` in the configuration."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from azr.config import DomainConfig
from azr.domains.primes.arithmetic import primes_up_to
from azr.types import ABDUCTION, DEDUCTION, INDUCTION, Kind

LARGEST = 1_000_000
"""Upper limit of `max_prime`: all primes up to it are kept in memory."""


class PrimesConfig(DomainConfig):
    """Inverses modulo a prime. The difficulty depends on the size of the primes and the number of pairs."""

    available: ClassVar[tuple[Kind, ...]] = (DEDUCTION, ABDUCTION, INDUCTION)

    name: Literal["primes"] = "primes"
    min_prime: Annotated[int, Field(ge=2, le=LARGEST)] = Field(5, description="smallest prime that may be proposed")
    max_prime: Annotated[int, Field(ge=2, le=LARGEST)] = Field(97, description="largest prime that may be proposed")
    induction_pairs: Annotated[int, Field(ge=1, le=16)] = Field(2, description="pairs (x, y) that an induction shows")

    @model_validator(mode="after")
    def _some_prime_has_enough_pairs(self) -> Self:
        primes = [prime for prime in primes_up_to(self.max_prime) if prime >= self.min_prime]
        if not primes:
            raise ValueError(f"no prime lies between min_prime = {self.min_prime} and max_prime = {self.max_prime}")
        if INDUCTION in self.kinds and primes[-1] - 1 < self.induction_pairs:
            raise ValueError(f"{self.induction_pairs} pairs need a prime above that; raise max_prime")
        return self
