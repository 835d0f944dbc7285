"""Figures: drawn for large, small and degenerate samples; the same bytes for the same data."""

import h5py
import numpy as np
import pandas as pd
import pytest
import report_samples
from evaluation_samples import SCATTER, study
from identities import map_attribute, map_identity, picture_identity
from matplotlib import image
from PIL import Image
from report_samples import BANDS, FIELDS, THESIS_CASES, whole

from ssfr.components.config import Filter
from ssfr.components.imagesets.reader import MapReader
from ssfr.components.imagesets.spec import ChannelScale, ImageSpec
from ssfr.components.labels.registry import LABELS
from ssfr.components.report import charts, comparison, gallery, pictures, thesis_charts
from ssfr.components.report.drawing import draw
from ssfr.components.report.own_figures import own_figures
from ssfr.components.report.style import save
from ssfr.components.report.thesis_figures import thesis_figures

AXIS = LABELS["log10_ssfr"].axis

THESIS = {
    "figure_2_8_sfr_mass",
    "figure_3_1_ssfr",
    "figure_3_2_composite",
    "figure_3_3_gallery",
    "figure_3_4_blurs",
    "figure_3_5_structures",
    "figure_4_1_distributions",
    "figure_4_2_epochs",
    "figure_4_3_single_channels",
    "figure_4_4_blurs",
    "figure_4_5_structures",
    "figure_4_6_gallery",
    "figure_4_7_gallery",
    "figure_4_8_gallery",
}
OWN = {"scores", "differences", "scale_sweep", "audit", "true_predicted", "residuals", "gallery", "training"}


def write_maps(folder, maps, identity):
    with h5py.File(folder / "maps-099-000.h5", "w") as file:
        file["maps"] = maps
        file.attrs.update(map_attribute(identity))


@pytest.fixture
def reader(tmp_path):
    found = study()
    count = int(found.galaxies["map_row"].max()) + 1
    maps = np.random.default_rng(0).lognormal(size=(count, 1, 16, 16)).astype("f4")
    write_maps(tmp_path, maps, map_identity(["mass"]))
    with MapReader(tmp_path, found.galaxies) as opened:
        yield opened


def spec(**changed):
    maps = changed.pop("maps", map_identity())
    fields = maps.names
    default = {
        "case": "composite",
        "maps": maps,
        "channels": fields,
        "pixel_type": "float32",
        "stretch": "asinh",
        "scales": {field: ChannelScale() for field in fields},
    }
    return ImageSpec(**(default | changed))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The figures of a study with every part, drawn once."""
    folder = tmp_path_factory.mktemp("whole")
    found = whole(trees=60)
    report_samples.write_maps(folder, found.galaxies)
    with MapReader(folder, found.galaxies) as reader:
        return draw(folder / "figures", found, reader)


@pytest.fixture(scope="module")
def thesis(tmp_path_factory):
    """The thesis' figures of a study with every part, by name."""
    return plates(whole(trees=60), tmp_path_factory.mktemp("thesis"))[0]


def plates(found, folder):
    """Return all figures by name, and those left out, without writing them."""
    report_samples.write_maps(folder, found.galaxies)
    with MapReader(folder, found.galaxies) as reader:
        made = [*thesis_figures(found, reader), *own_figures(found, reader)]
    return {plate.name: plate for plate in made if hasattr(plate, "name")}, {
        absent.title: absent.reason for absent in made if hasattr(absent, "reason")
    }


def test_a_study_with_every_part_has_every_figure(drawn):
    assert set(drawn.drawn) == THESIS | OWN
    assert drawn.left_out == {}


def test_every_figure_is_written_as_png_and_as_pdf_and_is_not_blank(drawn):
    for one in drawn.drawn.values():
        with Image.open(one.path) as picture:
            assert picture.format == "PNG"
            assert picture.width > 500
            assert np.asarray(picture.convert("L")).std() > 5
        assert one.path.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
        assert one.title
        assert one.caption.endswith(".")


@pytest.mark.parametrize("kind", ["png", "pdf"])
def test_the_same_data_give_the_same_bytes_without_a_date(tmp_path, kind):
    for name in "ab":
        save(charts.residual_histogram(np.linspace(-1, 1, 50), "title"), tmp_path / f"{name}.{kind}")
    first, second = ((tmp_path / f"{name}.{kind}").read_bytes() for name in "ab")
    assert first == second
    assert b"CreationDate" not in first
    assert b"tEXt" not in first[:200]


def test_figures_without_their_cases_are_left_out_with_a_reason(tmp_path):
    cases = {case: THESIS_CASES[case] for case in ("composite", "mass")}
    made, left_out = plates(whole(trees=60, cases=cases), tmp_path)
    assert THESIS - set(made) == {
        "figure_3_4_blurs",
        "figure_3_5_structures",
        "figure_4_4_blurs",
        "figure_4_5_structures",
        "figure_4_7_gallery",
        "figure_4_8_gallery",
    }
    assert left_out["Figure 3.4: blurs"] == "the run has no such cases"


def test_a_table_without_masses_has_no_figure_of_them(tmp_path):
    found = whole(trees=60)
    found.galaxies.drop(columns=["total_mass_msun"], inplace=True)
    made, left_out = plates(found, tmp_path)
    assert "figure_2_8_sfr_mass" not in made
    assert "Figure 2.8: SFR against total mass" in left_out


def test_the_composite_is_compared_at_each_milestone_and_at_the_end(thesis):
    titles = [axes.get_title() for axes in thesis["figure_4_2_epochs"].figure.axes[::2]]
    assert [title.split("\n")[0] for title in titles] == [
        "500 epochs",
        "1000 epochs",
        "weights kept (best validation)",
    ]
    assert all("r = 0." in title for title in titles)


def test_a_comparison_says_pearsons_r_and_marks_sigma():
    random = np.random.default_rng(0)
    truth = random.normal(-10, 0.5, 400)
    predicted = truth + random.normal(0.1, 0.3, 400)
    r = float(np.corrcoef(truth, predicted)[0, 1])
    left, right = thesis_charts.comparisons(
        [thesis_charts.Comparison("mass", truth, predicted, r)], AXIS
    ).axes
    assert left.get_title() == f"mass\nr = {r:.3f}"
    residual = predicted - truth
    ends = [line.get_xdata()[0] for line in right.lines[:2]]
    assert ends == pytest.approx([residual.mean() - residual.std(), residual.mean() + residual.std()])


def test_twenty_galaxies_of_the_training_sample_are_ordered_by_their_ssfr(thesis):
    for name in ("figure_3_3_gallery", "figure_4_6_gallery", "figure_4_7_gallery", "figure_4_8_gallery"):
        captions = [axes.get_title() for axes in thesis[name].figure.axes if axes.get_title()]
        assert len(captions) == gallery.TYPICAL
        numbers = [caption for caption in captions if caption != "SFR = 0"]
        digits = [caption.strip("$").replace(r"\times10^{", "e").rstrip("}") for caption in numbers]
        values = [float(one) for one in digits]
        assert values == sorted(values, reverse=True)
        assert captions[: len(values)] == numbers  # SFR = 0 come last


def test_filters_of_one_kind_share_one_scale(thesis):
    for name in ("figure_3_4_blurs", "figure_3_5_structures"):
        shown = [axes for axes in thesis[name].figure.axes if axes.images]
        first, *filtered = shown
        assert first.get_title() == "no filter"
        assert all("σ = " in axes.get_title() for axes in filtered)
        assert len({axes.images[0].get_clim() for axes in filtered}) == 1
    low, high = filtered[0].images[0].get_clim()
    assert low == -high


def test_bands_have_a_figure_where_there_are_bands(tmp_path):
    found = whole(trees=60, cases={"composite": THESIS_CASES["composite"], "blur3": BANDS["band3"]})
    assert "bands" in plates(found, tmp_path)[0]


def test_a_case_without_epochs_has_no_training_curve(tmp_path):
    found = whole(trees=60, cases={"composite": THESIS_CASES["composite"]})
    found.histories["composite"] = found.histories["composite"].iloc[:0]
    made, left_out = plates(found, tmp_path)
    assert "training" not in made
    assert left_out["Training"] == "the best case was trained for no epoch"


def test_the_matrix_shows_each_difference_from_both_sides_and_no_certainty():
    nan = float("nan")
    gain = np.array([[nan, 0.2], [-0.2, nan]])
    sure = np.array([[nan, 1.0], [0.0, nan]])
    axes = comparison.difference_matrix(["mass", "entropy"], gain, sure, 500).axes[0]
    assert [text.get_text() for text in axes.texts] == [">99", "<1"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["mass", "entropy"]


def test_the_sweep_draws_each_family_and_skips_what_is_not_defined():
    nan = float("nan")
    cases = [
        comparison.Scaled("blurs", (1.0,), (0.5, 0.4, 0.6)),
        comparison.Scaled("blurs", (4.0,), (nan, nan, nan)),
        comparison.Scaled("bands", (1.0, 4.0), (0.7, nan, nan)),
    ]
    axes = comparison.scale_sweep(cases, ("composite", (0.8, 0.7, 0.9)), "kpc").axes[0]
    assert axes.get_legend_handles_labels()[1] == ["composite, no filter", "blurs", "bands"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "4"]
    assert "[kpc]" in axes.get_xlabel()


def test_galaxies_without_star_formation_have_a_row_of_their_own():
    mass, sfr = np.array([1e11, 2e11, 3e11]), np.array([0.0, 1.0, 2.0])
    axes = thesis_charts.sfr_against_mass(mass, sfr).axes[0]
    assert "SFR = 0: 1 galaxies" in [text.get_text() for text in axes.texts]
    thesis_charts.sfr_against_mass(mass, np.zeros(3))


def test_the_chart_puts_the_lowest_rmse_on_top_and_says_what_is_not_defined():
    nan = float("nan")
    bars = [
        charts.Bar("mean", False, (0.7, 0.6, 0.8), (nan, nan, nan)),
        charts.Bar("composite", True, (0.3, 0.2, 0.4), (0.9, 0.8, 0.95)),
    ]
    left, right = charts.score_chart(bars, "test").axes
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
            charts.true_against_predicted(
                truth, predicted, predicted - 0.2, predicted + 0.2, AXIS, "title", "note"
            ),
            charts.residual_histogram(predicted - truth, "title"),
            thesis_charts.training_and_predicted(truth, predicted, -13.0, "test", AXIS),
            thesis_charts.ssfr_histogram(truth, -13.0, 1),
            thesis_charts.sfr_against_mass(10.0**-truth, 10.0**truth),
            thesis_charts.comparisons([thesis_charts.Comparison("title", truth, predicted, 0.5)], AXIS),
        )
    ):
        save(figure, tmp_path / f"{number}.png", dpi=40)
        assert has_ink(tmp_path / f"{number}.png")


def has_ink(path):
    """Whether something other than one colour was drawn."""
    return np.ptp(np.asarray(Image.open(path).convert("L"))) > 100


def test_residuals_that_are_all_zero_can_be_drawn(tmp_path):
    save(charts.residual_histogram(np.zeros(5), "title"), tmp_path / "zero.png", dpi=40)
    assert has_ink(tmp_path / "zero.png")


def test_the_gallery_goes_from_the_most_to_the_least_star_forming(tmp_path):
    found = study()
    own = found.predictions[found.predictions["case"] == "composite"]
    count = int(found.galaxies["map_row"].max()) + 1
    maps = np.random.default_rng(0).lognormal(size=(count, 3, 16, 16)).astype("f4")
    maps[:, 0, :4], maps[:, 2, :4] = np.nan, np.nan
    write_maps(tmp_path, maps, map_identity())
    with MapReader(tmp_path, found.galaxies) as opened:
        figure = gallery.draw(own, found.galaxies, opened, spec())
        high_pass = spec(filter=Filter(kind="high_pass", sigma=2.0))
        save(gallery.draw(own, found.galaxies, opened, high_pass), tmp_path / "s.png", dpi=40)
    captions = [axes.get_ylabel() for axes in figure.axes if "true" in axes.get_ylabel()]
    truths = [float(caption.split("\n")[1].removeprefix("true ").replace("−", "-")) for caption in captions]
    assert len(captions) == 8
    assert truths == sorted(truths, reverse=True)
    assert truths[0] == pytest.approx(own["label"].max(), abs=0.005)
    assert truths[-1] == pytest.approx(own["label"].min(), abs=0.005)
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
    write_maps(tmp_path, pictures, picture_identity(16))
    images = {"maps": picture_identity(16)}
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
    kind = spec(maps=map_identity(["mass"]))
    figure = gallery.draw(own, found.galaxies, reader, kind)
    titles = [axes.get_title() for axes in figure.axes if "true" in axes.get_title()]
    assert len(titles) == 12
    assert figure.axes[-1].get_xlabel() == "mass [Msun]"
    save(figure, tmp_path / "one.png", dpi=40)


def test_a_colour_bar_has_short_numbers():
    assert pictures.power(130.4) == "130"
    assert pictures.power(-12.0) == "−12"
    assert pictures.power(1.234e-9, digits=3) == r"$1.23\times10^{-9}$"


def test_many_cases_fit_in_the_chart_and_the_curves(tmp_path):
    scatter = {f"case{i}": 0.1 + 0.04 * i for i in range(10)} | SCATTER
    found = study(scatter={case: sigma for case, sigma in scatter.items() if case != "composite"})
    curves = charts.training_curves(found.histories, found.best, "loss")
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
    axes = charts.training_curves({"best": history}, "best", "loss").axes[0]
    assert axes.get_legend_handles_labels()[1] == curves
    two = charts.training_curves({"best": history, "other": history}, "best", "loss").axes[0]
    assert ("other cases, validation" in two.get_legend_handles_labels()[1]) == (len(curves) > 1)


def test_a_long_name_of_a_file_is_cut_over_its_picture_and_is_no_formula(tmp_path, reader):
    found = study()
    found.galaxies["galaxy"] = found.galaxies["galaxy"].map(lambda name: f"run-1/faces of L0025/$x^2/{name}")
    own = found.predictions.query("case == 'composite'").copy()
    own["galaxy"] = own["galaxy"].map(lambda name: f"run-1/faces of L0025/$x^2/{name}")
    mass = spec(maps=map_identity(["mass"]))
    axes = gallery.draw(own, found.galaxies, reader, mass).axes[0]
    name = axes.get_title().split("\n")[0]
    assert name.startswith("…")
    assert name.replace(r"\$", "$")[1:] in set(own["galaxy"].str[-17:])


def test_a_dark_channel_of_an_8_bit_picture_is_not_the_one_that_is_shown(tmp_path):
    found = study()
    maps = np.zeros((int(found.galaxies["map_row"].max()) + 1, 3, 16, 16), np.float32)
    maps[:, 0] = 1.0  # entropy alone has light
    write_maps(tmp_path, maps, map_identity())
    with MapReader(tmp_path, found.galaxies) as opened:
        eight_bit = spec(
            pixel_type="uint8",
            stretch="lupton",
            composite=FIELDS,
            maxima=dict.fromkeys(FIELDS, 1.0),
        )
        assert gallery.channel_to_show(0, opened, eight_bit) == "entropy"
        assert gallery.channel_to_show(0, opened, spec()) == "mass"
