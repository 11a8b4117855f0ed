from typing import Any

import pytest

from ebpfcheck.checks import dns
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.model.cluster import DnsService, NodeLocalDns
from ebpfcheck.model.facts import Absent, Fact, FelixSettings, Install, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Finding, Severity, Status
from tests.builders import judged_cluster, kind, known

ABSENT = Absent(source=0)
FORBIDDEN = Unknown(reason=Reason.FORBIDDEN, detail="not allowed to list services")
IP = "10.96.0.10"
OWN = "169.254.20.10"


def service(
    *ips: str, name: str = "kube-dns", nat_exclude: str | None = None, namespace: str = "kube-system"
) -> DnsService:
    return DnsService(namespace=namespace, name=name, cluster_ips=ips or (IP,), nat_exclude=nat_exclude)


def cache(*ips: str, name: str = "node-local-dns") -> NodeLocalDns:
    return NodeLocalDns(namespace="kube-system", name=name, local_ips=ips)


def felix(*cidrs: str, **more: Any) -> NodeKind:
    """A node of which Felix leaves these ranges alone."""
    return kind(felix=known(FelixSettings(bpf_exclude_cidrs_from_nat=cidrs or None)), **more)


USUAL = known((cache(OWN, IP),))
UPSTREAM = service("10.100.1.2", name="kube-dns-upstream")


def judged(*kinds: NodeKind, version: str = "v3.32.1", counts: tuple[int, ...] = (), **facts: Any) -> Finding:
    given: dict[str, Any] = {"node_local_dns": USUAL, "dns_services": known((service(), UPSTREAM)), **facts}
    return judged_cluster(dns.nodelocal, *(kinds or (felix(),)), version=version, counts=counts, **given)


@pytest.mark.parametrize("install", ["operator", "manifest", "none", "unknown"])
def test_nothing_known_is_no_answer(install: Install) -> None:
    for minor in load_knowledge().minors():
        for kinds in ((), (kind(),)):
            finding = judged_cluster(dns.nodelocal, *kinds, version=str(minor), install=install)
            assert finding.status is Status.UNKNOWN


@pytest.mark.parametrize(
    ("facts", "status", "words"),
    [
        ({}, Status.WARN, "go past the cache"),
        ({"node_local_dns": known(())}, Status.NOT_APPLICABLE, "no NodeLocal DNSCache"),
        ({"node_local_dns": ABSENT}, Status.NOT_APPLICABLE, "no NodeLocal DNSCache"),
        ({"node_local_dns": known((cache(OWN),))}, Status.PASS, f"an address of its own ({OWN})"),
        ({"node_local_dns": known((cache(OWN), cache(IP)))}, Status.WARN, "go past the cache"),
        ({"node_local_dns": known((cache(),))}, Status.UNKNOWN, "could not be told"),
        ({"node_local_dns": known((cache(OWN, "__PILLAR__DNS__SERVER__"),))}, Status.UNKNOWN, "could not be told"),
        ({"node_local_dns": FORBIDDEN}, Status.UNKNOWN, "not allowed"),
        ({"dns_services": FORBIDDEN}, Status.UNKNOWN, "not allowed"),
        ({"dns_services": FORBIDDEN, "node_local_dns": known(())}, Status.UNKNOWN, "not allowed"),
        ({"dns_services": known(())}, Status.UNKNOWN, "was not found"),
        ({"dns_services": ABSENT}, Status.UNKNOWN, "was not found"),
        ({"dns_services": known((service(nat_exclude="true"), UPSTREAM))}, Status.PASS, "leaves kube-system/kube-dns"),
        ({"dns_services": known((service("nonsense"),))}, Status.PASS, "an address of its own"),
    ],
)
def test_caches_and_services(facts: dict[str, Any], status: Status, words: str) -> None:
    finding = judged(**facts)
    assert finding.status is status
    assert words in finding.message
    assert finding.severity is Severity.BLOCKER


@pytest.mark.parametrize(
    ("version", "nat_exclude", "status", "words"),
    [
        ("v3.28.0", "true", Status.PASS, "leaves kube-system/kube-dns alone"),
        ("v3.33", "true", Status.PASS, "leaves kube-system/kube-dns alone"),
        ("v3.27.5", "true", Status.WARN, "is heeded from v3.28 on"),
        ("v3.28.0", "True", Status.WARN, "counts as 'true' alone"),
        ("v3.28.0", "\x1b[2J", Status.WARN, "counts as 'true' alone"),
        ("v3.28.0", "", Status.WARN, "counts as 'true' alone"),
        ("v3.28.0", None, Status.WARN, "have to answer them all."),
    ],
)
def test_the_annotation(version: str, nat_exclude: str | None, status: Status, words: str) -> None:
    finding = judged(version=version, dns_services=known((service(nat_exclude=nat_exclude), UPSTREAM)))
    assert finding.status is status
    assert words in finding.message
    assert "\x1b" not in finding.message
    assert ("Its annotation" in finding.message) is (status is Status.WARN and nat_exclude is not None)


@pytest.mark.parametrize(
    ("version", "cidrs", "status", "words"),
    [
        ("v3.27.1", (f"{IP}/32",), Status.PASS, "leaves kube-system/kube-dns alone"),
        ("v3.27.1", (IP,), Status.PASS, "leaves kube-system/kube-dns alone"),
        ("v3.32.1", ("10.96.0.8/30",), Status.PASS, "leaves kube-system/kube-dns alone"),
        ("v3.32.1", ("10.96.0.9/30",), Status.PASS, "leaves kube-system/kube-dns alone"),
        ("v3.32.1", ("10.97.0.0/16", "fd00::/8", "nonsense"), Status.WARN, "go past the cache"),
        ("v3.27", (f"{IP}/32",), Status.UNKNOWN, "from v3.27.1 on"),
        ("v3.27", (), Status.WARN, "go past the cache"),
        ("v3.27.0", (f"{IP}/32",), Status.WARN, "go past the cache"),
        ("v3.26", (f"{IP}/32",), Status.WARN, "go past the cache"),
        # Of the whole range of Services also that by which the cache asks on.
        ("v3.32.1", ("10.0.0.0/8",), Status.FAIL, "kube-system/kube-dns-upstream alone (bpfExcludeCIDRsFromNAT)"),
        ("v3.27.0", ("10.0.0.0/8",), Status.WARN, "go past the cache"),
    ],
)
def test_ranges_kept_out(version: str, cidrs: tuple[str, ...], status: Status, words: str) -> None:
    finding = judged(felix(*cidrs), version=version)
    assert finding.status is status
    assert words in finding.message


def test_ranges_on_some_nodes() -> None:
    finding = judged(felix(IP), felix(), counts=(2, 3))
    assert finding.status is Status.WARN
    assert "before packets get there on some nodes:" in finding.message
    assert "on some nodes" not in judged().message
    finding = judged(felix(IP), felix(), node_local_dns=known((cache(OWN),)))
    assert finding.status is Status.FAIL


@pytest.mark.parametrize("caches", [known(()), ABSENT])
def test_a_cache_that_is_not_known_here_may_answer(caches: Fact[Any]) -> None:
    finding = judged(node_local_dns=caches, dns_services=known((service(nat_exclude="true"), UPSTREAM)))
    assert finding.status is Status.WARN
    assert "no cache that is known here takes" in finding.message
    assert finding.remediation is not None
    assert judged(felix(IP), node_local_dns=caches).status is Status.WARN


@pytest.mark.parametrize("caches", [known((cache(OWN),))])
def test_nobody_answers_where_felix_does_not(caches: Fact[Any]) -> None:
    annotated = known((service(nat_exclude="true"), UPSTREAM))
    finding = judged(node_local_dns=caches, dns_services=annotated)
    assert finding.status is Status.FAIL
    assert "leaves Service kube-system/kube-dns alone (projectcalico.org/natExcludeService)" in finding.message
    assert finding.remediation is not None
    assert finding.remediation.commands == (
        "kubectl -n kube-system annotate service kube-dns projectcalico.org/natExcludeService-",
    )
    assert finding.remediation.text == "Take the annotation away."
    assert judged(node_local_dns=caches, dns_services=annotated, version="v3.27.5").status is not Status.FAIL
    finding = judged(felix(IP), node_local_dns=caches)
    assert finding.status is Status.FAIL
    assert finding.remediation is not None
    assert ".spec.bpfExcludeCIDRsFromNAT" in finding.remediation.commands[0]
    assert finding.remediation.text.startswith("Take the range that covers it out")


def test_the_service_by_which_the_cache_asks_on_must_be_resolved() -> None:
    upstream = service("10.100.1.2", name="kube-dns-upstream", nat_exclude="true")
    finding = judged(dns_services=known((service(nat_exclude="true"), upstream)))
    assert finding.status is Status.FAIL
    assert "Service kube-system/kube-dns-upstream alone" in finding.message
    assert finding.observed == "kube-system/kube-dns-upstream, 10.100.1.2"


def test_both_families() -> None:
    both = service(IP, "fd00::a")
    annotated = service(IP, "fd00::a", nat_exclude="true")
    finding = judged(dns_services=known((annotated,)))
    assert finding.status is Status.WARN
    assert "the cache does not take fd00::a" in finding.message
    assert (
        judged(dns_services=known((annotated,)), node_local_dns=known((cache(IP, "fd00:0::a"),))).status is Status.PASS
    )
    finding = judged(felix(IP), dns_services=known((both,)), node_local_dns=known((cache(IP, "fd00::a"),)))
    assert finding.status is Status.WARN
    assert "takes fd00::a on" in finding.message
    assert finding.remediation is not None
    finding = judged(
        felix(IP), dns_services=known((both,)), node_local_dns=known((cache("fd00::a", IP),)), version="v3.27.1"
    )
    assert finding.remediation is not None
    assert '["10.96.0.10", "fd00::a/128"]' in finding.remediation.commands[0]


def test_felix_unseen() -> None:
    for caches in (USUAL, known(()), known((cache(OWN),))):
        finding = judged(kind(felix=FORBIDDEN), node_local_dns=caches)
        assert finding.status is Status.UNKNOWN
        assert "(bpfExcludeCIDRsFromNAT) could not be told: not allowed" in finding.message
        assert finding.reason is Reason.FORBIDDEN
    assert judged(felix(IP), kind(felix=FORBIDDEN)).status is Status.UNKNOWN
    # What is annotated is, and what older releases do not heed they do not.
    annotated = known((service(nat_exclude="true"),))
    assert judged(kind(felix=FORBIDDEN), dns_services=annotated).status is Status.PASS
    assert judged(kind(felix=FORBIDDEN), dns_services=annotated, node_local_dns=known(())).status is Status.WARN
    assert judged(kind(felix=FORBIDDEN), version="v3.27.0").status is Status.WARN
    assert judged(kind(felix=FORBIDDEN), version="v3.27").status is Status.UNKNOWN
    assert judged(kind(felix=ABSENT)).status is Status.WARN


def test_how_to_keep_it_out() -> None:
    odd = service(name="a b;c", namespace="kube-system")
    finding = judged(dns_services=known((odd, UPSTREAM)))
    assert finding.remediation is not None
    assert finding.remediation.commands == (
        "kubectl -n kube-system annotate service 'a b;c' projectcalico.org/natExcludeService=true --overwrite",
    )
    assert "kube-dns-upstream" in finding.remediation.text
    for version in ("v3.27.1", "v3.27"):
        finding = judged(felix("10.1.0.0/16"), version=version)
        assert finding.remediation is not None
        assert finding.remediation.commands == (
            "kubectl patch felixconfiguration default --type merge -p "
            """'{"spec": {"bpfExcludeCIDRsFromNAT": ["10.1.0.0/16", "10.96.0.10/32"]}}'""",
        )
        assert "v3.27.1 or later" in finding.remediation.text
    for version in ("v3.13", "v3.27.0"):
        finding = judged(version=version)
        assert finding.remediation is not None
        assert finding.remediation.commands == ()
        assert "upgrade Calico to v3.28 or later" in finding.remediation.text


def test_many_addresses_are_cut_short() -> None:
    ips = tuple(f"10.96.0.{number}" for number in range(10, 15))
    finding = judged(dns_services=known((service(*ips),)), node_local_dns=known((cache(*ips),)))
    assert "10.96.0.12 and 2 more on the nodes" in finding.message


def test_hostile_names() -> None:
    finding = judged(dns_services=known((service(name="\x1b[2J" + "x" * 300),)))
    assert "\x1b" not in finding.message + finding.observed
    assert len(finding.message) < 450
    finding = judged(node_local_dns=known((cache("\x1b[2J" + "x" * 900, name="y" * 900),)))
    assert "\x1b" not in finding.observed
    assert len(finding.message) < 300
    assert 100 < len(finding.observed) < 200
    assert judged(node_local_dns=known((cache(),))).observed == "no -localip"
    assert len(judged(node_local_dns=known((cache(*(f"169.254.20.{end}" for end in range(50))),))).message) < 250
    finding = judged(dns_services=known((service("z" * 900, nat_exclude="true"),)))
    assert len(finding.message) < 400
    finding = judged(dns_services=known((service(nat_exclude="z" * 900),)))
    assert len(finding.message) < 500


def test_what_is_no_address_is_nobodys() -> None:
    assert judged(felix(IP, "nonsense"), dns_services=known((service("nonsense"),))).status is Status.PASS
