"""The role that `ebpfcheck rbac` prints, and the requests that `ebpfcheck cluster` makes, are the same set."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.acceptance.clusters import STORIES, Outcome, look_at, together
from tests.acceptance.command import run
from tests.fakeapi.access import Access, RequestInfo, Rule


@pytest.fixture(scope="module")
def printed() -> list[dict[str, Any]]:
    result = run("rbac", "--service-account", "ci:checker")
    assert (result.returncode, result.stderr) == (0, "")
    return list(yaml.safe_load_all(result.stdout))


@pytest.fixture(scope="module")
def rules(printed: list[dict[str, Any]]) -> list[Rule]:
    return list(printed[0]["rules"])


@pytest.fixture(scope="module")
def outcomes(rules: list[Rule], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Each story, looked at with just the rights that are printed."""

    def one(name: str) -> Callable[[Path], Outcome]:
        return lambda place: look_at(STORIES[name](), place, rules=rules)

    return together({name: one(name) for name in STORIES}, tmp_path_factory.mktemp("rights"))


def requests(outcomes: dict[str, Outcome]) -> list[RequestInfo]:
    return [RequestInfo.parse(one.method, one.path) for outcome in outcomes.values() for one in outcome.api.requests]


def parts(rules: list[Rule]) -> Iterator[Rule]:
    """Rules of one verb, one group, one resource and one name each, or of one path."""
    for rule in rules:
        for verb in rule["verbs"]:
            for url in rule.get("nonResourceURLs", ()):
                yield {"verbs": [verb], "nonResourceURLs": [url]}
            for group in rule.get("apiGroups", ()):
                for resource in rule["resources"]:
                    for name in rule.get("resourceNames", [""]):
                        names = {"resourceNames": [name]} if name else {}
                        yield {"verbs": [verb], "apiGroups": [group], "resources": [resource], **names}


def test_what_is_printed_is_a_role_and_its_binding(printed: list[dict[str, Any]]) -> None:
    role, binding = printed
    assert (role["kind"], binding["kind"]) == ("ClusterRole", "ClusterRoleBinding")
    assert role["apiVersion"] == binding["apiVersion"] == "rbac.authorization.k8s.io/v1"
    assert binding["roleRef"] == {
        "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role["metadata"]["name"]
    }  # fmt: skip
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "checker", "namespace": "ci"}]


def test_the_role_only_reads(rules: list[Rule]) -> None:
    for part in parts(rules):
        if part["verbs"] == ["create"]:
            assert part["resources"] == ["selfsubjectrulesreviews"]
        else:
            assert part["verbs"] in (["get"], ["list"])
        assert not {"*", "secrets"} & {*part.get("resources", ()), *part.get("apiGroups", ()), *part["verbs"]}
        assert not any("*" in url for url in part.get("nonResourceURLs", ()))


@pytest.mark.parametrize("account", ["", "x", "a:b:c", "a:", ":b", "A:b", "a:b\nc"])
def test_what_is_no_service_account_is_refused(account: str) -> None:
    result = run("rbac", "--service-account", account)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)


@pytest.mark.parametrize(
    ("options", "rights"),
    [
        (
            ("--verify",),
            {namespace: {"pods/log": {"get"}} for namespace in ("kube-system", "calico-system")},
        ),
        (
            ("--verify", "--metrics"),
            {namespace: {"pods/log": {"get"}, "pods/proxy": {"get"}} for namespace in ("kube-system", "calico-system")},
        ),
        (
            ("--probe", "exec"),
            {namespace: {"pods/exec": {"create", "get"}} for namespace in ("kube-system", "calico-system")},
        ),
        *(
            (
                ("--probe", "pod", *options),
                {
                    namespace: {
                        "batch/jobs": {"create", "list", "delete", "deletecollection"},
                        "pods": {"list"},
                        "pods/log": {"get"},
                    }
                },
            )
            for options, namespace in [((), "kube-system"), (("--probe-namespace", "probes"), "probes")]
        ),
    ],
)
def test_more_than_reading_adds_roles_of_namespaces_and_nothing_else(
    printed: list[dict[str, Any]], options: tuple[str, ...], rights: dict[str, dict[str, set[str]]]
) -> None:
    result = run("rbac", "--service-account", "ci:checker", *options)
    assert (result.returncode, result.stderr) == (0, "")
    manifests = list(yaml.safe_load_all(result.stdout))
    assert manifests[:2] == printed
    roles, bindings = manifests[2::2], manifests[3::2]
    found: dict[str, dict[str, set[str]]] = {role["metadata"]["namespace"]: {} for role in roles}
    for role, binding in zip(roles, bindings, strict=True):
        assert (role["kind"], binding["kind"]) == ("Role", "RoleBinding")
        assert binding["metadata"] == role["metadata"]
        assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) == ("Role", role["metadata"]["name"])
        assert binding["subjects"] == printed[1]["subjects"]
        for part in parts(role["rules"]):
            group, resource, verb = part["apiGroups"][0], part["resources"][0], part["verbs"][0]
            name = f"{group}/{resource}" if group else resource
            found[role["metadata"]["namespace"]].setdefault(name, set()).add(verb)
    assert found == rights


@pytest.mark.parametrize(
    "options",
    [
        ("--probe-namespace", "probes"),
        ("--probe", "exec", "--probe-namespace", "probes"),
        *(("--probe", "pod", "--probe-namespace", name) for name in ("", "A", "-a", "a.b", "a\nb", "a" * 64)),
        ("--probe", "all"),
        ("--metrics",),
    ],
)
def test_what_is_no_place_for_probes_is_refused(options: tuple[str, ...]) -> None:
    result = run("rbac", *options)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)


def test_every_request_is_covered_by_the_role(rules: list[Rule], outcomes: dict[str, Outcome]) -> None:
    access = Access(rules)
    asked = requests(outcomes)
    assert len(asked) > 100
    assert [info for info in asked if not access.permits(info)] == []


def test_every_right_is_used(rules: list[Rule], outcomes: dict[str, Outcome]) -> None:
    asked = requests(outcomes)
    unused = [part for part in parts(rules) if not any(Access([part]).permits(info) for info in asked)]
    assert unused == []


@pytest.mark.parametrize("story", STORIES)
def test_the_role_is_enough(outcomes: dict[str, Outcome], story: str) -> None:
    outcome = outcomes[story]
    assert outcome.stderr == ""
    assert "forbidden" not in outcome.stdout
    assert "not allowed" not in outcome.stdout
    assert outcome.report["problems"] == []
    assert outcome.report["coverage"]["unseen"] == []
    assert outcome.report["coverage"]["nodes_total"] == 3
