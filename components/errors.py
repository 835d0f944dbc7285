"""What a user did wrong, or what is wrong with a file: one line, no traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_MOST_LISTED = 20


class InputError(Exception):
    """Bad input. The message is one line: which file, which field, what was expected, the way out.

    The command line prints it and exits with `exit_code`; every other exception is a bug of ours and
    keeps its traceback. Names of files and answers of strange servers, which stand in messages, may hold
    line ends and commands of terminals: these are shown, not sent.

    Examples
    --------
    >>> try:
    ...     ssfr.read_report("nowhere")
    ... except ssfr.InputError as error:
    ...     print(error)
    nowhere: no manifest.json; give the folder of a run that ended (ssfr run --workdir)
    """

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__("".join(c if c.isprintable() else ascii(c)[1:-1] for c in message))


class DamagedArtifactError(InputError):
    """An artifact of our own no longer has the bytes that were written (SHA-256 differs)."""


class LockedError(InputError):
    """Another live process owns the working directory."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ' (did you mean X?)' for the nearest known name, or the list of known names.

    Parameters
    ----------
    name
        What the user wrote.
    known
        What would have been right.
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f" (did you mean '{close[0]}'?)"
    if len(names) > _MOST_LISTED:
        return f" (known: {', '.join(names[:_MOST_LISTED])} and {len(names) - _MOST_LISTED} more)"
    return f" (known: {', '.join(names)})"
