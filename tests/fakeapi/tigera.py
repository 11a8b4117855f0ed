"""What the Tigera operator does when the dataplane is switched: one write after the other."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tests.fakeapi.catalog import Catalog, Change, Resource
from tests.fakeapi.patches import same
from tests.fakeapi.podlife import now
from tests.fakeapi.rollouts import owns, rolled_out
from tests.fakeapi.story import Object
from tests.fakeapi.writes import counted, owned_by

MANAGER = "operator"
OPERATOR, CALICO = "operator.tigera.io/v1", "calico-system"
ANNOTATION = "operator.tigera.io/bpfEnabled"
DISABLE = "operator.tigera.io/disable-kube-proxy"
ENDPOINT = "kubernetes-services-endpoint"
HOST, PORT = "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"
# Minor versions of the operator: the first that sets bpfEnabled itself, and the first that always has bpffs mounted.
SETS_FELIX, ALWAYS_MOUNTS = 34, 40
NODE = ("DaemonSet", CALICO, "calico-node")
RENDERED = (NODE, ("Deployment", CALICO, "calico-typha"), ("Deployment", CALICO, "calico-kube-controllers"))
KUBE_PROXY = ("DaemonSet", "kube-system", "kube-proxy")
VOLUMES = {"sys-fs": ("/sys/fs", "DirectoryOrCreate"), "bpffs": ("/sys/fs/bpf", "Directory"), "nodeproc": ("/proc", "")}
BEST_EFFORT = "-best-effort"
REFUSED = (
    'unable to set bpfEnabled: FelixConfiguration "default" has been modified by someone else, refusing to override '
    "potential user configuration"
)


class Wanted(NamedTuple):
    """What the templates are rendered from."""

    bpf: bool
    endpoint: tuple[str, str] | None


class Trouble(NamedTuple):
    """Why a TigeraStatus is Degraded."""

    reason: str
    message: str


class Operator:
    """The operator of a story that has one; it looks at nothing before something of it has changed."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._rendered = Wanted(False, None)
        # The pod specs that were rendered before, so that going back leads to the same ones.
        self._specs: dict[tuple[str, Wanted], Object] = {}

    def begin(self) -> None:
        """Take the templates that there are to be rendered from what is asked for now."""
        self._rendered = self._wanted()
        for name in RENDERED:
            item = self._find(*name)
            if item is not None:
                self._specs[name[2], self._rendered] = item["spec"]["template"]["spec"]

    def concerned(self, change: Change) -> bool:
        """Whether a change is one that the operator watches for."""
        name = (change.resource.kind, change.after["metadata"].get("namespace", ""), change.after["metadata"]["name"])
        watched = (("Installation", "", "default"), ("FelixConfiguration", "", "default"), KUBE_PROXY, *RENDERED)
        return name in watched or (name[0], name[2]) == ("ConfigMap", ENDPOINT)

    def step(self) -> bool:
        """Do one thing; False if there was none to do."""
        installation, minor = self._find("Installation", "", "default"), self._minor()
        if installation is None or minor is None:
            return False
        network = installation["spec"].get("calicoNetwork") or {}
        trouble = self._bootstrap_trouble(network, minor)
        if trouble is None:
            if self._render(minor):
                return True
            trouble, written = self._flip(network, minor)
            if written:
                return True
        managing = network.get("kubeProxyManagement") == "Enabled" and minor >= ALWAYS_MOUNTS
        return self._manage_kube_proxy(managing) or self._tell("calico", trouble, RENDERED)

    # What there is

    def _resource(self, kind: str) -> Resource | None:
        known = [resource for resource in self._catalog.resources.values() if resource.kind == kind]
        # The CRDs' own group, where the aggregated API server has the same kind.
        return next((one for one in known if not one.group.startswith("projectcalico")), None)

    def _find(self, kind: str, namespace: str, name: str) -> Object | None:
        resource = self._resource(kind)
        return None if resource is None else self._catalog.get(resource, namespace, name)

    def _deployment(self) -> Object | None:
        resource = self._resource("Deployment")
        items = [] if resource is None else self._catalog.all(resource)
        return next((item for item in items if item["metadata"]["name"] == "tigera-operator"), None)

    def _minor(self) -> int | None:
        deployment = self._deployment()
        images = [] if deployment is None else deployment["spec"]["template"]["spec"]["containers"]
        match = re.search(r":v1\.(\d+)\.", images[0]["image"]) if images else None
        return None if match is None else int(match[1])

    def _wanted(self) -> Wanted:
        installation, deployment = self._find("Installation", "", "default"), self._deployment()
        network = (installation or {"spec": {}})["spec"].get("calicoNetwork") or {}
        namespace = "" if deployment is None else deployment["metadata"]["namespace"]
        data = (self._find("ConfigMap", namespace, ENDPOINT) or {}).get("data") or {}
        endpoint = (data.get(HOST, ""), data.get(PORT, ""))
        return Wanted(network.get("linuxDataplane") == "BPF", endpoint if all(endpoint) else None)

    # Steps

    def _bootstrap_trouble(self, network: Object, minor: int) -> Trouble | None:
        if network.get("bpfNetworkBootstrap") != "Enabled" or minor < ALWAYS_MOUNTS:
            return None
        deployment = self._deployment() or {"metadata": {}}
        why = ""
        if network.get("linuxDataplane") != "BPF":
            why = "bpfNetworkBootstrap is enabled but linuxDataplane is not set to BPF"
        elif self._find("ConfigMap", deployment["metadata"].get("namespace", ""), ENDPOINT) is not None:
            why = "kubernetes service endpoint is defined by the kubernetes-service-endpoints ConfigMap"
        message = f"bpfNetworkBootstrap is Enabled but the requirements are not met: {why}"
        return Trouble("ResourceValidationError", message) if why else None

    def _render(self, minor: int) -> bool:
        wanted = self._wanted()
        if wanted == self._rendered:
            return False
        for name in RENDERED:
            item = self._find(*name)
            if item is not None:
                spec = self._specs.get((name[2], wanted)) or self._rendering(name, item, wanted, minor)
                self._specs[name[2], wanted] = spec
                template = {**item["spec"]["template"], "spec": spec}
                if self._save(item, {**item, "spec": {**item["spec"], "template": template}}):
                    return True
        self._rendered = wanted
        return False

    def _rendering(self, name: tuple[str, str, str], item: Object, wanted: Wanted, minor: int) -> Object:
        spec: Object = item["spec"]["template"]["spec"]
        if wanted.endpoint != self._rendered.endpoint:
            spec = _with_endpoint(spec, wanted.endpoint)
        if wanted.bpf != self._rendered.bpf and name == NODE:
            spec = _for_dataplane(spec, wanted.bpf, minor)
        return spec

    def _flip(self, network: Object, minor: int) -> tuple[Trouble | None, bool]:
        """Set bpfEnabled, if it is time; what forbids it, and whether it was set."""
        felix, node = self._find("FelixConfiguration", "", "default"), self._find(*NODE)
        if minor < SETS_FELIX or felix is None or node is None:
            return None, False
        bpf, known = network.get("linuxDataplane") == "BPF", felix["spec"].get("bpfEnabled")
        mounted = any(one["name"] == "bpffs" for one in node["spec"]["template"]["spec"].get("volumes", ()))
        due = not known and mounted and rolled_out(node) if bpf else known is not False
        if not due:
            return None, False
        annotations = felix["metadata"].get("annotations", {})
        noted = {"true": True, "false": False}.get(annotations.get(ANNOTATION, ""))
        if noted is not known:
            return Trouble("ResourceUpdateError", f"Error updating resource: {REFUSED}"), False
        metadata = {**felix["metadata"], "annotations": {**annotations, ANNOTATION: str(bpf).lower()}}
        return None, self._save(felix, {**felix, "metadata": metadata, "spec": {**felix["spec"], "bpfEnabled": bpf}})

    def _manage_kube_proxy(self, managing: bool) -> bool:
        status = self._resource("TigeraStatus")
        known = self._find("TigeraStatus", "", "kubeproxy-monitor")
        if not managing:
            if known is not None and status is not None:
                self._catalog.remove(status, known)
            return known is not None
        proxy = self._find(*KUBE_PROXY)
        if proxy is None:
            message = 'failed to retrieve kube-proxy DaemonSet: daemonsets.apps "kube-proxy" not found'
            return self._tell("kubeproxy-monitor", Trouble("ResourceNotFound", message), ())
        trouble = _managed_elsewhere(proxy)
        if trouble is not None:
            return self._tell("kubeproxy-monitor", trouble, ())
        felix = self._find("FelixConfiguration", "", "default") or {"spec": {}}
        template = proxy["spec"]["template"]
        selector = {key: value for key, value in template["spec"].get("nodeSelector", {}).items() if key != DISABLE}
        if felix["spec"].get("bpfEnabled"):
            selector[DISABLE] = "true"
        rest = {key: value for key, value in template["spec"].items() if key != "nodeSelector"}
        spec = {**rest, "nodeSelector": selector} if selector else rest
        after = {**proxy, "spec": {**proxy["spec"], "template": {**template, "spec": spec}}}
        return self._save(proxy, after) or self._tell("kubeproxy-monitor", None, ())

    def _failing(self, items: Sequence[Object]) -> list[str]:
        pods = self._catalog.all(self._catalog.resources["v1", "pods"])
        return [
            f"Pod {_name(pod)} has crash looping container: {status['name']}"
            for pod in pods
            if any(owns(item, pod) for item in items)
            for status in pod.get("status", {}).get("containerStatuses", ())
            if status.get("state", {}).get("waiting", {}).get("reason") == "CrashLoopBackOff"
        ]

    def _save(self, before: Object, after: Object) -> bool:
        """Store a change of a spec; False if it is none."""
        resource = self._resource(before["kind"])
        if resource is None or same(before, after):
            return False
        after = {**after, "metadata": counted(resource, before, after)}
        self._catalog.put(resource, owned_by(MANAGER, before, after, custom=resource.custom))
        return True

    def _tell(self, name: str, trouble: Trouble | None, watched: Iterable[tuple[str, str, str]]) -> bool:
        """Bring a TigeraStatus up to date; False if it was."""
        resource, installation = self._resource("TigeraStatus"), self._find("Installation", "", "default")
        if resource is None or installation is None:
            return False
        known = self._find("TigeraStatus", "", name)
        items = [item for item in (self._find(*one) for one in watched) if item is not None]
        failing, rolling = self._failing(items), [item for item in items if not rolled_out(item)]
        trouble = trouble or (Trouble("PodFailure", "\n".join(failing)) if failing else None)
        available = not rolling and trouble is None
        usual = ("AllObjectsAvailable", "All objects available") if available else ("Unknown", "")
        progressing = bool(rolling) and not failing
        said = {
            "Available": (available, *usual),
            "Progressing": (progressing, *_progress(rolling)) if progressing else (False, *usual),
            "Degraded": (trouble is not None, *(trouble or usual)),
        }
        before = known.get("status", {}).get("conditions", []) if known else []
        if _says(before, said):
            return False
        generation = installation["metadata"].get("generation", 1)
        conditions = _conditions(
            before, said, {} if name == "kubeproxy-monitor" else {"observedGeneration": generation}
        )
        if known is None:
            metadata = {"name": name, "generation": 1, "creationTimestamp": now()}
            known = {"apiVersion": OPERATOR, "kind": "TigeraStatus", "metadata": metadata, "spec": {}}
        self._catalog.put(resource, {**known, "status": {"conditions": conditions}})
        return True


def _says(conditions: Sequence[Object], said: dict[str, tuple[bool, str, str]]) -> bool:
    """Whether conditions say so already; words about what is well do not count."""
    known = {one["type"]: (one["status"] == "True", one.get("message")) for one in conditions}
    if {kind: holds for kind, (holds, _) in known.items()} != {kind: one[0] for kind, one in said.items()}:
        return False
    return all(known[kind][1] == said[kind][2] for kind in ("Progressing", "Degraded") if said[kind][0])


def _progress(rolling: Iterable[Object]) -> tuple[str, str]:
    return "ResourceNotReady", "\n".join(map(_awaited, rolling))


def _conditions(before: Sequence[Object], said: dict[str, tuple[bool, str, str]], extra: Object) -> list[Object]:
    known = {condition["type"]: condition for condition in before}
    conditions = []
    for kind in (*known, *(kind for kind in said if kind not in known)):
        holds, reason, message = said[kind]
        moved = kind not in known or known[kind]["status"] != str(holds)
        conditions.append(
            {
                "lastTransitionTime": now() if moved else known[kind]["lastTransitionTime"],
                "message": message,
                **extra,
                "reason": reason,
                "status": str(holds),
                "type": kind,
            }
        )
    return conditions


def _name(item: Object) -> str:
    return f"{item['metadata']['namespace']}/{item['metadata']['name']}"


def _awaited(item: Object) -> str:
    metadata, status = item["metadata"], item.get("status", {})
    name = f'{item["kind"]} "{_name(item)}"'
    if item["kind"] == "Deployment":
        return f"{name} is not available (awaiting {status.get('unavailableReplicas', 0)} replicas)"
    updated, desired = status.get("updatedNumberScheduled", 0), status.get("desiredNumberScheduled", 0)
    if updated < desired or metadata.get("generation") != status.get("observedGeneration"):
        return f"{name} update is rolling out ({updated} out of {desired} updated)"
    return f"{name} is not available (awaiting {status.get('numberUnavailable', 0)} nodes)"


def _managed_elsewhere(proxy: Object) -> Trouble | None:
    labels, annotations = (proxy["metadata"].get(key, {}) for key in ("labels", "annotations"))
    why = ""
    if "app.kubernetes.io/managed-by" in labels:
        why = f"DaemonSet is likely managed by: {labels['app.kubernetes.io/managed-by']}"
    for key, known in (("addonmanager.kubernetes.io/mode", labels), ("argocd.argoproj.io/tracking-id", annotations)):
        if key in known and not why:
            why = f"DaemonSet is likely managed by another source due to the label '{key}: {known[key]}'"
    return Trouble("ResourceValidationError", f"failed to validate kube-proxy DaemonSet: {why}") if why else None


def _with_endpoint(spec: Object, endpoint: tuple[str, str] | None) -> Object:
    """A pod spec with the environment that says where the API server is, in the containers that talk to it."""

    def told(container: Object) -> Object:
        env = [one for one in container.get("env", ()) if one["name"] not in (HOST, PORT)]
        if endpoint is not None:
            values = zip((HOST, PORT), endpoint, strict=True)
            env += [{"name": name, "value": value} for name, value in values]
        rest = {key: value for key, value in container.items() if key != "env"}
        return {**rest, "env": env} if env else rest

    told_of = {"containers": [told(container) for container in spec["containers"]]}
    if "initContainers" in spec:
        told_of["initContainers"] = [
            told(container) if container["name"] == "install-cni" else container for container in spec["initContainers"]
        ]
    return {**spec, **told_of}


def _for_dataplane(spec: Object, bpf: bool, minor: int) -> Object:
    """The pod spec of calico-node for the eBPF dataplane, or for another."""
    if minor >= ALWAYS_MOUNTS:
        return {**spec, "initContainers": [_bootstrap(container, bpf) for container in spec["initContainers"]]}
    volumes = [one for one in spec.get("volumes", ()) if one["name"] not in VOLUMES]
    begins = [one for one in spec.get("initContainers", ()) if one["name"] != "mount-bpffs"]
    node, *others = spec["containers"]
    mounts = [one for one in node.get("volumeMounts", ()) if one["name"] != "bpffs"]
    env = [one for one in node.get("env", ()) if one["name"] != "FELIX_BPFENABLED"]
    if bpf:
        volumes += [{"name": name, "hostPath": {"path": at, "type": kind}} for name, (at, kind) in VOLUMES.items()]
        begins.insert(0, _mount_bpffs(node["image"]))
        mounts.append({"mountPath": "/sys/fs/bpf", "name": "bpffs"})
        if minor < SETS_FELIX:
            env.append({"name": "FELIX_BPFENABLED", "value": "true"})
    changed = {**node, "env": env, "volumeMounts": mounts}
    kept = {key: value for key, value in changed.items() if value or key in node}
    return {**spec, "containers": [kept, *others], "initContainers": begins, "volumes": volumes}


def _bootstrap(container: Object, bpf: bool) -> Object:
    if container["name"] != "ebpf-bootstrap":
        return container
    command = [word for word in container.get("command", ()) if word.lstrip("-") != BEST_EFFORT.lstrip("-")]
    return {**container, "command": command if bpf else [*command, BEST_EFFORT]}


def _mount_bpffs(image: str) -> Object:
    mounts = [
        {"mountPath": "/sys/fs", "mountPropagation": "Bidirectional", "name": "sys-fs"},
        {"mountPath": "/var/run/calico", "mountPropagation": "Bidirectional", "name": "var-run-calico"},
        {"mountPath": "/nodeproc", "name": "nodeproc", "readOnly": True},
    ]
    return {
        "command": ["calico-node", "-init"],
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "name": "mount-bpffs",
        "resources": {},
        "securityContext": {"allowPrivilegeEscalation": True, "privileged": True, "runAsUser": 0},
        "volumeMounts": mounts,
    }
