"""What evaluation reads and writes, and what its result depends on."""

from ssfr.components.steps.connections import Connections
from ssfr.components.steps.files import (
    AUDIT_SPLITS,
    EXTRA_PREDICTIONS,
    GALAXIES,
    METRICS,
    MODEL,
    PIXELS,
    PREDICTIONS,
)

EVALUATION = Connections(
    step="evaluation",
    about="Predicts the galaxies that trained no network, by each network and by baselines, and scores them.",
    code="ssfr.components.evaluation.component:evaluation",
    settings=("seed", "evaluation", "cases", "preprocessing.split"),
    reads={"maps": (PIXELS,), "prepared": (GALAXIES, AUDIT_SPLITS), "model/*": MODEL},
    writes=(PREDICTIONS, EXTRA_PREDICTIONS, METRICS),
)
