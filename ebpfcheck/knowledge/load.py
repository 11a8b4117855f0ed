"""Reads the knowledge tables that lie beside this file."""

from functools import cache
from pkgutil import get_data
from typing import TypeVar

import msgspec

from ebpfcheck.knowledge.add_on_tables import AddOnTables
from ebpfcheck.knowledge.bpf_tables import BpfTables
from ebpfcheck.knowledge.calico_tables import CalicoTables
from ebpfcheck.knowledge.feature_tables import FeatureTables
from ebpfcheck.knowledge.health_tables import HealthTables
from ebpfcheck.knowledge.kernel_tables import KernelTables
from ebpfcheck.knowledge.known_bug_tables import KnownBugTables
from ebpfcheck.knowledge.kube_proxy_tables import KubeProxyTables
from ebpfcheck.knowledge.network_tables import NetworkTables
from ebpfcheck.knowledge.node_tables import NodeTables
from ebpfcheck.knowledge.object_tables import ObjectTables
from ebpfcheck.knowledge.plan_tables import PlanTables
from ebpfcheck.knowledge.platform_tables import PlatformTables
from ebpfcheck.knowledge.service_tables import ServiceTables
from ebpfcheck.knowledge.types import Knowledge, Releases
from ebpfcheck.knowledge.verify_tables import VerifyTables

T = TypeVar("T")


@cache
def load_knowledge() -> Knowledge:
    """Return the tables, read once; msgspec.ValidationError if one of them is malformed (a defect)."""
    return Knowledge(
        releases=_read("releases.toml", Releases),
        kernel=_read("kernel.toml", KernelTables),
        bpf=_read("bpf_needs.toml", BpfTables),
        node=_read("node.toml", NodeTables),
        network=_read("network.toml", NetworkTables),
        calico=_read("calico.toml", CalicoTables),
        kube_proxy=_read("kube_proxy.toml", KubeProxyTables),
        platforms=_read("platforms.toml", PlatformTables),
        features=_read("features.toml", FeatureTables),
        services=_read("services.toml", ServiceTables),
        add_ons=_read("add_ons.toml", AddOnTables),
        health=_read("health.toml", HealthTables),
        known_bugs=_read("known_bugs.toml", KnownBugTables),
        objects=_read("objects.toml", ObjectTables),
        plan=_read("plan.toml", PlanTables),
        verify=_read("verify.toml", VerifyTables),
    )


def _read(name: str, shape: type[T]) -> T:
    data = get_data(__package__, name)
    if data is None:
        raise FileNotFoundError(name)
    return msgspec.toml.decode(data, type=shape)
