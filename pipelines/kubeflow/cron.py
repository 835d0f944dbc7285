"""Cron as Kubeflow's scheduler reads it: six fields, the second first, in UTC; and the dates that follow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import product

from ssfr.components.errors import InputError

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS = (
    ("second", 0, 59, ()),
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("weekday", 0, 6, _WEEKDAYS),
)
_EXAMPLE = "'0 30 3 * * MON' is Monday at 03:30 UTC"
_PART = re.compile(
    r"(?:(?P<any>[*?])|(?P<low>[A-Za-z0-9]+)(?:-(?P<high>[A-Za-z0-9]+))?)(?:/(?P<step>[0-9]+))?"
)
_YEARS = 5
"""A date further off than this never comes: the scheduler gives up there."""


@dataclass(frozen=True)
class Cron:
    """A schedule: the values that each of the six fields allows, ascending; weekday 0 is Sunday.

    The rules are those of robfig/cron version 1: `?` is `*`, `a/n` is every n-th from a on, and where neither
    day nor weekday begins with a star, a date needs only one of them.
    """

    allowed: tuple[tuple[int, ...], ...]
    either: bool

    @classmethod
    def parse(cls, text: str) -> Cron:
        """Read six fields.

        Raises
        ------
        InputError
            Not six fields (the scheduler would take five for six, and run at other times than meant), a value
            out of range, or a date that never comes.
        """
        fields = text.split()
        if len(fields) == 5:
            raise InputError(
                f"cron '{text}': has five fields, and Kubeflow's has six, seconds first; write '0 {text}'"
            )
        if len(fields) != len(_FIELDS):
            names = " ".join(name for name, *_ in _FIELDS)
            raise InputError(f"cron '{text}': expected six fields, {names}; {_EXAMPLE}")
        values, stars = [], []
        for field, (name, low, high, words) in zip(fields, _FIELDS, strict=True):
            try:
                allowed, star = _read(field, low, high, words)
            except ValueError as error:
                raise InputError(f"cron '{text}': {name} '{field}': {error}; {_EXAMPLE}") from None
            values.append(allowed)
            stars.append(star)
        cron = cls(tuple(values), either=not (stars[3] or stars[5]))
        if next(cron.after(datetime.now(UTC)), None) is None:
            raise InputError(f"cron '{text}': there is no such date; {_EXAMPLE}")
        return cron

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Yield the dates later than a moment, in UTC."""
        seconds, minutes, hours, *_ = self.allowed
        last = moment.astimezone(UTC).replace(microsecond=0)
        today = last.date()
        while today.year <= last.year + _YEARS:
            if self._on(today):
                for clock in product(hours, minutes, seconds):
                    one = datetime.combine(today, time(*clock), UTC)
                    if one > last:
                        yield one
                        last = one
            today += timedelta(days=1)

    def _on(self, one: date) -> bool:
        *_, days, months, weekdays = self.allowed
        if one.month not in months:
            return False
        fits = (one.day in days, one.isoweekday() % 7 in weekdays)
        return any(fits) if self.either else all(fits)


def _read(field: str, low: int, high: int, words: tuple[str, ...]) -> tuple[tuple[int, ...], bool]:
    """Return what a field allows, and whether a star is in it."""
    allowed: set[int] = set()
    star = False
    for part in field.split(","):
        found = _PART.fullmatch(part)
        if found is None:
            raise ValueError("expected *, a, a-b, */n, a/n or a-b/n, comma separated")
        step = int(found["step"] or 1)
        if step == 0:
            raise ValueError("a step of 0")
        if found["any"]:
            star = True
            first, last = low, high
        else:
            first = _number(found["low"], low, high, words)
            last = _number(found["high"], low, high, words) if found["high"] else first
            if found["step"] and not found["high"]:
                last = high
        if last < first:
            raise ValueError("ends before it begins")
        allowed.update(range(first, last + 1, step))
    return tuple(sorted(allowed)), star


def _number(text: str, low: int, high: int, words: tuple[str, ...]) -> int:
    if text.lower() in words:
        return low + words.index(text.lower())
    if not (text.isdigit() and low <= int(text) <= high):
        names = f" or {words[0].upper()}..{words[-1].upper()}" if words else ""
        raise ValueError(f"expected {low}..{high}{names}")
    return int(text)
