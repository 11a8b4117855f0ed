"""Objects of Kubernetes as facts, one by one."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from ebpfcheck.collect import wire
from ebpfcheck.collect.api_nodes import NodeReader, addresses
from ebpfcheck.collect.objects import CalicoPod, calico_pod, installation_of, kube_proxies, tigera_status_of
from ebpfcheck.model.cluster import NodeAddresses, TigeraStatus
from ebpfcheck.model.facts import Absent, Fact, Known, Reason, Unknown
from ebpfcheck.model.text import excerpt


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


def node(name: str, ips: tuple[str, ...], found: dict[str, str], pods: str | None = "110") -> wire.Node:
    """A node with InternalIPs, and the addresses that calico-node found."""
    item = {
        "metadata": {"name": name, "annotations": {f"projectcalico.org/{key}Address": ip for key, ip in found.items()}},
        "status": {
            "addresses": [{"type": "InternalIP", "address": ip} for ip in ips]
            + [{"type": "Hostname", "address": name}],
            "capacity": {"cpu": "2"} | ({"pods": pods} if pods is not None else {}),
        },
    }
    return msgspec.json.decode(msgspec.json.encode(item), type=wire.Node)


def test_the_addresses_of_nodes_are_told_by_family_and_held_against_what_calico_node_found() -> None:
    reader = NodeReader()
    rows = [
        reader.row(one)
        for one in (
            node("same", ("10.0.0.1",), {"IPv4": "10.0.0.1/24"}),
            node("both", ("10.0.0.2", "fd00::2"), {"IPv4": "10.0.0.2/24", "IPv6": "fd00::2/64"}),
            node("other", ("10.0.0.3",), {"IPv4": "192.168.5.3/24"}),
            node("half", ("10.0.0.4", "fd00::4"), {"IPv4": "10.0.0.4/24", "IPv6": "fd99::4/64"}),
            node("none-found", ("10.0.0.5",), {}),
            node("six", ("fd00::6",), {"IPv6": "fd00::6/64"}),
            node("nowhere", (), {}),
        )
    ]
    assert addresses(rows) == NodeAddresses(ipv4=3, ipv6=1, dual=2, none=1, found=3, other=2)


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        ("110", Known(value=110, source=0)),
        (None, Absent(source=0)),
        ("", Absent(source=0)),
        ("1k", Unknown(reason=Reason.UNPARSABLE, detail="not a number of pods: 1k", source=0)),
        (
            "9" * 60,
            Unknown(reason=Reason.UNPARSABLE, detail=f"not a number of pods: {excerpt('9' * 60, 40)}", source=0),
        ),
    ],
)
def test_how_many_pods_a_node_takes(pods: str | None, expected: Fact[int]) -> None:
    reader = NodeReader()
    (kind,), _ = reader.fold([reader.row(node("worker-1", (), {}, pods))], Absent(source=0), {}, 0)
    assert kind.max_pods == expected


RUNS = {"running": {"startedAt": "2026-11-01T10:00:00Z"}}
CRASHES = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}}
DONE = {"terminated": {"exitCode": 0, "reason": "Completed"}}
BROKE = {"terminated": {"exitCode": 3, "reason": "Error"}}


def status(name: str, state: Any, last: Any = None, *, ready: bool = False, restarts: int = 0) -> Any:
    return {"name": name, "ready": ready, "restartCount": restarts, "state": state, "lastState": last or {}}


@pytest.mark.parametrize(
    ("containers", "inits", "expected"),
    [
        (
            [status("calico-node", RUNS, ready=True, restarts=4)],
            [status("install-cni", DONE, ready=True)],
            CalicoPod(is_ready=True),
        ),
        ([status("calico-node", RUNS, restarts=5)], [], CalicoPod(is_restarted=True)),
        (
            [status("calico-node", CRASHES, {"terminated": {"exitCode": 2}}, restarts=3)],
            [],
            CalicoPod(waiting=("CrashLoopBackOff",)),
        ),
        # Between two tries it is the last one that tells.
        (
            [status("calico-node", {"waiting": {"reason": "PodInitializing"}})],
            [status("mount-bpffs", CRASHES, BROKE, restarts=9)],
            CalicoPod(is_restarted=True, waiting=("CrashLoopBackOff",), init_exits=(("mount-bpffs", 3),)),
        ),
        # What ended well in the end counts as that.
        (
            [status("calico-node", RUNS, ready=True)],
            [status("ebpf-bootstrap", DONE, BROKE, ready=True, restarts=1)],
            CalicoPod(is_ready=True),
        ),
        ([], [], CalicoPod()),
    ],
)
def test_what_is_kept_of_a_pod_of_calico_node(containers: Any, inits: Any, expected: CalicoPod) -> None:
    image = "quay.io/calico/node:v3.32.1"
    item = {
        "spec": {"containers": [{"name": "calico-node", "image": image}]},
        "status": {
            "startTime": "2026-11-01T10:00:00Z", "containerStatuses": containers, "initContainerStatuses": inits,
        },
    }  # fmt: skip
    pod = calico_pod(msgspec.json.decode(msgspec.json.encode(item), type=wire.CalicoPod))
    start = datetime(2026, 11, 1, 10, tzinfo=UTC)
    assert pod == msgspec.structs.replace(expected, image=image, start=start)


def conditions(**given: tuple[str, str, str]) -> Any:
    listed = [
        {"type": kind, "status": state, "reason": reason, "message": message, "observedGeneration": 4}
        for kind, (state, reason, message) in given.items()
    ]
    return {"metadata": {"name": "calico"}, "spec": {}, "status": {"conditions": listed}}


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (
            conditions(
                Available=("True", "AllObjectsAvailable", "All objects available"),
                Progressing=("False", "AllObjectsAvailable", "All objects available"),
                Degraded=("False", "AllObjectsAvailable", "All objects available"),
            ),
            TigeraStatus(name="calico", available=True, progressing=False, degraded=False),
        ),
        (
            conditions(
                Available=("False", "NotAvailable", "x"),
                Progressing=("True", "ResourceNotReady", "waits"),
                Degraded=("True", "ResourceUpdateError", "it broke"),
            ),
            TigeraStatus(
                name="calico", available=False, progressing=True, degraded=True, reason="ResourceUpdateError",
                message="it broke",
            ),
        ),
        (
            conditions(Progressing=("True", "ResourceNotReady", "y" * 5000)),
            TigeraStatus(name="calico", progressing=True, reason="ResourceNotReady", message="y" * 1000),
        ),
        (conditions(Available=("Unknown", "", "")), TigeraStatus(name="calico")),
        ({"metadata": {"name": "calico"}, "spec": {}}, TigeraStatus(name="calico")),
    ],
)  # fmt: skip
def test_what_the_operator_says_of_a_component(item: Any, expected: TigeraStatus) -> None:
    assert tigera_status_of(msgspec.json.decode(msgspec.json.encode(item), type=wire.TigeraStatus)) == expected


@pytest.mark.parametrize(
    ("spec", "computed", "v4"),
    [
        (None, None, None),
        ({}, None, ""),
        ({"firstFound": True}, None, "firstFound"),
        # The operator counts a method that is false as none.
        ({"firstFound": False}, None, ""),
        ({"kubernetes": "NodeInternalIP"}, None, "kubernetes"),
        ({"interface": "eth.*"}, None, "interface"),
        ({"skipInterface": "^br-.*"}, None, "skipInterface"),
        ({"canReach": "192.0.2.1"}, None, "canReach"),
        ({"cidrs": ["10.0.0.0/8"]}, None, "cidrs"),
        (None, {"firstFound": True}, "firstFound"),
    ],
)
def test_how_addresses_are_found(spec: Any, computed: Any, v4: str | None) -> None:
    def network(given: Any) -> Any:
        return {"calicoNetwork": {"bgp": "Enabled"} | ({} if given is None else {"nodeAddressAutodetectionV4": given})}

    item = {"metadata": {"name": "default"}, "spec": network(spec), "status": {"computed": network(computed)}}
    found = installation_of(msgspec.json.decode(msgspec.json.encode(item), type=wire.Installation))
    assert (found.autodetection_v4, found.autodetection_v6) == (v4, None)


def test_pools_that_an_installation_does_not_list_are_not_known_to_be_none() -> None:
    def pools(network: Any) -> tuple[str, ...] | None:
        item = {"metadata": {"name": "default"}, "spec": {"calicoNetwork": network}}
        return installation_of(msgspec.json.decode(msgspec.json.encode(item), type=wire.Installation)).pools

    assert pools({}) is None
    assert pools({"ipPools": []}) == ()
    assert pools({"ipPools": [{"cidr": "10.244.0.0/16", "encapsulation": "VXLAN"}]}) == ("10.244.0.0/16",)
