"""What preparation and the ingestion of pictures read and write, and what their results depend on."""

from ssfr.components.steps.connections import Connections, File
from ssfr.components.steps.files import (
    AUDIT_SPLITS,
    GALAXIES,
    MAPS,
    PIXELS,
    PREPARATION,
    PROJECTION,
    REJECTED,
    SAMPLE,
    SCALING,
)

INGEST = Connections(
    step="ingest",
    about="Packs a folder of pictures and a table of labels into what selection and projection would have"
    " made. Pictures that can't be used are rejected, counted and listed.",
    code="ssfr.components.preprocessing.component:ingest",
    data="the table of labels and the pictures",
    settings=("preprocessing.images", "projection.pixels"),
    writes=(SAMPLE, MAPS, PROJECTION, REJECTED),
)
PREPROCESSING = Connections(
    step="preprocessing",
    about="Labels the galaxies, splits them into sets whose groups stay together, and fits each case's"
    " scaling on the training set.",
    code="ssfr.components.preprocessing.component:preprocessing",
    settings=("seed", "preprocessing", "cases"),
    reads={"sample": (SAMPLE,), "maps": (PIXELS, PROJECTION)},
    writes=(
        GALAXIES,
        AUDIT_SPLITS,
        SCALING,
        PREPARATION,
        File(
            "png/*.png",
            "png",
            "the 8-bit picture of each galaxy, where preprocessing.export_png",
            optional=True,
        ),
    ),
    besides=("whether a case is audited",),
    partly=("evaluation.audit_case",),
)
