from typing import Any

import pytest

from ebpfcheck.checks import owners
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.model.cluster import CalicoNode, EndpointOverride, FelixObject, Installation, Marks
from ebpfcheck.model.facts import Absent, Fact, FelixSettings, Install, Reason, Unknown
from ebpfcheck.model.report import Finding, Status
from tests.builders import judged_cluster, known

ABSENT = Absent(source=0)
FORBIDDEN = Unknown(reason=Reason.FORBIDDEN, detail="not allowed to list felixconfigurations")
NOBODY = Marks(
    labels=(("k8s-app", "calico-node"),),
    annotations=("projectcalico.org/metadata",),
    managers=("operator", "kubectl-client-side-apply"),
)


def marked(
    *labels: tuple[str, str], annotations: tuple[str, ...] = (), managers: tuple[str, ...] = (), owner: str = ""
) -> Marks:
    return Marks(labels=labels, annotations=annotations, managers=managers, owners=(owner,) if owner else ())


HELM = marked(("app.kubernetes.io/managed-by", "Helm"), annotations=("meta.helm.sh/release-name",))


def installation(marks: Marks = NOBODY) -> Fact[Installation]:
    return known(Installation(marks=marks))


def felix(marks: Marks = NOBODY) -> Fact[FelixObject]:
    return known(FelixObject(settings=FelixSettings(), marks=marks))


def override(marks: Marks = NOBODY, name: str = "kubernetes-services-endpoint") -> Fact[tuple[EndpointOverride, ...]]:
    return known((EndpointOverride(namespace="tigera-operator", name=name, marks=marks),))


def node(marks: Marks = NOBODY) -> Fact[CalicoNode]:
    return known(CalicoNode(namespace="kube-system", name="calico-node", image="", marks=marks))


def judged(install: Install = "operator", **more: Any) -> Finding:
    """Judge objects that nobody looks after, but for what is said."""
    facts: dict[str, Any] = {
        "installation": installation() if install == "operator" else ABSENT,
        "felix_default": felix(),
        "endpoint_overrides": override(),
        "calico_node": node(),
        **more,
    }
    return judged_cluster(owners.config_owner, install=install, **facts)


@pytest.mark.parametrize("install", ["operator", "manifest", "none", "unknown"])
def test_nothing_known_is_no_answer(install: Install) -> None:
    for minor in load_knowledge().minors():
        finding = judged_cluster(owners.config_owner, version=str(minor), install=install)
        assert finding.status is Status.UNKNOWN


@pytest.mark.parametrize("install", ["operator", "manifest", "unknown"])
def test_nobody(install: Install) -> None:
    finding = judged(install)
    assert finding.status is Status.PASS
    assert finding.note is False


@pytest.mark.parametrize(
    ("marks", "owner", "shown"),
    [
        (HELM, "Helm", "annotation meta.helm.sh/release-name"),
        (
            marked(annotations=("argocd.argoproj.io/tracking-id",)),
            "Argo CD",
            "annotation argocd.argoproj.io/tracking-id",
        ),
        (marked(("argocd.argoproj.io/instance", "x")), "Argo CD", "label argocd.argoproj.io/instance=x"),
        (marked(("helm.toolkit.fluxcd.io/name", "x")), "Flux", "label helm.toolkit.fluxcd.io/name=x"),
        (marked(("kustomize.toolkit.fluxcd.io/name", "x")), "Flux", "label kustomize.toolkit.fluxcd.io/name=x"),
        (marked(managers=("argocd-controller",)), "Argo CD", "field manager argocd-controller"),
        (marked(managers=("kustomize-controller",)), "Flux", "field manager kustomize-controller"),
        (marked(managers=("helm-controller",)), "Flux", "field manager helm-controller"),
        (marked(managers=("Terraform",)), "Terraform", "field manager Terraform"),
        (
            marked(("addonmanager.kubernetes.io/mode", "Reconcile")),
            "an add-on manager of Kubernetes",
            "label addonmanager.kubernetes.io/mode=Reconcile",
        ),
        (
            marked(("app.kubernetes.io/managed-by", "kops")),
            "whoever its label app.kubernetes.io/managed-by names",
            "label app.kubernetes.io/managed-by=kops",
        ),
        (marked(owner="AddOn"), "the AddOn that owns it", "owner AddOn"),
    ],
)
def test_marks_of_owners(marks: Marks, owner: str, shown: str) -> None:
    for what, finding in (
        ("Installation default", judged(installation=installation(marks))),
        ("FelixConfiguration default", judged(felix_default=felix(marks))),
        ("ConfigMap tigera-operator/kubernetes-services-endpoint", judged(endpoint_overrides=override(marks))),
        ("DaemonSet kube-system/calico-node", judged("manifest", calico_node=node(marks))),
    ):
        assert finding.status is Status.PASS
        assert finding.note
        assert finding.message.startswith(f"{what} is looked after by {owner} ({shown}). What is changed")
        assert finding.observed == f"{what} ({shown})"


@pytest.mark.parametrize(
    "marks",
    [
        marked(("app.kubernetes.io/managed-by", "tigera-operator")),
        marked(("helm.sh/chart", "x"), ("app.kubernetes.io/instance", "x")),
        marked(annotations=("kustomize.toolkit.fluxcd.io/",)),
        marked(("toolkit.fluxcd.io/name", "x"), ("", "x"), annotations=("",)),
        marked(managers=("kubectl", "calico-node", "calicoctl", "argocd")),
    ],
)
def test_marks_that_tell_of_nobody(marks: Marks) -> None:
    assert judged(installation=installation(marks), felix_default=felix(marks)).note is False


def test_the_daemon_set_of_the_operator_is_its_own() -> None:
    assert judged("operator", calico_node=node(HELM)).note is False
    assert judged("unknown", calico_node=node(marked(owner="Installation"))).note is False
    assert judged("unknown", calico_node=node(HELM)).note


def test_several_owners() -> None:
    both = marked(
        ("argocd.argoproj.io/instance", "x"), ("app.kubernetes.io/managed-by", "Helm"), managers=("Terraform",)
    )
    finding = judged(installation=installation(both), felix_default=felix(HELM))
    assert finding.message.startswith(
        "Installation default is looked after by Argo CD and Terraform (label argocd.argoproj.io/instance=x, field "
        "manager Terraform); FelixConfiguration default is looked after by Helm (annotation meta.helm.sh/release-name)."
    )
    twice = marked(("helm.toolkit.fluxcd.io/name", "x"), ("helm.toolkit.fluxcd.io/namespace", "y"))
    assert "looked after by Flux (label" in judged(felix_default=felix(twice)).message


@pytest.mark.parametrize("fact", ["installation", "felix_default", "endpoint_overrides", "calico_node"])
def test_objects_that_were_not_seen(fact: str) -> None:
    hidden: dict[str, Any] = {fact: FORBIDDEN}
    finding = judged(**hidden)
    assert finding.status is Status.UNKNOWN
    assert "not allowed" in finding.message
    other = "installation" if fact == "felix_default" else "felix_default"
    facts: dict[str, Any] = {"installation": installation(HELM), "felix_default": felix(HELM)}
    assert judged(**{fact: FORBIDDEN, other: facts[other]}).note


def test_no_objects() -> None:
    absent: dict[str, Any] = dict.fromkeys(
        ("installation", "felix_default", "endpoint_overrides", "calico_node"), ABSENT
    )
    assert judged(**absent).status is Status.NOT_APPLICABLE
    assert judged("manifest", **{**absent, "felix_default": felix()}).status is Status.PASS


def test_hostile_marks_are_shown_escaped_and_cut() -> None:
    long = "\x1b[2J" + "x" * 200
    for finding, cut in (
        (judged(felix_default=felix(marked((f"helm.toolkit.fluxcd.io/{long}", "x")))), 1),
        (judged(felix_default=felix(marked(("helm.toolkit.fluxcd.io/name", long)))), 1),
        (judged(felix_default=felix(marked(owner=long))), 2),
        (judged(endpoint_overrides=override(HELM, name=long)), 1),
        (judged("manifest", calico_node=known(CalicoNode(namespace=long, name="x", image="", marks=HELM))), 1),
    ):
        assert "\x1b" not in finding.message
        assert finding.message.count("more characters") == cut


def test_a_value_that_says_nothing_new_says_so_of_its_own_label_alone() -> None:
    assert judged(felix_default=felix(marked(("argocd.argoproj.io/instance", "tigera-operator")))).note
