"""Fields: what a map can show. `registry` says what a field is; other modules hold those of ssfr itself."""

from ssfr.components.projection.fields.finding import field_named
from ssfr.components.projection.fields.outside import outside_versions
from ssfr.components.projection.fields.registry import MATTER, Cells, Field, Matter, Values, field
from ssfr.components.projection.fields.view import View

__all__ = [
    "MATTER",
    "Cells",
    "Field",
    "Matter",
    "Values",
    "View",
    "field",
    "field_named",
    "outside_versions",
]
