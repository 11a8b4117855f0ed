"""Snapshots as they would be, for checks to judge what is not there yet."""

import msgspec

from ebpfcheck.model.cluster import EndpointOverride
from ebpfcheck.model.facts import Absent, FelixSettings, Known, NodeKind, Unknown
from ebpfcheck.model.snapshot import Snapshot


def with_override(snapshot: Snapshot, override: EndpointOverride) -> Snapshot:
    """Return the snapshot as if there were this ConfigMap with the API server's address."""
    cluster = snapshot.cluster
    if cluster is None or isinstance(cluster.endpoint_overrides, Unknown):
        return snapshot
    found = cluster.endpoint_overrides.value if isinstance(cluster.endpoint_overrides, Known) else ()
    place = (override.namespace, override.name)
    kept = [one for one in found if (one.namespace, one.name) != place]
    fact = Known(value=(*kept, override), source=cluster.endpoint_overrides.source)
    return msgspec.structs.replace(snapshot, cluster=msgspec.structs.replace(cluster, endpoint_overrides=fact))


def with_dsr(snapshot: Snapshot) -> Snapshot:
    """Return the snapshot as if FelixConfiguration asked for direct server return on every node."""
    return msgspec.structs.replace(snapshot, kinds=tuple(_with_dsr(kind) for kind in snapshot.kinds))


def _with_dsr(kind: NodeKind) -> NodeKind:
    felix = kind.felix
    if isinstance(felix, Known):
        settings = msgspec.structs.replace(felix.value, bpf_external_service_mode="DSR")
        return msgspec.structs.replace(kind, felix=Known(value=settings, source=felix.source))
    if isinstance(felix, Absent):
        settings = FelixSettings(bpf_external_service_mode="DSR")
        return msgspec.structs.replace(kind, felix=Known(value=settings, source=felix.source))
    return kind
