from typing import Any

import pytest

from ebpfcheck.checks import felix_values
from ebpfcheck.engine import fingerprint
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.model.check import Check
from ebpfcheck.model.cluster import Installation
from ebpfcheck.model.facts import Absent, Fact, FelixSettings, Install, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Finding, Severity, Status
from tests.builders import judged_cluster, kind, known, release

ABSENT = Absent(source=0)
FORBIDDEN = Unknown(reason=Reason.FORBIDDEN, detail="not allowed to list felixconfigurations")
CHECKS = (felix_values.mark_mask, felix_values.debug)
INSTALLATION = known(Installation())


def felix(**settings: Any) -> NodeKind:
    return kind(felix=known(FelixSettings(**settings)))


@pytest.mark.parametrize("check", CHECKS, ids=[check.id for check in CHECKS])
@pytest.mark.parametrize("install", ["operator", "manifest", "none", "unknown"])
def test_nothing_known_is_no_answer(check: Check, install: Install) -> None:
    for minor in load_knowledge().minors():
        for nodes in ((), (kind(),)):
            finding = judged_cluster(check, *nodes, version=str(minor), install=install)
            looks_not = check is felix_values.mark_mask and minor.minor < 17
            assert finding.status is (Status.NOT_APPLICABLE if looks_not else Status.UNKNOWN), (finding.id, minor)


def test_severities() -> None:
    assert felix_values.mark_mask.severity(release("v3.16.9")) is None
    assert felix_values.mark_mask.severity(release("v3.17")) is Severity.BLOCKER
    assert felix_values.debug.severity(release("v3.32.1")) is Severity.DEGRADE


# Mark bits.


def masked(
    *kinds: NodeKind,
    version: str = "v3.32.1",
    install: Install = "manifest",
    counts: tuple[int, ...] = (),
    installation: Fact[Any] | None = None,
) -> Finding:
    asked = installation or (INSTALLATION if install == "operator" else ABSENT)
    return judged_cluster(
        felix_values.mark_mask, *kinds, version=version, install=install, counts=counts, installation=asked
    )


@pytest.mark.parametrize(
    ("version", "mask", "wireguard", "status"),
    [
        ("v3.32.1", None, False, Status.PASS),
        ("v3.32.1", None, True, Status.PASS),
        ("v3.32.1", 0xFFFF0000, True, Status.PASS),
        ("v3.32.1", 0xFFFFFFFF, True, Status.PASS),
        ("v3.32.1", 0x00FF0000, False, Status.FAIL),
        ("v3.32.1", 0xFF000000, False, Status.FAIL),
        ("v3.32.1", 0xEFFF0000, False, Status.FAIL),
        ("v3.32.1", 0x1FF00000, False, Status.FAIL),
        ("v3.32.1", 0x1FFF0000, False, Status.FAIL),
        ("v3.32.1", 0x3FFF0000, False, Status.PASS),
        ("v3.32.1", 0x3FFF0000, True, Status.FAIL),
        ("v3.32.1", 0x7FFF0000, True, Status.PASS),
        ("v3.30", 0x1FFF0000, False, Status.FAIL),
        ("v3.29", 0x1FFF0000, False, Status.PASS),
        ("v3.29", 0x1FFF0000, True, Status.FAIL),
        ("v3.29", 0x1FF70000, False, Status.FAIL),
        ("v3.21", 0x1FFF0000, False, Status.PASS),
        ("v3.20", 0x1FFF0000, False, Status.FAIL),
        ("v3.20", 0xFFF30000, False, Status.PASS),
        ("v3.20", 0xFFF30000, True, Status.FAIL),
        ("v3.20", 0xFFF10000, False, Status.FAIL),
        ("v3.17", 0x00FF0000, False, Status.FAIL),
        ("v3.16", 0x00FF0000, False, Status.NOT_APPLICABLE),
        ("v3.32.1", 0, False, Status.FAIL),
        ("v3.32.1", -1, False, Status.FAIL),
        ("v3.32.1", 0x1FFFFFFFF, False, Status.FAIL),
    ],
)
def test_masks_at_each_release(version: str, mask: int | None, wireguard: bool, status: Status) -> None:
    for field in ("wireguard_enabled", "wireguard_enabled_v6"):
        settings: dict[str, Any] = {"iptables_mark_mask": mask, field: wireguard}
        finding = masked(felix(**settings), version=version)
        assert finding.status is status
        if status is Status.FAIL and mask is not None:
            assert f"iptablesMarkMask is {mask:#x} on 1 of 1 nodes" in finding.message
            assert "0xffff0000 is the default" in finding.message


NARROW, WIDE = 0xFF0000, 0xFFFF0000


@pytest.mark.parametrize(
    ("version", "install", "mode", "provider", "field"),
    [
        ("v3.31", "unknown", "Disabled", None, "nftables"),
        ("v3.28", "manifest", "Enabled", None, "iptables"),
        ("v3.29", "manifest", "Enabled", None, "nftables"),
        ("v3.29", "manifest", "enabled", None, "nftables"),
        ("v3.32.1", "manifest", "Enabled", None, "nftables"),
        ("v3.32.1", "manifest", "Disabled", None, "iptables"),
        ("v3.32.1", "manifest", "Auto", None, "iptables"),
        ("v3.32.1", "manifest", None, None, "iptables"),
        ("v3.28", "operator", "Enabled", None, "iptables"),
        ("v3.30", "operator", "Enabled", None, "iptables"),
        ("v3.31", "operator", "Disabled", None, "nftables"),
        ("v3.31", "operator", "Disabled", "AKS", "nftables"),
        ("v3.31", "operator", "Disabled", "DockerEnterprise", "iptables"),
        ("v3.31", "operator", "Enabled", "DockerEnterprise", "iptables"),
    ],
)
def test_which_mask_counts(version: str, install: Install, mode: str | None, provider: str | None, field: str) -> None:
    asked = known(Installation(kubernetes_provider=provider)) if install != "manifest" else ABSENT
    for narrow in ("iptables", "nftables"):
        masks = {"iptables_mark_mask": WIDE, "nftables_mark_mask": WIDE, f"{narrow}_mark_mask": NARROW}
        finding = masked(felix(nftables_mode=mode, **masks), version=version, install=install, installation=asked)
        assert finding.status is (Status.FAIL if narrow == field else Status.PASS)
        if narrow == field:
            assert finding.observed == f"{field}MarkMask 0xff0000"
            assert finding.remediation is not None
            assert finding.remediation.commands == (
                "kubectl patch felixconfiguration default --type merge -p "
                f"""'{{"spec": {{"{field}MarkMask": null}}}}'""",
            )


@pytest.mark.parametrize(
    ("install", "installation", "reason"),
    [("unknown", ABSENT, Reason.NOT_COLLECTED), ("operator", FORBIDDEN, Reason.FORBIDDEN)],
)
def test_which_mask_counts_is_not_known(install: Install, installation: Fact[Any], reason: Reason) -> None:
    for narrow in ("iptables_mark_mask", "nftables_mark_mask"):
        finding = masked(felix(**{narrow: NARROW}), install=install, installation=installation)
        assert finding.status is Status.UNKNOWN
        assert finding.reason is reason
    both = felix(iptables_mark_mask=NARROW, nftables_mark_mask=NARROW)
    finding = masked(both, install=install, installation=installation)
    assert finding.status is Status.FAIL
    assert finding.remediation is not None
    assert len(finding.remediation.commands) == 2
    assert masked(felix(), install=install, installation=installation).status is Status.PASS
    old = masked(felix(iptables_mark_mask=NARROW), install=install, installation=installation, version="v3.28")
    assert old.status is Status.FAIL


def test_masks_of_several_nodes() -> None:
    nodes = (felix(), felix(iptables_mark_mask=NARROW), felix(iptables_mark_mask=0x10000, bpf_enabled=True))
    finding = masked(*nodes, counts=(3, 2, 1))
    assert "iptablesMarkMask is 0xff0000 on 2 of 6 nodes and iptablesMarkMask is 0x10000 on 1 of 6" in finding.message
    assert finding.remediation is not None
    assert len(finding.remediation.commands) == 1
    alike = (felix(iptables_mark_mask=NARROW), felix(iptables_mark_mask=NARROW, bpf_enabled=True))
    assert "is 0xff0000 on 5 of 5 nodes." in masked(*alike, counts=(2, 3)).message


def test_masks_of_nodes_that_were_not_seen() -> None:
    hidden = kind(felix=FORBIDDEN)
    finding = masked(felix(), hidden)
    assert finding.status is Status.UNKNOWN
    assert "not allowed" in finding.message
    assert masked(felix(iptables_mark_mask=NARROW), hidden).status is Status.FAIL
    assert masked(kind(felix=ABSENT)).status is Status.PASS
    unsure = masked(felix(iptables_mark_mask=NARROW), hidden, install="operator", installation=FORBIDDEN)
    assert "could not be seen" in unsure.message


def test_the_number_of_bits_is_that_of_the_release() -> None:
    assert "0x1ff00000, and 5 bits more" in masked(felix(), version="v3.30").required
    assert "0x1ff00000, and 4 bits more" in masked(felix(), version="v3.29").required
    assert "0xfff00000, and 2 bits more" in masked(felix(), version="v3.20").required


# Log level.


def logging(*kinds: NodeKind, version: str = "v3.32.1") -> Finding:
    return judged_cluster(felix_values.debug, *kinds, version=version)


@pytest.mark.parametrize(
    ("level", "version", "status", "note"),
    [
        (None, "v3.32.1", Status.PASS, False),
        ("Off", "v3.32.1", Status.PASS, False),
        ("Off", "v3.29", Status.PASS, False),
        ("\x1b[31m", "v3.32.1", Status.PASS, False),
        ("Debug", "v3.32.1", Status.WARN, False),
        ("debug", "v3.13", Status.WARN, False),
        ("DEBUG", "v3.32.1", Status.WARN, False),
        ("Info", "v3.32.1", Status.PASS, False),
        ("Info", "v3.30", Status.PASS, False),
        ("Info", "v3.29.7", Status.PASS, True),
        ("info", "v3.13", Status.PASS, True),
    ],
)
def test_log_levels(level: str | None, version: str, status: Status, note: bool) -> None:
    finding = logging(felix(bpf_log_level=level), version=version)
    assert finding.status is status
    assert finding.note is note
    assert "\x1b" not in finding.message
    if status is Status.WARN:
        assert finding.remediation is not None
        assert finding.remediation.commands == (
            """kubectl patch felixconfiguration default --type merge -p '{"spec": {"bpfLogLevel": "Off"}}'""",
        )


@pytest.mark.parametrize(
    ("kernel", "version", "is_refused"),
    [
        ("5.15.0-139-generic", "v3.30.3", True),
        ("5.15.0-139-generic", "v3.30", True),
        ("5.15.0-139-generic", "v3.29", False),
        ("5.15.0-139-generic", "v3.31", False),
        ("5.150.0", "v3.30", False),
        ("6.8.0-60-generic", "v3.30", False),
    ],
)
def test_kernels_that_have_refused_debug(kernel: str, version: str, is_refused: bool) -> None:
    one = kind(felix=known(FelixSettings(bpf_log_level="Debug")), kernel_release=known(kernel))
    finding = logging(one, version=version)
    assert finding.status is Status.WARN
    assert ("such as those of this series" in finding.message) is is_refused
    cause = "debug-refused" if is_refused else "debug"
    assert finding.fingerprint == fingerprint("cluster.felix.debug", Status.WARN, cause)


def test_log_levels_of_several_nodes() -> None:
    off, loud, info = felix(), felix(bpf_log_level="Debug"), felix(bpf_log_level="Info")
    hidden = kind(felix=FORBIDDEN)
    assert "is Debug on 1 of 3 nodes" in logging(off, loud, info).message
    assert "is Debug on 1 of 1 nodes" in logging(loud, hidden).message
    assert logging(off, hidden).status is Status.UNKNOWN
    assert logging(info, hidden, version="v3.29").status is Status.UNKNOWN
    assert logging(off, kind(felix=ABSENT)).status is Status.PASS
    assert "Info on 1 of 2 nodes" in logging(off, info, version="v3.29").message
