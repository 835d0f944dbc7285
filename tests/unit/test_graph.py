"""One graph: a run on this machine and the compiled pipeline have the same tasks and the same edges."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from google.protobuf import json_format

from ssfr.components.config import load_settings
from ssfr.pipelines.kubeflow.compile import compile_pipeline
from ssfr.pipelines.options import preset_path
from ssfr.pipelines.placement import OnThisMachine
from ssfr.pipelines.study import study

IN_S3 = {"workdir": "s3://bucket/runs", "repository": "s3://bucket/models"}


def edges(spec: dict[str, Any]) -> set[tuple[str, str, str]]:
    """Return (task, input, where it comes from) of every task that runs something.

    An input comes from TASK.OUTPUT, from an argument of the pipeline, or is a constant.
    """
    found: set[tuple[str, str, str]] = set()

    def output_of(dag: dict[str, Any], task: str, key: str) -> str:
        component = spec["components"][dag["tasks"][task]["componentRef"]["name"]]
        if "dag" not in component:
            return f"{task}.{key}"
        (selector,) = component["dag"]["outputs"]["artifacts"][key]["artifactSelectors"]
        return output_of(component["dag"], selector["producerSubtask"], selector["outputArtifactKey"])

    def source(given: dict[str, Any], dag: dict[str, Any], outer: dict[str, str]) -> str:
        for kind, key in (
            ("taskOutputParameter", "outputParameterKey"),
            ("taskOutputArtifact", "outputArtifactKey"),
        ):
            if kind in given:
                return output_of(dag, given[kind]["producerTask"], given[kind][key])
        for kind in ("componentInputParameter", "componentInputArtifact"):
            if kind in given:
                return outer.get(given[kind], given[kind]) + given.get("parameterExpressionSelector", "")
        return str(given["runtimeValue"]["constant"])

    def walk(dag: dict[str, Any], outer: dict[str, str]) -> None:
        for name, task in dag["tasks"].items():
            inputs = task.get("inputs", {})
            given = {**inputs.get("parameters", {}), **inputs.get("artifacts", {})}
            if "taskFinalStatus" in str(given):  # the last task, which writes down what became of the others
                continue
            sources = {label: source(one, dag, outer) for label, one in given.items()}
            component = spec["components"][task["componentRef"]["name"]]
            if "dag" in component:
                iterator = task.get("parameterIterator", {})
                items = iterator.get("items", {})
                sources |= (
                    {iterator["itemInput"]: f"each of {sources.get(items.get('inputParameter'), items)}"}
                    if iterator
                    else {}
                )
                walk(component["dag"], sources)
            else:
                found.update((name, label, of) for label, of in sources.items())

    walk(spec["root"]["dag"], {})
    return found


def compiled(preset: str, data: str) -> dict[str, Any]:
    settings = load_settings(preset_path(preset), {"deployment.servers": ["127.0.0.1:8500"]})
    text = compile_pipeline(settings, preset=preset, data=data, **IN_S3)
    spec: dict[str, Any] = next(yaml.safe_load_all(text))
    return spec


@pytest.mark.parametrize(
    ("preset", "data"), [("demo", "s3://bucket/universe"), ("images", "images:s3://bucket/pictures")]
)
def test_a_run_on_this_machine_and_the_compiled_pipeline_are_one_graph(preset: str, data: str) -> None:
    cases = [case.name for case in load_settings(preset_path(preset)).cases]
    images = data.startswith("images:")
    here = study(cases, OnThisMachine(), images=images, verify=True)
    local = edges(json_format.MessageToDict(here.pipeline_spec))
    assert {task for task, _, _ in local} >= {"preprocessing", "training", "deployment", "verification"}
    assert images or ("projection-shard", "sample", "catalog.sample") in local
    assert local == edges(compiled(preset, data))
