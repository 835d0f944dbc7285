"""Fields: what a map can show. `registry` says what a field is; other modules hold those of ssfr itself."""

from ssfr.components.projection.fields import gas as _gas
from ssfr.components.projection.fields import motion as _motion
from ssfr.components.projection.fields import particles as _particles
from ssfr.components.projection.fields.registry import (
    MATTER,
    Cells,
    Field,
    Matter,
    Values,
    field,
    field_named,
)
from ssfr.components.projection.fields.view import View

__all__ = ["MATTER", "Cells", "Field", "Matter", "Values", "View", "field", "field_named"]

_OWN = (_gas, _motion, _particles)
"""Modules that register their fields when they are imported."""
