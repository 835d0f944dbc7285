"""Follow a run on the cluster: what each task does, and of a run that failed the reason and the log."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

from ssfr.components.errors import InputError
from ssfr.components.runtime.progress import Progress
from ssfr.pipelines.kubeflow.api import DEFAULT_NAMESPACE, Kubeflow, Version
from ssfr.pipelines.kubeflow.compiled import task_names
from ssfr.pipelines.kubeflow.endpoint import KubeflowError, printable

_DONE = {"SUCCEEDED", "SKIPPED"}
_ENDED = {*_DONE, "FAILED", "CANCELED"}
_EXECUTOR = "executor"
"""Below each task of a pipeline the API lists one of this name, with a number where it was tried again."""
_TEMPLATES = ("system-container-impl", "retry-system-container-impl")
"""The API lists nodes of the workflow; their pods have the template in the name as well."""
_LOG_LINES = 20
_LOGS = 3
"""Of a run with many failed tasks, that many logs are shown."""
_NODES = 10
"""Of pods whose logs are read."""


class RunFailedError(InputError):
    """A run on the cluster did not succeed."""

    exit_code = 1


def follow(
    kubeflow: Kubeflow,
    number: str,
    progress: Progress,
    poll_s: float = 5.0,
    patience_s: float = 900.0,
    still_s: float = 600.0,
) -> None:
    """Report on a run until it ends.

    Parameters
    ----------
    poll_s
        [s] between two looks.
    patience_s
        [s] for which requests to a cluster that doesn't answer are repeated.
    still_s
        [s] without a change after which pods that wait are spoken of.

    Raises
    ------
    RunFailedError
        The run failed or was cancelled; the reasons and the ends of the logs have been reported.
    KubeflowError
        The cluster doesn't answer, or no longer lets us in.
    """
    run = kubeflow.run(number)
    names = _tasks_of(kubeflow, run)
    shown: dict[str, str] = {}
    done = 0
    changed = time.monotonic()
    with progress.task(printable(str(run.display_name)), len(names), "tasks") as bar:
        while True:
            states = _states(run, names)
            for name, counted in states.items():
                text = _described(counted)
                if shown.get(name) != text:
                    shown[name] = text
                    changed = time.monotonic()
                    progress.say(f"{name}: {text}")
            now_done = sum(counted.keys() <= _DONE for counted in states.values())
            if now_done != done:
                bar.advance(now_done - done)
                done = now_done
            if run.state in _ENDED:
                break
            if time.monotonic() - changed > still_s and _waits(run):
                changed = math.inf  # said once, unless something happens
                progress.warn(
                    "nothing happens, and something waits: is there such an image, such a node, space on it?"
                    f" see kubectl describe pods {_selector(kubeflow, number)}"
                )
            time.sleep(poll_s)
            run = _patiently(kubeflow, number, progress, poll_s, patience_s)
    if run.state in _DONE:
        return
    failed = _failed(run, names)
    _report(kubeflow, run, failed, progress)
    where = f" in {', '.join(sorted({one.display_name for one in failed}))}" if failed else ""
    raise RunFailedError(f"run {number} {run.state.lower()}{where}; {kubeflow.link(number)}")


def _tasks_of(kubeflow: Kubeflow, run: Any) -> list[str]:
    """Return the names of the tasks that a run may have."""
    reference = run.pipeline_version_reference
    if reference:
        spec = kubeflow.spec(Version(reference.pipeline_id, reference.pipeline_version_id))
    else:
        spec = run.pipeline_spec or {}
    try:
        return task_names(spec)
    except (KeyError, TypeError, AttributeError):
        raise KubeflowError(f"{kubeflow.host}: run {run.run_id}: its pipeline can't be read") from None


def _details(run: Any) -> list[Any]:
    return (run.run_details and run.run_details.task_details) or []


def _waits(run: Any) -> bool:
    """Whether a pod isn't there yet; of a run that has no pods, the run itself."""
    return "PENDING" in {run.state, *(one.state for one in _details(run))}


def _selector(kubeflow: Kubeflow, run: str) -> str:
    """Return what names the pods of a run to kubectl."""
    return f"--namespace {kubeflow.namespace or DEFAULT_NAMESPACE} --selector pipeline/runid={run}"


def _states(run: Any, names: list[str]) -> dict[str, Counter[str]]:
    """Return how many of each task's instances are in which state; a task in a loop has several."""
    states: dict[str, Counter[str]] = {}
    for detail in _details(run):
        if detail.display_name in names and detail.state:
            states.setdefault(detail.display_name, Counter())[detail.state] += 1
    return states


def _described(counted: Counter[str]) -> str:
    if counted.total() == 1:
        return next(iter(counted)).lower()
    return ", ".join(f"{count} {state.lower()}" for state, count in sorted(counted.items()))


def _patiently(kubeflow: Kubeflow, number: str, progress: Progress, poll_s: float, patience_s: float) -> Any:
    """Return the run, though the cluster may not answer for a while."""
    since = time.monotonic()
    warned = False
    while True:
        try:
            run = kubeflow.run(number)
        except KubeflowError as error:
            if not error.passing or time.monotonic() - since > patience_s:
                raise
            if not warned:
                progress.warn(f"{error}; the run goes on, and its state is read again")
                warned = True
            time.sleep(poll_s)
        else:
            if warned:
                progress.say("the cluster answers again")
            return run


def _failed(run: Any, names: list[str]) -> list[Any]:
    """Return the tasks that failed; where none did, what else did, like the start of one."""
    failed = [one for one in _details(run) if one.state == "FAILED"]
    return [one for one in failed if one.display_name in names] or [
        one for one in failed if str(one.display_name).endswith("-driver")
    ]


def _report(kubeflow: Kubeflow, run: Any, failed: list[Any], progress: Progress) -> None:
    """Report why the run failed, and the ends of the logs."""
    for one in (run, *failed):
        statuses = (one.error, *(status.error for status in one.state_history or []))
        for text in dict.fromkeys(status.message for status in statuses if status and status.message):
            progress.error(f"{printable(str(one.display_name))}: {printable(text)}")
    logs = 0
    for node in islice(dict.fromkeys(_nodes(run, failed)), _NODES):
        lines = _log(kubeflow, run.run_id, node) if logs < _LOGS else []
        if lines:
            logs += 1
            progress.say(f"the last lines of {node}:")
        for line in lines:
            progress.say(f"  {line}")
    if failed and not logs:
        selected = f"{_selector(kubeflow, run.run_id)} --container main --prefix --tail {_LOG_LINES}"
        progress.say(f"no log over the API; try kubectl logs {selected}")


def _nodes(run: Any, failed: list[Any]) -> Iterator[str]:
    """Yield where the logs of what failed may be: pods, or nodes of the workflow."""
    executors = [
        one
        for one in _details(run)
        if one.state == "FAILED" and str(one.display_name).partition("(")[0] == _EXECUTOR
    ]
    for one in (*failed, *executors):
        if one.pod_name:
            yield one.pod_name
        if one.executor_detail:
            yield from one.executor_detail.failed_main_jobs or []
        yield from (child.pod_name for child in one.child_tasks or [] if child.pod_name)


def _log(kubeflow: Kubeflow, run: str, node: str) -> list[str]:
    """Return the end of a log; empty where there is none."""
    workflow, _, number = node.rpartition("-")
    pods = (*(f"{workflow}-{template}-{number}" for template in _TEMPLATES), node)
    return next(filter(None, (kubeflow.log(run, pod, _LOG_LINES) for pod in pods)), [])
