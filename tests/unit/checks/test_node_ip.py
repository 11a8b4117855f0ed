import json
import shlex
from typing import Any

import pytest

from ebpfcheck.checks import node_ip
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.model.cluster import CalicoNode, Installation, IpPool, NodeAddresses
from ebpfcheck.model.facts import Absent, Install, Reason, Unknown
from ebpfcheck.model.report import Finding, Severity, Status
from tests.builders import judged_cluster, known

ABSENT = Absent(source=0)
FORBIDDEN = Unknown(reason=Reason.FORBIDDEN, detail="not allowed to list them")
V4 = IpPool(name="four", cidr="192.168.0.0/16")
V6 = IpPool(name="six", cidr="fd00::/48")


def node(*env: tuple[str, str | None]) -> Any:
    return known(CalicoNode(namespace="kube system", name="calico-node", image="", env=env))


def of(**counts: int) -> Any:
    return known(NodeAddresses(**counts))


def judged(**more: Any) -> Finding:
    """Judge an operator's cluster of three nodes on which all is well, unless something else is said."""
    version, install = more.pop("version", "v3.32.1"), more.pop("install", "operator")
    facts = {
        "installation": known(Installation(autodetection_v4="firstFound", cni_type="Calico")),
        "ip_pools": known((V4,)),
        "calico_node": node(("CALICO_NETWORKING_BACKEND", "bird")),
        "node_addresses": of(ipv4=3, found=3),
        **more,
    }
    return judged_cluster(node_ip.node_ip, version=version, install=install, **facts)


def manifest(*env: tuple[str, str | None], **more: Any) -> Finding:
    return judged(installation=ABSENT, install="manifest", calico_node=node(*env), **more)


@pytest.mark.parametrize("install", ["operator", "manifest", "none", "unknown"])
def test_nothing_known_is_no_answer(install: Install) -> None:
    for minor in load_knowledge().minors():
        assert judged_cluster(node_ip.node_ip, version=str(minor), install=install).status is Status.UNKNOWN


def asked(v4: str | None = "firstFound", v6: str | None = None, cni: str | None = "Calico", **more: Any) -> Any:
    return known(Installation(autodetection_v4=v4, autodetection_v6=v6, cni_type=cni, **more))


MISSING = of(ipv4=3, found=2)


@pytest.mark.parametrize(
    ("more", "status", "words"),
    [
        ({}, Status.PASS, "On all 3 nodes"),
        ({"version": "v3.16"}, Status.PASS, "On all 3 nodes"),
        ({"installation": asked(None)}, Status.PASS, "On all 3 nodes"),
        ({"installation": asked(None, linux_dataplane="BPF")}, Status.PASS, "On all 3 nodes"),
        ({"installation": asked("canReach")}, Status.PASS, "On all 3 nodes"),
        ({"node_addresses": of(ipv4=3, found=2, other=1)}, Status.WARN, "On 1 of 3 nodes calico-node found an address"),
        ({"node_addresses": MISSING}, Status.WARN, "For 1 of 3 nodes"),
        ({"node_addresses": of(ipv4=2, none=1, found=2)}, Status.WARN, "For 1 of 3 nodes"),
        ({"node_addresses": of(dual=2, ipv6=1, found=3)}, Status.PASS, "On all 3 nodes"),
        ({"node_addresses": of()}, Status.UNKNOWN, "no nodes"),
        ({"node_addresses": FORBIDDEN}, Status.UNKNOWN, "not allowed"),
        ({"node_addresses": ABSENT}, Status.UNKNOWN, "could not be told"),
        ({"installation": FORBIDDEN}, Status.UNKNOWN, "not allowed"),
        ({"installation": ABSENT}, Status.UNKNOWN, "could not be told"),
        ({"installation": ABSENT, "calico_node": ABSENT}, Status.NOT_APPLICABLE, "not installed"),
        ({"installation": FORBIDDEN, "calico_node": ABSENT}, Status.UNKNOWN, "not allowed"),
        ({"ip_pools": FORBIDDEN}, Status.PASS, "On all 3 nodes"),
        ({"calico_node": FORBIDDEN}, Status.PASS, "On all 3 nodes"),
    ],
)
def test_what_was_found(more: dict[str, Any], status: Status, words: str) -> None:
    finding = judged(**more)
    assert finding.status is status
    assert words in finding.message
    assert finding.severity is Severity.BLOCKER
    assert not finding.note


# What the operator fills in, and what it refuses.


def listing(*cidrs: str, v6: str | None = None) -> Any:
    return asked(v6=v6, pools=cidrs)


@pytest.mark.parametrize(
    ("version", "installation", "pools", "status"),
    [
        ("v3.28", listing("192.168.0.0/16", "fd00::/48"), known((V4,)), Status.FAIL),
        ("v3.33", listing("fd00::/48"), ABSENT, Status.FAIL),
        ("v3.27", listing("192.168.0.0/16", "fd00::/48"), known((V4,)), Status.PASS),
        ("v3.28", listing("192.168.0.0/16", "fd00::/48"), known((V4, V6)), Status.PASS),
        ("v3.28", listing("192.168.0.0/16", "fd00::/48"), FORBIDDEN, Status.UNKNOWN),
        ("v3.28", listing("fd00::/48", v6="firstFound"), known((V4,)), Status.PASS),
        ("v3.28", listing("fd00::/48", v6=""), known((V4,)), Status.PASS),
        ("v3.28", listing("192.168.0.0/16"), known(()), Status.PASS),
        ("v3.28", asked(None), known(()), Status.PASS),
    ],
)
def test_a_pool_that_is_listed_and_not_made(version: str, installation: Any, pools: Any, status: Status) -> None:
    finding = judged(version=version, installation=installation, ip_pools=pools)
    assert finding.status is status
    if status is Status.FAIL:
        assert f"the operator of Calico {version} fills in only" in finding.message
        assert finding.remediation is not None
        assert "nodeAddressAutodetectionV6" in finding.remediation.commands[1]


def test_a_hostile_range() -> None:
    message = judged(installation=listing("fd00::\x1b[2J/48")).message
    assert "\x1b" not in message
    assert "fd00::\\x1b[2J/48" in message


# Where nothing looks for addresses.


@pytest.mark.parametrize(
    ("installation", "pools", "addresses", "status", "words"),
    [
        (asked(""), (V4,), of(ipv4=3, found=3), Status.WARN, "nothing looks for the nodes' IPv4 addresses: they stay"),
        (asked(""), (V4,), MISSING, Status.FAIL, "1 of 3 nodes have none: calico-node v3.32.1 does not start"),
        (asked("", ""), (V4,), MISSING, Status.FAIL, "1 of 3 nodes have none"),
        (asked("", "firstFound"), (V4, V6), of(dual=3, found=2), Status.WARN, "IPv4 addresses: they stay"),
        (asked("firstFound", ""), (V4, V6), of(dual=3, found=3), Status.WARN, "IPv6 addresses: they stay"),
        (asked("firstFound", ""), (V4, V6), of(dual=3, found=2), Status.WARN, "IPv6 addresses: they stay"),
        (asked("firstFound", ""), (V6,), of(ipv6=3, found=3), Status.WARN, "IPv6 addresses: they stay"),
        (asked(None), (V4,), of(none=3), Status.WARN, "For 3 of 3 nodes"),
        (asked("firstFound", ""), (V4,), of(dual=3, found=3), Status.PASS, "On all 3"),
        (asked("firstFound", ""), (V4, V6), of(ipv4=3, found=3), Status.PASS, "On all 3"),
        (asked("", ""), (V4, V6), of(dual=3, found=3), Status.WARN, "IPv4 and IPv6 addresses"),
        (asked("", "firstFound"), (V6,), of(ipv6=3, found=3), Status.PASS, "On all 3"),
        # Of the nodes' IPv4 addresses nothing makes use where all pools are for IPv6.
        (asked("", "firstFound"), (V6,), of(dual=3, found=3), Status.PASS, "On all 3"),
        (asked(None, "firstFound"), (V6,), of(ipv6=3, found=3), Status.WARN, "IPv6 InternalIPs alone"),
        (asked("firstFound", "firstFound"), (V6,), of(ipv6=3, found=3), Status.PASS, "On all 3"),
        (asked(None, "firstFound"), (V6,), of(ipv6=2, dual=1, found=3), Status.PASS, "On all 3"),
        (asked(None, "firstFound"), (V6,), of(ipv6=2, ipv4=1, found=3), Status.PASS, "On all 3"),
    ],
)
def test_methods_of_the_installation(
    installation: Any, pools: tuple[IpPool, ...], addresses: Any, status: Status, words: str
) -> None:
    finding = judged(installation=installation, ip_pools=known(pools), node_addresses=addresses)
    assert finding.status is status
    assert words in finding.message


@pytest.mark.parametrize(
    ("env", "addresses", "status", "words"),
    [
        ((), of(ipv4=3, found=3), Status.PASS, "On all 3"),
        ((("IP", "autodetect"),), of(ipv4=3, found=3), Status.PASS, "On all 3"),
        ((("IP", None),), of(ipv4=3, found=3), Status.PASS, "On all 3"),
        ((("IP", "none"),), of(ipv4=3, found=3), Status.WARN, "By calico-node's variables nothing looks for"),
        ((("IP", "none"),), MISSING, Status.FAIL, "does not start"),
        ((("IP", "none"), ("IP6", "autodetect")), of(dual=3, found=2), Status.WARN, "they stay"),
        ((("IP", "none"), ("IP6", "none")), of(dual=3, found=2), Status.FAIL, "does not start"),
        ((), of(dual=3, found=3), Status.WARN, "nothing looks for the nodes' IPv6 addresses"),
        ((("IP6", "autodetect"),), of(dual=3, found=3), Status.PASS, "On all 3"),
        ((("IP6", None),), of(dual=3, found=3), Status.PASS, "On all 3"),
    ],
)
def test_variables_of_manifests(env: tuple[Any, ...], addresses: Any, status: Status, words: str) -> None:
    finding = manifest(*env, node_addresses=addresses, ip_pools=known((V4, V6)))
    assert finding.status is status
    assert words in finding.message


NO_BACKEND = node(("CALICO_NETWORKING_BACKEND", "none"))


@pytest.mark.parametrize(
    ("more", "status", "words"),
    [
        ({"calico_node": NO_BACKEND}, Status.PASS, "goes by the nodes' InternalIPs"),
        ({"calico_node": NO_BACKEND, "version": "v3.21"}, Status.PASS, "goes by the nodes' InternalIPs"),
        ({"calico_node": NO_BACKEND, "version": "v3.20"}, Status.WARN, "3 of 3 nodes have none"),
        ({"calico_node": NO_BACKEND, "version": "v3.20", "node_addresses": of(ipv4=3, found=3)}, Status.PASS, "beside"),
        ({"calico_node": NO_BACKEND, "installation": asked("")}, Status.PASS, "goes by the nodes' InternalIPs"),
        ({"calico_node": FORBIDDEN, "installation": asked(None, cni="AmazonVPC")}, Status.PASS, "InternalIPs"),
        ({"calico_node": FORBIDDEN, "installation": asked(None, cni=None)}, Status.WARN, "For 3 of 3 nodes"),
        ({"calico_node": FORBIDDEN, "installation": asked(None)}, Status.WARN, "For 3 of 3 nodes"),
        ({"calico_node": node(), "installation": asked(None, cni="AmazonVPC")}, Status.PASS, "InternalIPs"),
        ({"calico_node": node(("CALICO_NETWORKING_BACKEND", "bird"))}, Status.WARN, "For 3 of 3 nodes"),
        ({"installation": asked(None, cni="AmazonVPC")}, Status.WARN, "For 3 of 3 nodes"),
    ],
)
def test_beside_another_cni_plugin(more: dict[str, Any], status: Status, words: str) -> None:
    finding = judged(**{"node_addresses": of(ipv4=3), **more})
    assert finding.status is status
    assert words in finding.message


# What to do.


def patched(command: str) -> dict[str, Any]:
    words = shlex.split(command)
    assert words[:6] == ["kubectl", "patch", "installation", "default", "--type", "merge"]
    found: dict[str, Any] = json.loads(words[7])["spec"]["calicoNetwork"]
    return found


def test_one_method_takes_the_place_of_any_other() -> None:
    others: dict[str, Any] = {"canReach": None, "cidrs": None, "interface": None, "skipInterface": None}
    remediation = judged(node_addresses=of(ipv4=3, other=3)).remediation
    assert remediation is not None
    assert remediation.disruptive
    (command,) = remediation.commands
    chosen = {**others, "firstFound": None, "kubernetes": "NodeInternalIP"}
    assert patched(command) == {"nodeAddressAutodetectionV4": chosen}
    assert "reports as InternalIP" in remediation.text
    older = judged(node_addresses=of(ipv4=3, other=3), version="v3.21").remediation
    assert older is not None
    assert "InternalIP" not in older.text
    chosen = {**others, "firstFound": True, "kubernetes": None}
    assert patched(older.commands[0]) == {"nodeAddressAutodetectionV4": chosen}
    both = judged(node_addresses=of(dual=3, other=3)).remediation
    assert both is not None
    assert [next(iter(patched(one))) for one in both.commands] == [
        "nodeAddressAutodetectionV4",
        "nodeAddressAutodetectionV6",
    ]
    empty = judged(installation=asked(None, "firstFound"), node_addresses=of(ipv6=3, found=3)).remediation
    assert empty is not None
    assert patched(empty.commands[0]) == {"nodeAddressAutodetectionV4": {}}


def test_variables_are_set_in_the_daemonset() -> None:
    remediation = manifest(("IP", "none")).remediation
    assert remediation is not None
    assert remediation.commands == (
        "kubectl -n 'kube system' set env daemonset/calico-node -c calico-node IP=autodetect "
        "IP_AUTODETECTION_METHOD=kubernetes-internal-ip",
    )
    older = manifest(node_addresses=of(ipv6=3, other=3), version="v3.21").remediation
    assert older is not None
    assert older.commands[0].endswith("IP6=autodetect IP6_AUTODETECTION_METHOD=first-found")
