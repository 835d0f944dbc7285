"""The connections of every step, in the order of the data."""

from ssfr.components.catalog.connections import CATALOG
from ssfr.components.deployment.connections import DEPLOY, VERIFICATION
from ssfr.components.evaluation.connections import EVALUATION
from ssfr.components.preprocessing.connections import INGEST, PREPROCESSING
from ssfr.components.projection.connections import JOINED, SHARD
from ssfr.components.report.connections import REPORT
from ssfr.components.training.connections import AUDIT, TRAINING

EVERY_STEP = (
    CATALOG,
    SHARD,
    JOINED,
    INGEST,
    PREPROCESSING,
    TRAINING,
    AUDIT,
    EVALUATION,
    REPORT,
    DEPLOY,
    VERIFICATION,
)
_MANIFEST = "ssfr.components.manifest.component:manifest"
_CODE = {code.partition(":")[2]: code for code in (_MANIFEST, *(step.code for step in EVERY_STEP))}


def code_of(task: str) -> str:
    """Return the function of a task, as `ssfr.components.steps.code.code_digest` takes it, by its name."""
    return _CODE[task.replace("-", "_")]
