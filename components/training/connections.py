"""What training reads and writes, and what its result depends on."""

from ssfr.components.steps.connections import Connections
from ssfr.components.steps.files import AUDIT_SPLITS, GALAXIES, MODEL, PIXELS, SCALING

_GALAXIES = GALAXIES.with_only("galaxy", "map_file", "map_row", "label", "split")

TRAINING = Connections(
    step="training",
    about="Trains the networks of one case: the first, which may be served, and those of the other seeds.",
    code="ssfr.components.training.component:training",
    settings=("seed", "training", "evaluation.interval"),
    reads={"maps": (PIXELS,), "prepared": (_GALAXIES, SCALING.where(counts=False))},
    writes=MODEL,
    besides=(
        "the case's own images: channels, filter, stretch and scales",
        "Keras and its backend",
        "the code of a model of another package",
    ),
    partly=(
        "cases",
        "preprocessing.pixel_type",
        "preprocessing.stretch",
        "preprocessing.stretch_beta",
        "preprocessing.stretch_negative",
    ),
)
AUDIT = Connections(
    step="training_audit",
    about="Adds to the networks of the audited case those of the leakage audit; the others stay as they are.",
    code="ssfr.components.training.component:training",
    settings=("seed", "training", "evaluation.interval"),
    reads={
        "maps": (PIXELS,),
        "prepared": (_GALAXIES, SCALING.where(counts=False), AUDIT_SPLITS.where(optional=False)),
        "model": MODEL,
    },
    writes=MODEL,
    besides=TRAINING.besides,
    partly=(*TRAINING.partly, "evaluation.audit_case"),
)
