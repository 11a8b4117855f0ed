"""Recorded clusters: what `ebpfcheck cluster` sees of each through a fake API server.

`python -m tests.stories [NAME...]` (`make stories`) writes the snapshots of these, or of all, anew.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import yaml

from ebpfcheck.collect.access import Access
from ebpfcheck.collect.cluster import snapshot_of_cluster
from ebpfcheck.collect.cohorts import with_surveys
from ebpfcheck.collect.node import node_facts
from ebpfcheck.collect.requests import Listener
from ebpfcheck.collect.transport import Survey
from ebpfcheck.model.codec import decode_snapshot, encode_snapshot
from ebpfcheck.model.facts import NodeFacts, SourceKind
from ebpfcheck.model.snapshot import Snapshot, SourceIndex
from tests.builders import FIXTURES
from tests.fakeapi import TOKEN, FakeApi, Story, forward_proxy, write_kubeconfig

PROGRAM = Path(sys.executable).with_name("ebpfcheck")
CLUSTERS = sorted(path.name for path in (FIXTURES / "api").iterdir())
# Snapshots of recorded clusters whose nodes were surveyed too: the cluster, and the survey of each node.
SURVEYED = {
    "green-surveyed": ("green", {"k8s-cp-01": "green-control.survey", "k8s-worker-01": "green-worker.survey"}),
}


@contextmanager
def served(name: str, folder: Path) -> Iterator[tuple[FakeApi, Path]]:
    """Serve a recorded cluster under the name that its own kubeconfig gives it; gives the server and a kubeconfig."""
    own = yaml.safe_load((FIXTURES / "api" / name / "kubeconfig.yaml").read_text())
    with FakeApi(Story.load(FIXTURES / "api" / name)) as api, forward_proxy(to=urlsplit(api.url).netloc) as proxy:
        kubeconfig = write_kubeconfig(
            folder / "kubeconfig",
            api,
            context=own["current-context"],
            cluster=own["clusters"][0]["name"],
            server=own["clusters"][0]["cluster"]["server"],
            tls_server_name="localhost",
            proxy_url=proxy.url,
        )
        yield api, kubeconfig


def seen(name: str) -> Snapshot:
    """Return what the program sees of a recorded cluster, run as a process."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with served(name, folder) as (_, kubeconfig):
            command = (
                str(PROGRAM),
                "cluster",
                "--kubeconfig",
                str(kubeconfig),
                "--save",
                str(folder / "snapshot"),
                "-q",
            )
            result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert result.returncode in (0, 1, 3), result.stderr
        return decode_snapshot((folder / "snapshot").read_bytes())


class Guest:
    """Who has the token of a fake API server already; stands in for a Login, which takes a process."""

    def __init__(self, api: FakeApi) -> None:
        self._access = Access(server=api.url, authorization=f"Bearer {TOKEN}", ca=api.ca_pem.decode())

    def access(self) -> Access:
        return self._access

    again = access


def collected(api: FakeApi, *, scan_pods: bool = False) -> Snapshot:
    """Return what the program's collector sees of a fake API server, in this process."""
    listener = Listener(progress=lambda _: None, notice=lambda _: None)
    return snapshot_of_cluster(Guest(api), time.monotonic() + 60, listener, scan_pods=scan_pods)  # type: ignore[arg-type]


def surveyed(cluster: Snapshot, surveys: dict[str, str]) -> Snapshot:
    """Return a cluster's snapshot with the recorded surveys of its nodes, each by the node's name."""
    sources = SourceIndex.of(cluster.sources)
    found: dict[int, NodeFacts] = {}
    for index, node in enumerate(cluster.nodes):
        data = (FIXTURES / "nodes" / surveys[node.identity.name]).read_bytes()
        found[index], problems = node_facts(Survey(data=data, nonce="fixture"), SourceKind.SSH, sources)
        assert not problems
        assert found[index].identity.name == node.identity.name
    return with_surveys(cluster, found, (), sources)


def write(name: str, snapshot: Snapshot) -> None:
    """Write a story's snapshot, without what differs in every run and says nothing of the cluster."""
    folder = FIXTURES / "snapshots" / name
    folder.mkdir(exist_ok=True)
    kept = msgspec.structs.replace(snapshot, taken_at=datetime(2026, 11, 27, 12, tzinfo=UTC), tool_version="0.1.0")
    (folder / "snapshot.json").write_bytes(encode_snapshot(kept))
    print(name)


def main() -> None:
    for name in sys.argv[1:] or CLUSTERS:
        snapshot = seen(name)
        write(name, snapshot)
        for twin, (cluster, surveys) in SURVEYED.items():
            if cluster == name:
                write(twin, surveyed(snapshot, surveys))


if __name__ == "__main__":
    main()
