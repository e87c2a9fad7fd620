"""Which prompts are read in one forward pass."""

from hypothesis import given
from hypothesis import strategies as st

from azr.rollout.base import Sampling
from azr.rollout.local.decode import _PREFILL_TOKENS, Ticket, _groups


def grouped(lengths: list[int], padding: int) -> list[list[int]]:
    tickets = [Ticket((1,) * length, "key", range(1), Sampling(1)) for length in lengths]
    return [[len(ticket.prompt_ids) for ticket in group] for group in _groups(tickets, padding)]


@given(st.lists(st.integers(1, 3000)).map(sorted), st.integers(0, 5000))
def test_every_prompt_is_read_once_within_the_limits(lengths: list[int], padding: int) -> None:
    groups = grouped(lengths, padding)
    assert [length for group in groups for length in group] == lengths
    for group in groups:
        padded = len(group) * max(group, default=0)
        assert padded <= _PREFILL_TOKENS
        assert padded - sum(group) <= padding


def test_prompts_of_similar_lengths_share_a_pass() -> None:
    assert grouped([10, 11, 12, 90, 91], 3) == [[10, 11, 12], [90, 91]]
    assert grouped([10, 11, 12, 90, 91], 237) == [[10, 11, 12, 90], [91]]
