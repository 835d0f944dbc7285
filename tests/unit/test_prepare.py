"""The step from maps and sample to prepared galaxies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from map_samples import physical_maps, sample_table, write_sample
from PIL import Image

from ssfr.components.config import Settings
from ssfr.components.errors import InputError
from ssfr.components.identity.maps import MapIdentity
from ssfr.components.imagesets.reader import MapReader, load_spec
from ssfr.components.imagesets.safe_image import IDENTITY
from ssfr.components.imagesets.transform import images
from ssfr.components.preprocessing import prepare
from ssfr.components.runtime.progress import SILENT, Progress

COUNT = 40
CASES = [{"name": "composite"}, {"name": "blur", "filter": {"kind": "gaussian", "sigma": 2}}]


def settings_of(audit_case: str | None = None, **preprocessing: Any) -> Settings:
    return Settings.model_validate(
        {
            "preprocessing": preprocessing,
            "cases": CASES,
            "training": {"keep": "last"},
            "evaluation": {"audit_case": audit_case},
        }
    )


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    return write_sample(tmp_path / "drawn", sample_table(COUNT), physical_maps(2 * COUNT, 24))


@pytest.fixture
def output(tmp_path: Path) -> Path:
    (tmp_path / "prepared").mkdir()
    return tmp_path / "prepared"


def test_galaxies_carry_label_split_and_place_of_their_map(drawn: Path, output: Path) -> None:
    figures = prepare.run(output, drawn, drawn, settings_of(), SILENT)
    galaxies = pd.read_parquet(output / "galaxies.parquet")
    sample = pd.read_parquet(drawn / "sample.parquet")
    assert galaxies[list(sample)].equals(sample)
    assert galaxies["galaxy"].iloc[0] == "Snap99ID0"
    assert galaxies["gas_cells_used"].eq(990).all()
    assert galaxies["label"].ge(-13).all()
    assert figures["zero_sfr"] == 8
    assert sum(figures["split"].values()) == figures["galaxies"] == 2 * COUNT
    assert json.loads((output / "preparation.json").read_text()) == figures


def test_the_fitted_specs_give_finite_images_of_order_one(drawn: Path, output: Path) -> None:
    settings = settings_of()
    prepare.run(output, drawn, drawn, settings, SILENT)
    galaxies = pd.read_parquet(output / "galaxies.parquet")
    with MapReader(drawn, galaxies) as reader:
        for case in settings.cases:
            spec = load_spec(case, settings.preprocessing, reader.directory, output)
            pixels = images(np, reader.maps(np.arange(20)), spec)
            assert np.isfinite(pixels).all()
            assert 0.3 < pixels.std() < 3


def test_scaling_does_not_look_at_other_sets(drawn: Path, output: Path, tmp_path: Path) -> None:
    settings = settings_of()
    prepare.run(output, drawn, drawn, settings, SILENT)
    galaxies = pd.read_parquet(output / "galaxies.parquet")
    maps = physical_maps(2 * COUNT, 24)
    maps[galaxies["split"] != "train"] *= 1e3
    changed = write_sample(tmp_path / "changed", sample_table(COUNT), maps)
    again = tmp_path / "again"
    again.mkdir()
    prepare.run(again, changed, changed, settings, SILENT)
    assert (again / "scaling.json").read_bytes() == (output / "scaling.json").read_bytes()


def test_twice_the_same_call_gives_the_same_files(drawn: Path, output: Path) -> None:
    settings = settings_of(export_png=True)
    prepare.run(output, drawn, drawn, settings, SILENT)
    first = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    (output / "png" / "Snap99ID3.png").unlink()
    prepare.run(output, drawn, drawn, settings, SILENT)
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == first


def test_pictures_are_the_numbers_that_a_network_sees(drawn: Path, output: Path) -> None:
    settings = settings_of(pixel_type="uint8", stretch="lupton", export_png=True)
    figures = prepare.run(output, drawn, drawn, settings, SILENT)
    galaxies = pd.read_parquet(output / "galaxies.parquet")
    with MapReader(drawn, galaxies) as reader:
        spec = load_spec(settings.cases[0], settings.preprocessing, reader.directory, output)
        pixels = images(np, reader.maps([5]), spec)[0]
    with Image.open(output / "png" / f"{galaxies['galaxy'][5]}.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), pixels)
        assert MapIdentity.parse(picture.text[IDENTITY], "picture", "") == reader.identity
    assert figures["pictures"] == len(list((output / "png").iterdir())) == 2 * COUNT
    assert figures["pixels_in_all"] == 2 * COUNT * 24 * 24 * 3


def test_clipped_pixels_are_counted(drawn: Path, output: Path) -> None:
    small = {"entropy": 1.0, "mass": 1e3, "temperature": 1e3}
    settings = settings_of(pixel_type="uint8", stretch="lupton", normalisation="fixed", fixed_maxima=small)
    figures = prepare.run(output, drawn, drawn, settings, SILENT)
    assert 0 < figures["pixels_clipped_high"] < figures["pixels_in_all"]
    assert figures["pixels_clipped_low"] == 0
    assert not (output / "png").exists()


def test_maxima_of_the_first_snapshot_are_the_thesis(drawn: Path, output: Path) -> None:
    settings = settings_of(pixel_type="uint8", stretch="lupton", normalisation="first_snapshot")
    prepare.run(output, drawn, drawn, settings, SILENT)
    maxima = json.loads((output / "scaling.json").read_text())["maxima"]
    assert maxima["mass"] == pytest.approx(physical_maps(2 * COUNT, 24)[:COUNT, 1].max())


def test_dropped_galaxies_are_counted_and_leave_the_table(drawn: Path, output: Path) -> None:
    figures = prepare.run(output, drawn, drawn, settings_of(label={"zero_sfr": "drop"}), SILENT)
    assert figures["dropped_zero_sfr"] == figures["zero_sfr"] == 8
    assert not pd.read_parquet(output / "galaxies.parquet")["zero_sfr"].any()


def test_galaxies_that_were_rejected_are_left_out_and_counted(drawn: Path, output: Path) -> None:
    places = pd.read_csv(drawn / "projection.csv")
    places.drop(index=[3, 60]).to_csv(drawn / "projection.csv", index=False)
    figures = prepare.run(output, drawn, drawn, settings_of(), SILENT)
    assert (figures["galaxies"], figures["without_map"]) == (2 * COUNT - 2, 2)
    with MapReader(drawn, pd.read_parquet(output / "galaxies.parquet")) as reader:
        np.testing.assert_array_equal(reader.maps([3]), physical_maps(2 * COUNT, 24)[[4]])


@pytest.mark.parametrize("method", ["tree", "halo", "random"])
def test_views_of_a_galaxy_are_rows_of_one_set(tmp_path: Path, output: Path, method: str) -> None:
    sample = sample_table(COUNT)
    several = sample.loc[sample.index.repeat(2)]
    folder = write_sample(tmp_path / "views", several, physical_maps(4 * COUNT, 24))
    sample.to_parquet(folder / "sample.parquet", index=False)
    places = pd.read_csv(folder / "projection.csv")
    places["view"] = [0, 1] * (2 * COUNT)
    places.drop(index=3).to_csv(folder / "projection.csv", index=False)
    figures = prepare.run(
        output, folder, folder, settings_of(split={"method": method, "validation": 0.3}), SILENT
    )
    galaxies = pd.read_parquet(output / "galaxies.parquet")
    assert (figures["galaxies"], figures["without_map"]) == (4 * COUNT - 1, 0)
    assert galaxies["galaxy"].iloc[:4].tolist() == ["Snap99ID0", "Snap99ID0V1", "Snap99ID1", "Snap99ID2"]
    of_one = galaxies.groupby(["snapshot", "subhalo_id"])
    assert of_one["split"].nunique().eq(1).all() and of_one["group"].nunique().eq(1).all()
    with MapReader(folder, galaxies) as reader:
        np.testing.assert_array_equal(reader.maps([1, 3]), physical_maps(4 * COUNT, 24)[[1, 4]])


def test_an_audit_adds_three_splits_of_equal_sizes_and_changes_nothing_else(
    drawn: Path, output: Path
) -> None:
    prepare.run(output, drawn, drawn, settings_of(), SILENT)
    plain = pd.read_parquet(output / "galaxies.parquet")
    figures = prepare.run(output, drawn, drawn, settings_of(audit_case="blur"), SILENT)
    pd.testing.assert_frame_equal(pd.read_parquet(output / "galaxies.parquet"), plain)
    splits = pd.read_parquet(output / "audit_splits.parquet")
    assert list(splits["galaxy"]) == list(plain["galaxy"])
    for column in ("audit_random", "audit_tree", "audit_halo"):
        assert splits[column].value_counts().to_dict() == {"train": 60, "test": 12, "validation": 8}
    assert sum(figures["split"].values()) == 2 * COUNT


@pytest.mark.parametrize("missing", ["sample.parquet", "projection.csv"])
def test_an_absent_table_is_one_clear_line(drawn: Path, output: Path, missing: str) -> None:
    (drawn / missing).unlink()
    with pytest.raises(InputError, match=f"{missing}: no such file"):
        prepare.run(output, drawn, drawn, settings_of(), SILENT)


def test_a_sample_that_is_all_quenched_and_dropped_says_what_to_do(tmp_path: Path, output: Path) -> None:
    sample = sample_table(10)
    sample[["ssfr_stellar_per_yr", "sfr_msun_per_yr"]] = 0.0
    drawn = write_sample(tmp_path / "quenched", sample, physical_maps(20, 24))
    with pytest.raises(InputError, match="all 20 galaxies have SFR = 0"):
        prepare.run(output, drawn, drawn, settings_of(label={"zero_sfr": "drop"}), SILENT)


class Ear:
    """Keeps what is said."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def emit(self, event: dict[str, Any]) -> None:
        if event["kind"] == "warn":
            self.warnings.append(event["text"])


@pytest.mark.parametrize(
    ("method", "snapshots", "trees", "warned"),
    [
        ("tree", (99, 95), 1.0, 0),
        ("tree", (99, 95), 0.9, 8),
        ("tree", (99, 95), 0.0, 80),
        ("halo", (99, 95), 1.0, 80),
        ("random", (99, 95), 1.0, 80),
        ("halo", (99,), 1.0, 0),
        ("tree", (99,), 0.0, 0),
    ],
)
def test_galaxies_whose_twins_may_be_in_another_set_are_counted_in_a_warning(
    tmp_path: Path, output: Path, method: str, snapshots: tuple[int, ...], trees: float, warned: int
) -> None:
    sample = sample_table(COUNT, snapshots)
    sample["in_tree"] = sample["subhalo_id"] < trees * COUNT
    drawn = write_sample(tmp_path / "sample", sample, physical_maps(len(sample), 24))
    ear = Ear()
    split = {"method": method, "test": 0.3, "validation": 0.0, "promotion": 0.0}
    prepare.run(output, drawn, drawn, settings_of(split=split), Progress(ear))
    twins = [text for text in ear.warnings if "at another time" in text]
    assert len(twins) == (warned > 0)
    assert not warned or f"{warned} of {len(sample)} galaxies" in twins[0]


def test_a_column_in_another_unit_is_warned_of(drawn: Path, output: Path) -> None:
    sample = pd.read_parquet(drawn / "sample.parquet")
    sample["ssfr_stellar_per_yr"] *= 1e9  # 1/Gyr
    sample.to_parquet(drawn / "sample.parquet", index=False)
    events: list[Any] = []

    class Sink:
        def emit(self, event: Any) -> None:
            events.append(event)

    prepare.run(output, drawn, drawn, settings_of(), Progress(Sink()))
    warned = [event["text"] for event in events if event["kind"] == "warn"]
    assert any("is the column ssfr_stellar_per_yr in another unit?" in text for text in warned)
