"""Commands for running the service: upload, clean, model-sync, promote, rollback."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ssfr.components.config import ServingSettings, Settings, load_settings, parse_settings
from ssfr.components.errors import InputError
from ssfr.components.runtime.progress import Progress
from ssfr.components.serving.repository.folder import CANARY, STABLE
from ssfr.components.serving.repository.remote import RemoteRepository
from ssfr.components.storage.artifact import read_json
from ssfr.components.storage.location import Bucket, check_there, parse_location
from ssfr.components.storage.opening import open_store
from ssfr.components.storage.store import expired
from ssfr.pipelines.display import display
from ssfr.pipelines.study import IMAGE_STEPS, STEPS

if TYPE_CHECKING:
    from ssfr.components.deployment.rollout import RolloutResult

Repository = Annotated[str, typer.Option(help="of models: a folder, or s3://bucket/prefix")]
SettingsFile = Annotated[
    Path | None, typer.Option("--settings", help="YAML file with storage, serving and deployment sections")
]
Servers = Annotated[
    list[str], typer.Option("--server", metavar="HOST:PORT", help="to check; once for each, all must pass")
]
Model = Annotated[str | None, typer.Option(help="name of the model; by default deployment.name")]


_STEPS = (*dict.fromkeys((*STEPS, *IMAGE_STEPS)), "projection_shard", "verification")


def model_sync(
    repository: Repository,
    folder: Annotated[Path, typer.Option(help="that a server reads; made if absent")],
    once: Annotated[bool, typer.Option("--once", help="look once and end: for an init container")] = False,
    model: Model = None,
    label: Annotated[
        str | None,
        typer.Option(help="serve only this label's version: stable, or canary in a Deployment of its own"),
    ] = None,
    settings: SettingsFile = None,
) -> None:
    """Keep a folder as the model repository says, for the server beside it."""
    from ssfr.components.serving.repository.sync import sync

    if label not in (None, STABLE, CANARY):
        raise InputError(f"--label {label}: expected {STABLE} or {CANARY}")
    # The first process of a container is not ended by a signal that it does not handle.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with display(Console(stderr=True)) as sink:
        sync(repository, folder, _settings(settings, model), Progress(sink), once=once, label=label)


def promote(
    version: Annotated[int, typer.Argument(help="in the repository")],
    repository: Repository,
    server: Servers,
    model: Model = None,
    settings: SettingsFile = None,
) -> None:
    """Make a version stable, once live servers give its stored answers; otherwise nothing changes."""
    from ssfr.components.deployment import rollout

    with _rolling_out(repository, model, settings) as (models, serving, progress):
        _print_outcome(models, rollout.promote(models, version, server, serving, progress))


def rollback(
    repository: Repository,
    server: Servers,
    to: Annotated[int | None, typer.Option(help="version; by default the champion before this one")] = None,
    model: Model = None,
    settings: SettingsFile = None,
) -> None:
    """Make an earlier version stable again, checked as promote does."""
    from ssfr.components.deployment import rollout

    with _rolling_out(repository, model, settings) as (models, serving, progress):
        _print_outcome(models, rollout.rollback(models, to, server, serving, progress))


def upload(
    folder: Annotated[Path, typer.Argument(help="a TNG directory, or a folder of images with its table")],
    location: Annotated[str, typer.Argument(help="s3://bucket/prefix/name, for --data")],
    settings: SettingsFile = None,
) -> None:
    """Copy data to where the steps on a cluster find them; changed data are stored beside those before."""
    from ssfr.components.simulation import MARKER
    from ssfr.components.storage.upload import upload as store

    place, source = parse_location(location), folder.resolve()
    if isinstance(place, Path) and not location.startswith(("/", ".")):
        raise InputError(f"{location}: expected s3://bucket/prefix/NAME; a folder begins with / or ./")
    if location.rstrip("/").rpartition("/")[2] in _STEPS:
        raise InputError(f"{location}: a step's name, whose artifacts ssfr clean removes; choose another")
    if not (source / MARKER).exists() and (source.parent / MARKER).exists():
        raise InputError(f"{folder}: upload {source.parent}, which says that these galaxies are synthetic")
    with display(Console(stderr=True)) as sink:
        where, new = store(folder, location, _settings(settings, None).storage, Progress(sink))
    said = f"{where}: {'stored' if new else 'is there already'}"
    if isinstance(place, Bucket):
        said += f"; --data {location} is the newest at any time, --data {where} always this one"
    print(said)


def clean(
    location: Annotated[str, typer.Argument(help="workdir of runs: a folder, or s3://bucket/prefix")],
    keep: Annotated[
        int, typer.Option(min=1, help="the newest of each kind stay, and all of the newest runs")
    ] = 3,
    older_than: Annotated[float, typer.Option(min=0, help="[days] the younger ones stay")] = 30.0,
    data_versions: Annotated[
        bool, typer.Option("--data-versions", help="LOCATION is an uploaded data set: its old versions go")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would go")] = False,
    settings: SettingsFile = None,
) -> None:
    """Remove old artifacts and records of runs, and what killed publishers left; models and data stay."""
    from ssfr.components.storage import ledger, upload

    with display(Console(stderr=True)) as sink:
        storage, progress = _settings(settings, None).storage, Progress(sink)
        seconds, gone = older_than * 24 * 3600, []
        if data_versions:
            what, stays = "versions", ""
            gone += upload.clean(
                location, storage, progress, keep=keep, older_than_s=seconds, dry_run=dry_run
            )
        else:
            check_there(location)
            what, stays = "artifacts and records", f", and what the newest {keep} runs made or found"
            store = open_store(location, storage, progress)
            never = ledger.artifacts_of_newest(store, keep) | _of_last_run(location)
            for folder in _STEPS:  # only what steps made: below a workdir may lie models and data as well
                if dry_run:
                    gone += expired(store.artifacts(folder), keep, seconds, never)
                else:
                    gone += store.clean(folder, keep=keep, older_than_s=seconds, never=never)
            gone += ledger.forget(store, keep=keep, older_than_s=seconds, dry_run=dry_run)
    for key in gone:
        print(key)
    would = "would go" if dry_run else "are gone"
    print(f"{len(gone)} {what} {would}; the newest {keep} of a kind stay{stays}")


def _of_last_run(workdir: str) -> set[str]:
    """Return the artifacts of the last run on this machine in a folder, of which there is no record."""
    place = parse_location(workdir)
    if isinstance(place, Bucket):
        return set()
    found = set()
    for path in place.glob("manifest*.json"):
        way_out = "remove it: then what its run made may go as well"
        steps = read_json(path, way_out).get("steps", {})
        try:
            found |= {f"{step['step']}/{step['key']}" for step in steps.values()}
        except (AttributeError, KeyError, TypeError):
            raise InputError(f"{path}: steps: not what a run writes; {way_out}") from None
    return found


@contextmanager
def _rolling_out(
    location: str, model: str | None, file: Path | None
) -> Iterator[tuple[RemoteRepository, ServingSettings, Progress]]:
    settings = _settings(file, model)
    with display(Console(stderr=True)) as sink:
        progress = Progress(sink)
        models = RemoteRepository(location, settings.deployment.name, settings.storage, progress)
        yield models, settings.serving, progress


def _settings(file: Path | None, model: str | None) -> Settings:
    changes = {} if model is None else {"deployment.name": model}
    if file is not None:
        return load_settings(file, changes)
    return parse_settings({"deployment": {"name": model}} if model is not None else {}, "--model")


def _print_outcome(models: RemoteRepository, done: RolloutResult) -> None:
    before = f", was {done.before}" if done.before not in (None, done.version) else ""
    print(
        f"{models.name}: version {done.version} is stable{before}; live answers within"
        f" {done.difference_dex:.1e} dex of the stored ones, after {done.seconds:.1f} s"
    )
