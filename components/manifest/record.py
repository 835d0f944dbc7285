"""The last task, whatever happened: a run's arguments, how it ended, and which artifacts are complete."""

from __future__ import annotations

import platform
import time
from importlib import metadata
from typing import Any

from ssfr.components.config import Settings
from ssfr.components.shards import shards
from ssfr.components.steps.code import every_code_digest
from ssfr.components.storage.ledger import noted, write_ended, write_record
from ssfr.components.storage.store import Store

SUCCEEDED = "SUCCEEDED"
"""As Kubeflow says it."""
_OF_SHARDS = ("artifact", "bytes", "seconds", "started")
"""Entries kept of each shard: there may be hundreds, and the rest is in the artifact's own manifest."""


def run(
    store: Store,
    run_name: str,
    settings: Settings,
    given: str,
    arguments: dict[str, str],
    status: dict[str, str],
) -> dict[str, Any]:
    """Write the run's manifest to the store, as ``runs/<run>/run.json``, and return it.

    Parameters
    ----------
    store
        Of the run's artifacts.
    run_name
        Under which the steps noted their artifacts.
    settings, given
        Of the run, and as they came.
    arguments
        The pipeline's other arguments.
    status
        What Kubeflow says: its own name of the run, the state, and why it failed.
    """
    begun = noted(store, run_name, ["catalog", "ingest"])
    simulated = [one for one in begun.values() if "tasks" in one]
    labels = [shard.label for one in simulated for shard in shards(one["figures"], one["tasks"])]
    drawn = {
        label: {name: entry[name] for name in _OF_SHARDS}
        for label, entry in noted(store, run_name, labels).items()
    }
    cases = [f"training/{case.name}{part}" for case in settings.cases for part in ("", ", audit")]
    later = [*cases, "evaluation", "report", "deployment", "verification"]
    steps = begun | drawn | noted(store, run_name, ["projection", "preprocessing", *later])
    first = steps.get("catalog") or steps.get("ingest")
    if status["state"] == SUCCEEDED and first is not None and "deployment" in steps:
        code = every_code_digest()
        write_ended(store, run_name, first["artifact"], given, arguments["repository"], code)
    record = {
        "run": run_name,
        **status,
        **arguments,
        "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "settings": settings.model_dump(mode="json"),
        "steps": steps,
        "versions": {"python": platform.python_version(), "ssfr": metadata.version("ssfr")},
    }
    write_record(store, run_name, record)
    return record


def summary(record: dict[str, Any]) -> str:
    """Return a run's manifest as a page of Markdown, for the user interface."""
    lines = [f"# {record['run']}: {record['state']}", ""]
    if record["error"]:
        lines += [f"{record['error']}", ""]
    lines += ["| step | artifact | MB | seconds | begun |", "| --- | --- | ---: | ---: | --- |"]
    for label, step in record["steps"].items():
        cells = [label, step["artifact"], f"{step['bytes'] / 1e6:.1f}", step["seconds"], step["started"]]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    if not record["steps"]:
        lines.append("| no step has noted an artifact | | | | |")
    if record["state"] == SUCCEEDED and "deployment" not in record["steps"]:
        lines += ["", "An earlier run ended with these data, settings and code: there was nothing new to do."]
    return "\n".join(lines) + "\n"
