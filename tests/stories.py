"""Recorded clusters: what `ebpfcheck cluster` sees of each through a fake API server.

`python -m tests.stories` (`make stories`) writes the snapshots of all of them anew.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import yaml

from ebpfcheck.model.codec import decode_snapshot, encode_snapshot
from ebpfcheck.model.snapshot import Snapshot
from tests.builders import FIXTURES
from tests.fakeapi import FakeApi, Story, forward_proxy, write_kubeconfig

PROGRAM = Path(sys.executable).with_name("ebpfcheck")
CLUSTERS = sorted(path.name for path in (FIXTURES / "api").iterdir())


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


def main() -> None:
    for name in CLUSTERS:
        folder = FIXTURES / "snapshots" / name
        folder.mkdir(exist_ok=True)
        # What differs in every run says nothing of the cluster.
        snapshot = msgspec.structs.replace(
            seen(name), taken_at=datetime(2026, 11, 27, 12, tzinfo=UTC), tool_version="0.1.0"
        )
        (folder / "snapshot.json").write_bytes(encode_snapshot(snapshot))
        print(name)


if __name__ == "__main__":
    main()
