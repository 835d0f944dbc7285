"""Compiles the study for Kubeflow Pipelines: the same definition, placed on a cluster; ssfr compile."""

from __future__ import annotations

import hashlib
import re
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from ssfr.components.config import Settings, load_settings
from ssfr.components.config.cluster import ClusterSettings
from ssfr.components.errors import InputError
from ssfr.components.storage.artifact import atomic_file
from ssfr.components.storage.location import Bucket, parse_location
from ssfr.pipelines.options import Overrides, Preset, origin, parse_overrides, preset_path
from ssfr.pipelines.placement import DATA_MOUNT, OnCluster

_PASSWORD = re.compile(r"://[^/\s\"]*@")
_UPLOADED = re.compile(r"(?:.*/)?[^/]*[^/0-9][^/]*(?P<version>/[0-9]+)?")
"""A name that is no number, and what `ssfr upload` numbers below it."""
_SUFFIXES = (".yaml", ".yml")
_LONGEST_NAME = 50
"""Of a pipeline: Kubernetes allows 63 characters to a version's name, and 13 are the digest."""


def compile_pipeline(
    settings: Settings,
    *,
    preset: str,
    data: str,
    workdir: str,
    repository: str,
    crd: bool = False,
) -> str:
    """Return the compiled study, the same for the same arguments and code, byte for byte.

    Parameters
    ----------
    settings
        Of the run; `cluster` says how its pods are placed, and goes no further.
    preset
        Name of the settings: the pipeline is called after it.
    data
        ``s3://bucket/prefix/NAME``, ``.../NAME/NUMBER`` for always the same version or, on the claim
        `cluster.data_claim`, ``/data/FOLDER``; pictures are ``images:`` either.
    workdir
        Place of the run's artifacts in S3.
    repository
        Place of the served models in S3.
    crd
        Manifests of kind Pipeline and PipelineVersion for kubectl, not the IR that is uploaded.

    Returns
    -------
    str
        YAML, with every argument as the default of a parameter of the pipeline.

    Raises
    ------
    InputError
        An argument that a cluster can't use, a password written into one, or two settings that exclude each
        other.
    """
    from kfp import compiler

    from ssfr.pipelines.study import study

    if settings.cluster.training_claim is not None and settings.storage.scratch is not None:
        raise InputError(
            f"storage.scratch: training would work in {settings.storage.scratch}, not on the claim"
            " cluster.training_claim; set one of the two"
        )
    location, images = _parse_data(data, settings.cluster)
    arguments: dict[str, Any] = {
        "workdir": _in_s3("--workdir", workdir),
        "data": location,
        "settings": settings.model_dump_json(exclude={"cluster"}),
        "origin": origin(preset, location, images),
        "repository": _in_s3("--repository", repository),
    }
    _refuse_passwords(arguments)
    cases = [case.name for case in settings.cases]
    cluster = settings.cluster
    verify = bool(settings.deployment.servers)
    pipeline = study(cases, OnCluster(cluster), images=images, verify=verify)
    for parameter in pipeline.pipeline_spec.root.input_definitions.parameters.values():
        parameter.is_optional = True  # each has a default from here on
    name = _name(preset)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        write = compiler.Compiler().compile
        write(pipeline, str(path), pipeline_name=name, pipeline_parameters=arguments)
        text = path.read_text()
        if not crd:
            return text
        options = compiler.compiler_utils.KubernetesManifestOptions(
            pipeline_name=name,
            pipeline_version_name=f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}",
            namespace=cluster.namespace,
            include_pipeline_manifest=True,
        )
        write(
            pipeline,
            str(path),
            pipeline_name=name,
            pipeline_parameters=arguments,
            kubernetes_manifest_options=options,
            kubernetes_manifest_format=True,
        )
        return path.read_text()


def compile_command(
    preset: Preset,
    data: Annotated[
        str,
        typer.Option(
            help="s3://bucket/prefix/NAME, or /data/FOLDER on cluster.data_claim; images:... either"
        ),
    ],
    workdir: Annotated[str, typer.Option(help="s3://bucket/prefix of the run's artifacts")],
    repository: Annotated[str, typer.Option(help="s3://bucket/prefix of the served models")],
    output: Annotated[Path, typer.Option(help="YAML file to write")],
    crd: Annotated[
        bool, typer.Option("--crd", help="Pipeline and PipelineVersion, for kubectl apply")
    ] = False,
    overrides: Overrides = None,
) -> None:
    """Write the study as a pipeline for Kubeflow."""
    if output.suffix not in _SUFFIXES:
        raise InputError(f"--output {output}: expected a name that ends in .yaml")
    settings = load_settings(preset_path(preset), parse_overrides(overrides))
    text = compile_pipeline(
        settings,
        preset=Path(preset).stem,
        data=data,
        workdir=workdir,
        repository=repository,
        crd=crd,
    )
    try:
        with atomic_file(output) as part:
            part.write_text(text)
    except OSError as error:
        raise InputError(f"--output {output}: can't be written: {error.strerror}") from None


def _parse_data(text: str, cluster: ClusterSettings) -> tuple[str, bool]:
    """Return where pods find the data, and whether they are pictures."""
    location = text.removeprefix("images:")
    images = location != text
    if location.startswith("s3://"):
        location = _in_s3("--data", location)
        uploaded = _UPLOADED.fullmatch(location.removeprefix("s3://").partition("/")[2])
        if uploaded is None:
            raise InputError(
                f"--data {text}: the name is missing; expected s3://bucket/prefix/NAME, or .../NAME/NUMBER"
                " for always the same version"
            )
        if cluster.caching and uploaded["version"] is None:
            raise _may_change(text, f"a version, as {text.rstrip('/')}/1")
        return location, images
    folder = Path(location)
    if not folder.is_relative_to(DATA_MOUNT) or ".." in folder.parts:
        raise InputError(
            f"--data {text}: no pod has that; expected s3://bucket/prefix, or {DATA_MOUNT}/FOLDER on"
            " the claim cluster.data_claim, or images: before either"
        )
    if cluster.data_claim is None:
        raise InputError(f"--data {text}: {DATA_MOUNT} is the claim cluster.data_claim, which is not set")
    if cluster.caching:
        raise _may_change(text, "a version of uploaded data, as s3://bucket/prefix/NAME/1")
    return str(folder), images


def _may_change(data: str, other: str) -> InputError:
    return InputError(
        f"--data {data}: with cluster.caching Kubeflow would never look whether it has changed; name {other}"
    )


def _in_s3(option: str, location: str) -> str:
    """Return a place that every pod reaches."""
    try:
        place = parse_location(location)
    except InputError as error:
        raise InputError(f"{option}: {error}") from None
    if not isinstance(place, Bucket):
        raise InputError(f"{option} {location}: a folder ends with its pod; expected s3://bucket/prefix")
    return str(place)


def _refuse_passwords(arguments: dict[str, Any]) -> None:
    for name, value in arguments.items():
        if isinstance(value, str) and _PASSWORD.search(value):
            raise InputError(
                f"{name}: holds a URL with a user or a password, which the pipeline would show to everybody;"
                " credentials belong in the secret cluster.s3_secret"
            )


def _name(preset: str) -> str:
    """Return the pipeline's name, as Kubernetes allows it."""
    words = re.sub(r"[^a-z0-9]+", "-", preset.lower()).strip("-")
    return f"ssfr-{words or 'study'}"[:_LONGEST_NAME].rstrip("-")
