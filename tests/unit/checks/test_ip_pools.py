from typing import Any

import pytest

from ebpfcheck.checks import ip_pools
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.model.cluster import Bgp, CalicoNode, Installation, IpPool, KubeProxy, KubeProxyConfig
from ebpfcheck.model.facts import Absent, Fact, FelixSettings, Install, Reason, Unknown
from ebpfcheck.model.report import Finding, Severity, Status
from tests.builders import judged_cluster, kind, known

ABSENT = Absent(source=0)
FORBIDDEN = Unknown(reason=Reason.FORBIDDEN, detail="not allowed to list ippools")
AWS = known(("kube-system/aws-node",))


def pool(cidr: str = "192.168.0.0/16", *, nat: bool = False, disabled: bool = False, name: str = "p") -> IpPool:
    return IpPool(name=name, cidr=cidr, nat_outgoing=nat, disabled=disabled)


def config(cidr: str | None) -> Any:
    return known(KubeProxyConfig(cluster_cidr=cidr))


RUNS = known(KubeProxy(namespace="kube-system", name="kube-proxy", runs_as="daemonset", desired=3))
GONE = known(KubeProxy(namespace="kube-system", name="kube-proxy", runs_as="daemonset", desired=0))
ON, OFF = (kind(felix=known(FelixSettings(bpf_enabled=on))) for on in (True, False))


def judged(*pools: IpPool, **more: Any) -> Finding:
    """Judge a manifest cluster whose API servers are far from its nodes, unless something else is said."""
    version, install = more.pop("version", "v3.32.1"), more.pop("install", "manifest")
    facts = {
        "ip_pools": known(pools),
        "calico_node": known(CalicoNode(namespace="kube-system", name="calico-node", image="")),
        "installation": ABSENT,
        "other_networks": known(()),
        "bgp": known(Bgp()),
        "api_endpoints": known(("172.20.0.10:6443",)),
        "node_subnets": known(("10.0.0.0/24",)),
        "kube_proxy_config": ABSENT,
        "kube_proxy": RUNS,
        **more,
    }
    kinds = facts.pop("kinds", (kind(felix=known(FelixSettings())),))
    return judged_cluster(ip_pools.nat_outgoing, *kinds, version=version, install=install, **facts)


@pytest.mark.parametrize("install", ["operator", "manifest", "none", "unknown"])
def test_nothing_known_is_no_answer(install: Install) -> None:
    for minor in load_knowledge().minors():
        assert judged_cluster(ip_pools.nat_outgoing, version=str(minor), install=install).status is Status.UNKNOWN


@pytest.mark.parametrize(
    ("pools", "status", "words"),
    [
        ((pool(nat=True),), Status.PASS, "has natOutgoing, as all that is in use"),
        ((pool(),), Status.WARN, "IPPool p (192.168.0.0/16) has no natOutgoing, and the API servers (172.20.0.10)"),
        ((pool(nat=True), pool("10.9.0.0/16", name="q")), Status.WARN, "IPPool q (10.9.0.0/16) has no"),
        ((pool(nat=True), pool("10.9.0.0/16", name="q", disabled=True)), Status.PASS, "IPPool p"),
        ((pool(disabled=True),), Status.WARN, "has no natOutgoing"),
        ((pool(nat=True, disabled=True),), Status.PASS, "natOutgoing"),
        ((pool("fd00::/48"),), Status.PASS, "another IP version"),
        ((pool(nat=True), pool("fd00::/48")), Status.PASS, "another IP version"),
        ((pool(), pool("fd00::/48", name="six")), Status.WARN, "IPPool p (192.168.0.0/16) has no"),
        ((pool("every\x1bwhere"),), Status.PASS, "another IP version"),
        ((pool(name="x\x1b[2J"),), Status.WARN, "x\\x1b[2J"),
    ],
)
def test_pools(pools: tuple[IpPool, ...], status: Status, words: str) -> None:
    for version in ("v3.13", "v3.32.1"):
        finding = judged(*pools, version=version)
        assert finding.status is status
        assert words in finding.message
        assert not finding.note
        assert finding.severity is Severity.DEGRADE
        assert "\x1b" not in finding.message + finding.observed


@pytest.mark.parametrize(
    ("more", "status", "words"),
    [
        ({"ip_pools": ABSENT}, Status.PASS, "no IPPools"),
        ({"ip_pools": ABSENT, "calico_node": ABSENT}, Status.NOT_APPLICABLE, "not installed"),
        ({"ip_pools": ABSENT, "calico_node": ABSENT, "installation": FORBIDDEN}, Status.PASS, "no IPPools"),
        ({"ip_pools": FORBIDDEN}, Status.UNKNOWN, "not allowed"),
    ],
)
def test_no_pools(more: dict[str, Any], status: Status, words: str) -> None:
    finding = judged(**more)
    assert finding.status is status
    assert words in finding.message


NOTE = (Status.PASS, True)
PASS = (Status.PASS, False)
WARN = (Status.WARN, False)
UNKNOWN = (Status.UNKNOWN, False)


@pytest.mark.parametrize(
    ("more", "outcome", "words"),
    [
        ({"kube_proxy_config": config("192.168.0.0/16")}, PASS, "clusterCIDR covers it"),
        ({"kube_proxy_config": config("192.0.0.0/8,fd00::/48")}, PASS, "clusterCIDR covers it"),
        ({"kube_proxy_config": config("fd00::/48, 192.168.0.0/15")}, PASS, "clusterCIDR covers it"),
        ({"kube_proxy_config": config("192.168.0.0/17")}, WARN, "may have masqueraded"),
        ({"kube_proxy_config": config("10.244.0.0/16")}, WARN, "may have masqueraded"),
        ({"kube_proxy_config": config("no\x1bsense")}, WARN, "may have masqueraded"),
        ({"kube_proxy_config": config(None)}, WARN, "may have masqueraded"),
        ({"kube_proxy_config": FORBIDDEN}, UNKNOWN, "whether kube-proxy masqueraded"),
        ({"bgp": known(Bgp(peers=2))}, NOTE, "BGPPeers"),
        ({"bgp": known(Bgp(mesh=False, peers=1)), "kube_proxy_config": FORBIDDEN}, NOTE, "BGPPeers"),
        ({"bgp": FORBIDDEN}, UNKNOWN, "by BGP could not be told"),
        ({"bgp": ABSENT}, WARN, "may have masqueraded"),
        ({"api_endpoints": known(("10.0.0.7:6443",)), "bgp": FORBIDDEN}, NOTE, "nodes' own subnets"),
        ({"api_endpoints": known(("10.0.0.7:6443", "10.0.0.8:6443"))}, NOTE, "nodes' own subnets"),
        ({"api_endpoints": known(("10.0.0.7:6443", "10.0.1.8:6443"))}, WARN, "10.0.0.7, 10.0.1.8"),
        ({"api_endpoints": known(("api.example.com:443",))}, WARN, "api.example.com"),
        ({"api_endpoints": known(("api\x1b.example.com:443",))}, WARN, "api\\x1b.example.com"),
        ({"api_endpoints": FORBIDDEN}, UNKNOWN, "where the API servers are could not be told: not allowed"),
        ({"api_endpoints": ABSENT}, UNKNOWN, "where the API servers are could not be told: it is not there"),
        ({"api_endpoints": known(())}, UNKNOWN, "where the API servers are could not be told: it is not there"),
        ({"api_endpoints": known(("[fd00:1::7]:6443",))}, PASS, "another IP version"),
        ({"node_subnets": FORBIDDEN}, UNKNOWN, "in the nodes' subnets could not be told"),
        ({"node_subnets": known(())}, WARN, "may have masqueraded"),
        ({"node_subnets": ABSENT}, WARN, "may have masqueraded"),
        ({"other_networks": AWS}, PASS, "the AWS VPC CNI carries"),
        ({"other_networks": known(("x/kube-flannel", "kube-system/azure-cns"))}, PASS, "Azure CNI carries"),
        ({"other_networks": known(("x/kube-flannel",))}, WARN, "may have"),
        ({"other_networks": AWS, "installation": known(Installation(cni_type="Calico"))}, WARN, "may have"),
        ({"installation": known(Installation(cni_type="AmazonVPC")), "api_endpoints": FORBIDDEN}, PASS, "AmazonVPC"),
        ({"other_networks": FORBIDDEN}, UNKNOWN, "cloud's network"),
        ({"installation": FORBIDDEN}, WARN, "may have"),
        ({"installation": FORBIDDEN, "install": "operator"}, UNKNOWN, "which CNI plugin"),
        ({"installation": ABSENT, "install": "unknown"}, WARN, "may have"),
    ],
)
def test_what_shows_that_pods_get_answers(more: dict[str, Any], outcome: tuple[Status, bool], words: str) -> None:
    finding = judged(pool(), **more)
    assert (finding.status, finding.note) == outcome
    assert words in finding.message
    assert "\x1b" not in finding.message + finding.observed


def test_pools_of_ipv6_are_held_against_servers_of_ipv6() -> None:
    servers = known(("[fd00:1::7]:6443",))
    assert judged(pool("fd00::/48"), api_endpoints=servers).status is Status.WARN
    covering = config("10.0.0.0/8,fd00::/47")
    assert judged(pool("fd00::/48"), api_endpoints=servers, kube_proxy_config=covering).status is Status.PASS
    beside = config("10.0.0.0/8,fd01::/48")
    assert judged(pool("fd00::/48"), api_endpoints=servers, kube_proxy_config=beside).status is Status.WARN


def test_all_pools_have_to_be_covered() -> None:
    both = (pool(), pool("10.9.0.0/16", name="q"))
    assert judged(*both, kube_proxy_config=config("192.168.0.0/16")).status is Status.WARN
    assert judged(*both, kube_proxy_config=config("192.168.0.0/16,10.9.0.0/16")).status is Status.PASS


def test_what_to_do() -> None:
    remediation = judged(pool(name="a b;c"), api_endpoints=known(("172.20.0.10:6443", "172.20.0.11:6443"))).remediation
    assert remediation is not None
    assert remediation.commands == (
        "kubectl run api-server-probe --rm -i --restart=Never --image=busybox -- nc -zvw5 172.20.0.10 6443",
        """kubectl patch ippool 'a b;c' --type merge -p '{"spec": {"natOutgoing": true}}'""",
    )
    assert "Installation" not in remediation.text
    unlisted = judged(pool(), installation=known(Installation())).remediation
    assert unlisted is not None
    assert "Installation" not in unlisted.text
    listed = known(Installation(pools=("192.168.0.0/16",)))
    six = judged(pool("fd00::/48"), api_endpoints=known(("[fd00:1::7]:6443",)), installation=listed).remediation
    assert six is not None
    assert "nc -zvw5 fd00:1::7 6443" in six.commands[0]
    assert "Installation lists the pool" in six.text


def servers_of(count: int) -> tuple[str, ...]:
    return tuple(f"172.20.0.{number}:6443" for number in range(count))


def test_long_lists_are_cut_short() -> None:
    pools = [pool(f"10.{number}.0.0/16", name=f"pool-{number}") for number in range(7)]
    four = judged(*pools[:4], api_endpoints=known(servers_of(4))).message
    assert "pool-3 (10.3.0.0/16) has" in four
    assert "172.20.0.3) are" in four
    message = judged(*pools, api_endpoints=known(servers_of(6))).message
    assert "pool-3 (10.3.0.0/16) and 3 more" in message
    assert "172.20.0.3 and 2 more" in message


@pytest.mark.parametrize(
    ("kinds", "proxy", "status"),
    [
        ((ON,), GONE, Status.PASS),
        ((ON, ON), ABSENT, Status.PASS),
        ((ON,), RUNS, Status.WARN),
        ((ON, OFF), GONE, Status.WARN),
        ((ON, kind(felix=FORBIDDEN)), GONE, Status.UNKNOWN),
        ((ON,), FORBIDDEN, Status.UNKNOWN),
    ],
)
def test_where_ebpf_mode_is_on_and_kube_proxy_gone_nothing_changes(
    kinds: Any, proxy: Fact[Any], status: Status
) -> None:
    bare = IpPool(name="p", cidr="192.168.0.0/16", nat_outgoing=False)
    finding = judged(bare, kinds=kinds, kube_proxy=proxy)
    assert finding.status is status
    assert finding.note is (status is Status.PASS)
