"""From maps and sample to what training reads: labels, split, scaling, and the 8-bit pictures."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ssfr.components.config import Case, PreprocessingSettings, Settings
from ssfr.components.errors import InputError
from ssfr.components.identity.galaxies import galaxy_name
from ssfr.components.identity.labels import LABEL
from ssfr.components.identity.maps import MapIdentity
from ssfr.components.imagesets.reader import MapReader, in_batches
from ssfr.components.imagesets.safe_image import IDENTITY
from ssfr.components.imagesets.spec import SCALING, ImageSpec
from ssfr.components.imagesets.transform import composite, eight_bits
from ssfr.components.labels.registry import Label, label_of
from ssfr.components.preprocessing.labels import label_identity, labels
from ssfr.components.preprocessing.scaling import fit_maxima, fit_scales, fixed_maxima
from ssfr.components.preprocessing.split import SPLITS, audit_splits, split, stable_id, twins_apart
from ssfr.components.runtime.progress import Progress
from ssfr.components.steps.files import AUDIT_SPLITS, GALAXIES
from ssfr.components.steps.tables import write_table
from ssfr.components.storage.artifact import atomic_file, write_json

_BATCH = 16


def run(
    output: Path, sample_dir: Path, maps_dir: Path, settings: Settings, progress: Progress
) -> dict[str, Any]:
    """Prepare image sets: ``galaxies.parquet``, ``scaling.json``, ``preparation.json`` and ``png/``.

    Parameters
    ----------
    output
        Folder for the results.
    sample_dir, maps_dir
        Of ``sample.parquet``, and of ``maps-*.h5`` with ``projection.csv`` (the same folder for an
        image catalogue).
    settings
        Its `preprocessing`, `cases` and `seed` are used; with `evaluation.audit_case` the splits of
        the leakage audit are written to audit_splits.parquet.
    progress
        Shows the galaxies done.

    Returns
    -------
    dict
        The contents of ``preparation.json``: counts of galaxies, of SFR = 0, of censored labels, of
        clipped pixels, and the sizes of the sets.
    """
    chosen = settings.preprocessing
    label = label_identity(sample_dir / "sample.parquet", chosen.label)
    drawn = drawn_galaxies(sample_dir / "sample.parquet", maps_dir / "projection.csv")
    labelled = drawn.join(labels(drawn, chosen.label))
    galaxies = labelled[~labelled["dropped"]].drop(columns="dropped").reset_index(drop=True)
    if galaxies.empty:
        raise InputError(
            f"{sample_dir}: all {len(drawn)} galaxies have {label_of(chosen.label).zero} and were dropped; "
            "use label.zero_sfr: floor"
        )
    _warn_of_units(galaxies["label"], label_of(chosen.label), progress)
    if chosen.split.method == "tree" and not galaxies["in_tree"].any():
        instead = "images have no group column: each is its own group"
        if "file" not in galaxies:
            instead = "no galaxy is in a merger tree: the split keeps halos together instead"
        progress.warn(instead)
    apart = twins_apart(galaxies, chosen.split.method)
    if apart:
        progress.warn(
            f"{apart} of {len(galaxies)} galaxies, over {galaxies['snapshot'].nunique()} snapshots, are not "
            "kept together by merger tree: the same galaxy at another time may be in another set, so scores "
            "will be too good"
        )
    galaxies = galaxies.join(split(galaxies, chosen.split, settings.seed))
    if settings.evaluation.audit_case is not None:
        splits = galaxies[["galaxy"]].join(audit_splits(galaxies, chosen.split, settings.seed))
        write_table(output / AUDIT_SPLITS.pattern, splits, AUDIT_SPLITS)
    with MapReader(maps_dir, galaxies) as reader:
        scaling = fit(reader, galaxies, settings, progress)
        write_json(output / SCALING, scaling)
        pictures: dict[str, Any] = {}
        if _wants_pictures(chosen):
            pictures = export(reader, galaxies, settings, scaling, output / "png", progress)
    galaxies.attrs = {LABEL: label.model_dump(mode="json")}
    write_table(output / GALAXIES.pattern, galaxies, GALAXIES)
    figures: dict[str, Any] = {
        "galaxies": len(galaxies),
        "without_map": int(drawn.attrs["without_map"]),
        "zero_sfr": int(labelled["zero_sfr"].sum()),
        "dropped_zero_sfr": int(labelled["dropped"].sum()),
        "censored": int(galaxies["censored"].sum()),
        "groups": int(galaxies["group"].nunique()),
        "split": {name: int((galaxies["split"] == name).sum()) for name in SPLITS},
        "split_zero_sfr": {
            name: int((galaxies["zero_sfr"] & (galaxies["split"] == name)).sum()) for name in SPLITS
        },
        **pictures,
    }
    write_json(output / "preparation.json", figures)
    sizes = ", ".join(f"{count} {name}" for name, count in figures["split"].items())
    progress.say(
        f"{figures['galaxies']} galaxies in {figures['groups']} groups: {sizes}; SFR = 0: "
        f"{figures['zero_sfr']} ({figures['dropped_zero_sfr']} dropped), censored: {figures['censored']}"
    )
    return figures


def _warn_of_units(values: pd.Series, label: Label, progress: Progress) -> None:
    """Warn where the median galaxy is so far from any known that the unit is probably another."""
    median, (low, high) = float(values.median()), label.plausible
    if not low <= median <= high:
        progress.warn(
            f"the median of {label.text} is {median:.2f}, expected {low:g} to {high:g}: is the column"
            f" {label.column} in another unit?"
        )


def drawn_galaxies(sample_path: Path, projection_path: Path) -> pd.DataFrame:
    """Join the sample with where its maps are; galaxies that were rejected are left out.

    Returns
    -------
    DataFrame
        The sample's columns plus galaxy, view, gas_cells_used, map_file, map_row, in the sample's order;
        a row for each view of a galaxy;
        ``attrs["without_map"]`` counts those left out.

    Raises
    ------
    InputError
        A file is absent, or no galaxy has a map.
    """
    for path in (sample_path, projection_path):
        if not path.is_file():
            raise InputError(f"{path}: no such file; run the step before again")
    sample = pd.read_parquet(sample_path)
    places = pd.read_csv(projection_path).rename(
        columns={"file": "map_file", "row": "map_row", "used_cells": "gas_cells_used"}
    )[["snapshot", "subhalo_id", "view", "map_file", "map_row", "gas_cells_used"]]
    joined = sample.merge(places, on=["snapshot", "subhalo_id"], how="inner", validate="one_to_many")
    if joined.empty:
        raise InputError(f"{projection_path}: none of the {len(sample)} galaxies of the sample has a map")
    joined["galaxy"] = _names(joined)
    joined.attrs["without_map"] = len(sample) - len(joined[["snapshot", "subhalo_id"]].drop_duplicates())
    return joined


def _names(galaxies: pd.DataFrame) -> list[str]:
    """Name galaxies of a simulation ``Snap%dID%d`` as the thesis does, pictures by their file.

    A row number would change with the order of the label table.
    """
    if "file" not in galaxies:
        return [
            galaxy_name(*key)
            for key in zip(galaxies["snapshot"], galaxies["subhalo_id"], galaxies["view"], strict=True)
        ]
    stems = [str(PurePosixPath(file).with_suffix("")) for file in galaxies["file"]]
    return stems if len(set(stems)) == len(stems) else list(galaxies["file"])


def fit(reader: MapReader, galaxies: pd.DataFrame, settings: Settings, progress: Progress) -> dict[str, Any]:
    """Fit ``scaling.json``: scales of every case (float32), maxima of the picture (uint8, PNG).

    Only training galaxies are looked at, but for normalisation ``first_snapshot``, which is the thesis'
    (fault 8).
    """
    chosen = settings.preprocessing
    training = np.flatnonzero(galaxies["split"] == "train")
    by_name = np.array([stable_id(f"scaling:{name}") for name in galaxies["galaxy"]])
    training = training[np.argsort(by_name[training], kind="stable")]
    scaling: dict[str, Any] = {"maps": reader.identity.model_dump(mode="json"), "cases": {}, "maxima": {}}
    if chosen.pixel_type == "float32":
        scaling["cases"] = fit_scales(reader, training, settings.cases, chosen, progress)
    else:
        for case in settings.cases:
            ImageSpec.build(case, chosen, reader.identity)
    if _wants_pictures(chosen) and not reader.identity.is_images:
        spec = picture_spec(chosen, reader.identity)
        if chosen.normalisation == "fixed":
            scaling["maxima"] = fixed_maxima(spec, chosen)
        elif chosen.normalisation == "first_snapshot":
            first = np.flatnonzero(galaxies["snapshot"] == galaxies["snapshot"].max())
            scaling["maxima"] = fit_maxima(reader, first, spec, chosen, progress)
        else:
            scaling["maxima"] = fit_maxima(reader, training, spec, chosen, progress)
    return scaling


def picture_spec(
    settings: PreprocessingSettings, maps: MapIdentity, scaling: dict[str, Any] | None = None
) -> ImageSpec:
    """Return the spec of the 8-bit picture: the first three fields, whatever the cases are."""
    eight_bit = settings.model_copy(update={"pixel_type": "uint8", "stretch": "lupton"})
    case = Case(name="picture", channels=maps.names[:3])
    return ImageSpec.build(case, eight_bit, maps, scaling)


def export(
    reader: MapReader,
    galaxies: pd.DataFrame,
    settings: Settings,
    scaling: dict[str, Any],
    folder: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Make every 8-bit picture and count clipped pixels; write GALAXY.png with preprocessing.export_png.

    Returns
    -------
    dict
        pixels_clipped_high, pixels_clipped_low and pixels_in_all (of all channels), pictures written.
    """
    spec = picture_spec(settings.preprocessing, reader.identity, scaling)
    says = PngInfo()
    says.add_text(IDENTITY, reader.identity.model_dump_json())
    high = low = pixels = written = 0
    names = galaxies["galaxy"].to_numpy(dtype=object)
    with progress.task("pictures", len(galaxies), "galaxies") as task:
        for part in in_batches(np.arange(len(galaxies)), _BATCH):
            maps = reader.maps(part)
            unclipped = composite(np, maps, spec)
            high += int(np.sum(unclipped > 255.0))
            low += int(np.sum(unclipped < 0.0))
            picture = eight_bits(np, unclipped).astype(np.uint8)
            pixels += picture.size
            if settings.preprocessing.export_png:
                for row, image in zip(part, picture, strict=True):
                    path = folder / f"{names[row]}.png"
                    if not path.exists():
                        with atomic_file(path) as temporary:
                            Image.fromarray(image).save(temporary, format="PNG", pnginfo=says)
                    written += 1
            task.advance(len(part))
    return {
        "pixels_clipped_high": high,
        "pixels_clipped_low": low,
        "pixels_in_all": pixels,
        "pictures": written,
    }


def _wants_pictures(settings: PreprocessingSettings) -> bool:
    return settings.pixel_type == "uint8" or settings.export_png
