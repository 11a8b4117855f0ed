"""The options of the command line that several commands share, and what a policy file sets of them."""

import enum
import os
from pathlib import Path
from typing import Annotated

import typer

from ebpfcheck.policy.limits import FILE_NAME, PREFIX


class FailOn(enum.StrEnum):
    """What makes the exit code other than 0."""

    fail = "fail"
    warn = "warn"
    never = "never"


class InstallChoice(enum.StrEnum):
    """How Calico is installed."""

    operator = "operator"
    manifest = "manifest"


class ColorChoice(enum.StrEnum):
    """When to use colours."""

    auto = "auto"
    always = "always"
    never = "never"


class ScopeChoice(enum.StrEnum):
    """What the verdict is about."""

    api = "api"
    nodes = "nodes"


class ProbeChoice(enum.StrEnum):
    """How the nodes themselves are looked at."""

    none = "none"
    exec = "exec"
    pod = "pod"


class TrialChoice(enum.StrEnum):
    """What is tried on nodes beside looking at them."""

    none = "none"
    kernel = "kernel"
    objects = "objects"


class ProbeNodesChoice(enum.StrEnum):
    """Which nodes are looked at."""

    cohorts = "cohorts"
    all = "all"


class DataplaneChoice(enum.StrEnum):
    """What should run by now."""

    bpf = "bpf"
    iptables = "iptables"
    nftables = "nftables"


class SchemaChoice(enum.StrEnum):
    """The published documents."""

    report = "report"
    snapshot = "snapshot"
    kernel = "kernel"
    plan = "plan"
    diff = "diff"
    matrix = "matrix"


class MatchChoice(enum.StrEnum):
    """What is held against each other in a comparison."""

    auto = "auto"
    subjects = "subjects"
    outcomes = "outcomes"


def complete_check(incomplete: str) -> list[str]:
    """Return the ids of checks that begin so, for shells."""
    from ebpfcheck.registry import load_registry, load_verify_registry

    checks = (*load_registry().checks, *load_verify_registry().checks)
    return [check.id for check in checks if check.id.startswith(incomplete)]


def _complete_format(incomplete: str) -> list[str]:
    from ebpfcheck.render import RENDERERS

    return [name for name in RENDERERS if name.startswith(incomplete)]


def complete_plan_format(incomplete: str) -> list[str]:
    """Return the formats of plans that begin so, for shells."""
    from ebpfcheck.render import PLAN_RENDERERS

    return [name for name in PLAN_RENDERERS if name.startswith(incomplete)]


def complete_version(incomplete: str) -> list[str]:
    """Return the Calico releases that begin so, for shells."""
    from ebpfcheck.knowledge.load import load_knowledge

    return [str(minor) for minor in load_knowledge().minors() if str(minor).startswith(incomplete)]


def _read_policy(context: typer.Context, named: str | None) -> str | None:
    """Have what a policy file and the environment say taken for the options that are not given."""
    directory = _directory_of_policy()
    is_set = any(name.startswith(PREFIX) for name in os.environ)
    if context.resilient_parsing or (named is None and directory is None and not is_set):
        return named
    from ebpfcheck.policy.config import read_policy

    policy = read_policy(named, os.environ, directory)
    taken = {parameter.name for parameter in context.command.params}
    defaults = {name: setting.value for name, setting in policy.settings.items() if name in taken}
    if "skip" in defaults:
        defaults["skip"] = policy.skipped(verify=context.command.name == "verify")
    if "waivers" not in taken:
        # The formats are those of reports.
        defaults.pop("format", None)
    context.default_map = defaults
    context.obj = policy
    return named


def _directory_of_policy() -> Path | None:
    """Return the working directory if it or one above it may have a policy file."""
    try:
        directory = Path.cwd()
    except OSError:
        return None
    has_file = any(os.path.lexists(place / FILE_NAME) for place in (directory, *directory.parents))
    return directory if has_file else None


ConfigOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        is_eager=True,
        callback=_read_policy,
        help=f"The policy file (default: the nearest {FILE_NAME}, from the working directory upwards).",
    ),
]
CalicoVersionOption = Annotated[
    str | None,
    typer.Option(
        metavar="vX.Y[.Z]",
        help="Judge for this Calico release (default: the newest known).",
        autocompletion=complete_version,
    ),
]
ClusterCalicoVersionOption = Annotated[
    str | None,
    typer.Option(
        metavar="vX.Y[.Z]",
        help="Judge for this Calico release (default: the one that the cluster runs).",
        autocompletion=complete_version,
    ),
]
FormatOption = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        "-f",
        metavar="FORMAT[=FILE]",
        help="table (the default), json, jsonl, junit, sarif, markdown, github or html, to stdout or a file; may be "
        "given more than once.",
        autocompletion=_complete_format,
    ),
]
KernelFormatOption = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        "-f",
        metavar="FORMAT[=FILE]",
        help="table (the default) or json, to stdout or a file; may be given more than once.",
    ),
]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ID,..",
        help="Run only these checks; globs such as 'node.kernel.*' work.",
        autocompletion=complete_check,
    ),
]
SkipOption = Annotated[
    list[str] | None, typer.Option(metavar="ID,..", help="Leave these checks out.", autocompletion=complete_check)
]
FailOnOption = Annotated[FailOn, typer.Option(help="What makes the exit code other than 0.")]
WaiversOption = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="What is accepted on purpose, by whom and until when: a TOML file."),
]
BaselineOption = Annotated[
    str | None,
    typer.Option(metavar="REPORT", help="A report that -f json wrote: only what is new or worse since then counts."),
]
InstallOption = Annotated[
    InstallChoice | None, typer.Option(help="How Calico is, or will be, installed (default: not known).")
]
ClusterInstallOption = Annotated[
    InstallChoice | None, typer.Option(help="How Calico is, or will be, installed (default: what is seen).")
]
ColorOption = Annotated[ColorChoice, typer.Option(help="When to use colours; NO_COLOR is honoured too.")]
VerboseOption = Annotated[
    int,
    typer.Option(
        "--verbose", "-v", count=True, show_default=False, help="Show passing checks, and the evidence of all."
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Show only the verdict and what is not right.")]
SaveOption = Annotated[str | None, typer.Option(metavar="SNAPSHOT", help="Save what was collected to this file.")]
FelixConfigOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="What `kubectl get felixconfigurations -o yaml` prints; without it the defaults are taken, where that is "
        "safe. - reads stdin.",
    ),
]
RedactOption = Annotated[
    bool,
    typer.Option(
        "--redact", help="Replace host names, addresses, MACs and the like in all that is saved, shown or written."
    ),
]
ScopeOption = Annotated[
    ScopeChoice,
    typer.Option(help="nodes: what only a look at the nodes tells counts too; api: gate on what the API tells alone."),
]
TimeoutOption = Annotated[float, typer.Option(metavar="SECONDS", help="How long collecting may take at most.")]
DeadlineOption = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS", help="How long looking at all nodes may take at most (default: as long as it takes)."
    ),
]
ApiEndpointOption = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT", help="Have each node try to connect to this address of the API server, without kube-proxy."
    ),
]
ConcurrencyOption = Annotated[int, typer.Option(metavar="N", help="How many nodes are looked at at once.")]
KubeconfigOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="The kubeconfig (default: KUBECONFIG, ~/.kube/config, or the service account inside of a cluster).",
    ),
]
ContextOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="The context of the kubeconfig (default: its current one).")
]

ProbeOption = Annotated[
    ProbeChoice,
    typer.Option(
        help="How to look at the nodes themselves: by exec into calico-node, by a short-lived pod on each, or not at "
        "all (`ebpfcheck node` does it over SSH)."
    ),
]
ProbeNodesOption = Annotated[
    ProbeNodesChoice, typer.Option(help="Look at a few nodes of each kind, or at all of them.")
]
ImageOption = Annotated[
    str | None,
    typer.Option(metavar="REF", help="The image of probe pods (default: the one that calico-node runs)."),
]
TrialOption = Annotated[
    TrialChoice,
    typer.Option(
        help="kernel: also ask the kernel itself, by bpf(2), what it can do; what that takes is made, and removed, in "
        "a network namespace and a control group of its own. objects: have its verifier judge the BPF objects of a "
        "release, which are loaded and dropped again; nothing is attached."
    ),
]
ObjectsOption = Annotated[
    str | None,
    typer.Option(
        metavar="DIR",
        help="For --trial objects: the directory of the objects on the node, such as a copy of /usr/lib/calico/bpf of "
        "a release's calico-node image; probe pods have that of their own image.",
    ),
]
ProbeNamespaceOption = Annotated[str, typer.Option(metavar="NS", help="Where probe pods are made.")]
ProbeTimeoutOption = Annotated[
    float, typer.Option(metavar="SECONDS", help="How long looking at one node may take at most.")
]
ClusterProbeTimeoutOption = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        help="How long looking at one node may take at most (default: 120, with --trial objects 600).",
    ),
]
