"""Serves a story until it is killed or standard input ends: python -m tests.fakeapi FOLDER [--nodes N]."""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from tests.fakeapi import FakeApi, Story, write_kubeconfig


def main() -> None:
    """Print the path of the kubeconfig as soon as the server answers, every page encoded and compressed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fakeapi", description=__doc__)
    parser.add_argument("folder", type=Path, help="holds objects.yaml and version.json")
    parser.add_argument("--nodes", type=int, help="derive a story of that many nodes")
    parser.add_argument("--kubeconfig", type=Path, help="where to write the kubeconfig")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())

    story = Story.load(arguments.folder)
    if arguments.nodes is not None:
        story = story.with_nodes(arguments.nodes)
    with tempfile.TemporaryDirectory() as directory, FakeApi(story) as api:
        api.catalog.warm()
        print(write_kubeconfig(arguments.kubeconfig or Path(directory, "kubeconfig"), api), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
