"""What the steps that draw maps read and write, and what their results depend on."""

from ssfr.components.steps.connections import Connections
from ssfr.components.steps.files import MAPS, PROJECTION, REJECTED, SAMPLE

_ROWS = SAMPLE.with_only("snapshot", "subhalo_id", "halo_id")

SHARD = Connections(
    step="projection_shard",
    about="Draws a share of a snapshot's maps. Its artifacts lie in a folder for each share, as"
    " projection_shard/099-0: when other snapshots come or go, they stay.",
    code="ssfr.components.projection.component:projection_shard",
    data="cells and particles of the galaxies of one snapshot",
    settings=("simulation", "projection", "catalog.little_h"),
    reads={"sample": (_ROWS.where(counts=False),)},
    writes=(MAPS, PROJECTION, REJECTED),
    besides=(
        "whose gas is drawn, where projection.gas_of is label",
        "rows of the sample that are drawn",
        "the code of fields from other packages",
    ),
    partly=("catalog.label_aperture",),
)
JOINED = Connections(
    step="projection",
    about="Joins the shares to one artifact, the same however many there were.",
    code="ssfr.components.projection.component:projection_joined",
    reads={"sample": (_ROWS,), "drawn": (MAPS,)},
    writes=(MAPS, PROJECTION, REJECTED),
)
