"""What Kubeflow Pipelines holds: pipelines and their versions, experiments, runs, and recurring runs.

The services are those under kfp.Client (kfp_server_api), but not kfp.Client itself: its methods have no time
limit, it waits 25 s for a server that is down, takes a web page for an empty answer, would send a token in
the clear, keeps a namespace and a cookie in the home folder, fails where another was faster to make an
experiment or a version, and reads no logs.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import kfp_server_api as api

from ssfr.components.errors import InputError
from ssfr.pipelines.kubeflow.compiled import CompiledPipeline
from ssfr.pipelines.kubeflow.endpoint import Endpoint, KubeflowError, printable

DEFAULT_NAMESPACE = "kubeflow"
"""Of the pods, where Kubeflow serves one user."""
_PAGE = 100

T = TypeVar("T")


@dataclass(frozen=True)
class Version:
    """A pipeline's version on the cluster."""

    pipeline: str
    id: str


class Kubeflow:
    """A connection to Kubeflow Pipelines."""

    def __init__(self, endpoint: Endpoint, namespace: str | None) -> None:
        self.host = endpoint.host
        self.namespace = namespace
        self._endpoint = endpoint
        self._pipelines = api.PipelineServiceApi(endpoint.client)
        self._uploads = api.PipelineUploadServiceApi(endpoint.client)
        self._experiments = api.ExperimentServiceApi(endpoint.client)
        self._runs = api.RunServiceApi(endpoint.client)
        self._recurring = api.RecurringRunServiceApi(endpoint.client)

    @classmethod
    def connect(
        cls, host: str | None = None, namespace: str | None = None, timeout_s: float = 30.0
    ) -> Kubeflow:
        """Connect, and see that it is Kubeflow Pipelines that answers.

        Parameters
        ----------
        host
            URL of the API or of the user interface; None: what the environment's KFP_ENDPOINT says.
        namespace
            The profile's, where Kubeflow serves several users.
        timeout_s
            [s] without a byte of an answer.

        Raises
        ------
        InputError
            No host, or one that a token must not be sent to.
        KubeflowError
            It doesn't answer, or something else does.
        """
        endpoint = Endpoint(host, timeout_s)
        health = api.HealthzServiceApi(endpoint.client)
        found = endpoint.call("looking for Kubeflow Pipelines", health.healthz_service_get_healthz)
        if found.multi_user and not namespace:
            raise InputError(f"{endpoint.host}: serves several users; name your profile with --namespace")
        return cls(endpoint, namespace)

    def link(self, run: str) -> str:
        """Return where the user interface shows a run."""
        return f"{self.host}/#/runs/details/{run}"

    def find_version(self, pipeline: CompiledPipeline) -> Version | None:
        """Return the version that a compiled pipeline was uploaded as, if it was."""
        found = self._pipeline(pipeline.name)
        return self._version(found, pipeline.version) if found else None

    def upload(self, pipeline: CompiledPipeline) -> Version:
        """Upload a compiled pipeline, unless it was; of several at once, all get the same version."""
        name, version = pipeline.name, pipeline.version
        found = self._find_or_make(
            f"pipeline {name}",
            lambda: self._pipeline(name),
            lambda what: self._new_pipeline(what, name),
        )
        return self._find_or_make(
            f"version {version}",
            lambda: self._version(found, version),
            lambda what: self._new_version(what, found, pipeline),
        )

    def spec(self, version: Version) -> Mapping[str, Any]:
        """Return the specification of a version."""
        method = self._pipelines.pipeline_service_get_pipeline_version
        found = self._endpoint.call(f"version {version.id}", method, version.pipeline, version.id)
        return found.pipeline_spec or {}

    def find_experiment(self, name: str) -> str | None:
        """Return the number of an experiment, if there is one of this name."""
        method = self._experiments.experiment_service_list_experiments
        found = self._named(f"experiment {name}", method, "experiments", name, namespace=self.namespace)
        return found.experiment_id if found else None

    def experiment(self, name: str) -> str:
        """Return the number of an experiment; make it where there is none."""
        return self._find_or_make(
            f"experiment {name}",
            lambda: self.find_experiment(name),
            lambda what: self._new_experiment(what, name),
        )

    def create_run(
        self,
        name: str,
        version: Version,
        experiment: str,
        parameters: Mapping[str, Any],
        service_account: str | None = None,
    ) -> str:
        """Start a run; return its number."""
        body = api.V2beta1Run(
            display_name=name,
            experiment_id=experiment,
            pipeline_version_reference=_reference(version),
            runtime_config=api.V2beta1RuntimeConfig(parameters=dict(parameters)),
            service_account=service_account,
        )
        made = self._endpoint.call(f"run {name}", self._runs.run_service_create_run, body, changes=True)
        return made.run_id

    def run(self, number: str) -> Any:
        """Return a run (`V2beta1Run`)."""
        return self._endpoint.call(f"run {number}", self._runs.run_service_get_run, number)

    def log(self, run: str, pod: str, lines: int) -> list[str]:
        """Return the last lines of a pod's log, by the API or the user interface; empty: there is none."""
        namespace = self.namespace or DEFAULT_NAMESPACE
        for path, query in (
            ("/apis/v1alpha1/runs/{run}/nodes/{pod}/log", []),
            ("/k8s/pod/logs", [("podname", pod), ("runid", run), ("podnamespace", namespace)]),
        ):
            read = partial(
                self._endpoint.client.call_api,
                path,
                "GET",
                path_params={"run": run, "pod": pod},
                query_params=query,
                auth_settings=["Bearer"],
                _preload_content=False,
            )
            with suppress(KubeflowError):
                answer = self._endpoint.call(f"log of {pod}", read)
                with self._endpoint.one_line(f"log of {pod}"), answer:
                    if "html" in answer.headers.get("Content-Type", ""):
                        continue
                    kept = deque((line.strip() for line in answer if line.strip()), maxlen=lines)
                return [printable(line.decode(errors="replace")) for line in kept]
        return []

    def recurring_runs(self) -> Iterator[Any]:
        """Yield all recurring runs (`V2beta1RecurringRun`)."""
        method = self._recurring.recurring_run_service_list_recurring_runs
        return self._all("recurring runs", method, "recurring_runs", namespace=self.namespace)

    def create_recurring_run(
        self,
        name: str,
        description: str,
        version: Version,
        experiment: str,
        cron: str,
        parameters: Mapping[str, Any],
        max_concurrency: int,
        enabled: bool,
        service_account: str | None = None,
    ) -> str:
        """Create a recurring run, which makes up for nothing that it missed; return its number."""
        modes = api.RecurringRunMode
        body = api.V2beta1RecurringRun(
            display_name=name,
            description=description,
            experiment_id=experiment,
            pipeline_version_reference=_reference(version),
            runtime_config=api.V2beta1RuntimeConfig(parameters=dict(parameters)),
            trigger=api.V2beta1Trigger(cron_schedule=api.V2beta1CronSchedule(cron=cron)),
            max_concurrency=str(max_concurrency),
            mode=modes.ENABLE if enabled else modes.DISABLE,
            no_catchup=True,
            namespace=self.namespace,
            service_account=service_account,
        )
        method = self._recurring.recurring_run_service_create_recurring_run
        return self._endpoint.call(f"schedule {name}", method, body, changes=True).recurring_run_id

    def delete_recurring_run(self, number: str, name: str) -> None:
        """Delete a recurring run; one that is gone already is no error."""
        try:
            self._endpoint.call(
                f"schedule {name}", self._recurring.recurring_run_service_delete_recurring_run, number
            )
        except KubeflowError as error:
            if error.status != 404:
                raise

    def _pipeline(self, name: str) -> str | None:
        method = self._pipelines.pipeline_service_list_pipelines
        found = self._named(f"pipeline {name}", method, "pipelines", name, namespace=self.namespace)
        return found.pipeline_id if found else None

    def _version(self, pipeline: str, name: str) -> Version | None:
        method = self._pipelines.pipeline_service_list_pipeline_versions
        found = self._named(f"version {name}", method, "pipeline_versions", name, pipeline_id=pipeline)
        return Version(pipeline, found.pipeline_version_id) if found else None

    def _new_pipeline(self, what: str, name: str) -> str:
        body = api.V2beta1Pipeline(display_name=name, name=name, namespace=self.namespace)
        method = self._pipelines.pipeline_service_create_pipeline
        return self._endpoint.call(what, method, body, changes=True).pipeline_id

    def _new_version(self, what: str, pipeline: str, compiled: CompiledPipeline) -> Version:
        upload = partial(self._uploads.upload_pipeline_version, name=compiled.version, pipelineid=pipeline)
        made = self._endpoint.call(what, upload, str(compiled.path), changes=True)
        return Version(pipeline, made.pipeline_version_id)

    def _new_experiment(self, what: str, name: str) -> str:
        body = api.V2beta1Experiment(display_name=name, namespace=self.namespace)
        method = self._experiments.experiment_service_create_experiment
        return self._endpoint.call(what, method, body, changes=True).experiment_id

    def _named(self, what: str, method: Callable[..., Any], items: str, name: str, **options: Any) -> Any:
        """Return the one with a name, or None."""
        predicate = api.V2beta1Predicate(
            operation=api.V2beta1PredicateOperation.EQUALS, key="display_name", string_value=name
        )
        wanted = self._endpoint.client.sanitize_for_serialization(api.V2beta1Filter(predicates=[predicate]))
        found = self._all(what, method, items, filter=json.dumps(wanted), **options)
        return next((one for one in found if one.display_name == name), None)

    def _all(self, what: str, method: Callable[..., Any], items: str, **options: Any) -> Iterator[Any]:
        given = {key: value for key, value in options.items() if value is not None}
        page = None
        while page is None or page.next_page_token:
            token = page.next_page_token if page else ""
            page = self._endpoint.call(what, method, page_size=_PAGE, page_token=token, **given)
            yield from getattr(page, items) or []

    def _find_or_make(self, what: str, find: Callable[[], T | None], make: Callable[[str], T]) -> T:
        """Return what is there, or make it; another may be faster."""
        found = find()
        if found is None:
            try:
                return make(what)
            except KubeflowError as error:
                found = find() if error.status == 409 else None
                if found is None:
                    raise
        return found


def _reference(version: Version) -> Any:
    return api.V2beta1PipelineVersionReference(pipeline_id=version.pipeline, pipeline_version_id=version.id)
