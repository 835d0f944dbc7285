"""Cron as Kubeflow's scheduler reads it: six fields, the dates that follow, and what is refused."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssfr.components.errors import InputError
from ssfr.pipelines.kubeflow.cron import Cron

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
WORDS = {4: MONTHS, 5: WEEKDAYS}
RANGES = ((0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6))


def dates(cron: str, since: str, count: int = 3) -> list[str]:
    moment = datetime.fromisoformat(since).replace(tzinfo=UTC)
    return [one.strftime("%Y-%m-%d %H:%M:%S") for one in islice(Cron.parse(cron).after(moment), count)]


# What robfig/cron 1.2.0, which Kubeflow's scheduler is built with, answered to the same questions.
@pytest.mark.parametrize(
    ("cron", "since", "expected"),
    [
        ("0 30 3 * * MON", "2026-11-23 03:30:00", ["2026-11-30 03:30:00", "2026-12-07 03:30:00"]),
        ("0 0 9 ? * 2-6", "2026-11-26 10:00:00", ["2026-11-27 09:00:00", "2026-11-28 09:00:00"]),
        ("5/20 * * * * *", "2026-12-31 23:59:46", ["2027-01-01 00:00:05", "2027-01-01 00:00:25"]),
        ("0 0 0 13 * fri", "2026-11-10 00:00:00", ["2026-11-13 00:00:00", "2026-11-20 00:00:00"]),
        ("0 0 0 */10 * sun", "2026-11-10 00:00:00", ["2027-01-31 00:00:00", "2027-02-21 00:00:00"]),
        ("0 0 0 29 2 *", "2026-11-10 00:00:00", ["2028-02-29 00:00:00", "2032-02-29 00:00:00"]),
        ("0 0 12 31 * ?", "2026-11-10 00:00:00", ["2026-12-31 12:00:00", "2027-01-31 12:00:00"]),
        ("0 0 0 1 jan,JUL *", "2026-11-10 00:00:00", ["2027-01-01 00:00:00", "2027-07-01 00:00:00"]),
    ],
)
def test_dates_are_those_of_the_scheduler(cron: str, since: str, expected: list[str]) -> None:
    assert dates(cron, since, 2) == expected


def test_a_date_is_later_than_the_moment_that_is_asked_about() -> None:
    cron = Cron.parse("* * * * * *")
    moment = datetime(2026, 11, 23, 1, 2, 3, 999_999, tzinfo=UTC)
    assert next(cron.after(moment)) == datetime(2026, 11, 23, 1, 2, 4, tzinfo=UTC)


def test_a_moment_elsewhere_is_taken_to_utc() -> None:
    moment = datetime.fromisoformat("2026-11-23T05:00:00+03:00")
    assert next(Cron.parse("0 30 2 * * *").after(moment)).isoformat() == "2026-11-23T02:30:00+00:00"


def test_five_fields_are_refused_with_what_to_write() -> None:
    with pytest.raises(InputError, match=r"six, seconds first; write '0 30 3 \* \* 1'"):
        Cron.parse("30 3 * * 1")


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("@weekly", "expected six fields, second minute hour day month weekday"),
        ("0 0 0 1 1 * 2027", "expected six fields"),
        ("", "expected six fields"),
        ("60 0 0 * * *", r"second '60': expected 0\.\.59"),
        ("0 0 0 0 * *", r"day '0': expected 1\.\.31"),
        ("0 0 0 * * 7", r"weekday '7': expected 0\.\.6 or SUN\.\.SAT"),
        ("0 0 0 * monday *", r"month 'monday': expected 1\.\.12 or JAN\.\.DEC"),
        ("0 0 5-3 * * *", "hour '5-3': ends before it begins"),
        ("0 */0 * * * *", "a step of 0"),
        ("0 1,,2 * * * *", "comma separated"),
        ("0 -5 * * * *", "comma separated"),
        ("0 ² * * * *", "comma separated"),
        ("0 0 0 30 2 *", "there is no such date"),
    ],
)
def test_what_the_scheduler_would_not_run_is_refused_in_one_line(cron: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        Cron.parse(cron)
    assert "\n" not in str(caught.value)


@st.composite
def parts(draw: st.DrawFn, field: int) -> str:
    low, high = RANGES[field]
    first = draw(st.integers(low, high))
    last = draw(st.integers(first, high))

    def shown(value: int) -> str:
        words = WORDS.get(field)
        return (
            draw(st.sampled_from([words[value - low], words[value - low].upper()])) if words else str(value)
        )

    step = draw(st.sampled_from(["", "", "/1", "/2", "/7", "/59"]))
    start = draw(st.sampled_from(["*", "?", shown(first), f"{shown(first)}-{shown(last)}"]))
    return start + step


@st.composite
def crons(draw: st.DrawFn) -> str:
    fields = [",".join(draw(st.lists(parts(number), min_size=1, max_size=2))) for number in range(6)]
    fields[4] = draw(st.sampled_from(["*", "?", fields[4]]))  # months apart take a slow reference long
    return " ".join(fields)


def allowed(field: str, number: int) -> set[int]:
    """Read a field anew, by listing what it names."""
    low, high = RANGES[number]
    values: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        begin, _, end = span.partition("-")
        if begin in "*?":
            listed = list(range(low, high + 1))
        else:
            first, last = (value_of(one, number) if one else None for one in (begin, end))
            assert first is not None
            listed = list(range(first, 1 + (last if last is not None else high if step else first)))
        values |= set(listed[:: int(step or 1)])
    return values


def value_of(text: str, number: int) -> int:
    words = WORDS.get(number, ())
    return RANGES[number][0] + words.index(text.lower()) if text.lower() in words else int(text)


def slowly(cron: str, since: datetime, days: int) -> datetime | None:
    """Look at every second of some days, one after the other."""
    fields = cron.split()
    second, minute, hour, day, month, weekday = (allowed(field, at) for at, field in enumerate(fields))
    starred = any(one in fields[3] + fields[5] for one in "*?")

    def on(one: date) -> bool:
        fits = (one.day in day, (one.weekday() + 1) % 7 in weekday)
        return one.month in month and (all(fits) if starred else any(fits))

    at = since
    end = since + timedelta(days=days)
    while (at := at + timedelta(seconds=1)) <= end:
        if at.second in second and at.minute in minute and at.hour in hour and on(at.date()):
            return at
    return None


@settings(deadline=None, max_examples=40)
@given(crons(), st.datetimes(datetime(2026, 1, 1), datetime(2026, 6, 1)))
def test_the_next_date_is_the_one_that_a_search_by_seconds_finds(cron: str, moment: datetime) -> None:
    since = moment.replace(microsecond=0, tzinfo=UTC)
    try:
        found = next(Cron.parse(cron).after(since), None)
    except InputError as error:
        assert "no such date" in str(error)
        return
    expected = slowly(cron, since, days=1)
    if expected is None:
        assert found is None or found > since + timedelta(days=1)
    else:
        assert found == expected
