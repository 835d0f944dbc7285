"""What every section of the settings is: typed, frozen, and closed to unknown names."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import pydantic
from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

_MARK = {"changes_result": False}


def Field(default: Any = PydanticUndefined, *, changes_result: bool = True, **more: Any) -> Any:  # noqa: N802
    """Return `pydantic.Field` of a setting; `changes_result`: whether a result can depend on its value.

    Where it can't (workers, limits of what is read or may fail), another value finds what is done already.
    """
    return pydantic.Field(default, json_schema_extra=None if changes_result else dict(_MARK), **more)


Fraction = Annotated[float, pydantic.Field(ge=0.0, le=1.0)]
Positive = Annotated[float, pydantic.Field(gt=0.0)]


def can_change_result(field: FieldInfo) -> bool:
    """Whether a result can depend on a setting, by its field in `Section.model_fields`."""
    return field.json_schema_extra != _MARK


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    changes_result: ClassVar[bool] = True
    """False: no setting of the section can change a result."""

    def result_settings(self) -> dict[str, Any]:
        """Return the settings, as JSON has them, without those that can't change a result."""
        found: dict[str, Any] = {}
        if not self.changes_result:
            return found
        plain = self.model_dump(mode="json")
        for name, field in type(self).model_fields.items():
            if can_change_result(field):
                value = getattr(self, name)
                found[name] = value.result_settings() if isinstance(value, Section) else plain[name]
        return found
