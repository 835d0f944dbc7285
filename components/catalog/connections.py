"""What the selection of galaxies reads and writes, and what its result depends on."""

from ssfr.components.steps.connections import Connections, Entry, File
from ssfr.components.steps.files import SAMPLE

CATALOG = Connections(
    step="catalog",
    about="Selects the galaxies of the sample from the group catalogues and merger trees of a simulation, and"
    " counts what each cut removes.",
    code="ssfr.components.catalog.component:catalog",
    data="group catalogues, offsets and merger trees; of the snapshots' files only the headers",
    settings=("simulation", "catalog"),
    writes=(
        SAMPLE,
        File(
            "funnel.csv",
            "csv",
            "how many subhalos each cut leaves",
            (
                Entry("snapshot", "text", "number, or all"),
                Entry("cut", "text", "name of the cut"),
                Entry("remaining", "int64", "subhalos left after it"),
            ),
        ),
    ),
)
