from typing import Any, Literal

import pytest

from ebpfcheck.checks.api_reach import api_endpoint_reachable
from ebpfcheck.collect.endpoints import parse_endpoint, told_apart
from ebpfcheck.collect.node import node_facts
from ebpfcheck.collect.transport import Survey
from ebpfcheck.errors import UsageError
from ebpfcheck.model.cluster import ClusterFacts, NodeLocalDns, ServiceAddress
from ebpfcheck.model.facts import (
    NOT_COLLECTED,
    NOT_SURVEYED,
    Absent,
    Endpoint,
    EndpointTrial,
    Fact,
    Known,
    NodeFacts,
    NodeIdentity,
    Reason,
    SourceKind,
    Unknown,
)
from ebpfcheck.model.report import Status
from ebpfcheck.model.snapshot import SourceIndex
from tests.builders import NONCE, Part, document, judged, kind, known

Ending = Literal["connected", "refused", "timed_out", "no_route", "denied", "unresolved", "untold"]


def tried(*outcomes: Ending, **more: Any) -> Fact[tuple[EndpointTrial, ...]]:
    return known(
        tuple(
            EndpointTrial(host=f"10.0.0.{number}", port=6443, outcome=outcome, **more)
            for number, outcome in enumerate(outcomes, start=1)
        )
    )


@pytest.mark.parametrize(
    ("fact", "status", "words"),
    [
        (Absent(source=0), Status.NOT_APPLICABLE, "--api-endpoint HOST:PORT names one"),
        (NOT_COLLECTED, Status.NOT_APPLICABLE, "No address"),
        (known(()), Status.NOT_APPLICABLE, "No address"),
        (NOT_SURVEYED, Status.UNKNOWN, "could not be told"),
        (Unknown(reason=Reason.TOOL_MISSING, detail="no tool"), Status.UNKNOWN, "could not be told: no tool"),
        (tried("connected"), Status.PASS, "10.0.0.1:6443 takes TCP connections"),
        (tried("connected", "refused"), Status.PASS, "10.0.0.1:6443 takes"),
        (tried("connected", by_cluster_dns=True), Status.FAIL, "resolved by the cluster's own DNS"),
        (tried("connected", is_service=True), Status.FAIL, "is the address of a Service"),
        (tried("refused"), Status.FAIL, "refused"),
        (tried("timed_out"), Status.FAIL, "no answer came"),
        (tried("no_route"), Status.FAIL, "no route"),
        (tried("denied"), Status.FAIL, "operation not permitted"),
        (tried("unresolved"), Status.FAIL, "resolver does not know the name"),
        (tried("refused", "timed_out", "connected"), Status.FAIL, "10.0.0.3:6443 does take connections"),
        (tried("untold", words="bash: what"), Status.UNKNOWN, "bash: what"),
        (tried("untold", "connected"), Status.UNKNOWN, "could not be told"),
    ],
)
def test_the_way_to_the_api_server(fact: Fact[Any], status: Status, words: str) -> None:
    finding = judged(api_endpoint_reachable, kind(api_endpoints=fact))
    assert (finding.status, words in finding.message) == (status, True), finding.message
    assert (finding.remediation is not None) == (status is Status.FAIL)


@pytest.mark.parametrize(
    ("outcomes", "words"),
    [
        (("unresolved",), "put it into the DNS that the nodes ask"),
        (("refused",), "Let TCP from every node through to the API server's address; then look again."),
        (("timed_out", "connected"), "or use 10.0.0.2:6443; then look again."),
    ],
)
def test_what_to_do(outcomes: tuple[Ending, ...], words: str) -> None:
    fix = judged(api_endpoint_reachable, kind(api_endpoints=tried(*outcomes))).remediation
    assert fix is not None
    assert words in fix.text


def test_who_was_not_looked_at_is_blind() -> None:
    assert judged(api_endpoint_reachable, kind(api_endpoints=NOT_SURVEYED)).needs_survey
    assert not judged(api_endpoint_reachable, kind(api_endpoints=tried("untold"))).needs_survey


def test_addresses_of_ipv6_stand_in_brackets() -> None:
    trial = EndpointTrial(host="fd00::1", port=6443, outcome="refused")
    assert "[fd00::1]:6443" in judged(api_endpoint_reachable, kind(api_endpoints=known((trial,)))).message


def said(text: str, code: str = "1", *, host: str = "api.example", tool: str = "bash", road: str = "ssh") -> Any:
    """The fact where a tool says this of an address and ends with that code ("" where it succeeds)."""
    data = document(
        {
            "endpoints": Part("1\n", locator="addresses to connect to"),
            "endpoint-1": Part(text, state=f"failed {code}" if code else "ok", locator=f"{host} 6443 by {tool}"),
        }
    )
    return node_facts(Survey(data=data, nonce=NONCE), SourceKind(road), SourceIndex())[0].kind.api_endpoints


@pytest.mark.parametrize(
    ("text", "code", "outcome"),
    [
        ("", "", "connected"),
        ("api: connect: Connection refused\napi: line 1: /dev/tcp/api/6443: Connection refused\n", "1", "refused"),
        ("bash: connect: No route to host\n", "1", "no_route"),
        ("bash: connect: Network is unreachable\n", "1", "no_route"),
        ("bash: connect: Operation not permitted\n", "1", "denied"),
        ("bash: connect: Connection timed out\n", "1", "timed_out"),
        ("", "124", "timed_out"),
        ("Terminated\n", "143", "timed_out"),
        ("x: Name or service not known\nx: /dev/tcp/api/6443: Invalid argument\n", "1", "unresolved"),
        ("socket.gaierror: [Errno -3] Temporary failure in name resolution\n", "1", "untold"),
        ("timeout: failed to run command 'bash': Permission denied\n", "126", "untold"),
        ("nc: getaddrinfo: No address associated with hostname\n", "1", "unresolved"),
        ("nc: bad address 'api.example'\n", "1", "unresolved"),
        ("TimeoutError: timed out\n", "1", "timed_out"),
        ("ConnectionRefusedError: [Errno 111] Connection refused\n", "1", "refused"),
        ("connect:errno=111\n", "1", "refused"),
        ("bash: /dev/tcp/api.example/6443: No such file or directory\n", "1", "untold"),
        ("timeout: unrecognized option\n", "1", "untold"),
        ("", "127", "untold"),
        ("\x1b[31m\xff\n", "1", "untold"),
    ],
)
def test_what_tools_say(text: str, code: str, outcome: str) -> None:
    (trial,) = said(text, code).value
    assert (trial.host, trial.port, trial.outcome) == ("api.example", 6443, outcome)
    assert bool(trial.words) == (outcome == "untold")
    assert "\x1b" not in trial.words


def test_openssl_may_fail_after_it_has_connected() -> None:
    (trial,) = said("CONNECTED(00000003)\nwrite:errno=104\n", tool="openssl").value
    assert trial.outcome == "connected"
    (trial,) = said("connect:errno=111\n", tool="openssl").value
    assert trial.outcome == "refused"
    (trial,) = said("CONNECTED(00000003)\n", tool="nc").value
    assert trial.outcome == "untold"


def test_a_host_may_be_called_like_an_answer() -> None:
    (trial,) = said("refused.example: connect: Connection timed out\n", host="refused.example").value
    assert trial.outcome == "timed_out"


@pytest.mark.parametrize("host", ["kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "a.b.svc.corp"])
def test_names_that_only_a_clusters_dns_answers(host: str) -> None:
    (trial,) = said("", "", host=host).value
    assert trial.by_cluster_dns


SERVICES = {
    "kubernetes_service": known(ServiceAddress(cluster_ips=("10.96.0.1",), port=443)),
    "service_cidrs": known(("10.96.0.0/12", "odd", "fd00::/108")),
    "node_local_dns": known(
        (NodeLocalDns(namespace="kube-system", name="node-local-dns", local_ips=("169.254.20.10",)),)
    ),
}


@pytest.mark.parametrize(
    ("host", "nameservers", "outcome", "by_dns", "is_service"),
    [
        ("api.example", ("192.0.2.53",), "connected", False, False),
        ("api.example", ("10.96.0.10",), "connected", True, False),
        ("api.example", ("169.254.20.10",), "connected", True, False),
        ("api.example", ("10.96.0.10", "192.0.2.53"), "untold", False, False),
        ("10.96.0.1", ("192.0.2.53",), "connected", False, True),
        ("10.100.7.7", (), "connected", False, True),
        ("fd00::1", (), "connected", False, True),
        ("192.0.2.1", ("10.96.0.10",), "connected", False, False),
    ],
)
def test_what_a_cluster_tells_of_addresses(
    host: str, nameservers: tuple[str, ...], outcome: str, by_dns: bool, is_service: bool
) -> None:
    trial = EndpointTrial(host=host, port=6443, outcome="connected")
    one = NodeFacts(
        identity=NodeIdentity(name="n"), kind=kind(api_endpoints=known((trial,)), nameservers=known(nameservers))
    )
    fact = told_apart(one, ClusterFacts(**SERVICES)).kind.api_endpoints
    assert isinstance(fact, Known)
    (found,) = fact.value
    assert (found.outcome, found.by_cluster_dns, found.is_service) == (outcome, by_dns, is_service)
    # Of a cluster of which nothing is known nothing is told, nor of one without a cache of its own.
    for little in (ClusterFacts(), ClusterFacts(node_local_dns=known(()))):
        assert told_apart(one, little) == one


def test_by_exec_a_name_is_resolved_by_another_than_the_nodes_resolver() -> None:
    (trial,) = said("", "", road="exec").value
    assert trial.outcome == "untold"
    (trial,) = said("", "", host="10.0.0.1", road="exec").value
    assert trial.outcome == "connected"


def test_without_a_tool_nothing_is_told() -> None:
    data = document(
        {
            "endpoints": Part("1\n"),
            "endpoint-1": Part(state="no-tool bash, python3, nc or openssl", locator="api.example 6443"),
        }
    )
    fact = node_facts(Survey(data=data, nonce=NONCE), SourceKind.SSH, SourceIndex())[0].kind.api_endpoints
    assert isinstance(fact, Unknown)
    assert fact.reason is Reason.TOOL_MISSING


def test_a_trial_that_was_cut_off_is_unknown() -> None:
    whole = document({"endpoints": Part("1\n"), "endpoint-1": Part("x", locator="api.example 6443 by bash")})
    cut = whole[: whole.index(b"endpoint-1") + 30]
    fact = node_facts(Survey(data=cut, nonce=NONCE), SourceKind.SSH, SourceIndex())[0].kind.api_endpoints
    assert not isinstance(fact, Known)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("api.example.com:6443", Endpoint(host="api.example.com", port=6443)),
        ("10.0.0.1:443", Endpoint(host="10.0.0.1", port=443)),
        ("[fd00::1]:6443", Endpoint(host="fd00::1", port=6443)),
    ],
)
def test_addresses(text: str, endpoint: Endpoint) -> None:
    assert parse_endpoint(text) == endpoint


@pytest.mark.parametrize(
    "text",
    ["", "api", "api:", ":6443", "api:0", "api:65536", "api:x", "https://api:6443", "api:6443/", " api:6443",
     "api :6443", "a b:6443", "fd00::1:6443", "[fd00::1]", "[api]:6443", "-x:6443", "$(id):6443", "api\n:6443",
     "api:٦", "a;b:1"],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError, match="--api-endpoint: "):
        parse_endpoint(text)
