"""What each run made or found finished, step by step: small documents beside the artifacts.

On a cluster no step sees another's pod, and the task that runs last, whatever happened, is given no
artifact; both have the run's name and the store.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from ssfr.components.storage.artifact import sha256_json
from ssfr.components.storage.store import ChangedDocumentError, Store, Stored, expired

RUN = "SSFR_RUN"
"""Environment variable with the run's name, which every pod of it has."""
_RUNS, _ENDED = "runs", "ended"
_ATTEMPTS = 5
_NO_WORD = re.compile(r"[^A-Za-z0-9._=+/-]")


def run_name(settings: str) -> str:
    """Return the name of the run that this process belongs to; without one, a digest of its settings."""
    return os.environ.get(RUN) or f"settings-{hashlib.sha256(settings.encode()).hexdigest()[:16]}"


def note(store: Store, run: str, label: str, key: str, more: Mapping[str, Any] | None = None) -> None:
    """Write down that a step's artifact is complete.

    Parameters
    ----------
    store
        Of the run's artifacts.
    run
        See `run_name`.
    label
        Name of the step for the user, as training/composite.
    key
        Of the artifact in the store.
    more
        What else to write down, of this run and not of the artifact, which other runs may share.
    """
    manifest = store.manifest(key)
    if manifest is None:  # removed since
        return
    sizes = [file["bytes"] for file in manifest["files"].values()]
    entry = {**manifest, "artifact": key, "files": len(sizes), "bytes": sum(sizes), **(more or {})}
    replace_document(store, _entry(run, label), entry)


def noted(store: Store, run: str, labels: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return what is written down of a run's steps, by label, of those that got that far."""
    found = {label: store.read_document(_entry(run, label)) for label in labels}
    return {label: document.data for label, document in found.items() if document is not None}


def write_ended(store: Store, run: str, catalogue: str, settings: str, repository: str, code: str) -> None:
    """Write down that a run did all there was to do, and is the last that did with these settings.

    Parameters
    ----------
    store, run
        As of `note`.
    catalogue
        Key of the first step's artifact, in which the data are.
    settings
        All settings, as JSON.
    repository
        That the model was deployed to.
    code
        Digest of the code of all steps.
    """
    replace_document(
        store, _ending(settings, repository), {"run": run, "mark": sha256_json([catalogue, code])}
    )


def ended(store: Store, catalogue: str, settings: str, repository: str, code: str) -> str | None:
    """Return the last run that ended with these settings and this repository, arguments as `write_ended`.

    None if there was none, or it had other data or other code: what it left may be another model, also
    where a run before it had the same. The run that is found is written anew, lest `forget` take it for old.
    """
    name = _ending(settings, repository)
    document = store.read_document(name)
    if document is None or document.data["mark"] != sha256_json([catalogue, code]):
        return None
    with suppress(ChangedDocumentError):  # written just now is new enough
        store.write_document(name, document.data, document.version)
    return str(document.data["run"])


def write_record(store: Store, run: str, record: dict[str, Any]) -> str:
    """Write the manifest of a run, and return the document's name."""
    name = f"{_RUNS}/{run}/run.json"
    replace_document(store, name, record)
    return name


def forget(store: Store, *, keep: int, older_than_s: float, dry_run: bool = False) -> list[str]:
    """Remove what is written of old runs, and return which; arguments as `Store.clean`.

    The last run of a study is found by the next one for as long as there is a next one now and then; after
    that, the next one does all steps whose artifacts were removed as well.
    """
    documents: dict[str, list[str]] = defaultdict(list)
    times = store.documents(_RUNS) | store.documents(_ENDED)
    for name in times:
        folder, what, *rest = name.split("/")
        if (folder == _ENDED and not rest) or rest[:1] in (["run.json"], ["steps"]):
            documents[f"{folder}/{what}"].append(name)
    written = [Stored(one, max(times[name] for name in names), 0) for one, names in documents.items()]
    never = [f"{_RUNS}/{run}" for run in _newest(store, keep)]
    old = sorted(expired(written, keep, older_than_s, never))
    for one in [] if dry_run else old:
        for name in documents[one]:
            store.remove_document(name)
    return old


def replace_document(store: Store, name: str, data: object) -> None:
    """Write a document that a repeated task may have written before.

    Raises
    ------
    ChangedDocumentError
        Others write it all the time.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        before = store.read_document(name)
        try:
            store.write_document(name, data, before.version if before else None)
            return
        except ChangedDocumentError:
            if attempt == _ATTEMPTS:
                raise


def _ending(settings: str, repository: str) -> str:
    return f"{_ENDED}/{sha256_json([settings, repository])}.json"


def _entry(run: str, label: str) -> str:
    return f"{_RUNS}/{run}/steps/{_NO_WORD.sub('-', label)}.json"


def artifacts_of_newest(store: Store, keep: int) -> set[str]:
    """Return the keys of the artifacts that the newest `keep` runs made or found finished."""
    found = (store.read_document(name) for names in _newest(store, keep).values() for name in names)
    return {document.data["artifact"] for document in found if document is not None}


def _newest(store: Store, keep: int) -> dict[str, list[str]]:
    """Return the newest runs, and the documents of their steps.

    One that got no further than the first step is none: most found nothing new, and a few weeks of them
    must not push out the run that all of them found.
    """
    runs: dict[str, dict[str, float]] = defaultdict(dict)
    for name, written in store.documents(_RUNS).items():
        _, run, *rest = name.split("/")
        if rest[:1] == ["steps"]:
            runs[run][name] = written
    far = [run for run, times in runs.items() if len(times) > 1]
    newest = sorted(far, key=lambda run: max(runs[run].values()), reverse=True)[:keep]
    return {run: list(runs[run]) for run in newest}
