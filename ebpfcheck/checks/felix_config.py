"""Who decides what Felix is told: the operator, variables of calico-node, FelixConfigurations for some nodes."""

import shlex
from collections.abc import Iterable

import msgspec

from ebpfcheck.checks.calico import ASK_FOR_BPF, SEE_BPF_ENABLED, see_variables
from ebpfcheck.checks.naming import listed
from ebpfcheck.checks.platform import PLATFORM_NEEDS, platform_of
from ebpfcheck.model.check import (
    Given,
    Outcome,
    check,
    fail,
    not_applicable,
    optional,
    passed,
    settled,
    unknown,
    unseen,
    warn,
)
from ebpfcheck.model.cluster import CalicoNode, ClusterFacts
from ebpfcheck.model.facts import Absent, FelixSettings, Known, Reason, Unknown
from ebpfcheck.model.report import Remediation, Severity
from ebpfcheck.model.text import excerpt
from ebpfcheck.versions import CalicoVersion

_FELIX = optional(ClusterFacts.felix_default)
_INSTALLATION = optional(ClusterFacts.installation)
_INSTALL = optional(ClusterFacts.install)
_GROUPS = optional(ClusterFacts.api_groups)


@check(
    id="cluster.felix.ownership",
    title="The operator's hold on bpfEnabled",
    category="cluster",
    scope="cluster",
    severity=lambda release: Severity.BLOCKER if release.operator_sets_felix else None,
    needs=(_FELIX, _INSTALLATION, _INSTALL, _GROUPS),
)
def ownership(given: Given) -> Outcome:
    """Whether bpfEnabled is what the operator last set it to, without which it refuses to set it."""
    rule, felix, installation = given.release.calico.operator, given[_FELIX], given[_INSTALLATION]
    if given.install in ("manifest", "none"):
        return not_applicable("no-operator", "No operator looks after bpfEnabled here.")
    if isinstance(felix, Unknown):
        return unseen("felix-unseen", "What FelixConfiguration default says could not be seen", felix)
    spec = felix.value.settings.bpf_enabled if isinstance(felix, Known) else None
    mark = (felix.value.operator_bpf_enabled or "") if isinstance(felix, Known) else ""
    meant = True if mark in rule.true_words else False if mark in rule.false_words else None
    is_odd = bool(mark) and meant is None
    needed = f"bpfEnabled and the annotation {rule.annotation} agree"
    observed = f"bpfEnabled {_shown(spec)}, annotation {excerpt(mark, 40) or 'not set'}"
    if spec == meant and not is_odd:
        return passed("agree", "bpfEnabled is what the operator set it to.", observed=observed, required=needed)
    what = f"bpfEnabled in FelixConfiguration default is {_shown(spec)}, and the operator's note of it says " + (
        excerpt(mark, 40) or "nothing"
    )
    install = given[_INSTALL]
    if given.install != "operator":
        missing = install if isinstance(install, Unknown) else Unknown(reason=Reason.NOT_COLLECTED, detail="not told")
        return unseen("install-unseen", f"{what}; whether there is an operator to mind could not be told", missing)
    asked = installation.value.linux_dataplane if isinstance(installation, Known) else None
    if spec and asked == rule.bpf:
        return warn(
            "way-back",
            f"{what}, so somebody else set it. eBPF mode is on and stays so, but the operator of Calico "
            f"{given.release.version} will refuse to turn it off.",
            observed=observed,
            required=needed,
            remediation=Remediation(text="Give the operator its note back.", commands=(_annotate(given, "true"),)),
        )
    if spec and isinstance(installation, Unknown):
        return unseen("installation-unseen", f"{what}; what the Installation asks for could not be seen", installation)
    return fail(
        "differ",
        f"{what}: the operator of Calico {given.release.version} takes it that somebody else set it, and refuses to "
        "turn eBPF mode on or off (TigeraStatus calico then is Degraded).",
        observed=observed,
        required=needed,
        remediation=_agree(given, spec),
    )


def _shown(value: bool | None) -> str:
    return "not set" if value is None else str(value).lower()


def _annotate(given: Given, value: str | None) -> str:
    """Return the command that sets the operator's annotation where the operator reads it, or takes it away."""
    rule, groups = given.release.calico, given[_GROUPS]
    # Calico's own API server keeps annotations where the operator does not look for them.
    is_native = isinstance(groups, Known) and rule.datastore.crds not in groups.value
    resource = f"felixconfigurations.{rule.datastore.served if is_native else rule.datastore.crds}"
    change = f"{rule.operator.annotation}-" if value is None else f"{rule.operator.annotation}={value} --overwrite"
    return f"kubectl annotate {resource} default {change}"


def _agree(given: Given, spec: bool | None) -> Remediation:
    if spec is None:
        return Remediation(
            text="Take the operator's note away, as for a value never set.", commands=(_annotate(given, None),)
        )
    if not spec:
        return Remediation(
            text="Let the note say what is set; nothing else changes.", commands=(_annotate(given, "false"),)
        )
    return Remediation(
        text="eBPF mode was turned on past the operator. Where it is meant to be on, let the Installation say so "
        "first, then let the note say what is set; the other way round the operator turns eBPF mode off.",
        commands=(ASK_FOR_BPF, _annotate(given, "true")),
        disruptive=True,
    )


_NODE = settled(ClusterFacts.calico_node)
_INFORMATION = optional(ClusterFacts.calico_version)


@check(
    id="cluster.felix.env-override",
    title="Variables that outrank FelixConfiguration",
    category="cluster",
    scope="cluster",
    severity=Severity.BLOCKER,
    needs=(_NODE, _FELIX, _INFORMATION, *PLATFORM_NEEDS),
)
def env_override(given: Given) -> Outcome:
    """Whether variables of calico-node say what FelixConfiguration is meant to."""
    node, rule = given[_NODE], given.release.calico
    if isinstance(node, Absent):
        return not_applicable("no-calico-node", "There is no calico-node to have variables.")
    env = {
        name: value
        for name, value in node.value.env
        if (name.startswith(rule.felix.prefix) or name in rule.felix.variables) and name not in rule.felix.stock
    }
    needed = "what concerns eBPF mode is set in FelixConfiguration alone"
    switch = env.pop(rule.operator.variable, "")
    if rule.operator.variable in dict(node.value.env) and switch is not None:
        if switch.lower() not in rule.felix.true_words:
            return fail(
                "off",
                f"{rule.operator.variable} of calico-node is {excerpt(switch, 40)!r}, which Felix reads as false and "
                f"which outranks FelixConfiguration: bpfEnabled has no effect, and Felix {given.release.version} stays "
                "in the standard dataplane.",
                observed=f"{rule.operator.variable}={excerpt(switch, 40)}",
                required=needed,
                remediation=_unset(given, node.value, [rule.operator.variable]),
            )
        if not _is_operators(given):
            return warn(
                "on",
                f"{rule.operator.variable} of calico-node turns eBPF mode on, and outranks FelixConfiguration: "
                f"bpfEnabled has no effect on Felix {given.release.version}, not for the way back either.",
                observed=f"{rule.operator.variable}={excerpt(switch, 40)}",
                required=needed,
                remediation=_unset(given, node.value, [rule.operator.variable]),
            )
    unfollowed = [name for name, value in (*env.items(), (rule.operator.variable, switch)) if value is None]
    if unfollowed:
        return unknown(
            "not-followed",
            f"{_names(unfollowed)} of calico-node takes its value from where it could not be followed, and it outranks "
            "FelixConfiguration.",
            reason=Reason.UNSUPPORTED,
            observed=_names(unfollowed),
            required=needed,
            remediation=see_variables(node.value),
        )
    harmless = [f"configmap/{name}" for name in rule.felix.config_maps]
    others = [name for name in node.value.env_from if name not in harmless]
    if others:
        return unknown(
            "config-maps",
            f"calico-node takes all variables from {_names(others)}, which was not read: some of them may outrank "
            "FelixConfiguration.",
            reason=Reason.NOT_COLLECTED,
            observed=_names(others),
            required=needed,
            remediation=Remediation(
                text="See that no variable in it begins with FELIX_BPF.",
                # `describe` lists the keys of a Secret without their values.
                commands=tuple(
                    f"kubectl -n {shlex.quote(node.value.namespace)} describe {shlex.quote(name)}" for name in others
                ),
            ),
        )
    return _others(given, node.value, env, needed)


def _others(given: Given, node: CalicoNode, env: dict[str, str | None], needed: str) -> Outcome:
    """Judge the variables beside the switch itself."""
    if not env:
        return passed("none", "No variable of calico-node outranks what concerns eBPF mode.", required=needed)
    felix = given[_FELIX]
    spec = felix.value.settings if isinstance(felix, Known) else FelixSettings()
    against = [name for name, value in env.items() if _contradicts(given, spec, name, value or "")]
    if against:
        return warn(
            "contradicts",
            f"{_names(against)} of calico-node says otherwise than FelixConfiguration default, and outranks it: what "
            f"the latter sets has no effect on Felix {given.release.version}.",
            observed=_names(env),
            required=needed,
            remediation=_unset(given, node, against),
        )
    return passed(
        "others",
        f"calico-node is given {_names(env)}, which outranks FelixConfiguration: to set these there has no effect on "
        f"Felix {given.release.version}.",
        observed=", ".join(f"{name}={excerpt(value or '', 40)}" for name, value in list(env.items())[:_SHOWN]),
        required=needed,
        note=True,
    )


_SHOWN = 8


def _names(names: Iterable[str]) -> str:
    return listed(names, _SHOWN, each=60)


def _contradicts(given: Given, spec: FelixSettings, variable: str, value: str) -> bool:
    """Whether FelixConfiguration sets the same thing to something else."""
    for field in FelixSettings.__struct_fields__:
        if variable == f"FELIX_{field.replace('_', '').upper()}":
            there = getattr(spec, field)
            return there is not None and not _is_same(given, there, value)
    return False


def _is_same(given: Given, there: bool | int | str | tuple[str, ...], value: str) -> bool:
    if isinstance(there, bool):
        return there == (value.lower() in given.release.calico.felix.true_words)
    if isinstance(there, tuple):
        return list(there) == [part.strip() for part in value.split(",")]
    if isinstance(there, int):
        # Marks are usually written in hexadecimal.
        return value.lower() in (str(there), hex(there))
    return there == value


def _is_operators(given: Given) -> bool:
    """Whether the operator itself sets the switch, at the release that is judged for or at the one that runs."""
    information = given[_INFORMATION]
    runs = CalicoVersion.of_build(information.value) if isinstance(information, Known) else None
    releases = given.release.calico.operator.sets_variable
    return given.install == "operator" and any(
        version is not None and version.within(releases) for version in (given.release.version, runs)
    )


def _unset(given: Given, node: CalicoNode, names: Iterable[str]) -> Remediation:
    if given.install == "operator":
        return Remediation(
            text="The operator does not set this, and does not keep what others do to its DaemonSet: find out who sets "
            "it, and take it away there.",
            commands=(
                f"kubectl -n {shlex.quote(node.namespace)} get daemonset {shlex.quote(node.name)} -o yaml "
                "--show-managed-fields",
            ),
        )
    platform = platform_of(given)
    if platform is not None and platform.entry.own_switch:
        return Remediation(text=platform.entry.own_switch, disruptive=True)
    daemonset = f"-n {shlex.quote(node.namespace)} set env daemonset/{shlex.quote(node.name)}"
    gone = " ".join(shlex.quote(f"{name}-") for name in names)
    return Remediation(
        text="Set what it says in FelixConfiguration, if it is meant, and take the variable away, also where the "
        "DaemonSet comes from (Helm, GitOps, Kubespray). The pods are restarted node by node.",
        commands=(f"kubectl {daemonset} -c calico-node {gone}",),
        disruptive=True,
    )


_PER_NODE = settled(ClusterFacts.felix_per_node)


@check(
    id="cluster.felix.per-node",
    title="FelixConfigurations for some nodes",
    category="cluster",
    scope="cluster",
    severity=Severity.BLOCKER,
    needs=(_PER_NODE, _FELIX),
)
def felix_per_node(given: Given) -> Outcome:
    """Whether some nodes are told otherwise than the rest."""
    calico, felix = given.release.version, given[_FELIX]
    per_node = given[_PER_NODE]
    if isinstance(per_node, Absent):
        return not_applicable("no-calico", "There are no FelixConfigurations in the Kubernetes API.")
    found = per_node.value
    needed = "bpfEnabled, and the port of VXLAN, the same for all nodes"
    if not found:
        return passed("none", "FelixConfiguration default alone says what Felix is told.", required=needed)
    if isinstance(felix, Unknown):
        return unseen("default-unseen", "What the other nodes are told could not be seen", felix, required=needed)
    default = felix.value.settings if isinstance(felix, Known) else FelixSettings()
    off = sum(count for spec, count in found if spec.bpf_enabled is False)
    ahead = 0 if default.bpf_enabled else sum(count for spec, count in found if spec.bpf_enabled)
    whom = "for single nodes or chosen by a selector" if given.release.felix_selectors else "for single nodes"
    fix = Remediation(
        text="See which they are, and take the field out of them.",
        commands=(
            SEE_BPF_ENABLED,
            """kubectl patch felixconfiguration NAME --type merge -p '{"spec":{"bpfEnabled":null}}'""",
        ),
    )
    if off or ahead:
        words = " and ".join(
            part
            for part in (f"{off} of them set bpfEnabled to false" * bool(off), f"{ahead} to true" * bool(ahead))
            if part
        )
        return fail(
            "bpf-enabled",
            f"There are FelixConfigurations {whom} that outrank default: {words}. A cluster with eBPF mode on some "
            f"nodes alone is not supported by Calico {calico}; NodePort traffic between the two kinds is dropped.",
            observed=words,
            required=needed,
            remediation=fix,
        )
    if default.vxlan_port is None:
        default = msgspec.structs.replace(default, vxlan_port=given.release.network.vxlan.port)
    differing: dict[str, int] = {}
    for spec, count in found:
        for field in FelixSettings.__struct_fields__:
            value = getattr(spec, field)
            if value is not None and value != getattr(default, field):
                differing[field] = differing.get(field, 0) + count
    if not differing:
        return passed("alike", f"FelixConfigurations {whom} change nothing that concerns eBPF mode.", required=needed)
    shown = ", ".join(f"{_camel(field)} ({count} x)" for field, count in differing.items())
    if "vxlan_port" in differing:
        return warn(
            "vxlan-port",
            f"FelixConfigurations {whom} set another vxlanPort than default: nodes with different ports do not get "
            f"each other's packets, neither pods' over VXLAN nor those that Felix {calico} forwards for NodePorts.",
            observed=shown,
            required=needed,
            remediation=Remediation(
                text="Take vxlanPort out of them.",
                commands=(
                    "kubectl get felixconfigurations -o custom-columns=NAME:.metadata.name,PORT:.spec.vxlanPort",
                    """kubectl patch felixconfiguration NAME --type merge -p '{"spec":{"vxlanPort":null}}'""",
                ),
            ),
        )
    return passed(
        "others",
        f"FelixConfigurations {whom} set otherwise than default: {shown}. What is changed in default does not reach "
        "these nodes.",
        observed=shown,
        required=needed,
        note=True,
    )


def _camel(field: str) -> str:
    """Return a setting's name as the API spells it."""
    if field == "vxlan_mtu":
        return "vxlanMTU"
    first, *rest = field.split("_")
    return first + "".join(part.capitalize() for part in rest)
