"""A client's connection to a server: where, and under which certificates."""

from __future__ import annotations

import grpc

from ssfr.components.config.service import check_address
from ssfr.components.errors import InputError
from ssfr.components.serving.protocol.pem import read_pem


def open_channel(
    address: str,
    limit: int,
    *,
    server_ca: str | None = None,
    client_certificate: str | None = None,
    client_key: str | None = None,
) -> grpc.Channel:
    """Return a connection, which is made when it is first used.

    Parameters
    ----------
    address
        "HOST:PORT".
    limit
        [bytes] of a message.
    server_ca, client_certificate, client_key
        PEM files; without the first one all is plaintext.

    Raises
    ------
    InputError
        Not an address, or a certificate that can't be read.
    """
    try:
        check_address(address)
    except ValueError as error:
        raise InputError(str(error)) from None
    options = [
        ("grpc.max_receive_message_length", limit),
        ("grpc.max_send_message_length", limit),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 1000),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if (client_key is None) != (client_certificate is None):
        raise InputError("serving: tls_client_certificate and tls_client_key go together; one is missing")
    if server_ca is None:
        if client_certificate is not None:
            raise InputError(
                "serving.tls_client_certificate needs tls_server_ca: without it all is plaintext"
            )
        return grpc.insecure_channel(address, options)
    credentials = grpc.ssl_channel_credentials(
        read_pem(server_ca, "tls_server_ca"),
        read_pem(client_key, "tls_client_key") if client_key else None,
        read_pem(client_certificate, "tls_client_certificate") if client_certificate else None,
    )
    return grpc.secure_channel(address, credentials, options)
