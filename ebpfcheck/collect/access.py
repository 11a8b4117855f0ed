"""What the process that loads a kubeconfig answers."""

import msgspec


class Access(msgspec.Struct, frozen=True, kw_only=True, tag="access"):
    """Where the API server is and with what to speak to it; certificates and the key are PEM texts."""

    server: str
    context: str | None = None
    cluster: str | None = None
    authorization: str | None = None
    """The value of the Authorization header."""
    ca: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    verify: bool = True
    tls_server_name: str | None = None
    proxy: str | None = None


class Refusal(msgspec.Struct, frozen=True, kw_only=True, tag="refusal"):
    """Why there is no access; `is_usage` where the kubeconfig or the context is wrong."""

    words: str
    is_usage: bool = False
