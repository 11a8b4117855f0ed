"""Loads a kubeconfig with the kubernetes client, in a process of its own so that it can be ended when it hangs.

Run as `python -P -m ebpfcheck.collect.login_child FD KUBECONFIG CONTEXT TOKEN`, it writes an Access or a Refusal to FD.
"""

import contextlib
import gc
import logging
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import yaml

from ebpfcheck.collect.access import Access, Refusal


def main() -> None:
    """Load what the arguments name, and write the answer to the file descriptor that they name."""
    descriptor, kubeconfig, context, token = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
    # It is over before garbage counts, and looking for it takes a tenth of what loading the client does.
    gc.disable()
    # Ctrl-C goes to all processes of a terminal; this one has nothing to say of it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.stderr.isatty():
        # The client lets an exec plugin talk to the user only where it takes stdout for a terminal.
        sys.stdout = sys.stderr
    # The client writes keys and certificates of the kubeconfig to files, which must not outlive this; whoever ends
    # it early finds them by the token.
    with tempfile.TemporaryDirectory(prefix=f"ebpfcheck-{token}-") as folder:
        answer = _answer(kubeconfig or None, context or None, folder)
    with os.fdopen(descriptor, "wb") as out:
        out.write(msgspec.json.encode(answer))
    # Taking the client down again takes longer than what is left to do.
    os._exit(0)


class _Heard(logging.Handler):
    """Keeps the last thing that the client logged: it logs, and does not raise, why an exec plugin gave nothing."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.words = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.words = record.getMessage()


def _answer(kubeconfig: str | None, context: str | None, folder: str) -> Access | Refusal:
    heard = _Heard()
    logging.getLogger().addHandler(heard)
    from kubernetes import client, config

    # An empty KUBECONFIG is none.
    place = kubeconfig or config.KUBE_CONFIG_DEFAULT_LOCATION or "~/.kube/config"
    configuration = client.Configuration()
    try:
        if not any(Path(part).expanduser().exists() for part in place.split(os.pathsep) if part):
            if kubeconfig or context or "KUBERNETES_SERVICE_HOST" not in os.environ:
                return Refusal(words=f"there is no kubeconfig at {place}", is_usage=True)
            place = "the service account"
            config.load_incluster_config(client_configuration=configuration)
            return _access(configuration, None, None)
        context = context or _current_context(place)
        config.load_kube_config(
            config_file=place, context=context, client_configuration=configuration, temp_file_path=folder
        )
        contexts, current = config.list_kube_config_contexts(place)
        chosen = next((one for one in contexts if one["name"] == context), current)
        access = _access(configuration, chosen["name"], chosen["context"].get("cluster"))
        if not _is_url(access.server):
            return Refusal(words=f"{place}: the server {access.server!r} is no URL of http or https", is_usage=True)
    except config.ConfigException as error:
        return Refusal(words=f"{place}: {error}", is_usage=True)
    except OSError as error:
        # Without a file it is the network, over which an identity provider was asked.
        return Refusal(words=f"{place}: {error}", is_usage=error.filename is not None)
    except Exception as error:
        return Refusal(words=f"{place} is not a kubeconfig: {str(error) or type(error).__name__}", is_usage=True)
    if heard.words and access.authorization is None and access.client_certificate is None:
        return Refusal(words=f"{place}: no credentials were had: {heard.words}")
    return access


def _current_context(place: str) -> str | None:
    """Return the context that kubectl takes of several files: the first that one names. The client takes the last."""
    files = list(filter(None, place.split(os.pathsep)))
    for part in files if len(files) > 1 else ():
        path = Path(part).expanduser()
        found = yaml.safe_load(path.read_bytes()) if path.exists() else None
        current = found.get("current-context") if isinstance(found, dict) else None
        if current:
            return str(current)
    return None


def _is_url(text: str) -> bool:
    try:
        split = urlsplit(text)
        return split.scheme in ("http", "https") and bool(split.hostname) and split.port != 0
    except ValueError:
        return False


def _access(configuration: Any, context: str | None, cluster: str | None) -> Access:
    token = configuration.auth_settings().get("BearerToken", {}).get("value")
    proxy = configuration.proxy
    if proxy and configuration.no_proxy:
        with contextlib.suppress(ImportError):
            from kubernetes.client.rest import should_bypass_proxies

            if should_bypass_proxies(configuration.host, no_proxy=configuration.no_proxy):
                proxy = None
    return Access(
        server=configuration.host,
        context=context,
        cluster=cluster,
        authorization=token.strip() if token else None,
        ca=_read(configuration.ssl_ca_cert),
        client_certificate=_read(configuration.cert_file),
        client_key=_read(configuration.key_file),
        verify=bool(configuration.verify_ssl),
        tls_server_name=getattr(configuration, "tls_server_name", None) or None,
        proxy=proxy or None,
    )


def _read(path: str | None) -> str | None:
    return Path(path).read_text(encoding="utf-8") if path else None


if __name__ == "__main__":
    main()
