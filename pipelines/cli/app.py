"""The command line: what runs here, and the commands of a cluster, which live in modules of their own."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ssfr.components.config import Settings, UniverseSettings, load_settings
from ssfr.components.errors import InputError
from ssfr.components.labels.registry import LABELS, label_of
from ssfr.components.labels.served import linear_name
from ssfr.components.runtime.extras import require_extras
from ssfr.components.runtime.progress import Progress
from ssfr.pipelines.kubeflow.compile import compile_command
from ssfr.pipelines.kubeflow.operate import clean, model_sync, promote, rollback, upload
from ssfr.pipelines.kubeflow.schedule import schedule
from ssfr.pipelines.kubeflow.submit import follow, submit
from ssfr.pipelines.options import Overrides, Preset, parse_overrides, preset_path

app = typer.Typer(
    help="What in a galaxy's gas predicts its star formation?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
_out = Console()
_err = Console(stderr=True)


@app.command()
def simulate(
    directory: Annotated[Path, typer.Argument(help="folder to write, in TNG layout")],
    galaxies: Annotated[int, typer.Option(help="merger trees that end inside the cuts")] = 300,
    snapshots: Annotated[str, typer.Option(help="numbers, comma separated, newest first")] = "99,95",
    seed: Annotated[int, typer.Option()] = 1,
    law: Annotated[
        str, typer.Option(help="schmidt, small_clumps, mass_clumps, temperature or none")
    ] = "schmidt",
    cells_min: Annotated[int, typer.Option(help="gas cells of the poorest galaxy")] = 10_000,
    cells_max: Annotated[int, typer.Option(help="gas cells of the richest galaxy")] = 30_000,
    chunks: Annotated[int, typer.Option(help="files a snapshot")] = 3,
    extra_fields: Annotated[
        bool, typer.Option("--extra-fields", help="also metals, magnetic field and neutral hydrogen of cells")
    ] = False,
    dark_particle_msun: Annotated[
        float | None, typer.Option(help="[Msun] also dark matter, in particles of this mass")
    ] = None,
    workers: Annotated[int, typer.Option(help="processes")] = 2,
) -> None:
    """Write a synthetic universe to disk, in exactly the layout of IllustrisTNG."""
    from ssfr.components.simulation.universe import write_universe
    from ssfr.pipelines.display import display

    try:
        numbers = tuple(int(number) for number in snapshots.split(","))
    except ValueError:
        raise InputError(f"--snapshots {snapshots}: expected numbers, comma separated, like 99,95") from None
    try:
        settings = UniverseSettings.model_validate(
            {
                "galaxies": galaxies,
                "snapshots": numbers,
                "seed": seed,
                "law": law,
                "cells_min": cells_min,
                "cells_max": cells_max,
                "chunks": chunks,
                "extra_fields": extra_fields,
                "dark_particle_msun": dark_particle_msun,
                "workers": workers,
            }
        )
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        key = "--" + ".".join(str(part) for part in problem["loc"]).replace("_", "-")
        raise InputError(f"{key}: {problem['msg']}, found {problem['input']!r}") from None
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{directory}: can't be a folder: {error.strerror}") from None
    with display(_err) as sink:
        write_universe(directory, settings, Progress(sink))


@app.command()
def run(
    preset: Preset,
    data: Annotated[
        str | None,
        typer.Option(help="a TNG directory, or images:DIR; demo, without, writes a universe of its own"),
    ] = None,
    workdir: Annotated[
        Path | None,
        typer.Option(
            help="folder of the run, by default run/PRESET; the same again goes on where it stopped"
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            help="last step to do: catalog, projection, preprocessing, training, evaluation, report or "
            "deployment (of images: ingest, preprocessing, ...)"
        ),
    ] = None,
    repository: Annotated[
        Path | None, typer.Option(help="folder of served models; by default models in the workdir")
    ] = None,
    export: Annotated[
        str | None, typer.Option(help="thesis: also write the thesis' own files, pictures included")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Do the study on this machine: from galaxies to a model in service."""
    from ssfr.pipelines import local
    from ssfr.pipelines.display import display
    from ssfr.pipelines.local.demo import demo_universe, show_prediction

    workdir = workdir or Path("run") / Path(preset).stem
    for option, folder in (("--workdir", workdir), ("--repository", repository)):
        if str(folder).startswith("s3:"):
            raise InputError(
                f"{option} {folder}: ssfr run works in a folder; for S3: ssfr compile, ssfr submit"
            )
    changes = parse_overrides(overrides)
    if export is not None:
        changes |= {"evaluation.export": export, "preprocessing.export_png": export == "thesis"}
    settings = load_settings(preset_path(preset), changes)
    if data is None and preset != "demo":
        raise InputError("--data: missing; give a TNG directory, or images:DIR for a folder of images")
    local.check(settings, until)
    with display(_err) as sink:
        location = data or str(demo_universe(workdir, Progress(sink)))
        outcome = local.run(
            settings,
            local.DataSource.parse(location),
            workdir,
            sink,
            preset=Path(preset).stem,
            repository=repository,
            until=until,
        )
    _show(outcome, settings)
    if data is None and until is None:
        show_prediction(workdir)


@app.command()
def serve(
    repository: Annotated[Path, typer.Argument(help="folder of models")],
    host: Annotated[str | None, typer.Option(help="address; loopback unless you say otherwise")] = None,
    port: Annotated[int | None, typer.Option(help="0: any free port")] = None,
    preset: Annotated[
        str | None, typer.Option("--settings", help="YAML file with a `serving` section")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Serve the models of a repository over gRPC, as TensorFlow Serving would."""
    require_extras("serve")
    from ssfr.components.serving.server.server import serve as serve_repository
    from ssfr.pipelines.display import display

    changes = parse_overrides(overrides)
    if host is not None:
        changes["serving.host"] = host
    if port is not None:
        changes["serving.port"] = port
    settings = load_settings(preset_path(preset or "recommended"), changes)
    with display(_err) as sink:
        serve_repository(repository, settings.serving, Progress(sink))


@app.command()
def predict(
    inputs: Annotated[list[Path], typer.Argument(help="PNG images, or maps (.npy, .h5)")],
    server: Annotated[str, typer.Option(help="HOST:PORT")] = "127.0.0.1:8500",
    model: Annotated[str, typer.Option(help="name of the model")] = "ssfr",
    version: Annotated[int | None, typer.Option(help="by number")] = None,
    label: Annotated[str | None, typer.Option(help="by label: stable or canary")] = None,
    only: Annotated[
        list[str] | None, typer.Option("--galaxy", help="only this galaxy of a file of maps, by name")
    ] = None,
    like_model: Annotated[
        bool,
        typer.Option(
            "--like-model", help=".npy files and pictures were drawn as the maps the model was trained on"
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a galaxy")] = False,
    overrides: Overrides = None,
) -> None:
    """Print what a server predicts for new galaxies."""
    from ssfr.components.serving.client.client import ModelClient
    from ssfr.components.serving.client.inputs import read_inputs

    settings = load_settings(preset_path("recommended"), parse_overrides(overrides))
    galaxies = read_inputs(inputs, only)
    with ModelClient.of(settings.serving, server, model, version, label) as client:
        answer = client.predict(galaxies)
        granted = "" if like_model else galaxies.taken_for_granted(client.describe())
    if granted:
        _err.print(f"{granted} (--like-model states that)", soft_wrap=True, markup=False)
    rows = zip(
        galaxies.names,
        answer.predicted,
        answer.lower,
        answer.upper,
        answer.linear,
        answer.versions,
        strict=True,
    )
    linear_title = linear_name(answer.label)
    if as_json:
        for name, predicted, lower, upper, linear, served_by in rows:
            row = {
                "galaxy": name,
                answer.label: float(predicted),
                "lower": float(lower),
                "upper": float(upper),
                linear_title: float(linear),
                "version": int(served_by),
            }
            print(json.dumps(row))
        return
    known, title = LABELS.get(answer.label), answer.label
    if known:
        title = known.text
        linear_title = f"{known.symbol} [{known.unit}]" if known.unit else known.symbol
    table = Table("galaxy", "predicted", "interval", escape(linear_title), "version", title=title)
    for name, predicted, lower, upper, linear, served_by in rows:
        table.add_row(
            Text(name),
            f"{predicted:.3f}",
            f"{lower:.3f} .. {upper:.3f}",
            f"{linear:.3g}",
            Text(f"{model} {served_by}"),
        )
    _out.print(table)


@app.command("settings")
def show_settings(preset: Preset = "recommended", overrides: Overrides = None) -> None:
    """Print every setting of a preset, as a file to edit."""
    settings = load_settings(preset_path(preset), parse_overrides(overrides))
    print(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False), end="")


@app.command()
def faults(preset: Preset = "recommended", overrides: Overrides = None) -> None:
    """Print the thesis' faults, and what these settings do about each."""
    from ssfr.pipelines.cli.faults import fault_table

    _out.print(fault_table(load_settings(preset_path(preset), parse_overrides(overrides))))


app.command("compile")(compile_command)
for command in (upload, submit, follow, schedule, promote, rollback, model_sync, clean):
    app.command()(command)


def _show(outcome: Any, settings: Settings) -> None:
    """Print where the results are and, when a model was deployed, what it answered."""
    for label, folder in outcome.artifacts.items():
        _say(f"{label:22} {folder}")
    if outcome.report:
        _say(f"{'report':22} {outcome.report}")
    deployed = outcome.deployment
    if not deployed:
        return
    state = "champion" if deployed["promoted"] else "not promoted"
    version = f"{settings.deployment.name}, version {deployed['version']}"
    _say(f"{'model':22} {version}, {state}: {deployed['reason']}")
    example = deployed["example"]
    title = label_of(settings.preprocessing.label).text
    table = Table("held-out galaxy", "true", "offline", "over gRPC", title=title)
    table.add_row(Text(example["galaxy"]), *(f"{example[key]:.4f}" for key in ("true", "offline", "served")))
    _out.print(table)
    _say(f"largest difference, served - offline: {deployed['max_difference_dex']:.1e} dex")


def _say(line: str) -> None:
    """Print a line as it is: names of files may look like markup."""
    _out.print(line, markup=False, highlight=False, soft_wrap=True)


def main() -> None:
    """Run the command line: bad input is one line and an exit code, a bug keeps its traceback."""
    # Without it TensorFlow greets whoever trains or serves.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        app()
    except InputError as error:
        _err.print(f"ssfr: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)
