"""The faults of the thesis as data, and what given settings do about each: `ssfr faults`, docs/faults.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from ssfr.components.config import Settings
from ssfr.components.labels.registry import label_of


@dataclass(frozen=True)
class Fault:
    """A row of the table.

    Attributes
    ----------
    number
        As in brackets in the presets and in the descriptions of settings.
    fault
        What the thesis did, or left open.
    settings
        Dotted keys that decide; ``cases`` stands for the filters of all cases.
    does
        What a run with these settings does about it.
    """

    number: int
    fault: str
    settings: tuple[str, ...]
    does: Callable[[Settings], str]


def fault_table(settings: Settings) -> Table:
    """Return the table with what `settings` do about each row, to be printed."""
    table = Table("#", show_lines=True)
    for heading in ("what the thesis did", "setting", "what these settings do"):
        table.add_column(heading, overflow="fold")
    for row in FAULTS:
        values = "\n".join(f"{key}: {value_of(settings, key)}" for key in row.settings)
        # text, not markup: a preset's own words may hold brackets
        table.add_row(str(row.number), *(Text(cell) for cell in (row.fault, values, row.does(settings))))
    return table


def value_of(settings: Settings, key: str) -> str:
    """Return the value of a dotted key, as a preset would say it; of ``cases``, how many there are."""
    value: Any = settings
    for part in key.split("."):
        value = getattr(value, part)
    if key == "cases":
        return str(len(value))
    if isinstance(value, tuple):
        return f"[{', '.join(str(item) for item in value)}]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _is_picture(settings: Settings) -> bool:
    return settings.preprocessing.pixel_type == "uint8"


def _named(settings: Settings, kinds: tuple[str, ...]) -> str:
    names = [case.name for case in settings.cases if case.filter.kind in kinds]
    return f"({', '.join(names) if names else 'no such case here'})"


def _snapshots(settings: Settings) -> str:
    chosen = settings.catalog.snapshots
    return "every snapshot that is there" if chosen is None else f"{len(chosen)}: {_range(chosen)}"


def _range(numbers: tuple[int, ...]) -> str:
    return f"{max(numbers)} to {min(numbers)}" if len(numbers) > 1 else str(numbers[0])


def _weighting(settings: Settings) -> str:
    chosen = settings.projection
    of = {"linear": "T and K", "log10": "log10 T and log10 K", "ln": "ln T and ln K"}[chosen.transform]
    fields = f"{of} (K by the density of the {_DENSITY[chosen.entropy_density]})"
    if chosen.weighting == "sum":
        return f"sum over cells of {fields}"
    return f"mass-weighted mean of {fields}; NaN where there is no gas, beside the mass map"


def _negative(settings: Settings) -> str:
    if not _is_picture(settings):
        return "signed: an odd asinh of each channel"
    even = settings.preprocessing.stretch_negative == "even"
    return "even: asinh of abs(I), which flips signs" if even else "signed"


def _pixels(settings: Settings) -> str:
    chosen = settings.preprocessing
    if not _is_picture(settings):
        return "float32; scales fitted on the training set alone"
    largest = {
        "first_snapshot": "the maxima of the first snapshot",
        "training": "the maxima of the training set",
        "fixed": "the maxima given",
    }[chosen.normalisation]
    if chosen.normalisation != "fixed":
        largest += {"signed": ", sign and all", "magnitude": ", in magnitude"}[chosen.maximum]
    return f"divided by {largest}, clipped to 0..255, cut to uint8; what was clipped is counted"


def _differences(settings: Settings) -> str:
    how = "wraps around in 8 bits" if _is_picture(settings) else "signed, in float32"
    return f"{how} {_named(settings, ('high_pass', 'band'))}"


def _blur(settings: Settings) -> str:
    how = "PIL's boxes, on the stretched 8-bit picture"
    if not _is_picture(settings):
        how = "a Gaussian on the map, before the stretch"
    return f"{how} {_named(settings, ('gaussian', 'high_pass', 'band'))}"


def _field_of_view(settings: Settings) -> str:
    kind = "physical" if settings.projection.width_unit == "kpc" else "comoving"
    return f"{kind}: {settings.projection.width:g} {settings.projection.width_unit} wide"


def _split(settings: Settings) -> str:
    chosen = settings.preprocessing.split
    how = {
        "tree": "merger trees stay together (halos, where there is no tree)",
        "halo": "halos stay together; twins in other snapshots do not",
        "random": "random, from the seed: twins on both sides",
        "column": f"as the column {chosen.column} of the label table says",
    }[chosen.method]
    audited = settings.evaluation.audit_case
    return how if audited is None else f"{how}; what that is worth is measured on case {audited}"


def _quenched(settings: Settings) -> str:
    chosen = settings.preprocessing.label
    if chosen.zero_sfr == "drop":
        return "dropped by its own galaxy's SFR, and counted"
    return (
        f"kept at a floor of {label_of(chosen).floor:g} dex, and counted; scores are given with and without"
    )


def _last_unit(settings: Settings) -> str:
    chosen = settings.training
    if chosen.section.last_unit == "ReLU":
        return f"ReLU; a dead head is started afresh, at most {chosen.restarts} times, and reported"
    return chosen.section.last_unit + (
        ", with a predicted uncertainty" if chosen.loss == "gaussian_nll" else ""
    )


def _preprocess(settings: Settings) -> str:
    chosen = settings.training
    how = "VGG16's own preprocessing is applied" if chosen.vgg16.preprocess_input else "raw 0..255"
    return how if chosen.section is chosen.vgg16 else f"{how}, where VGG16 is used; here it is not"


def _weights_kept(settings: Settings) -> str:
    chosen = settings.training
    kept = {
        "last": "the last epoch's",
        "best_training": "those of the lowest training loss",
        "best_validation": "those of the lowest validation loss; the test set is touched once",
    }[chosen.keep]
    return kept if chosen.patience is None else f"{kept}; stopped after {chosen.patience} epochs without gain"


def _reported(settings: Settings) -> str:
    decides = settings.deployment.require_beats_baselines
    return "baselines are reported beside every case" + (
        ", and a model must beat them to be promoted" if decides else ""
    )


_DENSITY = {"electron": "electrons", "gas": "gas"}

FAULTS = (
    Fault(
        1,
        "the code divides by the total SubhaloMass, the text by the stellar mass",
        ("preprocessing.label.mass",),
        lambda s: f"SFR over the {s.preprocessing.label.mass} mass; the sample carries both",
    ),
    Fault(
        2,
        "1e10 without /h: sSFR is off by h, and 0.5 in code units is 7.4e9 Msun",
        ("catalog.little_h",),
        lambda s: {"applied": "M = code x 1e10 / h", "ignored": "M = code x 1e10"}[s.catalog.little_h],
    ),
    Fault(
        3,
        "sSFR of one snapshot indexed with every snapshot's ids",
        (),
        lambda _: "each snapshot by its own ids: the bug is kept by no setting",
    ),
    Fault(4, "eleven snapshots, called ten", ("catalog.snapshots",), _snapshots),
    Fault(
        5,
        "bins of 0.99 x 256: 253.44 in use, the centre off by 1.3 px",
        ("projection.binning",),
        lambda s: {"exact": "exact bins", "thesis": "bins of 0.99 x the pixels"}[s.projection.binning],
    ),
    Fault(
        6,
        "temperature and entropy are summed over cells, so that the maps partly count cells",
        ("projection.weighting", "projection.transform", "projection.entropy_density"),
        _weighting,
    ),
    Fault(
        7,
        "asinh of a negative entropy is taken as even: signs flip",
        ("preprocessing.stretch_negative", "preprocessing.pixel_type"),
        _negative,
    ),
    Fault(
        8,
        "stretched values reach 2.57; how they became 8 bits is not said",
        ("preprocessing.pixel_type", "preprocessing.normalisation", "preprocessing.maximum"),
        _pixels,
    ),
    Fault(
        9,
        "image minus blur in 8 bits wraps around",
        ("preprocessing.pixel_type", "cases"),
        _differences,
    ),
    Fault(
        10,
        "PIL's blur: boxes, on stretched 8-bit pixels",
        ("preprocessing.pixel_type", "cases"),
        _blur,
    ),
    Fault(
        11,
        "the field of view is comoving: a galaxy at z = 0.126 looks 12.6% larger",
        ("projection.width_unit",),
        _field_of_view,
    ),
    Fault(
        12,
        "the same galaxy is in eleven snapshots: a random split puts its twin in training and test",
        ("preprocessing.split.method", "evaluation.audit_case"),
        _split,
    ),
    Fault(
        13,
        "galaxies with SFR = 0 were masked with the wrong table",
        ("preprocessing.label.zero_sfr", "preprocessing.label.floor"),
        _quenched,
    ),
    Fault(
        14,
        "ReLU on the last unit can die, and cannot go below 0",
        ("training.model", "training.vgg16.last_activation", "training.loss", "training.restarts"),
        _last_unit,
    ),
    Fault(
        15,
        "VGG16's own preprocessing was imported and not used",
        ("training.vgg16.preprocess_input",),
        _preprocess,
    ),
    Fault(
        16,
        "'Adadelta' has a rate of 1.0 in old Keras and of 0.001 in tf.keras",
        ("training.optimizer", "training.learning_rate"),
        lambda s: f"{s.training.optimizer}, with a rate of {s.training.rate:g}",
    ),
    Fault(
        17,
        "the best training loss was kept on disk, but the last weights were used",
        ("training.keep", "training.patience"),
        _weights_kept,
    ),
    Fault(
        18,
        "gas of the friends-of-friends halo against the SFR of the subhalo",
        ("projection.gas_of",),
        lambda s: {
            "halo": "gas of the halo",
            "subhalo": "gas of the subhalo",
            "two_half_mass_radii": "gas within two stellar half-mass radii",
        }[s.gas_of],
    ),
    Fault(
        19,
        "the temperature of star-forming gas is that of the effective equation of state",
        ("projection.star_forming_gas",),
        lambda s: {
            "raw": "taken as it is",
            "fixed_1e4K": "set to 1e4 K",
            "masked": "left out of temperature and entropy",
        }[s.projection.star_forming_gas],
    ),
    Fault(
        20,
        "SFR follows from density in the simulation: a mass map nearly holds the label",
        ("deployment.require_beats_baselines",),
        _reported,
    ),
)
