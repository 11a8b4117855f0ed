"""What stands in ConfigMaps: configuration files of others, as YAML in a text."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import yaml

from ebpfcheck.collect import wire
from ebpfcheck.collect.objects import marks_of
from ebpfcheck.model.cluster import EndpointOverride, Kubeadm, KubeProxyConfig
from ebpfcheck.model.text import excerpt

T = TypeVar("T")

if TYPE_CHECKING:
    from yaml import SafeLoader
else:
    SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(SafeLoader):
    """Reads what is plain: all that is read of these texts are strings, and YAML can make little text very large."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Refuse merge keys, which multiply."""
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise yaml.constructor.ConstructorError(None, None, "merge keys are not read")


_PLAIN = ("tag:yaml.org,2002:null", "tag:yaml.org,2002:bool", "tag:yaml.org,2002:merge")
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag in _PLAIN]
    for first, resolvers in SafeLoader.yaml_implicit_resolvers.items()
}


def endpoint_override(config_map: wire.ConfigMap) -> EndpointOverride:
    """Return what a ConfigMap kubernetes-services-endpoint says."""
    data, metadata = config_map.data or {}, config_map.metadata
    times = [field.time for field in metadata.managed_fields or () if field.time is not None]
    return EndpointOverride(
        namespace=metadata.namespace,
        name=metadata.name,
        host=data.get("KUBERNETES_SERVICE_HOST"),
        port=data.get("KUBERNETES_SERVICE_PORT"),
        pod_host=data.get("KUBERNETES_SERVICE_HOST_POD_NETWORK"),
        pod_port=data.get("KUBERNETES_SERVICE_PORT_POD_NETWORK"),
        changed_at=max(times, default=metadata.creation_timestamp),
        marks=marks_of(metadata),
    )


def kubeadm(config_map: wire.ConfigMap) -> Kubeadm:
    """Return kubeadm's ClusterConfiguration; ValueError if it cannot be read."""
    found = next(_objects((config_map.data or {}).get("ClusterConfiguration", "")), {})
    configuration = _converted(found, wire.ClusterConfiguration)
    networking = configuration.networking or wire.KubeadmNetworking()
    return Kubeadm(
        cluster_name=configuration.cluster_name or "",
        control_plane_endpoint=configuration.control_plane_endpoint or "",
        pod_subnet=networking.pod_subnet or "",
        service_subnet=networking.service_subnet or "",
    )


def kube_proxy_config(config_maps: Iterable[wire.ConfigMap]) -> KubeProxyConfig:
    """Return kube-proxy's configuration and the server of its kubeconfig, whatever the keys are called.

    ValueError if there is neither, and a key that might have been one cannot be read.
    """
    names: list[str] = []
    main: wire.KubeProxyConfiguration | None = None
    server: str | None = None
    unreadable = ""
    for config_map in config_maps:
        names.append(f"{config_map.metadata.namespace}/{config_map.metadata.name}")
        for key, text in (config_map.data or {}).items():
            try:
                for found in _objects(text):
                    if found.get("kind") == "KubeProxyConfiguration":
                        main = _converted(found, wire.KubeProxyConfiguration)
                    elif "clusters" in found:
                        clusters = _converted(found, wire.Kubeconfig).clusters
                        server = next((entry.cluster.server for entry in clusters if entry.cluster.server), server)
            except ValueError as error:
                unreadable = f"key {excerpt(key, 40)}: {error}"
    if unreadable and main is None:
        raise ValueError(unreadable)
    main = main or wire.KubeProxyConfiguration()
    return KubeProxyConfig(
        config_maps=tuple(names),
        mode=main.mode,
        cluster_cidr=main.cluster_cidr or None,
        healthz_bind_address=main.healthz_bind_address or None,
        server=server,
    )


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Return the YAML documents that are mappings; ValueError if it is no YAML."""
    try:
        documents = list(yaml.load_all(text, Loader=_Loader))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ValueError(f"it is not YAML ({excerpt(str(error).partition(chr(10))[0], 80)})") from error
    return (document for document in documents if isinstance(document, dict))


def _converted(found: dict[str, Any], shape: type[T]) -> T:
    try:
        return msgspec.convert(found, shape)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ValueError(excerpt(str(error), 120)) from error
