"""The wire to Kubeflow Pipelines: its address, the token, and whatever goes wrong as one line."""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kfp_server_api as api
import urllib3
from kfp_server_api.exceptions import ApiException
from urllib3 import exceptions as broken

from ssfr.components.errors import InputError

HOST = "KFP_ENDPOINT"
TOKEN = "KF_PIPELINES_TOKEN"
TOKEN_FILE = "KF_PIPELINES_SA_TOKEN_PATH"
AUTHORITIES = "SSL_CERT_FILE"
_MOUNTED_TOKEN = Path("/var/run/secrets/kubeflow/pipelines/token")
"""Where Kubeflow's own pods have one."""
_NAME = re.compile(r"[A-Za-z0-9_.:-]+")
"""Of a machine, or its number."""
_CONNECT_S = 5.0
_RETRIES = 2
"""Of a request that changes nothing; of a connection, whatever it is for."""
_LONGEST = 300
"""[characters] of a server's message that is shown."""
_PASSING = (429, 502, 503, 504)
"""[HTTP status] of a server that is starting, or has too much to do."""
_NOT_KUBEFLOW = (
    "what answers isn't Kubeflow Pipelines; give the address of its API or its user interface, like"
    " http://127.0.0.1:8888 or https://kubeflow.example.org/pipeline"
)
_REFUSALS = {
    302: f"redirects ({{status}}), to a login it seems; put a token into {TOKEN}, or forward a port",
    401: f"not logged in (401); put a valid token into {TOKEN}, or the name of its file into {TOKEN_FILE}",
    403: "{what}: not allowed (403){said}; get the rights, or name another --namespace",
    404: "{what}: no such thing (404){said}",
    409: "{what}: exists already (409){said}",
    500: "{what}: the server failed ({status}){said}; see kubectl logs -n kubeflow deployment/ml-pipeline",
}


class KubeflowError(InputError):
    """The cluster didn't do what was requested.

    Attributes
    ----------
    status
        HTTP status of the answer; None: there was none.
    passing
        The next try may succeed: no answer, or one of a server that is starting.
    """

    def __init__(self, text: str, status: int | None = None, passing: bool = False) -> None:
        super().__init__(text)
        self.status = status
        self.passing = passing


class Endpoint:
    """An address where Kubeflow Pipelines is said to answer.

    Attributes
    ----------
    host
        Its URL, without a slash at the end.
    client
        What the services of `kfp_server_api` take.
    """

    def __init__(self, host: str | None, timeout_s: float) -> None:
        self.host = _checked(host or os.environ.get(HOST))
        self._timeout_s = timeout_s
        configuration = api.Configuration(host=self.host)
        configuration.ssl_ca_cert = os.environ.get(AUTHORITIES)
        configuration.retries = urllib3.Retry(
            total=_RETRIES,
            backoff_factor=0.2,
            status_forcelist=_PASSING,
            raise_on_status=False,
            redirect=False,
            respect_retry_after_header=False,
        )
        logging.getLogger("urllib3.connectionpool").setLevel("ERROR")  # only retries in vain are reported
        if _token(self.host):
            configuration.api_key_prefix["authorization"] = "Bearer"
            configuration.refresh_api_key_hook = self._renew_token
            self._renew_token(configuration)
        self.client = _Client(configuration)

    def call(
        self, what: str, method: Callable[..., Any], *args: Any, changes: bool = False, **options: Any
    ) -> Any:
        """Call a method of `kfp_server_api`.

        Parameters
        ----------
        what
            What it is about, for the message.
        changes
            The call makes something, which may be there though no answer came.
        options
            Of the method.

        Raises
        ------
        KubeflowError
            No answer, a refusal, or an answer that isn't Kubeflow's.
        """
        with self.one_line(what, changes):
            return method(*args, _request_timeout=(_CONNECT_S, self._timeout_s), **options)

    @contextmanager
    def one_line(self, what: str, changes: bool = False) -> Iterator[None]:
        """Turn what goes wrong on the wire into a `KubeflowError`."""
        try:
            yield
        except ApiException as error:
            raise KubeflowError(
                f"{self.host}: {_refusal(what, error)}", error.status, error.status in _PASSING
            ) from None
        except broken.HTTPError as error:
            text = f"{self.host}: {what}: {_breakage(error, self._timeout_s)}"
            if changes and not isinstance(error, broken.MaxRetryError):
                text += "; it may have been done all the same"
            raise KubeflowError(text, passing=True) from None
        except UnicodeDecodeError:
            raise KubeflowError(f"{self.host}: {_NOT_KUBEFLOW}") from None

    def _renew_token(self, configuration: Any) -> None:
        """Read the token anew for each request: a mounted one is renewed while a run is followed."""
        configuration.api_key["authorization"] = _token(self.host)


class _Client(api.ApiClient):
    """Answers that aren't Kubeflow's are refused, where the generated client would make empty objects."""

    def deserialize(self, response: Any, response_type: Any) -> Any:
        try:
            if isinstance(json.loads(response.data), dict):
                return super().deserialize(response, response_type)
        except (ValueError, TypeError, AttributeError):
            pass
        raise ApiException(reason=_NOT_KUBEFLOW)


def _refusal(what: str, error: ApiException) -> str:
    """Return a refusal as one line, with the way out."""
    status, said = error.status, _message(error.body)
    if not status:
        return printable(str(error.reason))
    if status in {404, 405, 501} and not said:
        text = "{what}: {status}; " + _NOT_KUBEFLOW
    elif status < 400:
        text = _REFUSALS[302]
    elif status >= 500:
        text = _REFUSALS[500]
    else:
        text = _REFUSALS.get(status, "{what}: refused ({status}){said}")
    return text.format(what=what, status=status, said=said)


def _checked(host: str | None) -> str:
    """Return the address without a slash at its end."""
    example = "like http://127.0.0.1:8888 after kubectl port-forward -n kubeflow svc/ml-pipeline 8888"
    if not host:
        raise InputError(f"no cluster: give --host URL, or set {HOST}, {example}")
    try:
        parts = urlsplit(host)
        is_url = (
            parts.scheme in {"http", "https"} and _NAME.fullmatch(parts.hostname or "") and (parts.port or 1)
        )
    except ValueError:
        is_url = False
    if not is_url:
        raise InputError(f"--host {host}: expected a URL, {example}")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise InputError(f"--host: expected a URL without user, query or fragment; a token goes into {TOKEN}")
    return host.rstrip("/")


def _token(host: str) -> str:
    """Return the token; empty where there is none.

    Raises
    ------
    InputError
        It can't be read, or would be sent in the clear.
    """
    token = os.environ.get(TOKEN, "").strip()
    path = Path(os.environ.get(TOKEN_FILE) or _MOUNTED_TOKEN)
    if not token and (TOKEN_FILE in os.environ or path.exists()):
        try:
            token = path.read_text().strip()
        except (OSError, UnicodeDecodeError):
            raise InputError(f"{TOKEN_FILE}: {path} can't be read") from None
    if not (token.isascii() and token.isprintable()):
        raise InputError(f"{TOKEN}: isn't a token: expected one line of letters, digits and signs")
    parts = urlsplit(host)
    if token and parts.scheme == "http" and not _inside(parts.hostname or ""):
        raise InputError(
            f"--host {host}: a token is sent over https only, or to this machine, or inside the cluster to"
            " NAME.NAMESPACE.svc"
        )
    return token


def _inside(name: str) -> bool:
    """Whether a host is this machine, or a service of the cluster that this runs in."""
    if name == "localhost" or name.endswith((".svc", ".svc.cluster.local")):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _breakage(error: broken.HTTPError, timeout_s: float) -> str:
    """Return why there is no answer."""
    cause = getattr(error, "reason", None) or error
    if isinstance(cause, broken.NameResolutionError):
        return "no machine has this name"
    if isinstance(cause, broken.NewConnectionError):
        return "can't connect; is the cluster up, and the port forwarded?"
    if isinstance(cause, broken.ConnectTimeoutError):
        return f"no connection within {_CONNECT_S:g} s; is the cluster up, and reached from here?"
    if isinstance(cause, broken.ReadTimeoutError):
        return f"no answer within {timeout_s:g} s"
    if isinstance(cause, broken.SSLError):
        return f"TLS: {printable(str(cause))[:_LONGEST]}; the authority's file goes into {AUTHORITIES}"
    return "the connection broke"


def _message(body: Any) -> str:
    """Return what a server says of an error, after a colon; nothing where the answer isn't Kubeflow's."""
    try:
        answer = json.loads(body)
        text = answer.get("message") or answer.get("error_message") or answer.get("error") or answer["code"]
    except (TypeError, ValueError, AttributeError, KeyError):
        return ""
    return f": {printable(str(text))[:_LONGEST]}"


def printable(text: str) -> str:
    """Return text as one line that no terminal takes for a command."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())
