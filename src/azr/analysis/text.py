"""Formatting of figures and of model output for people."""

import re
from collections import Counter
from collections.abc import Mapping

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """Escape characters that move a terminal's cursor, set colours or reorder text."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def duration(seconds: float) -> str:
    """The two largest units of hours, minutes and seconds, such as "2 h 02 min"."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def rejections(reasons: Mapping[str, int], *, most: int) -> str:
    """The most frequent reasons of rejected proposals, with their counts."""
    counts = Counter({visible(reason): count for reason, count in reasons.items() if reason != "accepted"})
    return ", ".join(f"{reason} {count}" for reason, count in counts.most_common(most))


def share(value: float | None) -> str:
    """A share as a whole percentage; a dash if nothing was measured."""
    return "-" if value is None else f"{value:.0%}"


def percent(value: float) -> str:
    """A share as a whole percentage, or with one decimal below 1%."""
    return f"{value:.1%}" if 0 < value < 0.01 else f"{value:.0%}"


def number(value: float | None) -> str:
    """Two decimals; a dash if nothing was measured."""
    return "-" if value is None else f"{value:.2f}"


def in_points(rise: float, interval: tuple[float, float], *, named: str = "") -> str:
    """A difference of two shares in percentage points with its interval, prefixed with `named`."""
    low, high = interval
    return f"{100 * rise:+.1f} points ({named}{100 * low:+.1f} to {100 * high:+.1f})"
