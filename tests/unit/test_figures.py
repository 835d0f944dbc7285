"""Figures: drawn for large, small and degenerate samples; the same bytes for the same data."""

import json

import h5py
import numpy as np
import pandas as pd
import pytest
from evaluation_samples import SCATTER, study
from matplotlib import image
from PIL import Image

from components.config import Filter
from components.evaluation import figures, gallery
from components.evaluation.drawing import draw
from components.imagesets.reader import MapReader
from components.imagesets.spec import ChannelScale, ImageSpec

ALL = {"scores", "true_predicted", "residuals", "distributions", "gallery", "training"}


def write_maps(folder, maps, fields, method="histogram"):
    with h5py.File(folder / "maps-099-000.h5", "w") as file:
        file["maps"] = maps
        file.attrs.update(
            fields=json.dumps(fields),
            units=json.dumps(["Msun"] * len(fields)),
            weighting="none" if method == "images" else "mass_weighted_mean",
            pixels=maps.shape[-1],
            method=method,
        )


@pytest.fixture
def reader(tmp_path):
    found = study()
    count = int(found.galaxies["map_row"].max()) + 1
    write_maps(tmp_path, np.random.default_rng(0).lognormal(size=(count, 1, 16, 16)).astype("f4"), ["mass"])
    with MapReader(tmp_path, found.galaxies) as opened:
        yield opened


def spec(**changed):
    fields = changed.pop("fields", ("entropy", "mass", "temperature"))
    default = {
        "case": "composite",
        "source": "maps",
        "fields": fields,
        "units": ("keV cm^2", "Msun", "K"),
        "pixels": 16,
        "weighting": "mass_weighted_mean",
        "channels": fields,
        "pixel_type": "float32",
        "stretch": "asinh",
        "scales": {field: ChannelScale() for field in fields},
    }
    return ImageSpec(**(default | changed))


def test_every_figure_is_written_as_png_and_is_not_blank(tmp_path, reader):
    found = study()
    found.models["composite"]["spec"]["scales"] = {"mass": {"softening": 1.0, "mean": 0.0, "std": 1.0}}
    drawn = draw(tmp_path / "figures", found, reader)
    assert set(drawn) == ALL
    for path in drawn.values():
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert picture.width > 500
            assert np.asarray(picture.convert("L")).std() > 5


def test_the_same_data_give_the_same_bytes_without_a_date(tmp_path, reader):
    found = study()
    found.models["composite"]["spec"]["scales"] = {"mass": {"softening": 1.0, "mean": 0.0, "std": 1.0}}
    first, second = (draw(tmp_path / name, found, reader) for name in "ab")
    for name in ALL:
        assert first[name].read_bytes() == second[name].read_bytes()
        assert b"Date" not in first[name].read_bytes()
        assert b"tEXt" not in first[name].read_bytes()[:200]


def test_a_case_without_epochs_has_no_training_curve(tmp_path, reader):
    found = study()
    found.models["composite"]["spec"]["scales"] = {"mass": {"softening": 1.0, "mean": 0.0, "std": 1.0}}
    found.histories["composite"] = found.histories["composite"].iloc[:0]
    assert set(draw(tmp_path / "figures", found, reader)) == ALL - {"training"}


def test_the_chart_puts_the_lowest_rmse_on_top_and_says_what_is_not_defined():
    nan = float("nan")
    bars = [
        figures.Bar("mean", False, (0.7, 0.6, 0.8), (nan, nan, nan)),
        figures.Bar("composite", True, (0.3, 0.2, 0.4), (0.9, 0.8, 0.95)),
    ]
    left, right = figures.score_chart(bars, "test").axes
    labels = [tick.get_text() for tick in left.get_yticklabels()]
    assert labels[int(np.argmax(left.get_yticks()))] == "composite"
    assert "not defined" in [text.get_text() for text in right.texts]


@pytest.mark.parametrize("count", [1, 2, 5, 1000])
def test_samples_of_any_size_can_be_drawn(tmp_path, count):
    random = np.random.default_rng(0)
    truth = random.normal(-10.5, 0.5, count)
    predicted = truth + random.normal(0, 0.2, count)
    for number, figure in enumerate(
        (
            figures.true_against_predicted(
                truth, predicted, predicted - 0.2, predicted + 0.2, "title", "note"
            ),
            figures.residual_histogram(predicted - truth, "title"),
            figures.distributions(truth, truth, predicted, -13.0, "test"),
        )
    ):
        figures.save(figure, tmp_path / f"{number}.png", dpi=40)


def test_residuals_that_are_all_zero_can_be_drawn(tmp_path):
    figures.save(figures.residual_histogram(np.zeros(5), "title"), tmp_path / "zero.png", dpi=40)


def test_the_gallery_goes_from_the_most_to_the_least_star_forming(tmp_path):
    found = study()
    own = found.predictions[found.predictions["case"] == "composite"]
    count = int(found.galaxies["map_row"].max()) + 1
    fields = ["entropy", "mass", "temperature"]
    maps = np.random.default_rng(0).lognormal(size=(count, 3, 16, 16)).astype("f4")
    maps[:, 0, :4], maps[:, 2, :4] = np.nan, np.nan
    write_maps(tmp_path, maps, fields)
    with MapReader(tmp_path, found.galaxies) as opened:
        figure = gallery.draw(own, found.galaxies, opened, spec())
        structures = spec(filter=Filter(kind="structures", sigma=2.0))
        figures.save(gallery.draw(own, found.galaxies, opened, structures), tmp_path / "s.png", dpi=40)
    captions = [axes.get_ylabel() for axes in figure.axes if "true" in axes.get_ylabel()]
    truths = [float(caption.split("\n")[1].removeprefix("true ").replace("−", "-")) for caption in captions]
    assert len(captions) == 8
    assert truths == sorted(truths, reverse=True)
    assert truths[0] == pytest.approx(own["log10_ssfr"].max(), abs=0.005)
    assert truths[-1] == pytest.approx(own["log10_ssfr"].min(), abs=0.005)
    titles = " ".join(axes.get_xlabel() for axes in figure.axes)
    assert "temperature [K]" in titles
    assert "entropy [keV cm²]" in titles


def test_the_gallery_of_an_image_catalogue_shows_its_pictures_upright(tmp_path):
    found = study()
    own = found.predictions[found.predictions["case"] == "composite"]
    count = int(found.galaxies["map_row"].max()) + 1
    pictures = np.zeros((count, 3, 16, 16), np.uint8)
    pictures[:, 0, :8] = 255  # red above
    fields = ("red", "green", "blue")
    write_maps(tmp_path, pictures, fields, "images")
    images = {"source": "images", "fields": fields, "units": ("", "", ""), "weighting": "none"}
    with MapReader(tmp_path, found.galaxies) as opened:
        for kind in (
            spec(**images, channels=fields, stretch="linear"),
            spec(**images, channels=fields, stretch="none", pixel_type="uint8", composite=fields),
            spec(**images, channels=("red",), stretch="linear"),
        ):
            axes = gallery.draw(own, found.galaxies, opened, kind).axes[0]
            shown = axes.get_images()[0]
            assert isinstance(shown, image.AxesImage)
            assert shown.get_array()[0, 0, 0] == 1.0
            assert shown.get_array()[15, 0, 0] == 0.0
            bottom, top = axes.get_ylim()
            assert bottom > top  # row 0 above


def test_the_gallery_of_one_channel_has_three_galaxies_a_row_and_one_scale(tmp_path, reader):
    found = study()
    own = found.predictions[found.predictions["case"] == "composite"]
    kind = spec(fields=("mass",), units=("Msun",), channels=("mass",))
    figure = gallery.draw(own, found.galaxies, reader, kind)
    titles = [axes.get_title() for axes in figure.axes if "true" in axes.get_title()]
    assert len(titles) == 12
    assert figure.axes[-1].get_xlabel() == "mass [Msun]"
    figures.save(figure, tmp_path / "one.png", dpi=40)


def test_many_cases_fit_in_the_chart_and_the_curves(tmp_path):
    scatter = {f"case{i}": 0.1 + 0.04 * i for i in range(10)} | SCATTER
    found = study(scatter={case: sigma for case, sigma in scatter.items() if case != "composite"})
    curves = figures.training_curves(found.histories, found.best, "loss")
    assert found.best == "case0"
    assert len(curves.axes[0].lines) == 12  # 9 others, 2 of the best, the dot


@pytest.mark.parametrize(
    ("validation", "curves"),
    [
        ([1.1, 0.7, 0.8], ["best, training", "best, validation", "lowest"]),
        ([float("nan")] * 3, ["best, training"]),
    ],
)
def test_a_validation_curve_is_drawn_only_where_there_is_one(validation, curves):
    history = pd.DataFrame({"epoch": [1, 2, 3], "loss": [1.0, 0.5, 0.3], "validation_loss": validation})
    axes = figures.training_curves({"best": history}, "best", "loss").axes[0]
    assert axes.get_legend_handles_labels()[1] == curves
    two = figures.training_curves({"best": history, "other": history}, "best", "loss").axes[0]
    assert ("other cases, validation" in two.get_legend_handles_labels()[1]) == (len(curves) > 1)


def test_a_long_name_of_a_file_is_cut_over_its_picture_and_is_no_formula(tmp_path, reader):
    found = study()
    found.galaxies["galaxy"] = found.galaxies["galaxy"].map(lambda name: f"run-1/faces of L0025/$x^2/{name}")
    own = found.predictions.query("case == 'composite'").copy()
    own["galaxy"] = own["galaxy"].map(lambda name: f"run-1/faces of L0025/$x^2/{name}")
    mass = spec(fields=("mass",), units=("Msun",))
    axes = gallery.draw(own, found.galaxies, reader, mass).axes[0]
    name = axes.get_title().split("\n")[0]
    assert name.startswith("…")
    assert name.replace(r"\$", "$")[1:] in set(own["galaxy"].str[-23:])
