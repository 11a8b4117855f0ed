"""Plans as data: what they change, how it is taken back, what they wait for."""

import copy
import json
from typing import Any

import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]
import msgspec
import pytest
import yaml

from ebpfcheck.app import Judge
from ebpfcheck.model.codec import PlanError, decode_plan, encode_json, schema_of
from ebpfcheck.model.facts import Absent, Endpoint, FelixSettings, Known, Reason, Unknown
from ebpfcheck.model.plan import (
    Create,
    FieldIs,
    FreshNode,
    Gone,
    Manual,
    Patch,
    Plan,
    Reached,
    Restart,
    RolledOut,
    Runs,
    Step,
    VariableIs,
)
from ebpfcheck.model.report import Verdict
from ebpfcheck.plan.actions import manifest_of
from ebpfcheck.plan.reach import reach_manifest
from ebpfcheck.plan.rollback import rollback_of
from ebpfcheck.render.plan_files import files_of
from ebpfcheck.settings import Settings
from tests.plans import NOW, applied, changing, objects_of, plan_for, plan_of, snapshot_of
from tests.stories import CLUSTERS

VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"dsr": True},
    {"endpoint": Endpoint(host="lb.example.net", port=443)},
    {"version": "v3.31.7"},
)


def step_of(plan: Plan, step_id: str) -> Step:
    return next(step for step in plan.steps if step.id == step_id)


@pytest.mark.parametrize("options", VARIANTS, ids=lambda options: ",".join(options) or "plain")
@pytest.mark.parametrize("name", CLUSTERS)
def test_the_way_back_leads_to_the_start(name: str, options: dict[str, Any]) -> None:
    """The recorded objects themselves, changed by the plan and then by its way back."""
    plan = plan_for(name, **options)
    start = objects_of(name)
    objects = copy.deepcopy(start)
    for action in changing(plan):
        applied(objects, action)
    if changing(plan):
        assert objects != start
    for action in changing(rollback_of(plan)):
        applied(objects, action)
    assert objects == start


@pytest.mark.parametrize("options", VARIANTS, ids=lambda options: ",".join(options) or "plain")
@pytest.mark.parametrize("name", CLUSTERS)
def test_kube_proxy_goes_only_after_the_proof(name: str, options: dict[str, Any]) -> None:
    plan = plan_for(name, **options)
    ids = [step.id for step in plan.steps]
    if "kube-proxy-off" not in ids:
        return
    off = ids.index("kube-proxy-off")
    if plan.api_endpoint is None and not any(isinstance(one, Reached) for one in step_conditions(plan)):
        assert not plan.is_safe
        return
    proof = plan.steps[ids.index("proof")]
    assert ids.index("proof") < off
    assert any(isinstance(one, Reached) for one in proof.after)
    assert any(isinstance(one, FreshNode) for one in proof.after)


def step_conditions(plan: Plan) -> list[object]:
    return [condition for step in plan.steps for condition in (*step.before, *step.after)]


@pytest.mark.parametrize("name", CLUSTERS)
def test_each_step_says_all(name: str) -> None:
    plan = plan_for(name, dsr=True)
    ids = [step.id for step in plan.steps]
    assert len(set(ids)) == len(ids)
    for step in (*plan.steps, *plan.rollback):
        assert step.title
        assert step.why
        assert step.see
        assert step.stop
        changes = any(isinstance(one, Patch | Create) for one in step.actions)
        assert not changes or step.commands
        if step in plan.steps and changes:
            assert step.undo
    if plan.steps and not plan.is_safe:
        enabling = [step for step in plan.steps if step.id in ("kube-proxy-off", "enable", "api-endpoint")]
        assert not any(step.is_safe for step in enabling)


@pytest.mark.parametrize("name", CLUSTERS)
def test_documents(name: str) -> None:
    plan = plan_for(name)
    document = encode_json(plan)
    jsonschema.validate(json.loads(document), schema_of("plan"))
    assert decode_plan(document.encode()) == plan
    for file in files_of(plan):
        if file.name.endswith(".yaml"):
            for one in yaml.safe_load_all(file.text):
                assert one["apiVersion"]
                assert one["kind"]
                assert one["metadata"]["name"]


@pytest.mark.parametrize("name", CLUSTERS)
def test_objects_are_valid(name: str) -> None:
    """What is made, and the objects of Kubernetes' own kinds as they are once the plan has changed them."""
    plan, objects = plan_for(name, endpoint=Endpoint(host="fd00::7", port=443)), objects_of(name)
    for action in changing(plan):
        applied(objects, action)
        if action.target.resource in ("daemonsets.apps", "services", "configmaps"):
            changed = objects[(action.target.resource, action.target.namespace, action.target.name)]
            kubernetes_validate.validate(json.loads(json.dumps(changed, default=str)), "1.31", strict=True)
        if isinstance(action, Create) and action.kind == "ConfigMap":
            kubernetes_validate.validate(manifest_of(action), "1.31", strict=True)
    for condition in step_conditions(plan):
        if isinstance(condition, Reached):
            kubernetes_validate.validate(reach_manifest(condition), "1.31", strict=True)


def test_green_and_surveyed() -> None:
    plan = plan_for("green-surveyed")
    assert plan.verdict is Verdict.READY
    assert plan.exit_code == 0
    assert [step.id for step in plan.steps] == ["reach", "proof", "kube-proxy-off", "enable", "verify"]
    assert all(step.is_safe for step in plan.steps)
    # The operator brings kube-proxy back for as long as it is asked to look after it.
    assert [step.id for step in plan.rollback] == ["enable", "settled", "kube-proxy-off", "verify"]
    enabling = step_of(plan, "enable")
    assert [type(one) for one in enabling.after] == [FieldIs, RolledOut, Gone]
    assert [type(one) for one in plan.rollback[1].after] == [FieldIs, Runs, RolledOut]


def test_services_come_back_before_anything_is_waited_for() -> None:
    """A calico-node that is not well is why one goes back, and must not keep kube-proxy from coming back."""
    plan = plan_for("manifest-ipip", dsr=True)
    assert [step.id for step in plan.rollback] == [
        "enable", "kube-proxy-off", "settled", "dsr", "api-endpoint", "dns", "verify",
    ]  # fmt: skip
    assert plan.rollback[0].after == ()
    assert [type(one) for one in plan.rollback[1].after] == [Runs]


def test_old_operators_are_waited_for_by_their_variable() -> None:
    after = step_of(plan_for("eks-al2", version="v3.22"), "enable").after
    assert any(isinstance(one, VariableIs) and one.name == "FELIX_BPFENABLED" for one in after)


def test_a_release_that_does_not_run() -> None:
    plan = plan_for("green-surveyed", version="v3.25")
    assert plan.verdict is Verdict.NOT_READY
    assert any("upgrade first" in one.message for one in plan.blockers)
    assert not any("upgrade first" in one.message for one in plan_for("green-surveyed", version="v3.32").blockers)


def test_an_address_is_judged_before_it_is_there() -> None:
    """A name that only cluster DNS answers calico-node would wait for for ever."""
    snapshot = snapshot_of("green-surveyed")
    assert snapshot.cluster is not None
    assert isinstance(snapshot.cluster.calico_node, Known)
    node = msgspec.structs.replace(snapshot.cluster.calico_node.value, dns_policy="ClusterFirstWithHostNet")
    cluster = msgspec.structs.replace(
        snapshot.cluster,
        calico_node=Known(value=node, source=snapshot.cluster.calico_node.source),
        endpoint_overrides=Absent(source=0),
    )
    changed = msgspec.structs.replace(snapshot, cluster=cluster)
    plan = plan_of(changed, endpoint=Endpoint(host="api.shop.example", port=6443))
    assert "cluster.api-endpoint.usable" in [one.id for one in plan.cautions]
    plan = plan_of(changed, endpoint=Endpoint(host="203.0.113.9", port=6443))
    assert "cluster.api-endpoint.usable" not in [one.id for one in plan.cautions]


def test_what_speaks_against_it_stays_where_it_is_on() -> None:
    plan = plan_for("kubeadm-argocd")
    assert plan.exit_code == 1
    assert "cluster.kube-proxy.cleanup" in [one.id for one in plan.blockers]


def test_felix_configuration_that_is_not_there() -> None:
    snapshot = snapshot_of("manifest-ipip")
    assert snapshot.cluster is not None
    plan = plan_of(
        msgspec.structs.replace(
            snapshot, cluster=msgspec.structs.replace(snapshot.cluster, felix_default=Absent(source=0))
        )
    )
    assert plan.steps[0].id == "felix-default"
    assert isinstance(plan.steps[0].actions[0], Create)


def test_tables_of_nftables_are_a_step() -> None:
    tables = step_of(plan_for("talos-kubeprism"), "nft-tables")
    assert "nft delete table ip kube-proxy" in tables.commands


def test_nodes_that_nobody_looked_at() -> None:
    plan = plan_for("green")
    assert plan.verdict is Verdict.INCONCLUSIVE
    assert plan.exit_code == 3
    assert "--probe exec" in plan.undecided[-1].message


def test_operator_bootstraps_where_it_may() -> None:
    plan = plan_for("kubeadm-single", version="v3.31.7")
    (enabling,) = step_of(plan, "enable").actions
    assert isinstance(enabling, Patch)
    assert {field.path[-1]: field.after for field in enabling.fields} == {
        "linuxDataplane": "BPF",
        "bpfNetworkBootstrap": "Enabled",
    }
    assert not any(step.id == "api-endpoint" for step in plan.steps)
    # A release that loses the API servers' addresses is not trusted with it, nor one with an address asked for.
    for options in ({}, {"version": "v3.31.7", "endpoint": Endpoint(host="lb.example.net", port=443)}):
        address = step_of(plan_for("kubeadm-single", **options), "api-endpoint")
        assert isinstance(address.actions[0], Create)


def test_old_operators() -> None:
    restarted = step_of(plan_for("kubeadm-single", version="v3.22"), "pick-up").actions
    assert any(isinstance(one, Restart) and one.target.name == "tigera-operator" for one in restarted)
    by_felix = step_of(plan_for("kubeadm-single", version="v3.16"), "enable").actions[0]
    assert isinstance(by_felix, Patch)
    assert by_felix.target.resource.startswith("felixconfigurations")
    # Operators up to v1.30 refuse host ports with eBPF mode.
    (by_operator,) = step_of(plan_for("kubeadm-single", version="v3.22"), "enable").actions
    assert isinstance(by_operator, Patch)
    host_ports = next(field for field in by_operator.fields if field.path[-1] == "hostPorts")
    assert (host_ports.before, host_ports.after) == ("Enabled", "Disabled")


def test_manifest_install_restarts_its_pods() -> None:
    actions = step_of(plan_for("manifest-ipip"), "pick-up").actions
    restarted = [one.target.name for one in actions if isinstance(one, Restart)]
    assert restarted == ["calico-node", "calico-kube-controllers"]


def test_kube_proxy_that_stays() -> None:
    plan = plan_for("aks", version="v3.32.1")
    assert not any(step.id == "kube-proxy-off" for step in plan.steps)
    (patch,) = step_of(plan, "kube-proxy-stays").actions
    assert isinstance(patch, Patch)
    assert {field.path[-1]: field.after for field in patch.fields} == {
        "bpfKubeProxyIptablesCleanupEnabled": False,
        "bpfKubeProxyHealthzPort": 0,
    }


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("kops", "kops update cluster"),
        ("rke2", "disable-kube-proxy: true"),
        ("k3s", "disable-kube-proxy: true"),
        ("mke", "kube_proxy_mode"),
        ("talos-kubeprism", "cluster.proxy.disabled: true"),
        ("eks-al2023-6.12.46", "aws eks delete-addon"),
    ],
)
def test_platforms_have_their_own_way(name: str, words: str) -> None:
    plan = plan_for(name)
    off = step_of(plan, "kube-proxy-off")
    assert any(isinstance(one, Manual) and words in one.text for one in off.actions)
    back = next(step for step in plan.rollback if step.id == "kube-proxy-off")
    assert any(isinstance(one, Manual) for one in back.actions)


def test_ipvs_comes_first_and_blocks_the_rest() -> None:
    plan = plan_for("kubespray-ipvs", endpoint=Endpoint(host="10.0.0.9", port=6443))
    assert plan.steps[0].id == "kube-proxy-mode"
    assert plan.steps[0].is_safe
    assert plan.verdict is Verdict.NOT_READY
    assert "cluster.kube-proxy.mode" in [one.id for one in plan.blockers]
    # What the plan mends by itself is no blocker.
    assert "cluster.api-endpoint.present" not in [one.id for one in plan.blockers]


def test_no_address_no_way() -> None:
    plan = plan_for("kubespray-ipvs")
    assert any("--api-endpoint HOST:PORT" in one.message for one in plan.blockers)
    assert isinstance(step_of(plan, "api-endpoint").actions[0], Manual)


def test_an_address_that_will_not_do() -> None:
    plan = plan_for("green-surveyed", endpoint=Endpoint(host="localhost", port=6443))
    assert plan.verdict is Verdict.NOT_READY
    assert any("localhost will not do" in one.message for one in plan.blockers)


def test_on_already() -> None:
    plan = plan_for("ebpf-healthy")
    assert plan.steps == ()
    assert plan.rollback == ()
    assert "configured already" in plan.method
    assert [step.id for step in plan_for("ebpf-healthy", dsr=True).steps] == ["dsr"]


def test_direct_server_return_is_judged_beforehand() -> None:
    plan = plan_for("eks-al2023-6.12.46", dsr=True)
    assert plan.steps[-1].id == "dsr"
    asked = plan.steps[-1].actions[0]
    assert isinstance(asked, Patch)
    assert asked.fields[0].after == "DSR"
    assert any(one.id == "cluster.dsr" for one in (*plan.cautions, *plan.blockers))


def test_no_calico() -> None:
    plan = plan_for("green-surveyed", install="none")
    assert plan.steps == ()
    assert plan.verdict is Verdict.NOT_READY


def test_how_calico_is_installed_is_not_known() -> None:
    plan = plan_for("green-surveyed", install="unknown")
    assert plan.steps == ()
    assert any("--install" in one.message for one in plan.blockers)


@pytest.mark.parametrize("fact", ["felix_default", "installation", "kube_proxy", "calico_node", "endpoint_overrides"])
def test_what_could_not_be_read_has_no_way_back(fact: str) -> None:
    snapshot = snapshot_of("green-surveyed")
    assert snapshot.cluster is not None
    hidden = msgspec.structs.replace(
        snapshot.cluster, **{fact: Unknown(reason=Reason.FORBIDDEN, detail="it may not be read")}
    )
    plan = plan_of(msgspec.structs.replace(snapshot, cluster=hidden), install="operator")
    assert plan.verdict is Verdict.INCONCLUSIVE
    assert any("the way back is not known" in one.message for one in plan.undecided)
    assert not step_of(plan, "enable").is_safe


def test_the_way_back_of_the_way_back() -> None:
    back = rollback_of(plan_for("green-surveyed"))
    assert rollback_of(back) == back
    assert back.direction == "rollback"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "shape"),
        (b"[]", "shape"),
        (b"{}", "it is not ebpfcheck.plan/v1"),
        (b'{"schema":"ebpfcheck.report/v1"}', "but ebpfcheck.report/v1"),
        (b'{"schema":"ebpfcheck.plan/v1","steps":3}', "shape"),
        (b"\xff\xfe", "shape"),
    ],
)
def test_not_a_plan(data: bytes, words: str) -> None:
    with pytest.raises(PlanError, match=words):
        decode_plan(data)


def way_back(name: str, **options: Any) -> Plan:
    return Judge(Settings(**options)).rollback(snapshot_of(name), NOW)


@pytest.mark.parametrize("name", CLUSTERS)
def test_back_without_a_plan(name: str) -> None:
    """What recorded clusters have set of eBPF mode is gone, and nothing else is touched."""
    plan, start = way_back(name), objects_of(name)
    objects = copy.deepcopy(start)
    for action in changing(plan):
        applied(objects, action)
    for (resource, _, _), item in objects.items():
        if resource.startswith("felixconfigurations"):
            assert not item["spec"].get("bpfEnabled") or _is_operators(objects)
            assert item["spec"].get("bpfExternalServiceMode") in (None, "Tunnel")
        if resource == "installations.operator.tigera.io":
            network = item["spec"].get("calicoNetwork", {})
            assert network.get("linuxDataplane") != "BPF"
            assert network.get("bpfNetworkBootstrap") != "Enabled"
            assert network.get("kubeProxyManagement") != "Enabled"
        if resource == "daemonsets.apps" and item["metadata"]["name"] == "kube-proxy":
            assert "non-calico" not in item["spec"]["template"]["spec"].get("nodeSelector", {})
    assert bool(plan.steps) == (objects != start or any(isinstance(one, Manual) for one in actions_of(plan)))


def actions_of(plan: Plan) -> list[Any]:
    return [action for step in plan.steps for action in step.actions]


def _is_operators(objects: dict[Any, Any]) -> bool:
    """Whether bpfEnabled is the operator's to turn off, once the Installation says so."""
    return any(resource == "installations.operator.tigera.io" for resource, _, _ in objects)


def test_back_past_the_operator() -> None:
    plan = way_back("operator-3.28-hand-set")
    ids = [step.id for step in plan.steps]
    assert ids == ["enable", "kube-proxy-off", "settled", "verify"]
    patch = plan.steps[0].actions[0]
    assert isinstance(patch, Patch)
    # What nobody has set the operator sets itself; what somebody has, it refuses to touch.
    assert (patch.fields[0].path, patch.fields[0].after) == (("spec", "bpfEnabled"), None)


def test_back_with_the_operator_that_keeps_kube_proxy_away() -> None:
    plan = way_back("ebpf-healthy")
    assert [step.id for step in plan.steps] == ["enable", "settled", "kube-proxy-management", "verify"]
    assert [type(one) for one in plan.steps[2].before] == [Runs]
    assert any("--expect iptables" in command for command in plan.steps[-1].see_commands)


def test_back_from_what_neither_the_installation_nor_felix_configuration_says() -> None:
    snapshot = snapshot_of("manifest-ipip")
    on = FelixSettings(bpf_enabled=True)
    kinds = tuple(msgspec.structs.replace(kind, felix=Known(value=on, source=0)) for kind in snapshot.kinds)
    assert snapshot.cluster is not None
    assert isinstance(snapshot.cluster.kube_proxy, Known)
    off = msgspec.structs.replace(snapshot.cluster.kube_proxy.value, desired=0, node_selector=(("non-calico", "true"),))
    cluster = msgspec.structs.replace(snapshot.cluster, kube_proxy=Known(value=off, source=0))
    plan = Judge(Settings()).rollback(msgspec.structs.replace(snapshot, kinds=kinds, cluster=cluster), NOW)
    # kube-proxy must not come back beside it.
    assert plan.exit_code == 1
    assert plan.steps == ()
    assert "FELIX_BPFENABLED" in plan.blockers[0].message


def test_back_in_one_patch() -> None:
    """The operator takes bpfNetworkBootstrap without eBPF mode for a mistake."""
    plan = way_back("bootstrap-plus-configmap")
    patch = next(one for one in actions_of(plan) if isinstance(one, Patch))
    assert {field.path[-1] for field in patch.fields} == {"linuxDataplane", "bpfNetworkBootstrap"}


def test_nothing_to_take_back() -> None:
    plan = way_back("green")
    assert plan.steps == ()
    assert plan.exit_code == 0
    assert "nothing to take back" in plan.method


def test_back_where_it_could_not_be_read() -> None:
    snapshot = snapshot_of("ebpf-healthy")
    assert snapshot.cluster is not None
    hidden = msgspec.structs.replace(
        snapshot.cluster, felix_default=Unknown(reason=Reason.FORBIDDEN, detail="it may not be read")
    )
    plan = Judge(Settings()).rollback(msgspec.structs.replace(snapshot, cluster=hidden), NOW)
    assert plan.exit_code == 3
    assert not plan.steps[0].is_safe


def test_a_cluster_that_cannot_be_known_again() -> None:
    """As of a snapshot of an older version: the scripts could run on any cluster."""
    snapshot = snapshot_of("green-surveyed")
    assert snapshot.cluster is not None
    assert isinstance(snapshot.cluster.kubernetes_service, Known)
    service = msgspec.structs.replace(snapshot.cluster.kubernetes_service.value, uid="")
    cluster = msgspec.structs.replace(snapshot.cluster, kubernetes_service=Known(value=service, source=0))
    plan = plan_of(msgspec.structs.replace(snapshot, cluster=cluster))
    assert plan.verdict is Verdict.INCONCLUSIVE
    assert any("could not tell it from another one" in one.message for one in plan.undecided)
