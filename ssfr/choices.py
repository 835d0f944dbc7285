"""Arguments of public functions, and the settings that stand in for those that are not given."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ssfr.components.errors import InputError

S = TypeVar("S", bound=BaseModel)


def merged(section: type[S], defaults: S, arguments: Mapping[str, Any]) -> S:
    """Return a section of the settings with the arguments that are not None in it.

    Raises
    ------
    InputError
        A value out of range.

    Examples
    --------
    >>> from ssfr.components.config import ProjectionSettings
    >>> merged(ProjectionSettings, ProjectionSettings(), {"pixels": 64, "width": None}).width
    90.0
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    try:
        return section.model_validate({**defaults.model_dump(), **given})
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        found = "" if isinstance(problem["input"], dict | BaseModel) else f", found {problem['input']!r}"
        raise InputError(f"{where or section.__name__}: {message}{found}") from None


def whole_number(name: str, value: Any) -> int:
    """Return an argument as an integer of at least 0.

    Raises
    ------
    InputError
        It is something else.

    Examples
    --------
    >>> whole_number("view", 3)
    3
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise InputError(f"{name}: {value!r}; expected a whole number") from None
    if number < 0:
        raise InputError(f"{name}: {number}; expected 0 or more")
    return number
