"""`ssfr schedule`: the recurring runs of the cluster become those of a file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import typer
import yaml
from pydantic import Field, ValidationError, model_validator

from ssfr.components.config.section import Section
from ssfr.components.errors import InputError, nearest
from ssfr.pipelines.kubeflow.compiled import CompiledPipeline
from ssfr.pipelines.kubeflow.cron import Cron
from ssfr.pipelines.kubeflow.submit import Host, Namespace, Timeout

if TYPE_CHECKING:
    from ssfr.pipelines.kubeflow.api import Kubeflow, Version

_DATES = 5
_SHOWN = 80
_OURS = re.compile(r"\[ssfr schedule, owner (?P<owner>[a-z0-9-]+)\]$")
_NAME = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
_SIGNS = {"create": "+", "replace": "~", "keep": "=", "remove": "-"}


class Schedule(Section):
    """A pipeline that is run again and again."""

    name: str = Field(pattern=_NAME, description="small letters, digits and hyphens")
    cron: str = Field(description="six fields, UTC: second minute hour day month weekday")
    pipeline: str = Field(description="compiled pipeline, as seen from the folder of this file")
    parameters: dict[str, Any] = Field(default_factory=dict)
    experiment: str = Field("schedules", min_length=1, description="what the runs are filed under")
    max_concurrency: int = Field(1, ge=1, le=10, description="runs at the same time")
    enabled: bool = True
    service_account: str | None = Field(None, description="that the runs' pods have; None: Kubeflow's choice")
    description: str = ""


class ScheduleFile(Section):
    """What the cluster is to repeat."""

    owner: str = Field(
        "ssfr",
        pattern=_NAME,
        description="only its recurring runs are touched; one a file, if there are several",
    )
    schedules: tuple[Schedule, ...]

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [one.name for one in self.schedules]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"the name '{twice[0]}' is used twice")
        return self


@dataclass(frozen=True)
class Wanted:
    """A schedule of the file, and what it is made of."""

    schedule: Schedule
    cron: Cron
    pipeline: CompiledPipeline
    description: str


@dataclass(frozen=True)
class Change:
    """What is to be done about a schedule.

    Attributes
    ----------
    why
        A line each.
    surplus
        Recurring runs (`V2beta1RecurringRun`) to be deleted.
    """

    action: Literal["create", "replace", "keep", "remove"]
    name: str
    why: tuple[str, ...] = ()
    wanted: Wanted | None = None
    surplus: tuple[Any, ...] = ()


def schedule(
    file: Annotated[Path, typer.Option(help="what is to be repeated")] = Path("k8s/schedules.yaml"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="show the difference, and change nothing")
    ] = False,
    host: Host = None,
    namespace: Namespace = None,
    timeout: Timeout = 30.0,
) -> None:
    """Make the cluster's recurring runs those of a file: create, replace, remove; the same are left alone."""
    from ssfr.pipelines.kubeflow.api import Kubeflow

    owner, wanted = read_schedules(file)
    kubeflow = Kubeflow.connect(host, namespace, timeout)
    changes = plan(kubeflow, owner, wanted)
    now = datetime.now(UTC)
    for change in changes:
        if not dry_run:
            _apply(kubeflow, change)
        for line in _described(change, now):
            typer.echo(line)
    if dry_run:
        typer.echo("nothing was changed (--dry-run)")


def read_schedules(path: Path) -> tuple[str, list[Wanted]]:
    """Read a file of schedules, with the compiled pipelines that it names.

    Returns
    -------
    The owner, and the schedules.

    Raises
    ------
    InputError
        Not YAML, an unknown key (the message names the nearest right one), a cron that the cluster would
        take for another, or a pipeline that doesn't take these parameters.
    """
    try:
        data = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; name one with --file") from None
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected a mapping with the key schedules")
    try:
        read = ScheduleFile.model_validate(data)
    except ValidationError as error:
        raise InputError(f"{path}: {_problem(error)}") from None
    return read.owner, [_wanted(one, path, read.owner) for one in read.schedules]


def plan(kubeflow: Kubeflow, owner: str, wanted: Iterable[Wanted]) -> list[Change]:
    """Compare the file's schedules with the cluster's recurring runs; change nothing."""
    ours: dict[str, list[Any]] = {}
    for one in kubeflow.recurring_runs():
        found = _OURS.search(one.description or "")
        if found and found["owner"] == owner:
            ours.setdefault(one.display_name, []).append(one)
    changes = []
    for each in wanted:
        name = each.schedule.name
        there = ours.pop(name, [])
        if not there:
            changes.append(Change("create", name, wanted=each))
            continue
        version = kubeflow.find_version(each.pipeline)
        experiment = kubeflow.find_experiment(each.schedule.experiment)
        differences = [tuple(_differences(each, version, experiment, one)) for one in there]
        if () in differences:
            same = there.pop(differences.index(()))
            changes.append(Change("keep", name, wanted=each))
            if there:
                why = f"there more than once; {same.recurring_run_id} stays"
                changes.append(Change("remove", name, (why,), surplus=tuple(there)))
        else:
            changes.append(Change("replace", name, differences[0], each, tuple(there)))
    for name, left in sorted(ours.items()):
        changes.append(Change("remove", name, ("no longer in the file",), surplus=tuple(left)))
    return changes


def _apply(kubeflow: Kubeflow, change: Change) -> None:
    """Create, then delete: if it ends between, the schedule is there, and the next time removes the rest."""
    if change.wanted and change.action in {"create", "replace"}:
        schedule = change.wanted.schedule
        kubeflow.create_recurring_run(
            schedule.name,
            change.wanted.description,
            kubeflow.upload(change.wanted.pipeline),
            kubeflow.experiment(schedule.experiment),
            schedule.cron,
            schedule.parameters,
            schedule.max_concurrency,
            schedule.enabled,
            schedule.service_account,
        )
    for one in change.surplus:
        kubeflow.delete_recurring_run(one.recurring_run_id, change.name)


def _described(change: Change, now: datetime) -> Iterator[str]:
    yield f"{_SIGNS[change.action]} {change.action:8} {change.name}"
    for why in change.why:
        yield f"    {why}"
    if change.wanted:
        schedule = change.wanted.schedule
        dates = ", ".join(
            f"{one:%a %Y-%m-%d %H:%M:%S}" for one in islice(change.wanted.cron.after(now), _DATES)
        )
        yield f"    {schedule.cron} (UTC): " + (dates if schedule.enabled else "not enabled")


def _wanted(one: Schedule, path: Path, owner: str) -> Wanted:
    origin = f"{path}: {one.name}"
    try:
        cron = Cron.parse(one.cron)
        pipeline = CompiledPipeline.read(path.parent / one.pipeline)
    except InputError as error:
        raise InputError(f"{origin}: {error}") from None
    pipeline.check(one.parameters, origin)
    return Wanted(one, cron, pipeline, f"{one.description} [ssfr schedule, owner {owner}]".strip())


def _differences(wanted: Wanted, version: Version | None, experiment: str | None, one: Any) -> Iterator[str]:
    """Yield in what a recurring run differs from the one that is wanted."""
    schedule = wanted.schedule
    reference = one.pipeline_version_reference
    running = reference.pipeline_version_id if reference else None
    if version is None or running != version.id:
        yield f"pipeline: version {running} -> {version.id if version else wanted.pipeline.version}"
    if experiment is None or one.experiment_id != experiment:
        yield f"experiment: {one.experiment_id} -> {schedule.experiment}"
    cron = one.trigger.cron_schedule if one.trigger else None
    found = {
        "cron": cron.cron if cron else None,
        "max_concurrency": int(one.max_concurrency or 0),
        "enabled": one.mode == "ENABLE",
        "no_catchup": bool(one.no_catchup),
        "service_account": one.service_account,
        "description": one.description,
    }
    parameters = (one.runtime_config.parameters if one.runtime_config else None) or {}
    found |= {f"parameters.{key}": value for key, value in parameters.items()}
    expected = {
        "cron": schedule.cron,
        "max_concurrency": schedule.max_concurrency,
        "enabled": schedule.enabled,
        "no_catchup": True,
        "service_account": schedule.service_account or one.service_account,
        "description": wanted.description,
    }
    expected |= {f"parameters.{key}": value for key, value in schedule.parameters.items()}
    for key in sorted(found.keys() | expected.keys()):
        if found.get(key) != expected.get(key):
            yield f"{key}: {found.get(key)!r:.{_SHOWN}} -> {expected.get(key)!r:.{_SHOWN}}"


def _problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    where = [str(part) for part in problem["loc"]]
    key = ".".join(where)
    if problem["type"] == "extra_forbidden":
        known = (Schedule if len(where) > 1 else ScheduleFile).model_fields
        return f"unknown key '{key}'{nearest(where[-1], known)}"
    if problem["type"] == "missing":
        return f"the key '{key}' is missing"
    message = problem["msg"].removeprefix("Value error, ")
    shown = f", found {problem['input']!r}" if isinstance(problem["input"], str | int | float) else ""
    return f"{f'{key}: ' if key else ''}{message[0].lower()}{message[1:]}{shown}"
