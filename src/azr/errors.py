"""The one exception that a user is meant to read: a line that says what is wrong, where, and what to do."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input or an environment that falls short.

    The command line prints the message as a single line and exits with code 2; it never shows a traceback for it.
    """


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word, such as "; did you mean python?"; empty if none is close."""
    match = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {match[0]}?" if match else ""
