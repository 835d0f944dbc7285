"""What deployment and verification read and write, and what their results depend on."""

from ssfr.components.steps.connections import Connections, Entry, File
from ssfr.components.steps.files import DEPLOYMENT, GALAXIES, METRICS, MODEL, PIXELS, PREDICTIONS

_READS = {"maps": (PIXELS,), "prepared": (GALAXIES,), "scores": (PREDICTIONS, METRICS)}

DEPLOY = Connections(
    step="deployment",
    about="Exports the best model with its preprocessing, checks its answers over gRPC, and promotes it if it"
    " beats the champion on galaxies that decide nothing else.",
    code="ssfr.components.deployment.component:deployment",
    settings=(
        "seed",
        "preprocessing.split",
        "preprocessing.images.group_column",
        "deployment.name",
        "deployment.margin_dex",
        "deployment.require_beats_baselines",
        "deployment.keep_versions",
        "deployment.warmup",
        "deployment.tolerance_dex",
    ),
    reads={**_READS, "model/*": MODEL},
    writes=(DEPLOYMENT,),
    besides=("the repository", "what is in it: a deployment that is no longer there is done again"),
)
VERIFICATION = Connections(
    step="verification",
    about="Compares what the live servers answer for held-out galaxies with the offline predictions, and"
    " undoes the deployment if they differ.",
    code="ssfr.components.deployment.component:verification",
    settings=("deployment.servers", "deployment.tolerance_dex"),
    reads={**_READS, "deployed": (DEPLOYMENT,)},
    writes=(
        File(
            "verification.json",
            "json",
            "the answers of the live servers",
            (
                Entry("version", "number", "that was checked"),
                Entry("differences_dex", "object", "server -> largest difference from offline", "dex"),
            ),
        ),
    ),
    besides=("the repository",),
)
