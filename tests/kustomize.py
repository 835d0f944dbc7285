"""Composes the kustomizations of k8s/ without a binary: what they use of kustomize, and nothing else passes.

Known: resources, patches (strategic merge, inline or in a file), nameSuffix, labels and images, in the order
in which kustomize applies them. References to renamed objects are not followed: nothing here has any.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]

_KNOWN = {"apiVersion", "kind", "resources", "patches", "nameSuffix", "labels", "images"}
_MERGED_BY = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
}
"""Lists that a patch merges item by item; any other list is replaced."""


def compose(folder: Path) -> list[Manifest]:
    """Return the manifests of a kustomization, as ``kubectl kustomize`` would print them, in another order.

    Raises
    ------
    ValueError
        It uses something of kustomize that is not known here, or a patch is for nothing.
    """
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    if unknown := kustomization.keys() - _KNOWN:
        raise ValueError(f"{folder}: {sorted(unknown)} can't be composed here")
    manifests = [one for name in kustomization["resources"] for one in _read(folder / name)]
    for patch in kustomization.get("patches", []):
        text = patch["patch"] if "patch" in patch else (folder / patch["path"]).read_text()
        for body in yaml.safe_load_all(text):
            manifests = _patch(manifests, body, patch.get("target") or _identity(body))
    for manifest in manifests:
        manifest["metadata"]["name"] += kustomization.get("nameSuffix", "")
        for label in kustomization.get("labels", []):
            _label(manifest, label["pairs"])
        for image in kustomization.get("images", []):
            _rename_image(manifest, image)
    return manifests


def containers(manifest: Manifest) -> list[Manifest]:
    """Return the containers of a manifest's pods, those of the start first."""
    pod = manifest.get("spec", {}).get("template", {}).get("spec", {})
    return [*pod.get("initContainers", []), *pod.get("containers", [])]


def _read(path: Path) -> list[Manifest]:
    if path.is_dir():
        return compose(path)
    # By way of JSON, because what a YAML anchor names twice would be one object, and patched twice.
    return [json.loads(json.dumps(one)) for one in yaml.safe_load_all(path.read_text())]


def _identity(manifest: Manifest) -> dict[str, str]:
    return {"kind": manifest["kind"], "name": manifest["metadata"]["name"]}


def _patch(manifests: list[Manifest], body: Manifest, target: dict[str, str]) -> list[Manifest]:
    chosen = [one for one in manifests if target.items() <= _identity(one).items()]
    if not chosen:
        raise ValueError(f"a patch is for {target}, and there is none")
    if body.get("$patch") == "delete":
        return [one for one in manifests if one not in chosen]
    change = {key: value for key, value in body.items() if key not in ("apiVersion", "kind")}
    # The name in a patch only says what it is for.
    change["metadata"] = {key: value for key, value in body["metadata"].items() if key != "name"}
    for manifest in chosen:
        _merge(manifest, copy.deepcopy(change))
    return manifests


def _merge(into: Manifest, change: Manifest) -> None:
    for key, value in change.items():
        old = into.get(key)
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict) and isinstance(old, dict):
            _merge(old, value)
        elif key in _MERGED_BY and isinstance(old, list):
            name = _MERGED_BY[key]
            there = {item[name]: item for item in old}
            for item in value:
                _merge(there.get(item[name], {}), item)
            old[:0] = [item for item in value if item[name] not in there]
        else:
            into[key] = value


def _label(manifest: Manifest, pairs: dict[str, str]) -> None:
    """Set labels on an object, on its pods, and in what selects them."""
    spec = manifest.get("spec", {})
    template = spec.get("template", {})
    spread = template.get("spec", {}).get("topologySpreadConstraints", [])
    chosen = [one["matchLabels"] for one in _selectors(spec, spread)]
    if manifest["kind"] == "Service":
        chosen.append(spec["selector"])
    described = (manifest["metadata"], template.get("metadata", {}))
    chosen += [one["labels"] for one in described if "labels" in one]
    for labels in chosen:
        labels.update(pairs)


def _selectors(spec: Manifest, spread: list[Manifest]) -> Iterator[Manifest]:
    if "matchLabels" in spec.get("selector", {}):
        yield spec["selector"]
    yield from (one["labelSelector"] for one in spread)


def _rename_image(manifest: Manifest, image: Manifest) -> None:
    for container in containers(manifest):
        name, _, tag = container["image"].rpartition(":")
        if name == image["name"]:
            container["image"] = f"{image.get('newName', name)}:{image.get('newTag', tag)}"
