"""Arguments of public functions, and the settings that stand in for those that are not given."""

from __future__ import annotations

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
        raise InputError(f"{where or section.__name__}: {message}, found {problem['input']!r}") from None
