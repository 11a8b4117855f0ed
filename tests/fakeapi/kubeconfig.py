"""Kubeconfig files for a fake API server."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import trustme
import yaml

from tests.fakeapi.server import TOKEN, FakeApi

EXEC_API = "client.authentication.k8s.io/v1"


def write_kubeconfig(
    path: Path,
    api: FakeApi,
    *,
    auth: Literal["token", "cert", "exec", "none"] = "token",
    context: str = "fake",
    cluster: str = "fake-cluster",
    namespace: str | None = None,
    server: str | None = None,
    token: str = TOKEN,
    ca: bool | Literal["wrong"] = True,
    insecure: bool = False,
    tls_server_name: str | None = None,
    proxy_url: str | None = None,
    exec_command: str | None = None,
    exec_args: Sequence[str] = (),
    inline: bool = True,
) -> Path:
    """Write a kubeconfig and return its path; what is not inline is written beside it.

    The exec plugin is `echo` of a credential with the token, unless a command is given.
    """

    def material(key: str, data: bytes) -> dict[str, str]:
        if inline:
            return {f"{key}-data": base64.b64encode(data).decode()}
        file = path.with_name(f"{path.name}.{key}.pem")
        file.write_bytes(data)
        return {key: str(file)}

    where: dict[str, Any] = {"server": server or api.url}
    if ca:
        pem = trustme.CA().cert_pem.bytes() if ca == "wrong" else api.ca_pem
        where |= material("certificate-authority", pem)
    options = {"insecure-skip-tls-verify": insecure, "tls-server-name": tls_server_name, "proxy-url": proxy_url}
    where |= {key: value for key, value in options.items() if value}

    who: dict[str, Any] = {}
    if auth == "token":
        who = {"token": token} if inline else {"tokenFile": str(path.with_name(f"{path.name}.token"))}
        if not inline:
            Path(who["tokenFile"]).write_text(token)
    elif auth == "cert":
        certificate, key = api.client_certificate()
        who = material("client-certificate", certificate) | material("client-key", key)
    elif auth == "exec":
        credential = {"apiVersion": EXEC_API, "kind": "ExecCredential", "status": {"token": token}}
        plugin = (exec_command, list(exec_args)) if exec_command else ("echo", [json.dumps(credential)])
        command, arguments = plugin
        entry = {"apiVersion": EXEC_API, "command": command, "args": arguments, "interactiveMode": "Never"}
        who = {"exec": {**entry, "env": None, "provideClusterInfo": False}}

    user = f"{context}-user"
    chosen = {"cluster": cluster, "user": user} | ({"namespace": namespace} if namespace else {})
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": where}],
        "users": [{"name": user, "user": who}],
        "contexts": [{"name": context, "context": chosen}],
        "current-context": context,
        "preferences": {},
    }
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    path.chmod(0o600)
    return path
