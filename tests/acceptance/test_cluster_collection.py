"""What `ebpfcheck cluster` makes of an API server that answers late, badly, in part, or with odd and hostile things."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ebpfcheck.collect import wire
from ebpfcheck.collect.config_maps import kube_proxy_config, kubeadm
from ebpfcheck.collect.rights import RULES, Rule
from tests.acceptance.clusters import (
    BY_KUBELET,
    CALICO_IMAGE,
    PROXY_IMAGE,
    STORIES,
    Outcome,
    base,
    by_operator,
    calico,
    calico_objects,
    daemon_set,
    item,
    kube_proxy,
    kube_proxy_maps,
    look,
    look_at,
    node,
    nodes,
    override,
    together,
)
from tests.acceptance.command import run
from tests.fakeapi import ALWAYS, FakeApi, Fault, Object, Story, expire_continue_after, forward_proxy, write_kubeconfig

SLACK = 15.0
NODES = r"/api/v1/nodes\?"


def seen(outcome: Outcome) -> list[str]:
    """The nodes that some finding names."""
    return sorted({name for one in outcome.report["findings"] if one["scope"] == "node" for name in one["subjects"]})


def facts(path: Path) -> dict[str, Any]:
    """The cluster's facts in a snapshot."""
    cluster: dict[str, Any] = json.loads(path.read_text())["cluster"]
    return cluster


def saved(objects: list[Object], tmp_path: Path, *arguments: str, **options: Any) -> tuple[Outcome, dict[str, Any]]:
    """A run, and the facts that it saved."""
    file = tmp_path / "snapshot.json"
    outcome = look_at(objects, tmp_path, "--save", str(file), *arguments, **options)
    assert outcome.stdout, outcome.stderr
    return outcome, facts(file)


# Answers that are late, cut or wrong


def of_many(fault: Fault, *arguments: str) -> Callable[[Path], Outcome]:
    """A run on three pages of nodes, with a fault."""
    return lambda place: look_at(nodes(1100) + base(), place, *arguments, faults=[fault])


PASSING = {
    "429": Fault(NODES, status=429, retry_after=2),
    "500": Fault(NODES, status=500, times=2),
    "503": Fault(NODES, status=503, text="upstream connect error", times=2),
    "html": Fault(NODES, "html", status=502),
    "cut": Fault(NODES, "cut", times=2, skip=1),
    "cut-chunked": Fault(NODES, "cut-chunked", times=2),
    "slow": Fault(NODES, "slow", step=100_000, delay=0.05),
    "late": Fault("", "delay", delay=0.05, times=ALWAYS),
    "410-page-1": expire_continue_after(1, "/nodes"),
    "410-page-2": expire_continue_after(2, "/nodes"),
}


@pytest.fixture(scope="module")
def passing(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    arguments = ("--only", "node.kernel.version")
    calls = {name: of_many(fault, *arguments) for name, fault in PASSING.items()}
    return together(calls, tmp_path_factory.mktemp("passing"))


@pytest.mark.parametrize("name", PASSING)
def test_what_may_pass_is_tried_again_until_all_is_there(passing: dict[str, Outcome], name: str) -> None:
    outcome = passing[name]
    assert outcome.stderr == ""
    assert seen(outcome) == [f"worker-{n:05}" for n in range(1, 1101)]
    assert outcome.report["coverage"]["nodes_total"] == 1100
    assert (outcome.report["coverage"]["unseen"], outcome.report["problems"]) == ([], [])
    pages = [one.path for one in outcome.api.requests if "/nodes?" in one.path]
    assert all("limit=500" in page for page in pages)
    extra = {"late": 0, "slow": 0, "500": 2, "503": 2, "cut": 2, "cut-chunked": 2, "410-page-1": 2, "410-page-2": 3}
    assert len(pages) == 3 + extra.get(name, 1)
    assert outcome.seconds > (2 if name == "429" else 0)


MORE = f"{NODES}.*continue"
LASTING = {
    "hang": (Fault(MORE, "hang", skip=1, times=ALWAYS), 1000, "100 more to come"),
    "slow": (Fault(MORE, "slow", step=10, delay=0.2, times=ALWAYS), 500, "600 more to come"),
    "hang-at-once": (Fault(NODES, "hang", times=ALWAYS), 0, "not answered in time|within the time"),
    "429": (Fault(MORE, status=429, retry_after=60, times=ALWAYS), 500, "wait 60 s"),
    "503": (Fault(MORE, status=503, times=ALWAYS), 500, "unable to handle"),
    "cut": (Fault(MORE, "cut", times=ALWAYS), 500, "cut"),
    "garbage": (Fault(MORE, "garbage", times=ALWAYS), 500, "not JSON"),
    "html": (Fault(MORE, "html", times=ALWAYS), 500, "not JSON"),
    "403": (Fault(MORE, status=403, times=ALWAYS), 500, "not allowed to list nodes"),
    # What is kept is the page of the last attempt.
    "410": (Fault(MORE, status=410, times=ALWAYS), 500, "too old"),
}


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    calls = {name: of_many(fault, "--timeout", "6") for name, (fault, _, _) in LASTING.items()}
    return together(calls, tmp_path_factory.mktemp("lasting"))


@pytest.mark.parametrize("name", LASTING)
def test_what_was_learned_is_kept_and_the_rest_is_unseen(lasting: dict[str, Outcome], name: str) -> None:
    outcome, (_, read, words) = lasting[name], LASTING[name]
    assert outcome.code == 3, outcome.stderr
    assert outcome.seconds < 6 + SLACK
    assert len(seen(outcome)) == read
    (unseen,) = outcome.report["coverage"]["unseen"]
    assert unseen["name"] == "(nodes that were not listed)"
    assert re.search(words, unseen["detail"]), unseen
    assert not read or f"read up to {read}" in unseen["detail"]
    # The rest of the cluster was looked at all the same.
    assert outcome.report["target"]["server_version"] == "v1.33.4"
    assert outcome.report["verdict"] == "inconclusive"


@pytest.mark.parametrize("what", ["hang", "slow"])
def test_a_server_that_stops_answering_leaves_unknowns_in_time(tmp_path: Path, what: Any) -> None:
    story = by_operator()
    whole = look_at(story, tmp_path, "--calico-version", "v3.31").by_address()
    faults = [Fault("/apis?/", what, step=1, delay=0.5, times=ALWAYS)]
    outcome = look_at(story, tmp_path, "--calico-version", "v3.31", "--timeout", "3", faults=faults)
    assert outcome.code == 3, outcome.stderr
    assert outcome.seconds < 3 + SLACK
    never_better(whole, outcome.by_address())
    assert "pass" not in {one["status"] for one in outcome.report["findings"] if one["scope"] == "cluster"}


def test_a_restarted_list_forgets_what_it_read_before(tmp_path: Path) -> None:
    # One node without an address is not made up for by those that were read twice.
    story = [*nodes(600), node("a-node", annotations={"projectcalico.org/IPv4Address": "none"})]
    outcome, found = saved(story, tmp_path, "--timeout", "10", faults=[expire_continue_after(1, "/nodes")])
    assert len(seen(outcome)) == 601
    assert found["node_subnets"]["state"] == "unknown"
    assert "1 nodes carry no address" in found["node_subnets"]["detail"]


@pytest.mark.parametrize("body", [{}, {"kind": "Status", "status": "Success"}, {"items": 3}, {"hits": {"total": 0}}])
def test_an_answer_that_is_something_else_is_not_nothing(tmp_path: Path, body: Object) -> None:
    places = {
        "ippools": "ip_pools",
        "daemonsets": "calico_node",
        "/apis": "api_groups",
        "kube-proxy": "kube_proxy_config",
    }
    faults = [Fault(f"{place}($|[?])", status=200, text=json.dumps(body), times=ALWAYS) for place in places]
    _, found = saved(by_operator(), tmp_path, faults=faults)
    for name in (*places.values(), "kube_proxy"):
        assert (found[name]["state"], found[name]["reason"]) == ("unknown", "unparsable"), name


def test_a_404_of_something_on_the_way_is_not_absence(tmp_path: Path) -> None:
    fault = Fault("ippools", "html", status=404, times=ALWAYS)
    _, found = saved(by_operator(), tmp_path, faults=[fault])
    assert found["ip_pools"]["state"] == "unknown"


def test_a_403_of_something_on_the_way_is_no_missing_right(tmp_path: Path) -> None:
    fault = Fault("ippools|/nodes", "html", status=403, times=ALWAYS)
    outcome, found = saved(by_operator(), tmp_path, faults=[fault])
    assert (found["ip_pools"]["state"], found["ip_pools"]["reason"]) == ("unknown", "unsupported")
    (unseen,) = outcome.report["coverage"]["unseen"]
    assert "HTTP status 403 with text/html" in unseen["detail"]
    assert "HTTP status 403 with text/html" in outcome.words()
    telling = [one for one in outcome.report["findings"] if one["id"] == "cluster.ippool.encapsulation"]
    assert [one["status"] for one in telling] == ["unknown"]
    assert not re.search("not allowed|rbac|[Gg]rant", json.dumps(telling) + outcome.words() + outcome.stderr)


ASIDE = ("selfsubjectrulesreviews", "/apis($|[?])", "/deployments")


def test_what_hangs_costs_only_what_hangs_on_it(tmp_path: Path) -> None:
    def hanging(path: str) -> Callable[[Path], Outcome]:
        faults = [Fault(path, "hang", times=ALWAYS)]
        return lambda place: saved(by_operator(), place, "--timeout", "12", faults=faults)[0]

    outcomes = together({path: hanging(path) for path in ASIDE}, tmp_path)
    for path, outcome in outcomes.items():
        assert outcome.code in (1, 3), outcome.stderr
        assert outcome.seconds < 12 + SLACK
        found = facts(tmp_path / re.sub(r"\W", "-", path) / "snapshot.json")
        for name in ("ip_pools", "felix_default", "calico_node", "endpoint_overrides", "kube_proxy_config"):
            assert found[name]["state"] == "known", (path, name, found[name])


# Rights


BAD = {"ipipMode": "Always", "cidr": "10.244.0.0/16", "vxlanMode": "Never", "natOutgoing": True}


def troubled() -> list[Object]:
    """The operator's cluster with much that is wrong."""
    story = [one for one in by_operator() if one["kind"] not in ("IPPool", "FelixConfiguration")]
    story = [one for one in story if not (one["kind"] == "ConfigMap" and one["metadata"]["name"] == "kube-proxy")]
    api = "crd.projectcalico.org/v1"
    return [
        *story, *kube_proxy_maps("ipvs", "https://127.0.0.1:6443"), item("IPPool", "default", api=api, spec=BAD),
        item("FelixConfiguration", "default", api=api, spec={"bpfEnabled": True}),
        item("FelixConfiguration", "node.worker-00001", api=api, spec={"bpfEnabled": False}),
        daemon_set_of("cilium"),
    ]  # fmt: skip


def daemon_set_of(name: str) -> Object:
    return item("DaemonSet", name, "kube-system", api="apps/v1", spec={"template": {"spec": {"containers": []}}})


def never_better(whole: dict[tuple[str, str], str], less: dict[tuple[str, str], str]) -> None:
    """What is not seen makes nothing right, and nothing wrong."""
    for address, before in whole.items():
        after = less.get(address, "unknown")
        if before in ("fail", "warn", "unknown"):
            assert after not in ("pass", "not_applicable"), (address, before, after)
        if before in ("pass", "not_applicable", "unknown"):
            assert after != "fail", (address, before, after)


READING = {str(rule).partition(" (")[0]: rule for rule in RULES if rule.verb != "create"}
# What the story of a manifest asks for and the other does not, or otherwise.
BY_MANIFEST = tuple(
    name
    for name, rule in READING.items()
    if rule.resource in ("nodes", "pods", "configmaps", "endpoints", "daemonsets", "felixconfigurations")
)
# Where it cannot be told which Calico release runs, another one would be judged for.
PINNED = ("--calico-version", "v3.31.2", "--install")


@pytest.fixture(scope="module")
def lacking(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    stories = {"operator": troubled(), "manifest": STORIES["manifest"]()}

    def one(name: str, rule: Rule | None) -> Callable[[Path], Outcome]:
        forbid = [(rule.verb, f"{group}/{rule.resource}") for group in rule.groups] if rule else []
        return lambda place: look_at(stories[name], place, *PINNED, name, forbid=forbid)

    asked = {f"operator {name}": one("operator", rule) for name, rule in READING.items()}
    asked |= {f"manifest {name}": one("manifest", READING[name]) for name in BY_MANIFEST}
    return together(
        {**asked, **{f"{name} all": one(name, None) for name in stories}}, tmp_path_factory.mktemp("lacking")
    )


@pytest.mark.parametrize(
    ("story", "resource"),
    [*(("operator", name) for name in READING), *(("manifest", name) for name in BY_MANIFEST)],
)
def test_what_may_not_be_read_is_unknown_and_nothing_else_changes(
    lacking: dict[str, Outcome], story: str, resource: str
) -> None:
    rule, outcome = READING[resource], lacking[f"{story} {resource}"]
    assert outcome.code in (1, 3), outcome.stderr
    whole, less = lacking[f"{story} all"].by_address(), outcome.by_address()
    never_better(whole, less)
    if resource != "list nodes":
        kernel = {address: status for address, status in less.items() if address[0] == "node.kernel.version"}
        assert len(kernel) == 3
        assert kernel == {address: whole[address] for address in kernel}
    # What was asked for and refused is named, on stderr before and in the report after.
    asked = any(f"/{rule.resource}" in one.path and one.verb == rule.verb for one in outcome.api.requests)
    right = f"{rule.verb} {rule.resource}" + (f".{rule.groups[0]}" if rule.groups[0] else "")
    served = any(group in ("", "apps") or group in API_GROUPS[story] for group in rule.groups)
    if served:
        assert f"this account may not {right}" in outcome.stderr
        assert outcome.stderr.count("\n") == 1
    if asked:
        assert right in outcome.words()


API_GROUPS = {
    name: {one["apiVersion"].rpartition("/")[0] for one in story}
    for name, story in (("operator", by_operator(1)), ("manifest", STORIES["manifest"](1)))
}


def test_nothing_but_the_version_may_be_read(tmp_path: Path) -> None:
    outcome = look_at(troubled(), tmp_path, rules=[])
    assert outcome.code == 3
    assert outcome.stderr.startswith(
        "ebpfcheck: this account may not list nodes, list pods, list namespaces, list services"
    )
    assert "ebpfcheck rbac" in outcome.stderr
    assert {one["status"] for one in outcome.report["findings"]} <= {"unknown", "not_applicable"}
    assert "not allowed to list nodes" in outcome.words()


# What there is


def test_calico_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    outcome, found = saved(nodes(2) + base(), tmp_path)
    assert outcome.stderr == ""
    assert outcome.report["problems"] == []
    assert outcome.report["calico"]["install"] == "none"
    states = {found[name]["state"] for name in ("ip_pools", "installation", "felix_default", "calico_node", "bgp")}
    assert states == {"absent"}


def test_a_config_map_of_another_name_takes_a_right_of_its_own(tmp_path: Path) -> None:
    # As Talos names it.
    story = json.loads(json.dumps(by_operator()).replace('"kube-proxy"}}', '"kube-proxy-config-0123456789abcdef"}}'))
    for one in story:
        if one["kind"] == "ConfigMap" and one["metadata"]["name"] == "kube-proxy":
            one["metadata"]["name"] = "kube-proxy-config-0123456789abcdef"
    _, found = saved(story, tmp_path)
    assert found["kube_proxy_config"]["value"]["mode"] == "iptables"
    rules = next(yaml.safe_load_all(run("rbac").stdout))["rules"]
    outcome, found = saved(story, tmp_path, rules=rules)
    assert found["kube_proxy_config"]["state"] == "unknown"
    assert "get configmaps/kube-proxy-config-0123456789abcdef in kube-system" in found["kube_proxy_config"]["detail"]
    assert not any("0123456789abcdef" in one.path for one in outcome.api.requests)


def test_calicos_own_api_is_as_good_as_its_crds(tmp_path: Path) -> None:
    _, crds = saved(STORIES["operator"](), tmp_path)
    _, own = saved(STORIES["calico-api"](), tmp_path)
    for name in ("calico_version", "felix_default", "ip_pools", "bgp"):
        assert own[name]["state"] == "known"
        assert own[name]["value"] == crds[name]["value"]
    # Where the CRDs may not be read, Calico's API will do; where neither may be, nothing is said to be absent.
    both = STORIES["calico-api"]() + calico_objects()
    first = [("list", f"crd.projectcalico.org/{name}") for name in ("ippools", "felixconfigurations")]
    _, found = saved(both, tmp_path, forbid=first)
    assert found["ip_pools"]["value"] == crds["ip_pools"]["value"]
    _, found = saved(both, tmp_path, forbid=[*first, ("list", "projectcalico.org/ippools")])
    assert found["ip_pools"]["state"] == "unknown"


def with_proxy(*proxies: Object) -> list[Object]:
    """The operator's cluster with these objects in place of kube-proxy's DaemonSet."""
    return [*(one for one in by_operator() if one not in kube_proxy()[:1]), *proxies]


def proxy_set(name: str = "kube-proxy", status: Object | None = None, **metadata: Any) -> Object:
    """A DaemonSet that runs kube-proxy as kubeadm does."""
    made = kube_proxy()[0]
    return {**made, "metadata": made["metadata"] | {"name": name, **metadata}, "status": status or made["status"]}


def test_a_daemon_set_that_does_not_say_is_not_off(tmp_path: Path) -> None:
    stale = {"observedGeneration": 1, **dict.fromkeys(("desiredNumberScheduled", "numberAvailable"), 0)}
    silent = proxy_set()
    del silent["status"]
    for one in (silent, proxy_set(status=stale, generation=2)):
        outcome, found = saved(with_proxy(one), tmp_path)
        assert found["kube_proxy"]["value"]["desired"] is None
        kube_proxy = [one for one in outcome.report["findings"] if one["id"].startswith("cluster.kube-proxy.")]
        assert len(kube_proxy) >= 4
        assert not [one for one in kube_proxy if re.match("kube-proxy is off", one["message"])]
        assert outcome.statuses()["cluster.kube-proxy.cleanup"] == {"unknown"}
    outcome, found = saved(with_proxy(proxy_set(status=stale, generation=1)), tmp_path)
    assert found["kube_proxy"]["value"]["desired"] == 0
    assert any("kube-proxy is off" in one["message"] for one in outcome.report["findings"])


def test_kube_proxy_is_found_by_what_it_runs(tmp_path: Path) -> None:
    other, second = (proxy_set(f"kube-proxy-{of}-v1.33.4") for of in ("worker", "master"))
    windows = json.loads(json.dumps(proxy_set("kube-proxy-windows")))
    windows["spec"]["template"]["spec"]["nodeSelector"] = {"kubernetes.io/os": "windows"}
    pod = item(
        "Pod", "kube-proxy-abcde", "kube-system", labels={"k8s-app": "kube-proxy"},
        ownerReferences=[{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "kube-proxy", "uid": "1"}],
        spec={"containers": [{"name": "kube-proxy", "image": "registry.k8s.io/kube-proxy:v1.33.4"}]},
    )  # fmt: skip
    _, found = saved(with_proxy(other, windows), tmp_path)
    assert found["kube_proxy"]["value"]["name"] == "kube-proxy-worker-v1.33.4"
    assert found["kube_proxy_config"]["value"]["mode"] == "iptables"
    _, found = saved(with_proxy(other, second), tmp_path)
    assert (found["kube_proxy"]["state"], found["kube_proxy"]["reason"]) == ("unknown", "unsupported")
    assert "several DaemonSets" in found["kube_proxy"]["detail"]
    # That the one of the usual name is off does not tell that the other is.
    off = json.loads(json.dumps(proxy_set("kube-proxy")))
    off["status"] = {"desiredNumberScheduled": 0, "observedGeneration": 1}
    _, found = saved(with_proxy(off, other), tmp_path)
    assert (found["kube_proxy"]["state"], found["kube_proxy"]["reason"]) == ("unknown", "unsupported")
    for alone in (windows, pod):
        _, found = saved(with_proxy(alone), tmp_path)
        assert found["kube_proxy"]["state"] == "absent"
    pod["metadata"]["ownerReferences"] = BY_KUBELET
    _, found = saved(with_proxy(pod), tmp_path)
    assert found["kube_proxy"]["value"]["runs_as"] == "static pods"


def with_pods(count: int = 700) -> list[Object]:
    """The operator's cluster with pods that no workload's template tells of, and EndpointSlices of two sizes."""
    bare = [item("Pod", f"batch-{n}", "jobs", spec={"containers": [{"name": "main"}]}) for n in range(count)]
    ports = [{"containerPort": 38412, "hostPort": 38412, "protocol": "SCTP"}]
    telling = item("Pod", "gateway", "telecom", spec={"containers": [{"name": "main", "ports": ports}]})
    endpoints = [{"addresses": [f"10.244.0.{n}"]} for n in range(1, 4)]
    of_service = item(
        "EndpointSlice", "web-x7", "shop", api="discovery.k8s.io/v1", labels={"kubernetes.io/service-name": "web"},
        ports=[{"name": "http", "port": 80}, {"name": "https", "port": 443}], endpoints=endpoints,
    )  # fmt: skip
    return [*by_operator(), *bare, telling, of_service]


def test_pods_of_the_whole_cluster_are_read_only_when_asked_for(tmp_path: Path) -> None:
    outcome, found = saved(with_pods(), tmp_path)
    of_pods = [one.path for one in outcome.api.requests if re.match(r"/api/v1/pods\b", one.path)]
    assert of_pods == ["/api/v1/pods?limit=1"]
    # Those of calico-node are there too, and the slice of default/kubernetes.
    assert (found["pod_count"]["value"], found["slice_count"]["value"]) == (704, 2)
    for name in ("pods", "backends"):
        assert (found[name]["state"], found[name]["reason"]) == ("unknown", "not_collected")
        assert "--scan-pods" in found[name]["detail"]
    assert found["workloads"]["value"]["sctp"]["count"] == 0


def test_a_scan_of_pods_tells_what_templates_do_not(tmp_path: Path) -> None:
    outcome, found = saved(with_pods(), tmp_path, "--scan-pods")
    assert outcome.code in (1, 3)
    pods = found["pods"]["value"]
    assert pods["count"] == 704
    assert pods["sctp"] == pods["host_ports"] == {"count": 1, "examples": ["telecom/gateway"]}
    assert found["backends"]["value"] == 1 + 3 * 2
    lists = [one.path for one in outcome.api.requests if one.path.startswith("/api/v1/pods?limit=500")]
    assert len(lists) == 2


def test_a_list_whose_length_the_server_does_not_say_is_not_one_long(tmp_path: Path) -> None:
    page = {"kind": "PodList", "apiVersion": "v1", "metadata": {"continue": "abc"}, "items": [{"metadata": {}}]}
    fault = Fault(r"/api/v1/pods\?limit=1$", status=200, text=json.dumps(page), times=ALWAYS)
    _, found = saved(with_pods(3), tmp_path, faults=[fault])
    assert (found["pod_count"]["state"], found["pod_count"]["reason"]) == ("unknown", "unparsable")


def test_policies_of_which_one_kind_is_unseen_are_not_known(tmp_path: Path) -> None:
    policies = [
        item("GlobalNetworkPolicy", "default.a", api="crd.projectcalico.org/v1", spec={"doNotTrack": True}),
        item(
            "NetworkPolicy", "default.b", "shop", api="crd.projectcalico.org/v1", spec={"egress": [{"action": "Log"}]}
        ),
    ]
    story = [one for one in by_operator() if not one["kind"].endswith("NetworkPolicy")] + policies
    _, found = saved(story, tmp_path)
    known = found["calico_policies"]["value"]
    assert known["count"] == 2
    assert known["log"] == {"count": 1, "examples": ["shop/default.b"]}
    assert known["do_not_track"] == {"count": 1, "examples": ["default.a"]}
    _, found = saved(story, tmp_path, forbid=[("list", "crd.projectcalico.org/networkpolicies")])
    assert (found["calico_policies"]["state"], found["calico_policies"]["reason"]) == ("unknown", "forbidden")


def test_typha_is_that_beside_calico_node(tmp_path: Path) -> None:
    def typha(namespace: str, available: int) -> Object:
        container = {"name": "calico-typha", "image": "quay.io/calico/typha:v3.31.2"}
        return item(
            "Deployment", "calico-typha", namespace, api="apps/v1",
            spec={"replicas": 2, "template": {"spec": {"containers": [container]}}},
            status={"availableReplicas": available},
        )  # fmt: skip

    _, found = saved([*by_operator(), typha("a-left-over", 0), typha("calico-system", 2)], tmp_path)
    value = found["typha"]["value"]
    assert (value["namespace"], value["desired"], value["available"]) == ("calico-system", 2, 2)
    _, found = saved(by_operator(), tmp_path)
    assert found["typha"]["state"] == "absent"


def test_an_empty_list_of_api_servers_tells_nothing(tmp_path: Path) -> None:
    # A single control plane, whose address kube-proxy is told.
    story = [one for one in by_operator() if one["kind"] not in ("EndpointSlice", "ConfigMap")]
    empty = {**next(one for one in base() if one["kind"] == "EndpointSlice"), "endpoints": None}
    story += [empty, *kube_proxy_maps(server="https://10.20.0.5:6443")]
    endpoints = next(one for one in base(slices=False) if one["kind"] == "Endpoints")
    outcome, found = saved(story, tmp_path)
    assert found["api_endpoints"]["state"] != "known"
    assert any("/endpoints/kubernetes" in one.path for one in outcome.api.requests)
    assert "load balancer" not in json.dumps(outcome.report["discovered"])
    _, found = saved([*story, endpoints], tmp_path)
    assert found["api_endpoints"]["value"] == ["10.20.0.5:6443"]


def test_variables_that_were_not_followed_are_unknown(tmp_path: Path) -> None:
    def told(container: Object) -> str:
        story = [one for one in by_operator() if one["metadata"]["name"] != "calico-node"]
        image = {"name": "calico-node", "image": CALICO_IMAGE}
        story.append(daemon_set("calico-node", "calico-system", CALICO_IMAGE, container={**image, **container}))
        only = ("--only", "cluster.felix.env-override", "--calico-version", "v3.31.2")
        (status,) = look_at(story, tmp_path, *only).statuses()["cluster.felix.env-override"]
        return status

    assert told({}) == "pass"
    assert told({"env": [{"name": "FELIX_BPFENABLED", "value": "$(ON)"}]}) == "unknown"
    assert told({"env": [{"name": "FELIX_BPFENABLED", "value": "off"}]}) == "fail"
    assert told({"envFrom": [{"secretRef": {"name": "felix"}}]}) == "unknown"


def test_an_empty_cluster_is_inconclusive(tmp_path: Path) -> None:
    only = ("--only", "cluster.platform,node.kernel.*")
    for arguments in (only, (*only, "--scope", "api"), ("--only", "cluster.platform")):
        outcome = look_at([*base(), *calico(), *calico_objects()], tmp_path, *arguments)
        assert outcome.code == 3, outcome.stdout
        assert outcome.report["coverage"]["nodes_total"] == 0


def odd_nodes() -> list[Object]:
    without = item("Node", "without")
    del without["metadata"]["name"]
    strange = item("Node", "strange", status={"nodeInfo": "linux", "addresses": {}})
    strange["metadata"]["labels"] = {"a": 7}
    return [
        item("Node", "bare"), item("Node", "null", spec=None, status=None),
        item("Node", "empty", status={"nodeInfo": {}, "addresses": []}), strange,
    ]  # fmt: skip


def test_odd_nodes_do_not_take_the_others_along(tmp_path: Path) -> None:
    outcome, found = saved([*nodes(2), *odd_nodes(), *base()], tmp_path)
    assert outcome.code == 3
    assert seen(outcome) == ["bare", "empty", "null", "worker-00001", "worker-00002"]
    (unseen,) = outcome.report["coverage"]["unseen"]
    assert (unseen["name"], unseen["reason"]) == ("(nodes of an odd shape)", "unparsable")
    assert unseen["detail"].startswith("1 of the list")
    assert found["node_count"]["state"] == "unknown"
    kernel = {a[1]: status for a, status in outcome.by_address().items() if a[0] == "node.kernel.version"}
    assert kernel["worker-00001"] == "pass"
    assert {kernel[name] for name in ("bare", "empty", "null")} == {"unknown"}


ODD: dict[str, tuple[dict[str, Any], str]] = {
    "IPPool": ({"spec": {"cidr": 7}}, "ip_pools"),
    "FelixConfiguration": ({"spec": {"bpfEnabled": "maybe"}}, "felix_default"),
    "Installation": ({"spec": []}, "installation"),
    "BGPPeer": ({"metadata": {"labels": 3}}, "bgp"),
    "EndpointSlice": ({"endpoints": [{"addresses": "x"}]}, "api_endpoints"),
}


def test_what_cannot_be_read_is_not_left_out_silently(tmp_path: Path) -> None:
    story = by_operator()
    whole = look_at(story, tmp_path, "--calico-version", "v3.31.2").by_address()
    for kind, (change, _) in ODD.items():
        # Beside a good one, which alone would pass for all there is.
        one = next(one for one in story if one["kind"] == kind)
        metadata = one["metadata"] | change.get("metadata", {}) | {"name": "second"}
        labels = {} if kind == "BGPPeer" else {"labels": one["metadata"].get("labels", {})}
        story = [*story, {**one, **change, "metadata": {**metadata, **labels}}]
    outcome, found = saved(story, tmp_path, "--calico-version", "v3.31.2")
    for _, fact in ODD.values():
        assert (found[fact]["state"], found[fact]["reason"]) == ("unknown", "unparsable"), fact
    assert len(outcome.report["problems"]) == len(ODD)
    assert "1 could not be read" in outcome.words()
    never_better(whole, outcome.by_address())


def bomb(last: str, of: Callable[[str, int], str]) -> str:
    lines = ["a0: &a0 {x: y}", *(f"a{n}: &a{n} " + of(f"*a{n - 1}", 12) for n in range(1, 12))]
    return "\n".join([*lines, f"{last}: *a11", ""])


HOSTILE_YAML = {
    "no-yaml": "\t{{{ : not: yaml",
    "binary": "\u0000\u0001",
    "python": "!!python/object/apply:os.system ['touch /tmp/owned']\n",
    "deep": "[" * 300_000,
    "merge": bomb("mode", lambda alias, n: "{<<: [" + ", ".join([alias] * n) + "]}"),
    "laughs": "kind: KubeProxyConfiguration\nclusterName: [x]\n"
    + bomb("mode", lambda alias, n: "[" + ", ".join([alias] * n) + "]"),
}
HARMLESS_YAML = {
    "list": "- kind: KubeProxyConfiguration\n",
    "aliases": "a: &a {cluster: {server: 'https://x:1'}}\nclusters: [" + "*a, " * 250_000 + "*a]\n",
    "sixties": "kind: " + ":".join(["1"] + ["59"] * 340_000),
    "cycle": "&a\nclusters: [{cluster: *a}]\n",
}


@pytest.mark.parametrize("text", HOSTILE_YAML)
def test_what_is_no_yaml_or_grows_without_bounds_is_refused(text: str) -> None:
    started = time.monotonic()
    for key in ("config.conf", "ClusterConfiguration"):
        config_map = wire.ConfigMap(data={key: HOSTILE_YAML[text]})
        with pytest.raises(ValueError, match=r"it is not YAML|Expected"):
            kubeadm(config_map) if key == "ClusterConfiguration" else kube_proxy_config([config_map])
    assert time.monotonic() - started < 20
    assert not Path("/tmp/owned").exists()


@pytest.mark.parametrize("text", HARMLESS_YAML)
def test_what_says_nothing_of_kube_proxy_gives_nothing(text: str) -> None:
    started = time.monotonic()
    found = kube_proxy_config([wire.ConfigMap(data={"config.conf": HARMLESS_YAML[text]})])
    assert (found.mode, found.cluster_cidr, found.healthz_bind_address) == (None, None, None)
    assert time.monotonic() - started < 20


def test_settings_are_texts_whatever_they_look_like() -> None:
    text = "kind: KubeProxyConfiguration\nmode: 12\nclusterCIDR: ~\nhealthzBindAddress: 0.0.0.0:10256\n"
    found = kube_proxy_config([wire.ConfigMap(data={"x": text})])
    assert (found.mode, found.cluster_cidr, found.healthz_bind_address) == ("12", None, "0.0.0.0:10256")


@pytest.mark.parametrize("text", ["no-yaml", "merge"])
def test_config_maps_that_cannot_be_read_are_unknown(tmp_path: Path, text: str) -> None:
    story = [one for one in by_operator(1) if one["kind"] != "ConfigMap"]
    maps = [
        item("ConfigMap", "kube-proxy", "kube-system", data={"config.conf": HOSTILE_YAML[text]}),
        item("ConfigMap", "kubeadm-config", "kube-system", data={"ClusterConfiguration": HOSTILE_YAML[text]}),
    ]
    outcome, found = saved([*story, *maps], tmp_path)
    for fact in ("kube_proxy_config", "kubeadm"):
        assert (found[fact]["state"], found[fact]["reason"]) == ("unknown", "unparsable")
    assert outcome.statuses()["cluster.kube-proxy.mode"] == {"unknown"}


EVIL = "x\x1b]0;owned\x07[bold red]y[/]\u202e\x9b31m\r\nz"


@pytest.mark.parametrize("format", ["table", "json"])
def test_hostile_text_is_shown_and_not_acted_on(tmp_path: Path, format: str) -> None:
    def tainted(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {k: tainted(v, k) for k, v in value.items()}
        if isinstance(value, list):
            return [tainted(one) for one in value]
        keys = ("image", "kernelVersion", "osImage", "calicoVersion", "cidr", "KUBERNETES_SERVICE_HOST", "variant")
        return f"{value}{EVIL}" if isinstance(value, str) and key in keys else value

    story = tainted(by_operator())
    labels = {"eks.amazonaws.com/" + EVIL: EVIL, "eks.amazonaws.com/compute-type": EVIL}
    story.append(node(f"node{EVIL}", labels=labels, annotations={EVIL: EVIL}))
    for one in story:
        if one["kind"] in ("IPPool", "BGPPeer"):
            one["metadata"]["name"] += EVIL
    snapshot = tmp_path / "snapshot.json"
    outcome = look_at(story, tmp_path, "-v", "--save", str(snapshot), format=format, context=f"ctx{EVIL}")
    assert outcome.code in (1, 3), outcome.stderr
    judged = run("evaluate", str(snapshot), "-v", "-f", format)
    for text in (outcome.stdout, outcome.stderr, judged.stdout, judged.stderr):
        assert not set("\x1b\x07\u202e\x9b\r") & set(text)
    shown = outcome.stdout.replace("\n", "").replace(" ", "")
    assert "[boldred]y[/]" in shown
    assert "]0;owned" in shown


# What is kept


def test_what_was_saved_is_judged_alike(tmp_path: Path) -> None:
    snapshot = tmp_path / "snapshot.json"
    faults = [Fault(f"{NODES}.*continue", "garbage", times=ALWAYS)]
    for story in (troubled(), [*troubled(), *nodes(520, "more")], STORIES["openshift"]()):
        outcome = look_at(story, tmp_path, "--save", str(snapshot), faults=faults)
        judged = run("evaluate", str(snapshot), "-f", "json")
        report = json.loads(judged.stdout)
        assert judged.returncode == outcome.code
        for key in ("findings", "coverage", "verdict", "summary", "problems", "target", "calico", "discovered"):
            assert report[key] == outcome.report[key], key


@pytest.mark.parametrize("story", ["operator", "openshift"])
def test_a_redacted_run_names_nobody_and_says_the_same(tmp_path: Path, story: str) -> None:
    snapshot, table = tmp_path / "snapshot.json", tmp_path / "table"
    # An odd node, and a request that is refused, bring other words of the server's into the report.
    odd = item("Node", "zeus-odd", status={"addresses": "10.20.0.99"})
    arguments = ("-v", "-f", f"table={table}", "--save", str(snapshot), "--calico-version", "v3.31.2")
    secrets = ("worker-0", "10.20.0.", "acme", "10.96.0.", "10.244.0.0", "api-server-7", "zeus-odd")
    found: list[tuple[Outcome, str]] = []
    with FakeApi(Story([*STORIES[story](), odd]), forbid=[("get", "services")]) as api:
        host, _, port = api.url.removeprefix("https://").partition(":")
        with forward_proxy(to=f"{host}:{port}") as proxy:
            config = write_kubeconfig(
                tmp_path / "config",
                api,
                context="acme-ctx",
                server=f"https://api-server-7.acme-bank.example:{port}",
                tls_server_name="localhost",
                proxy_url=proxy.url,
            )
            for option in ((), ("--redact",)):
                outcome = look(config, *arguments, *option, api=api)
                found.append((outcome, outcome.stdout + outcome.stderr + table.read_text() + snapshot.read_text()))
    (plain, shown), (redacted, hidden) = found
    assert [secret for secret in secrets if secret not in shown] == ["zeus-odd"]
    assert [secret for secret in secrets if secret in hidden] == []
    assert redacted.code == plain.code
    before, after = plain.report, redacted.report
    assert [(one["id"], one["status"], len(one["subjects"])) for one in after["findings"]] == [
        (one["id"], one["status"], len(one["subjects"])) for one in before["findings"]
    ]
    judged = json.loads(run("evaluate", str(snapshot), "-f", "json", "--calico-version", "v3.31.2").stdout)
    assert judged["findings"] == after["findings"]


def private() -> list[Object]:
    """The operator's cluster with names of somebody's own wherever there may be some; all of them hold "acme"."""
    own = {"acmekey.internal/x": "acmevalue", "acmek8s.io/x": "true", "app.kubernetes.io/managed-by": "acmetool"}
    fields = [{"manager": "acmemanager", "operation": "Update", "apiVersion": "apps/v1"}]
    marks = {"labels": own, "annotations": {"acmenote.internal/x": "y"}, "managedFields": fields}
    command = [
        "kube-proxy", "--config=/c", "--cluster-name=acmecluster", "--hostname-override=acmehost",
        "--nodeport-addresses", "acmenodeport", "--bind-address='acme bind'", "--v", "2",
    ]  # fmt: skip
    volume = {"name": "c", "configMap": {"name": "acme-proxy-conf"}}
    container = {"name": "kube-proxy", "image": PROXY_IMAGE, "command": command}
    pod = {"containers": [container], "nodeSelector": {"acmeselector.internal/x": "acmeselected"}, "volumes": [volume]}
    variables = {
        "FELIX_ETCDPASSWORD": "acmepassword", "FELIX_TYPHACN": "acmecn", "FELIX_TYPHAURISAN": "acmesan",
        "FELIX_TYPHAADDR": "acmetypha:5473", "FELIX_PROMETHEUSMETRICSKEYFILE": "/acmekeyfile",
        "FELIX_BPFHOSTCONNTRACKBYPASS": "false",
    }  # fmt: skip
    source = {"configMapRef": {"name": "acme-felix-env"}}
    env = {"env": [{"name": name, "value": value} for name, value in variables.items()], "envFrom": [source]}
    story = [one for one in by_operator() if one["kind"] not in ("IPPool", "DaemonSet", "Deployment", "ConfigMap")]
    pool = next(one["spec"] for one in calico_objects() if one["kind"] == "IPPool")
    deployment = next(one for one in by_operator() if one["kind"] == "Deployment")
    config = next(one for one in kube_proxy() if one["kind"] == "ConfigMap")
    metadata = {**deployment["metadata"], "namespace": "acme-operator"}
    return [
        *story, item("IPPool", "acme-pool", api="crd.projectcalico.org/v1", spec=pool),
        item("DaemonSet", "acme-proxy", "kube-system", api="apps/v1", spec={"template": {"spec": pod}}, **marks),
        {**config, "metadata": {**config["metadata"], "name": "acme-proxy-conf"}},
        daemon_set("calico-node", "acme-calico", CALICO_IMAGE, container={"name": "calico-node", **env}),
        daemon_set("cilium", "acme-net", "quay.io/cilium/cilium"), {**deployment, "metadata": metadata},
        override("acme-operator"), item("Ledger", "x", api="ledger.acmegroup.internal/v1", spec={}),
        node("node", "10.20.0.201"), node("api", "10.20.0.202"),
    ]  # fmt: skip


def test_names_of_somebodys_own_are_redacted(tmp_path: Path) -> None:
    snapshot, table = tmp_path / "snapshot.json", tmp_path / "table"
    arguments = ("-v", "-f", f"table={table}", "--calico-version", "v3.31.2")
    found: list[tuple[Outcome, str]] = []
    for option in ((), ("--redact",)):
        outcome, _ = saved(private(), tmp_path, *arguments, *option)
        found.append((outcome, outcome.stdout + outcome.stderr + table.read_text() + snapshot.read_text()))
    (plain, shown), (redacted, hidden) = found
    assert len(set(re.findall("acme[a-z]+|acme-[a-z]+", shown))) >= 20
    assert sorted(set(re.findall(r"\S*acme\S*", hidden))) == []
    # How many findings of each status wait for a survey is told in the table.
    assert [(one["id"], one["status"], one["reason"], len(one["subjects"])) for one in redacted.report["findings"]] == [
        (one["id"], one["status"], one["reason"], len(one["subjects"])) for one in plain.report["findings"]
    ]
    assert (redacted.code, redacted.report["summary"]) == (plain.code, plain.report["summary"])
