"""Exact number theory for the primes domain."""

from collections.abc import Sequence
from functools import cache
from math import isqrt

Pair = tuple[int, int]


@cache
def primes_up_to(limit: int) -> tuple[int, ...]:
    """All primes up to a limit, by the sieve of Eratosthenes."""
    sieve = bytearray([1]) * (limit + 1)
    sieve[:2] = bytes(min(2, limit + 1))
    for number in range(2, isqrt(max(limit, 0)) + 1):
        if sieve[number]:
            sieve[number * number :: number] = bytes(len(range(number * number, limit + 1, number)))
    return tuple(number for number in range(limit + 1) if sieve[number])


_BASES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)
"""Enough for all numbers below 3.1 * 10**23 (Sorenson and Webster 2015, arXiv 1509.00864)."""


def is_prime(number: int) -> bool:
    """Whether a number is prime, by the Miller-Rabin test; exact up to 23 digits."""
    if number < 2 or any(number % base == 0 for base in _BASES):
        return number in _BASES
    odd, halvings = number - 1, 0
    while odd % 2 == 0:
        odd, halvings = odd // 2, halvings + 1
    return all(
        pow(base, odd, number) == 1 or any(pow(base, odd << k, number) == number - 1 for k in range(halvings))
        for base in _BASES
    )


def inverse(number: int, prime: int) -> int:
    """The y with number * y = 1 (mod prime) and 1 <= y < prime; the number must not be a multiple of the prime."""
    return pow(number, -1, prime)


def satisfies(prime: int, pairs: Sequence[Pair]) -> bool:
    """Whether the number is prime and x * y = 1 (mod prime) for all pairs."""
    return prime >= 2 and all((x * y - 1) % prime == 0 for x, y in pairs) and is_prime(prime)


def euclid(number: int, prime: int) -> list[tuple[int, int, int]]:
    """Euclid's algorithm on (prime, number), down to remainder 1.

    Returns:
        (q, r, t) of each step, with r = number * t (mod prime); the last t is an inverse, modulo the prime.
    """
    above, below, steps = (prime, 0), (number, 1), []
    while below[0] > 1:
        q, r = divmod(above[0], below[0])
        t = above[1] - q * below[1]
        above, below = below, (r, t)
        steps.append((q, r, t))
    return steps
