"""What the user asked for, once it has been read."""

import msgspec

from ebpfcheck.exitcodes import FailOn
from ebpfcheck.model.facts import Dataplane, Install
from ebpfcheck.model.report import Scope, SettingUse
from ebpfcheck.policy.baseline import Baseline
from ebpfcheck.policy.severity import SeverityRule
from ebpfcheck.policy.waivers import Waiver


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How facts are to be judged; None stands for what the facts themselves say."""

    calico_version: str | None = None
    install: Install | None = None
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    fail_on: FailOn = "fail"
    scope: Scope = "nodes"
    expect: Dataplane | None = None
    """The dataplane that should run by now; None where it is asked whether eBPF mode would work."""
    waivers: tuple[Waiver, ...] = ()
    baseline: Baseline | None = None
    severities: tuple[SeverityRule, ...] = ()
    coverage_floor: int = 0
    """The percentage of nodes that are to be looked at themselves."""
    sources: tuple[SettingUse, ...] = ()
    """Where what is not of the command line was set."""
