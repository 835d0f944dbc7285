"""What the report reads and writes, and what it depends on."""

from ssfr.components.steps.connections import Connections, File
from ssfr.components.steps.files import (
    EXTRA_PREDICTIONS,
    GALAXIES,
    METRICS,
    MODEL,
    PIXELS,
    PREDICTIONS,
    PREPARATION,
    REJECTED,
)

REPORT = Connections(
    step="report",
    about="Draws the figures, and writes the tables, one self-contained page and the card of the model.",
    code="ssfr.components.report.component:report",
    settings=(
        "seed",
        "simulation",
        "catalog",
        "projection",
        "preprocessing",
        "cases",
        "training",
        "evaluation",
        "deployment",
    ),
    reads={
        "maps": (PIXELS, REJECTED),
        "prepared": (
            GALAXIES,
            PREPARATION,
            File("png/*.png", "png", "the picture of each galaxy", optional=True),
        ),
        "model/*": MODEL,
        "scores": (PREDICTIONS, EXTRA_PREDICTIONS, METRICS),
    },
    writes=(
        File("report.html", "html", "the page, figures inside"),
        File("summary.md", "text", "the answers and the scores, in short"),
        File("model-card.md", "text", "the card of the best model"),
        File("figures/*", "binary", "each figure as PNG and PDF"),
        File("tables/*.csv", "csv", "each table"),
        File("thesis/*", "binary", "the thesis' own files, where evaluation.export is thesis", optional=True),
    ),
    besides=("what the data are called", "whether the galaxies are made up"),
)
