"""What OpenShift's Cluster Network Operator does with kube-proxy where the network is a third party's."""

from tests.fakeapi.catalog import Catalog, Change
from tests.fakeapi.rollouts import owns
from tests.fakeapi.story import Object

GROUP = "operator.openshift.io"
KUBE_PROXY = "openshift-kube-proxy"


class NetworkOperator:
    """Runs kube-proxy for as long as deployKubeProxy says so; of a story that is no OpenShift it does nothing."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        # The DaemonSet as it was before it was removed, so that the same one comes back.
        self._removed: Object | None = None

    def concerned(self, change: Change) -> bool:
        """Whether a change is one that the operator watches for."""
        return (change.resource.group, change.resource.kind) == (GROUP, "Network")

    def step(self) -> bool:
        """Do one thing; False if there was none to do."""
        network = next((one for one in self._catalog.resources.values() if one.group == GROUP), None)
        found = None if network is None else self._catalog.get(network, "", "cluster")
        if found is None:
            return False
        daemon_sets = self._catalog.resources["apps/v1", "daemonsets"]
        there = self._catalog.get(daemon_sets, KUBE_PROXY, KUBE_PROXY)
        wanted = found["spec"].get("deployKubeProxy") is True
        if wanted and there is None and self._removed is not None:
            self._catalog.put(daemon_sets, self._removed)
            return True
        if not wanted and there is not None:
            self._removed = there
            self._catalog.remove(daemon_sets, there)
            pods = self._catalog.resources["v1", "pods"]
            for pod in [pod for pod in self._catalog.all(pods) if owns(there, pod)]:
                self._catalog.remove(pods, pod)
            return True
        return False
