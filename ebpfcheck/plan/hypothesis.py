"""Snapshots as they would be, for checks to judge what is not there yet."""

import msgspec

from ebpfcheck.model.facts import Absent, FelixSettings, Known, NodeKind
from ebpfcheck.model.snapshot import Snapshot


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
