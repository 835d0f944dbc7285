"""The connections of every step, in the order of the data."""

from ssfr.components.catalog.connections import CATALOG
from ssfr.components.deployment.connections import DEPLOY, VERIFICATION
from ssfr.components.evaluation.connections import EVALUATION
from ssfr.components.preprocessing.connections import INGEST, PREPROCESSING
from ssfr.components.projection.connections import JOINED, SHARD
from ssfr.components.report.connections import REPORT
from ssfr.components.steps.connections import File
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
OF_EVERY_ARTIFACT = File(
    "manifest.json",
    "json",
    "what made the artifact: inputs, settings, code; digests of its files, its figures",
)
OF_A_RUN = (
    File("manifest.json", "json", "all it takes to run it again: settings, data, steps, versions"),
    File("report.html", "html", "a copy of the report's page"),
    File("model-card.md", "text", "a copy of the best model's card"),
    File("events.jsonl", "text", "what the steps reported, an event a line"),
    File("kfp.log", "text", "what Kubeflow's runner printed"),
    File(".lock", "json", "the process that is at work in the folder"),
    File("models/*/champion.json", "json", "which version is served under which label"),
    File("models/*/.champion.json.lock", "json", "the process that is writing it"),
    File("models/*/*/manifest.json", "json", "digests of the version's files"),
    File("models/*/*/saved_model.pb", "binary", "TensorFlow's SavedModel of a version"),
    File("models/*/*/fingerprint.pb", "binary", "its fingerprint"),
    File("models/*/*/variables/*", "binary", "its weights"),
    File("models/*/*/assets.extra/*", "binary", "what it is, in words, and requests that warm the server up"),
)
"""Files of a run's folder on this machine, beside the artifacts of its steps."""
_MANIFEST = "ssfr.components.manifest.component:manifest"
_CODE = {code.partition(":")[2]: code for code in (_MANIFEST, *(step.code for step in EVERY_STEP))}


def code_of(task: str) -> str:
    """Return the function of a task, as `ssfr.components.steps.code.code_digest` takes it, by its name."""
    return _CODE[task.replace("-", "_")]
