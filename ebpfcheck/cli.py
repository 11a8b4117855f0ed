"""The command line: parses, calls the use case, writes what it gives, returns its exit code."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import click
import typer

from ebpfcheck.options import (
    ApiEndpointOption,
    BaselineOption,
    CalicoVersionOption,
    ClusterCalicoVersionOption,
    ClusterInstallOption,
    ClusterProbeTimeoutOption,
    ColorChoice,
    ColorOption,
    ConcurrencyOption,
    ConfigOption,
    ContextOption,
    DataplaneChoice,
    DeadlineOption,
    FailOn,
    FailOnOption,
    FelixConfigOption,
    FormatOption,
    ImageOption,
    InstallChoice,
    InstallOption,
    KernelFormatOption,
    KubeconfigOption,
    MatchChoice,
    ObjectsOption,
    OnlyOption,
    ProbeChoice,
    ProbeNamespaceOption,
    ProbeNodesChoice,
    ProbeNodesOption,
    ProbeOption,
    ProbeTimeoutOption,
    QuietOption,
    RedactOption,
    SaveOption,
    SchemaChoice,
    ScopeChoice,
    ScopeOption,
    SkipOption,
    TimeoutOption,
    TrialChoice,
    TrialOption,
    VerboseOption,
    WaiversOption,
    complete_check,
    complete_plan_format,
    complete_version,
)
from ebpfcheck.policy.limits import LONGEST_TIMEOUT, MOST_AT_ONCE, is_image, is_namespace
from ebpfcheck.streams import (
    complain,
    deliver,
    options_for,
    outputs_of,
    render_options,
    report_defect,
    summarize,
    write_out,
)

if TYPE_CHECKING:
    from ebpfcheck.app import Judge
    from ebpfcheck.collect.transport import Trial
    from ebpfcheck.interruption import Interruption
    from ebpfcheck.model.facts import Endpoint
    from ebpfcheck.model.report import SettingUse
    from ebpfcheck.model.snapshot import Snapshot
    from ebpfcheck.policy.config import Policy
    from ebpfcheck.probe import ProbeRequest
    from ebpfcheck.render import RenderOptions
    from ebpfcheck.settings import Settings

# How long looking at a node may take where nothing is said of it, in seconds.
_NODE_TIMEOUT, _PROBE_TIMEOUT, _OBJECTS_TIMEOUT = 30.0, 120.0, 600.0
# What typer makes of Ctrl-C; it is ExitCode.INTERRUPTED.
_INTERRUPTED = 130

app = typer.Typer(
    name="ebpfcheck",
    help="Preflight for Calico's eBPF dataplane: will it work here, and if not, what has to change?",
    epilog="Exit codes: 0 ready, 1 not ready, 2 usage error, 3 inconclusive, 4 warnings with --fail-on warn, "
    "5 could not run, 70 internal error, 130 interrupted.",
    no_args_is_help=True,
    suggest_commands=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
config_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What is set, and from where.")
app.add_typer(config_app, name="config", short_help="Show what a policy file and the environment set.")


def run(arguments: list[str]) -> int:
    """Run a command line and return its exit code; every error ends here."""
    try:
        code = app(arguments, standalone_mode=False, prog_name=_program())
    except BaseException as error:
        return _handle(error, arguments)
    if code == _INTERRUPTED:
        complain("interrupted")
    return code if isinstance(code, int) else 0


def _program() -> str:
    """Return what users have called: kubectl runs programs of such names as commands of its own."""
    return "kubectl ebpfcheck" if Path(sys.argv[0]).name.startswith("kubectl-") else "ebpfcheck"


def _handle(error: BaseException, arguments: list[str]) -> int:
    """Tell the user of an error in one line and return its exit code."""
    # Imported here because `--help` must not wait for them.
    from ebpfcheck.errors import EbpfcheckError
    from ebpfcheck.exitcodes import ExitCode

    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        write_out(error.format_message() + "\n")
        return ExitCode.USAGE
    if isinstance(error, click.ClickException):
        complain(f"{error.format_message().rstrip('.')} (see --help)")
        return ExitCode.USAGE
    if isinstance(error, EbpfcheckError):
        complain(str(error))
        return error.exit_code
    if isinstance(error, OSError) and error.filename is None:
        # Nothing that names a file: a stream that was handed to us is full or closed.
        complain(f"input or output failed: {error.strerror}")
        return ExitCode.USAGE
    if not isinstance(error, Exception):
        raise error
    report_defect(error, verbose=any(argument in ("-v", "--verbose") for argument in arguments))
    return ExitCode.INTERNAL_ERROR


def _print_version(asked: bool) -> None:
    if not asked:
        return
    from ebpfcheck import __version__
    from ebpfcheck.knowledge import KNOWLEDGE_DATE

    write_out(f"ebpfcheck {__version__} (knowledge of {KNOWLEDGE_DATE})\n")
    raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Show the version of the tool and of its knowledge.",
        ),
    ] = False,
) -> None:
    """Hold the options that come before a command."""


@app.command(short_help="Look at this machine, or hosts over SSH: will eBPF mode work?")
def node(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TARGET]...",
            help="Hosts to look at over SSH: [user@]host[:port], also node[01-40]; none stands for this machine.",
        ),
    ] = None,
    hosts_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="A file with one TARGET a line, # for comments; - reads stdin.")
    ] = None,
    from_cluster: Annotated[
        bool,
        typer.Option("--from-cluster", help="All Linux nodes of the current cluster, by their internal addresses."),
    ] = False,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
    concurrency: ConcurrencyOption = 8,
    ssh_option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="For ssh's -o, such as User=admin; may be repeated.")
    ] = None,
    ssh_config: Annotated[str | None, typer.Option(metavar="FILE", help="For ssh's -F.")] = None,
    identity: Annotated[str | None, typer.Option(metavar="FILE", help="A private key, for ssh's -i.")] = None,
    jump: Annotated[
        str | None, typer.Option(metavar="HOST", help="Go through this host, by one connection for all TARGETs.")
    ] = None,
    become: Annotated[
        bool, typer.Option("--become", help="Run the survey as root, by sudo where it asks no password.")
    ] = False,
    trial: TrialOption = TrialChoice.none,
    objects: ObjectsOption = None,
    calico_version: CalicoVersionOption = None,
    install: InstallOption = None,
    format: FormatOption = None,
    only: OnlyOption = None,
    skip: SkipOption = None,
    fail_on: FailOnOption = FailOn.fail,
    waivers: WaiversOption = None,
    baseline: BaselineOption = None,
    felix_config: FelixConfigOption = None,
    api_endpoint: ApiEndpointOption = None,
    save: SaveOption = None,
    redact: RedactOption = False,
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="How long looking at one machine may take at most (default: 30, with --trial objects 600).",
        ),
    ] = None,
    deadline: DeadlineOption = None,
    config: ConfigOption = None,  # noqa: ARG001 - taken by its callback
    color: ColorOption = ColorChoice.auto,
    verbose: VerboseOption = 0,
    quiet: QuietOption = False,
) -> int:
    """Look at this machine, or at hosts over SSH, and say whether eBPF mode will work there.

    It changes nothing, but for what --trial makes and removes again. What only root can see is unknown otherwise: run
    it as root, or with --become over SSH. SSH is your own ssh's, with its configuration, agent and known hosts, in
    batch mode.

    Examples: ebpfcheck node --calico-version v3.32 --save node.json
              ebpfcheck node --trial kernel
              ebpfcheck node --trial objects --objects /opt/calico-v3.33/bpf --calico-version v3.33
              ebpfcheck node --become 'admin@node[01-40]' --jump bastion
    """
    started_at = datetime.now(UTC)
    if timeout is None:
        timeout = _OBJECTS_TIMEOUT if trial is TrialChoice.objects else _NODE_TIMEOUT
    _check_timeout("--timeout", timeout)
    if trial is TrialChoice.objects and objects is None:
        raise _usage_error("--trial objects needs --objects DIR, where a release's BPF objects are on the node")
    tried = _trial(trial, objects)
    with _interruption() as interruption:
        if targets or hosts_file is not None or from_cluster:
            from ebpfcheck.app import Judge
            from ebpfcheck.collect.ssh import SshOptions
            from ebpfcheck.hosts import HostsRequest, snapshot_of_hosts
            from ebpfcheck.progress import Progress
            from ebpfcheck.render import RENDERERS

            _end_on_sigterm()
            _check_cluster(kubeconfig, context)
            if not from_cluster and (kubeconfig, context) != (None, None):
                raise _usage_error("--kubeconfig and --context belong to --from-cluster")
            request = HostsRequest(
                words=tuple(targets or ()),
                hosts_file=hosts_file,
                from_cluster=from_cluster,
                kubeconfig=kubeconfig,
                context=context,
                ssh=SshOptions(
                    options=tuple(ssh_option or ()), config=ssh_config, identity=identity, jump=jump, become=become
                ),
                concurrency=_checked_concurrency(concurrency),
                timeout=timeout,
                deadline=_deadline(deadline),
                felix_config=felix_config,
                endpoints=_endpoints(api_endpoint),
                trial=tried,
            )
            judge = Judge(
                _settings(
                    calico_version, install, only, skip, fail_on, waivers=waivers, baseline=baseline, redact=redact
                ),
                of_nodes=True,
            )
            read = _read(waivers, baseline) | {"--hosts-file": hosts_file, "--felix-config": felix_config}
            outputs = outputs_of(format, RENDERERS, save, read=read)
            with Progress() as progress:
                snapshot = snapshot_of_hosts(request, progress.show, interruption)
        else:
            from ebpfcheck.collect.local import LocalTransport

            if any((ssh_option, ssh_config, identity, jump, become, kubeconfig, context, deadline)):
                raise _usage_error("options for SSH were given, but no TARGET, --hosts-file or --from-cluster")
            with LocalTransport(endpoints=_endpoints(api_endpoint), trial=tried).start(timeout) as running:
                # Loaded while the survey runs, which takes about as long.
                from ebpfcheck.app import Judge
                from ebpfcheck.render import RENDERERS
                from ebpfcheck.survey import snapshot_of_node

                judge = Judge(
                    _settings(
                        calico_version, install, only, skip, fail_on, waivers=waivers, baseline=baseline, redact=redact
                    ),
                    of_nodes=True,
                )
                read = _read(waivers, baseline) | {"--felix-config": felix_config}
                outputs = outputs_of(format, RENDERERS, save, read=read)
                snapshot = snapshot_of_node(running.finish(), LocalTransport.kind, felix_config)
        if redact:
            snapshot = _redacted(snapshot)
        options = render_options(color, verbose, quiet)
        return _report(judge, snapshot, "node", started_at, outputs, options, color, save, interruption)


@app.command(short_help="Look at a cluster and say whether eBPF mode will work on it.")
def cluster(
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
    scope: ScopeOption = ScopeChoice.nodes,
    probe: ProbeOption = ProbeChoice.none,
    probe_nodes: ProbeNodesOption = ProbeNodesChoice.cohorts,
    image: ImageOption = None,
    probe_namespace: ProbeNamespaceOption = "kube-system",
    concurrency: ConcurrencyOption = 8,
    probe_timeout: ClusterProbeTimeoutOption = None,
    trial: TrialOption = TrialChoice.none,
    objects: ObjectsOption = None,
    deadline: DeadlineOption = None,
    api_endpoint: ApiEndpointOption = None,
    scan_pods: Annotated[
        bool,
        typer.Option(
            "--scan-pods",
            help="Also read all pods and EndpointSlices: they tell what the templates of workloads do not.",
        ),
    ] = False,
    calico_version: ClusterCalicoVersionOption = None,
    install: ClusterInstallOption = None,
    format: FormatOption = None,
    only: OnlyOption = None,
    skip: SkipOption = None,
    fail_on: FailOnOption = FailOn.fail,
    waivers: WaiversOption = None,
    baseline: BaselineOption = None,
    save: SaveOption = None,
    redact: RedactOption = False,
    timeout: TimeoutOption = 120.0,
    config: ConfigOption = None,  # noqa: ARG001 - taken by its callback
    color: ColorOption = ColorChoice.auto,
    verbose: VerboseOption = 0,
    quiet: QuietOption = False,
) -> int:
    """Look at a cluster through its API and say whether eBPF mode will work on it.

    It only reads, unless --probe says otherwise; `ebpfcheck rbac` prints the rights that it needs. What only a node can
    tell takes --probe, or stays unknown.

    Examples: ebpfcheck cluster --context prod --save prod.json
              ebpfcheck cluster --probe exec
    """
    _end_on_sigterm()
    started_at = datetime.now(UTC)
    where = _Where(kubeconfig, context, timeout)
    request = _probe_request(
        probe, probe_nodes, image, probe_namespace, concurrency, probe_timeout, api_endpoint, trial, objects
    )

    def prepared() -> tuple["Judge", list[tuple[str, str | None]]]:
        from ebpfcheck.app import Judge
        from ebpfcheck.render import RENDERERS, renderer

        judge = Judge(
            _settings(
                calico_version, install, only, skip, fail_on, scope, waivers=waivers, baseline=baseline, redact=redact
            )
        )
        outputs = outputs_of(format, RENDERERS, save, read=_read(waivers, baseline))
        for name, _ in outputs:
            renderer(name)
        return judge, outputs

    with _interruption() as interruption:
        snapshot, judge, outputs = _collected(where, request, deadline, prepared, interruption, scan_pods=scan_pods)
        if redact:
            snapshot = _redacted(snapshot)
        options = render_options(color, verbose, quiet)
        return _report(judge, snapshot, "cluster", started_at, outputs, options, color, save, interruption)


@app.command(short_help="Remove probe pods that were left behind.")
def cleanup(
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
    probe_namespace: Annotated[
        str | None, typer.Option(metavar="NS", help="Look in this namespace alone (default: in all).")
    ] = None,
    timeout: TimeoutOption = 120.0,
) -> int:
    """Remove the Jobs of `ebpfcheck cluster --probe pod`, and their pods, that were left behind.

    The cluster ends and removes them by itself after some minutes. Those of a run that is under way go as well.
    """
    from ebpfcheck.collect.login import Login

    _end_on_sigterm()
    _check_timeout("--timeout", timeout)
    _check_cluster(kubeconfig, context)
    deadline = time.monotonic() + timeout
    with Login(kubeconfig, context, timeout) as login:
        from ebpfcheck.collect.pods import remove_jobs

        removed = remove_jobs(login, deadline, probe_namespace)
    write_out("".join(f"removed job {name}\n" for name in removed) or "nothing of ebpfcheck's was left\n")
    return 0


@app.command(short_help="Print the read-only roles that are needed.")
def rbac(
    service_account: Annotated[
        str, typer.Option(metavar="NAMESPACE:NAME", help="The service account that the role is bound to.")
    ] = "default:ebpfcheck",
    probe: Annotated[
        ProbeChoice,
        typer.Option(help="Add what looking at the nodes takes: by commands in calico-node (exec) or by pods (pod)."),
    ] = ProbeChoice.none,
    probe_namespace: Annotated[
        str | None,
        typer.Option(metavar="NAMESPACE", help="Where the pods of --probe pod are made (default: kube-system)."),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Add what `ebpfcheck verify` takes: to read calico-node's logs.")
    ] = False,
    metrics: Annotated[
        bool,
        typer.Option("--metrics", help="With --verify, also add what it takes to read Felix's metrics (pods/proxy)."),
    ] = False,
) -> None:
    """Print the read-only ClusterRole that `ebpfcheck cluster` needs, and its binding.

    --probe adds what looking at the nodes takes besides: a Role where pods are made, or one in each namespace where
    calico-node may be, kube-system and calico-system (kubectl refuses the latter where there is no such namespace).
    --verify adds one in each of these two, to read logs.

    Example: ebpfcheck rbac --service-account ci:ebpfcheck | kubectl apply -f -
    """
    import re

    from ebpfcheck.errors import UsageError
    from ebpfcheck.rbac import role_manifests

    label = "[a-z0-9]([-a-z0-9.]*[a-z0-9])?"
    if not re.fullmatch(f"{label}:{label}", service_account):
        raise UsageError(f"--service-account: {service_account!r} is not NAMESPACE:NAME")
    if probe_namespace is not None:
        if probe is not ProbeChoice.pod:
            raise UsageError("--probe-namespace goes with --probe pod")
        if not is_namespace(probe_namespace):
            raise UsageError(f"--probe-namespace: {probe_namespace!r} is no name of a namespace")
    if metrics and not verify:
        raise UsageError("--metrics goes with --verify")
    write_out(role_manifests(service_account, probe.value, probe_namespace, verify=verify, metrics=metrics))


@app.command(short_help="Judge kernel strings with no node at hand.")
def kernel(
    releases: Annotated[
        list[str] | None,
        typer.Argument(metavar="RELEASE...", help="Kernel releases as `uname -r` prints them; - reads JSON lines."),
    ] = None,
    proc_version: Annotated[str | None, typer.Option(metavar="TEXT", help="The kernel's /proc/version.")] = None,
    os_image: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The system's name, such as a node's osImage.")
    ] = None,
    arch: Annotated[str | None, typer.Option(metavar="NAME", help="The architecture as `uname -m` prints it.")] = None,
    calico_version: CalicoVersionOption = None,
    format: KernelFormatOption = None,
    fail_on: FailOnOption = FailOn.fail,
    config: ConfigOption = None,  # noqa: ARG001 - taken by its callback
    color: ColorOption = ColorChoice.auto,
    verbose: VerboseOption = 0,
    quiet: QuietOption = False,
) -> int:
    """Judge kernel strings with no node at hand, for pipelines that build node images.

    JSON lines on stdin (-) are objects with release or proc_version, and os_image and arch if they are known.

    Example: ebpfcheck kernel 5.14.0-503.15.1.el9_5.x86_64 --calico-version v3.28.2
    """
    from ebpfcheck.app import judge_kernels, read_questions
    from ebpfcheck.errors import UsageError
    from ebpfcheck.model.kernels import KernelQuestion
    from ebpfcheck.render import KERNEL_RENDERERS, kernel_renderer

    outputs = outputs_of(format, KERNEL_RENDERERS, read=_read())
    given = releases or []
    if not all((*given, *(text for text in (proc_version, os_image, arch) if text is not None))):
        raise UsageError("an empty RELEASE, --proc-version, --os-image or --arch says nothing")
    if given == ["-"]:
        if proc_version is not None or os_image is not None or arch is not None:
            raise UsageError("with - the JSON lines hold all that is known of each kernel")
        if sys.stdin is None:
            raise UsageError("stdin is closed")
        report = judge_kernels(read_questions(sys.stdin.buffer), calico_version, fail_on.value)
    elif "-" in given:
        raise UsageError("- stands alone: it reads all kernels from stdin")
    elif not given and proc_version is None:
        raise UsageError("give at least one RELEASE, --proc-version, or - for JSON lines on stdin")
    elif len(given) > 1 and proc_version is not None:
        raise UsageError("--proc-version belongs to one kernel, but several RELEASEs were given")
    else:
        known: list[str | None] = [*given] or [None]
        asked = [
            KernelQuestion(release=release, proc_version=proc_version, os_image=os_image, arch=arch)
            for release in known
        ]
        report = judge_kernels(asked, calico_version, fail_on.value)
    options = render_options(color, verbose, quiet)
    deliver([(kernel_renderer(name)(report, options_for(file, options, color)), file) for name, file in outputs])
    return report.exit_code


@app.command(short_help="Judge a saved snapshot, for any Calico release.")
def evaluate(
    snapshot: Annotated[str, typer.Argument(metavar="SNAPSHOT", help="A file that --save wrote; - reads stdin.")],
    calico_version: Annotated[
        str | None,
        typer.Option(
            metavar="vX.Y[.Z]",
            help="Judge for this Calico release (default: the one that the cluster runs), or for several, as in "
            "v3.28..v3.33 or v3.28.2,v3.30.",
            autocompletion=complete_version,
        ),
    ] = None,
    install: ClusterInstallOption = None,
    format: FormatOption = None,
    only: OnlyOption = None,
    skip: SkipOption = None,
    fail_on: FailOnOption = FailOn.fail,
    waivers: WaiversOption = None,
    baseline: BaselineOption = None,
    scope: ScopeOption = ScopeChoice.nodes,
    config: ConfigOption = None,  # noqa: ARG001 - taken by its callback
    color: ColorOption = ColorChoice.auto,
    verbose: VerboseOption = 0,
    quiet: QuietOption = False,
) -> int:
    """Judge a saved snapshot, on any machine and for any Calico release.

    Without --calico-version it is the release that the snapshot's cluster runs, else the newest known. For several
    releases it prints what each check says at each, as a table or JSON; the exit code is then that of the worst, where
    a release that is not known counts as inconclusive.

    Example: ebpfcheck evaluate prod.json --calico-version v3.28..v3.33
    """
    from ebpfcheck.app import Judge
    from ebpfcheck.collect.snapshots import load_snapshot
    from ebpfcheck.render import RENDERERS

    started_at = datetime.now(UTC)
    if calico_version is not None and (".." in calico_version or "," in calico_version):
        if baseline is not None and _is_given("baseline"):
            raise _usage_error("--baseline is for one release; `ebpfcheck diff` compares two")
        settings = _settings(None, install, only, skip, fail_on, scope, waivers=waivers)
        formats = format if _is_given("format") else None
        options = render_options(color, verbose, quiet)
        return _matrix(snapshot, calico_version, waivers, settings, started_at, formats, options, color)
    judge = Judge(_settings(calico_version, install, only, skip, fail_on, scope, waivers=waivers, baseline=baseline))
    outputs = outputs_of(format, RENDERERS, read=_read(waivers, baseline) | {"SNAPSHOT": snapshot})
    loaded = load_snapshot(snapshot)
    options = render_options(color, verbose, quiet)
    with _interruption() as interruption:
        return _report(judge, loaded, "evaluate", started_at, outputs, options, color, None, interruption)


@app.command(short_help="Compare two reports or snapshots: did it get worse?")
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A report (-f json) or a snapshot (--save); - reads stdin.")],
    b: Annotated[
        str | None, typer.Argument(metavar="[B]", help="The later one; none: A again, for another Calico release.")
    ] = None,
    calico_version: Annotated[
        str | None,
        typer.Option(
            metavar="vX.Y[.Z][,vX.Y[.Z]]",
            help="Judge snapshots for this Calico release, or A and B for one each (default: what each cluster runs).",
        ),
    ] = None,
    install: ClusterInstallOption = None,
    only: OnlyOption = None,
    skip: SkipOption = None,
    match: Annotated[
        MatchChoice,
        typer.Option(
            help="Hold each node against itself (subjects), or what is said of any of A's nodes against what is said "
            "of any of B's (outcomes); auto: the latter where they have no node in common."
        ),
    ] = MatchChoice.auto,
    format: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            "-f",
            metavar="FORMAT[=FILE]",
            help="text (the default) or json, to stdout or a file; may be given more than once.",
        ),
    ] = None,
    config: ConfigOption = None,  # noqa: ARG001 - taken by its callback
    color: ColorOption = ColorChoice.auto,
    verbose: VerboseOption = 0,
    quiet: QuietOption = False,
) -> int:
    """Compare two reports, or what is said of two snapshots: what is new, fixed, changed, and what cannot be compared.

    Two days of a cluster, a fleet and the node of a new image, or one snapshot for two Calico releases. Exit code: 0
    not worse, 1 worse, 3 it may be worse and cannot be told.

    Examples: ebpfcheck diff monday.json friday.json
              ebpfcheck diff prod.json --calico-version v3.30,v3.32
    """
    from ebpfcheck.collect.snapshots import load_document
    from ebpfcheck.compare import Exhibit, compared
    from ebpfcheck.model.report import Report
    from ebpfcheck.render import DIFF_RENDERERS, diff_renderer

    versions = [None] if calico_version is None else [word.strip() for word in calico_version.split(",")]
    if len(versions) > 2 or "" in versions:
        raise _usage_error("--calico-version: give one release, or two as in v3.30,v3.32")
    if b is None and len(versions) < 2:
        raise _usage_error("give B, or two releases to judge A for: --calico-version v3.30,v3.32")
    if a == b == "-":
        raise _usage_error("stdin holds one document only")
    outputs = outputs_of(format, DIFF_RENDERERS, default="text", read=_read() | {"A": a, "B": b})
    documents = [load_document(a)]
    documents.append(documents[0] if b is None else load_document(b))
    is_judged = [isinstance(document, Report) for document in documents]
    is_asked = any(map(_is_given, ("install", "only", "skip", "calico_version")))
    if is_asked and any(is_judged):
        raise _usage_error(f"{a if is_judged[0] else b} is a report, which is judged already: no option judges it anew")
    first, second = (
        Exhibit(file, document, _settings(version, install, only, skip, FailOn.fail))
        for file, document, version in zip((a, b or a), documents, (versions[0], versions[-1]), strict=True)
    )
    found = compared(first, second, datetime.now(UTC).replace(microsecond=0), match.value)
    options = render_options(color, verbose, quiet)
    deliver([(diff_renderer(name)(found, options_for(file, options, color)), file) for name, file in outputs])
    return found.exit_code


@app.command(short_help="Write the steps that switch a cluster to eBPF mode, and the way back.")
def plan(
    snapshot: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Plan from what `cluster --save` saved, with no cluster; - reads stdin."),
    ] = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
    probe: ProbeOption = ProbeChoice.none,
    probe_nodes: ProbeNodesOption = ProbeNodesChoice.cohorts,
    image: ImageOption = None,
    probe_namespace: ProbeNamespaceOption = "kube-system",
    concurrency: ConcurrencyOption = 8,
    probe_timeout: ProbeTimeoutOption = 120.0,
    deadline: DeadlineOption = None,
    api_endpoint: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="The API server's address to give to Calico (default: the best that is found)."
        ),
    ] = None,
    dsr: Annotated[bool, typer.Option("--dsr", help="With direct server return as the last step.")] = False,
    calico_version: ClusterCalicoVersionOption = None,
    install: ClusterInstallOption = None,
    format: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            "-f",
            metavar="FORMAT[=FILE]",
            help="text (the default), markdown or json, to stdout or a file; may be given more than once.",
            autocompletion=complete_plan_format,
        ),
    ] = None,
    write: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help="Make this directory with the plan, numbered manifests, enable.sh and rollback.sh."
        ),
    ] = None,
    fail_on: FailOnOption = FailOn.fail,
    save: SaveOption = None,
    timeout: TimeoutOption = 120.0,
    config: ConfigOption = None,  # noqa: ARG001 - taken by its callback
    color: ColorOption = ColorChoice.auto,
    verbose: VerboseOption = 0,
    quiet: QuietOption = False,
) -> int:
    """Write the ordered steps that switch this cluster to eBPF mode, and the way back. It changes nothing itself.

    The scripts of --write take nothing but kubectl, stop at the first check that fails, ask before what disrupts, and
    go on where they stopped. Exit code: 0 the plan may be followed, 1 something has to be mended first, 3 something
    that could speak against it is not known.

    Examples: ebpfcheck plan --probe exec --write change-4711
              ebpfcheck plan --snapshot prod.json -f markdown=change.md
    """
    from ebpfcheck.render import PLAN_RENDERERS, plan_renderer

    _end_on_sigterm()
    started_at = datetime.now(UTC).replace(microsecond=0)
    endpoints = _endpoints(api_endpoint)
    if snapshot is not None and not _is_given("probe"):
        # A policy asks for a probe where there is something to look at.
        probe = ProbeChoice.none
    probed_endpoint = api_endpoint if probe is not ProbeChoice.none else None
    request = _probe_request(probe, probe_nodes, image, probe_namespace, concurrency, probe_timeout, probed_endpoint)
    if write is not None:
        from ebpfcheck.documents import check_directory

        check_directory("--write", write)

    def prepared() -> tuple["Judge", list[tuple[str, str | None]]]:
        from ebpfcheck.app import Judge

        judge = Judge(_settings(calico_version, install, None, None, fail_on))
        read = _read() | {"--snapshot": snapshot}
        return judge, outputs_of(format, PLAN_RENDERERS, save, default="text", read=read)

    if snapshot is not None:
        from ebpfcheck.collect.snapshots import load_snapshot

        if request is not None or save is not None or (kubeconfig, context) != (None, None):
            raise _usage_error("--snapshot is instead of a cluster: no --kubeconfig, --context, --probe or --save")
        judge, outputs = prepared()
        seen = load_snapshot(snapshot)
    else:
        with _interruption() as interruption:
            where = _Where(kubeconfig, context, timeout)
            seen, judge, outputs = _collected(where, request, deadline, prepared, interruption)
        if interruption.has_come():
            _keep(seen, save)
            return _INTERRUPTED
    options = render_options(color, verbose, quiet)
    try:
        made = judge.plan(seen, started_at, endpoint=endpoints[0] if endpoints else None, dsr=dsr)
        deliver([(plan_renderer(name)(made, options_for(file, options, color)), file) for name, file in outputs])
        if write is not None and made.steps:
            from ebpfcheck.documents import write_directory
            from ebpfcheck.render.plan_files import files_of

            write_directory("--write", write, files_of(made))
        elif write is not None:
            complain(f"--write: there are no steps, and {write} was not made")
    finally:
        # What was seen is kept, whatever becomes of the rest.
        _keep(seen, save)
    return made.exit_code


@app.command(short_help="After the switch, or back: does it really run, on each node?")
def verify(
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
    expect: Annotated[DataplaneChoice, typer.Option(help="What should run on all nodes.")] = DataplaneChoice.bpf,
    wait: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Go on looking until it holds, for so long: 90s, 10m, 1h, or seconds."),
    ] = None,
    snapshot: Annotated[
        str | None,
        typer.Option(metavar="SNAPSHOT", help="Judge a file that `verify --save` wrote, instead; - reads stdin."),
    ] = None,
    probe: Annotated[
        ProbeChoice,
        typer.Option(help="How to look at the nodes themselves too: by exec into calico-node, or by a pod on each."),
    ] = ProbeChoice.none,
    probe_nodes: Annotated[
        ProbeNodesChoice, typer.Option(help="Look at all nodes, or at a few of each kind (nothing is inferred).")
    ] = ProbeNodesChoice.all,
    image: ImageOption = None,
    probe_namespace: ProbeNamespaceOption = "kube-system",
    concurrency: ConcurrencyOption = 8,
    probe_timeout: ProbeTimeoutOption = 120.0,
    deadline: DeadlineOption = None,
    api_endpoint: ApiEndpointOption = None,
    calico_version: ClusterCalicoVersionOption = None,
    install: ClusterInstallOption = None,
    format: FormatOption = None,
    only: OnlyOption = None,
    skip: SkipOption = None,
    fail_on: FailOnOption = FailOn.fail,
    waivers: WaiversOption = None,
    baseline: BaselineOption = None,
    save: SaveOption = None,
    redact: RedactOption = False,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long collecting may take at most, each time with --wait.")
    ] = 120.0,
    config: ConfigOption = None,  # noqa: ARG001 - taken by its callback
    color: ColorOption = ColorChoice.auto,
    verbose: VerboseOption = 0,
    quiet: QuietOption = False,
) -> int:
    """Tell, after the switch to eBPF mode or back, whether it really runs on each node.

    What counts is evidence and never bpfEnabled: the pods of calico-node, what the Felix that runs has logged, its
    metrics where it serves them, and with --probe what is attached on the nodes. It only reads, unless --probe says
    otherwise; `ebpfcheck rbac --verify` prints the rights that it needs.

    Examples: ebpfcheck verify --wait 15m
              ebpfcheck verify --expect iptables --probe pod
    """
    started_at = datetime.now(UTC)
    if snapshot is not None and not _is_given("probe"):
        probe = ProbeChoice.none
    settings = _settings(
        calico_version, install, only, skip, fail_on, expect=expect, waivers=waivers, baseline=baseline, redact=redact
    )
    if snapshot is not None:
        if any((wait, save, kubeconfig, context, probe is not ProbeChoice.none)):
            raise _usage_error("--snapshot stands for a cluster: no option that looks at one goes with it")
        from ebpfcheck.app import Judge
        from ebpfcheck.collect.snapshots import load_snapshot
        from ebpfcheck.render import RENDERERS

        judge = Judge(settings)
        outputs = outputs_of(format, RENDERERS, read=_read(waivers, baseline) | {"--snapshot": snapshot})
        loaded = load_snapshot(snapshot)
        with _interruption() as interruption:
            if redact:
                loaded = _redacted(loaded)
            options = render_options(color, verbose, quiet)
            return _report(judge, loaded, "verify", started_at, outputs, options, color, None, interruption)
    from ebpfcheck.collect.login import Login
    from ebpfcheck.progress import Progress

    _end_on_sigterm()
    _check_timeout("--timeout", timeout)
    _check_cluster(kubeconfig, context)
    seconds = 0.0 if wait is None else _duration("--wait", wait)
    nodes = ProbeNodesChoice.cohorts if probe is ProbeChoice.none else probe_nodes
    probe_request = _probe_request(probe, nodes, image, probe_namespace, concurrency, probe_timeout, api_endpoint)
    with _interruption() as interruption:
        with Login(kubeconfig, context, timeout) as login, Progress() as progress:
            # Loaded while the kubeconfig is, which takes about as long.
            import msgspec

            from ebpfcheck.app import Judge
            from ebpfcheck.collect.requests import Listener
            from ebpfcheck.render import RENDERERS, renderer
            from ebpfcheck.verify import VerifyRequest, snapshot_of_running

            judge = Judge(settings)
            outputs = outputs_of(format, RENDERERS, save, read=_read(waivers, baseline))
            for name, _ in outputs:
                renderer(name)
            request = VerifyRequest(
                timeout=timeout,
                wait=seconds,
                concurrency=_checked_concurrency(concurrency),
                # What runs on one node tells nothing of another.
                probe=None if probe_request is None else msgspec.structs.replace(probe_request, infers=False),
                deadline=_deadline(deadline),
            )
            listener = Listener(progress=progress.show, notice=progress.note)
            found = snapshot_of_running(
                login,
                judge,
                request,
                listener,
                progress.follow,
                interruption,
                lambda seen: judge.report(seen, "verify", started_at),
            )
        if redact:
            found = _redacted(found)
        options = render_options(color, verbose, quiet)
        return _report(judge, found, "verify", started_at, outputs, options, color, save, interruption)


@app.command(short_help="Write the way back from eBPF mode.")
def rollback(
    plan_file: Annotated[
        str | None,
        typer.Argument(
            metavar="[PLAN]",
            help="The plan.json of `plan --write`, its directory, or - for stdin; none stands for the current cluster.",
        ),
    ] = None,
    snapshot: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="From what `cluster --save` saved, with no cluster; - reads stdin."),
    ] = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
    calico_version: ClusterCalicoVersionOption = None,
    install: ClusterInstallOption = None,
    format: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            "-f",
            metavar="FORMAT[=FILE]",
            help="text (the default), markdown, json or sh, to stdout or a file; may be given more than once.",
        ),
    ] = None,
    timeout: TimeoutOption = 120.0,
    color: ColorOption = ColorChoice.auto,
    verbose: VerboseOption = 0,
    quiet: QuietOption = False,
) -> int:
    """Write the way back from eBPF mode. It changes nothing itself.

    With the PLAN that enabled it, to exactly what was there when that was made; without, from what the cluster is
    configured for now to the standard dataplane.

    Examples: ebpfcheck rollback change-4711 -f sh=rollback.sh
              ebpfcheck rollback --context prod
    """
    from ebpfcheck.render import ROLLBACK_RENDERERS, plan_renderer

    started_at = datetime.now(UTC).replace(microsecond=0)
    on_cluster = (kubeconfig, context) != (None, None)

    def prepared() -> tuple["Judge", list[tuple[str, str | None]]]:
        from ebpfcheck.app import Judge

        judge = Judge(_settings(calico_version, install, None, None, FailOn.fail))
        return judge, outputs_of(format, ROLLBACK_RENDERERS, default="text", read={"--snapshot": snapshot})

    if plan_file is not None:
        from ebpfcheck.collect.snapshots import load_plan
        from ebpfcheck.plan.rollback import rollback_of

        if snapshot is not None or on_cluster or calico_version is not None or install is not None:
            raise _usage_error("PLAN says all there is to know: only --format and how it is shown go with it")
        held = f"{plan_file}/plan.json" if Path(plan_file).is_dir() else plan_file
        outputs = outputs_of(format, ROLLBACK_RENDERERS, default="text", read={"PLAN": held})
        back = rollback_of(load_plan(plan_file))
    elif snapshot is not None:
        from ebpfcheck.collect.snapshots import load_snapshot

        if on_cluster:
            raise _usage_error("--snapshot is instead of a cluster: no --kubeconfig or --context")
        judge, outputs = prepared()
        back = judge.rollback(load_snapshot(snapshot), started_at)
    else:
        _end_on_sigterm()
        with _interruption() as interruption:
            where = _Where(kubeconfig, context, timeout)
            seen, judge, outputs = _collected(where, None, None, prepared, interruption)
        if interruption.has_come():
            return _INTERRUPTED
        back = judge.rollback(seen, started_at)
    options = render_options(color, verbose, quiet)
    deliver([(plan_renderer(name)(back, options_for(file, options, color)), file) for name, file in outputs])
    return back.exit_code


@app.command(short_help="List the checks, or explain one.")
def checks(
    check_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="The check to explain.", autocompletion=complete_check)
    ] = None,
    calico_version: CalicoVersionOption = None,
) -> None:
    """List the checks, or explain one: what, why, how it is decided, how to fix, sources."""
    from ebpfcheck.explain import explain, list_checks

    write_out(list_checks(calico_version) if check_id is None else explain(check_id))


@config_app.command(name="show", short_help="Show what is in force, and from where.")
def show_config(
    config: ConfigOption = None,
    calico_version: ClusterCalicoVersionOption = None,
    install: ClusterInstallOption = None,
    skip: SkipOption = None,
    fail_on: FailOnOption = FailOn.fail,
    scope: ScopeOption = ScopeChoice.nodes,
    waivers: WaiversOption = None,
    baseline: BaselineOption = None,
    format: FormatOption = None,
    probe: ProbeOption = ProbeChoice.none,
    probe_nodes: ProbeNodesOption = ProbeNodesChoice.cohorts,
    image: ImageOption = None,
    trial: TrialOption = TrialChoice.none,
    probe_namespace: ProbeNamespaceOption = "kube-system",
    probe_timeout: ProbeTimeoutOption = 120.0,
    concurrency: ConcurrencyOption = 8,
) -> None:
    """Show each setting in force for `ebpfcheck cluster` with these options, and where it comes from.

    The command line outranks the environment (EBPFCHECK_SKIP, EBPFCHECK_FAIL_ON, ...), which outranks the policy file.
    """
    given = locals()
    from ebpfcheck.policy.config import KEYS
    from ebpfcheck.policy.shown import Shown, shown_policy

    rows = [Shown(name=name, value=given.get(name), is_given=name in given and _is_given(name)) for name in KEYS]
    write_out(shown_policy(click.get_current_context().obj, rows))


@app.command(short_help="Print the JSON Schema of a published document.")
def schema(
    document: Annotated[
        SchemaChoice, typer.Argument(metavar="DOCUMENT", help="report, snapshot, kernel, plan, diff or matrix.")
    ],
) -> None:
    """Print the JSON Schema of a published document."""
    import json

    from ebpfcheck.model.codec import schema_of

    write_out(json.dumps(schema_of(document.value), indent=2) + "\n")


def _settings(
    calico_version: str | None,
    install: InstallChoice | None,
    only: list[str] | None,
    skip: list[str] | None,
    fail_on: FailOn,
    scope: ScopeChoice = ScopeChoice.nodes,
    *,
    expect: DataplaneChoice | None = None,
    waivers: str | None = None,
    baseline: str | None = None,
    redact: bool = False,
) -> "Settings":
    from ebpfcheck.policy.waivers import check_names_are_kept, load_waivers
    from ebpfcheck.settings import Settings

    with _told_from("waivers"):
        accepted = () if waivers is None else load_waivers(waivers)
    if redact:
        check_names_are_kept(accepted)
        if baseline is not None:
            raise _usage_error("--redact replaces the names that --baseline goes by")
    policy: Policy | None = click.get_current_context().obj
    sources = _sources(policy)
    floor = policy.settings.get("coverage_floor") if policy is not None and _gives_verdict() else None
    earlier = None
    if baseline is not None:
        from ebpfcheck.collect.snapshots import load_report
        from ebpfcheck.policy.baseline import Baseline

        with _told_from("baseline"):
            earlier = Baseline(file=baseline, report=load_report(baseline))
    return Settings(
        calico_version=calico_version,
        install=install.value if install else None,
        only=_split("--only", only),
        skip=_split("--skip", skip),
        fail_on=fail_on.value,
        scope=scope.value,
        expect=None if expect is None else expect.value,
        waivers=accepted,
        baseline=earlier,
        severities=policy.severities if policy is not None and _gives_verdict() else (),
        coverage_floor=floor.value if floor is not None else 0,
        sources=sources,
    )


def _read(waivers: str | None = None, baseline: str | None = None) -> dict[str, str | None]:
    """Return the files that lay something down, each by what names it, for none of them to be written over."""
    policy: Policy | None = click.get_current_context().obj
    return {"--waivers": waivers, "--baseline": baseline, "--config": None if policy is None else policy.file}


@contextmanager
def _told_from(name: str) -> Iterator[None]:
    """Have the line of the policy stand before what is wrong with a file, where it is the policy that names it."""
    from ebpfcheck.errors import UsageError

    try:
        yield
    except UsageError as error:
        policy: Policy | None = click.get_current_context().obj
        if policy is None or name not in policy.settings or _is_given(name):
            raise
        raise UsageError(f"{policy.settings[name].origin}: {error}") from error


def _sources(policy: "Policy | None") -> tuple["SettingUse", ...]:
    """Return what a policy has set of all that this command heeds."""
    from ebpfcheck.model.report import SettingUse

    context = click.get_current_context()
    if policy is None or not _gives_verdict():
        return ()
    heeded = [name for name in policy.settings if name in (context.default_map or {}) and not _is_given(name)]
    heeded += [name for name in policy.settings if name == "coverage_floor"]
    uses = [SettingUse(name=name, origin=policy.settings[name].origin) for name in heeded]
    return (*uses, *(SettingUse(name=f"severity of {rule.id}", origin=rule.line) for rule in policy.severities))


def _gives_verdict() -> bool:
    """Whether this command is one of those whose verdict a team may lay down rules for."""
    return "waivers" in click.get_current_context().params


class _Where(NamedTuple):
    """A cluster as the command line names it, and how long collecting may take."""

    kubeconfig: str | None
    context: str | None
    timeout: float


def _collected(
    where: _Where,
    request: "ProbeRequest | None",
    deadline: float | None,
    prepared: "Callable[[], tuple[Judge, list[tuple[str, str | None]]]]",
    interruption: "Interruption",
    *,
    scan_pods: bool = False,
) -> "tuple[Snapshot, Judge, list[tuple[str, str | None]]]":
    """Look at a cluster, and at its nodes if that is asked for."""
    from ebpfcheck.collect.login import Login
    from ebpfcheck.progress import Progress

    _check_timeout("--timeout", where.timeout)
    _check_cluster(where.kubeconfig, where.context)
    collecting_ends = time.monotonic() + where.timeout
    with Login(where.kubeconfig, where.context, where.timeout) as login, Progress() as progress:
        # Loaded while the kubeconfig is, which takes about as long.
        from ebpfcheck.collect.cluster import snapshot_of_cluster
        from ebpfcheck.collect.requests import Listener

        judge, outputs = prepared()
        listener = Listener(progress=progress.show, notice=progress.note)
        snapshot = snapshot_of_cluster(login, collecting_ends, listener, scan_pods=scan_pods)
        interruption.watch()
        if request is not None:
            from ebpfcheck.probe import probed

            snapshot = probed(snapshot, login, judge, request, _deadline(deadline), listener, interruption)
    return snapshot, judge, outputs


def _redacted(snapshot: "Snapshot") -> "Snapshot":
    from ebpfcheck.collect.redaction import redacted

    return redacted(snapshot)


def _end_on_sigterm() -> None:
    """Take SIGTERM and a closed terminal as Ctrl-C is taken, so that nothing that was started outlives this process."""
    import signal

    for number in (signal.SIGTERM, signal.SIGHUP):
        # nohup is not undone.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


def _check_timeout(option: str, seconds: float) -> None:
    if not 0 < seconds <= LONGEST_TIMEOUT:
        raise _usage_error(f"{option}: give a number of seconds above 0 and up to {LONGEST_TIMEOUT:g}")


def _duration(option: str, text: str) -> float:
    """Return the seconds that a text such as 90s, 10m, 1h or 45 means."""
    units = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
    number = text.rstrip("smh")
    unit = text[len(number) :]
    is_number = number.isascii() and number.replace(".", "", 1).isdigit()
    seconds = float(number) * units[unit] if is_number and unit in units and len(number) < 10 else 0.0
    if not 0 < seconds <= LONGEST_TIMEOUT:
        raise _usage_error(f"{option}: {text!r} is no time such as 90s, 10m or 1h, of a day at most")
    return seconds


def _check_cluster(kubeconfig: str | None, context: str | None) -> None:
    if "" in (kubeconfig, context):
        # An unset variable in a CI job must not quietly pick another cluster.
        raise _usage_error("an empty --kubeconfig or --context names nothing")


def _deadline(seconds: float | None) -> float:
    """Return the moment (time.monotonic) at which looking at all nodes must be over."""
    if seconds is None:
        return float("inf")
    _check_timeout("--deadline", seconds)
    return time.monotonic() + seconds


def _endpoints(text: str | None) -> tuple["Endpoint", ...]:
    if text is None:
        return ()
    from ebpfcheck.collect.endpoints import parse_endpoint

    return (parse_endpoint(text),)


def _probe_request(
    probe: ProbeChoice,
    nodes: ProbeNodesChoice,
    image: str | None,
    namespace: str,
    concurrency: int,
    timeout: float | None,
    api_endpoint: str | None,
    trial: TrialChoice = TrialChoice.none,
    objects: str | None = None,
) -> "ProbeRequest | None":
    """Return how to look at nodes, None where nobody is to; refuses what cannot be meant."""
    if probe is not ProbeChoice.pod and not _is_given("trial"):
        # A policy asks for it where there are probe pods.
        trial = TrialChoice.none
    tried = _trial(trial, objects)
    if trial is not TrialChoice.none and probe is not ProbeChoice.pod:
        raise _usage_error(
            f"--trial {trial.value} needs --probe pod, as it takes a container of its own on each node; "
            "`ebpfcheck node --trial` does it over SSH"
        )
    if probe is ProbeChoice.none:
        is_narrowed = nodes is not ProbeNodesChoice.cohorts and _is_given("probe_nodes")
        if (image is not None and _is_given("image")) or api_endpoint is not None or is_narrowed:
            raise _usage_error("--image, --probe-nodes and --api-endpoint need --probe exec or --probe pod")
        return None
    from ebpfcheck.probe import ProbeRequest

    if timeout is None:
        timeout = _OBJECTS_TIMEOUT if trial is TrialChoice.objects else _PROBE_TIMEOUT
    _check_timeout("--probe-timeout", timeout)
    if not is_namespace(namespace):
        raise _usage_error(f"--probe-namespace: {namespace!r} is not the name of a namespace")
    if image is not None and not is_image(image):
        raise _usage_error(f"--image: {image!r} is not the name of an image")
    if image is not None and probe is not ProbeChoice.pod:
        if _is_given("image"):
            raise _usage_error("--image is for --probe pod")
        image = None
    return ProbeRequest(
        road="exec" if probe is ProbeChoice.exec else "pod",
        nodes=nodes.value,
        image=image,
        namespace=namespace,
        concurrency=_checked_concurrency(concurrency),
        timeout=timeout,
        endpoints=_endpoints(api_endpoint),
        trial=tried,
    )


def _is_given(name: str) -> bool:
    """Whether an option stands on the command line, and not in a policy."""
    source = click.get_current_context().get_parameter_source(name)
    return source is click.core.ParameterSource.COMMANDLINE


def _trial(choice: TrialChoice, objects: str | None) -> "Trial":
    """Return what is to be tried; refuses a directory that cannot be meant."""
    if choice is not TrialChoice.objects:
        if objects is not None:
            raise _usage_error("--objects is for --trial objects")
        return "kernel" if choice is TrialChoice.kernel else "none"
    from ebpfcheck.collect.transport import ObjectsTrial

    if objects is not None and not (objects.startswith("/") and objects.isprintable()):
        raise _usage_error(f"--objects: {objects!r} is not the absolute path of a directory on the node")
    return ObjectsTrial(directory=objects or "")


def _checked_concurrency(number: int) -> int:
    if not 0 < number <= MOST_AT_ONCE:
        raise _usage_error(f"--concurrency: give a number from 1 to {MOST_AT_ONCE}")
    return number


def _usage_error(words: str) -> Exception:
    # Loaded only where it is needed, as what is to be looked at is started first.
    from ebpfcheck.errors import UsageError

    return UsageError(words)


def _split(option: str, lists: list[str] | None) -> tuple[str, ...]:
    from ebpfcheck.errors import UsageError

    words = tuple(word for text in lists or () for word in (part.strip() for part in text.split(",")) if word)
    if lists and not words:
        # An unset variable in a CI job must not quietly select everything.
        raise UsageError(f"{option} names no check")
    return words


def _report(
    judge: "Judge",
    snapshot: "Snapshot",
    command: str,
    started_at: datetime,
    outputs: list[tuple[str, str | None]],
    options: "RenderOptions",
    color: ColorChoice,
    save: str | None,
    interruption: "Interruption",
) -> int:
    """Judge and show a snapshot. It is shown even if it cannot be saved, and a first Ctrl-C does not cut it off."""
    from ebpfcheck.render import renderer

    interruption.watch()
    at = started_at.replace(microsecond=0)
    report = judge.report(snapshot, command, at, is_interrupted=interruption.has_come())
    try:
        deliver([(renderer(name)(report, options_for(file, options, color)), file) for name, file in outputs])
        if any(name == "github" for name, _ in outputs):
            summarize(report)
    finally:
        # What was seen is kept, whatever becomes of the rest.
        _keep(snapshot, save)
    return _INTERRUPTED if interruption.has_come() else report.exit_code


def _matrix(
    snapshot: str,
    releases: str,
    waivers: str | None,
    settings: "Settings",
    started_at: datetime,
    formats: list[str] | None,
    options: "RenderOptions",
    color: ColorChoice,
) -> int:
    """Judge and show a snapshot for several releases."""
    from ebpfcheck.collect.snapshots import load_snapshot
    from ebpfcheck.matrix import matrix_of, parse_releases
    from ebpfcheck.render import MATRIX_RENDERERS, matrix_renderer

    versions = parse_releases(releases)
    outputs = outputs_of(formats, MATRIX_RENDERERS, read=_read(waivers) | {"SNAPSHOT": snapshot})
    found = matrix_of(load_snapshot(snapshot), versions, settings, started_at.replace(microsecond=0))
    deliver([(matrix_renderer(name)(found, options_for(file, options, color)), file) for name, file in outputs])
    return found.exit_code


def _keep(snapshot: "Snapshot", save: str | None) -> None:
    if save is not None:
        from ebpfcheck.collect.snapshots import save_snapshot

        save_snapshot(snapshot, save)


def _interruption() -> "Interruption":
    # Loaded only where it is needed, as what is to be looked at is started first.
    from ebpfcheck.interruption import Interruption

    return Interruption()
