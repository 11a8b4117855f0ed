"""Objects of Kubernetes as facts, one by one."""

from typing import Any

import pytest

from ebpfcheck.collect import wire
from ebpfcheck.collect.api_nodes import NodeReader
from ebpfcheck.collect.objects import kube_proxies
from ebpfcheck.model.facts import Absent, Known


@pytest.mark.parametrize(
    ("ids", "provider"),
    [
        (("aws:///eu-west-1a/i-1", "aws:///eu-west-1b/i-2"), "aws"),
        (("ocid1.instance.oc1.a", "ocid1.instance.oc1.b"), "ocid1"),
        (("4fd1d1de-4d1c-4f0b-8d4a-7f7a4d5e6f10", "9a0c6f6e-0d3f-4b57-a0a7-1f2e3d4c5b6a"), None),
        (("rack1.host-1", "rack2.host-2"), None),
        (("", None), None),
    ],
)
def test_what_tells_nodes_apart_makes_no_kinds(ids: tuple[str | None, ...], provider: str | None) -> None:
    reader = NodeReader()
    rows = [
        reader.row(wire.Node(metadata=wire.NodeMetadata(name=f"node-{n}"), spec=wire.NodeSpec(provider_id=one)))
        for n, one in enumerate(ids)
    ]
    (kind,), nodes = reader.fold(rows, Absent(source=0), {}, 0)
    assert len(nodes) == len(ids)
    assert kind.provider == (Absent(source=0) if provider is None else Known(value=provider, source=0))


@pytest.mark.parametrize(
    ("image", "selector", "is_it"),
    [
        ("registry.k8s.io/kube-proxy:v1.33.4", {}, True),
        ("kube-proxy", {}, True),
        ("registry.k8s.io/kube-proxy-amd64:v1.11.0", {}, True),
        ("10.1.2.3:5000/mirror/hyper-kube-proxy@sha256:abc", {"kubernetes.io/os": "linux"}, True),
        ("registry.k8s.io/kube-proxy:v1.33.4", {"kubernetes.io/os": "windows"}, False),
        ("quay.io/acme/kube-proxy-exporter:v1", {}, False),
        ("kube-proxy/watcher:v1", {}, False),
        ("", {}, False),
    ],
)
def test_kube_proxy_is_known_by_its_image(image: str, selector: Any, is_it: bool) -> None:
    spec = wire.PodSpec(containers=(wire.Container(name="x", image=image),), node_selector=selector)
    one = wire.DaemonSet(spec=wire.WorkloadSpec(template=wire.PodTemplate(spec=spec)))
    assert kube_proxies([one]) == ([one] if is_it else [])
