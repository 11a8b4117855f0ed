"""The nodes of a cluster as hosts to reach over SSH."""

from ebpfcheck.collect import wire
from ebpfcheck.collect.apiclient import ApiClient, ListDecoders, Listing, read_list
from ebpfcheck.collect.login import Login
from ebpfcheck.collect.targets import Target, is_host
from ebpfcheck.errors import CannotRunError
from ebpfcheck.model.facts import Reason
from ebpfcheck.model.snapshot import Unseen
from ebpfcheck.model.text import excerpt

_PATH = "/api/v1/nodes"
# The first of these types that a node has an address of is the one to reach it by.
_TYPES = ("InternalIP", "ExternalIP", "InternalDNS", "ExternalDNS", "Hostname")


def hosts_of_cluster(login: Login, deadline: float) -> tuple[tuple[Target, ...], tuple[Unseen, ...]]:
    """Return the Linux nodes as hosts by their Kubernetes names, and the nodes that are none, each with the reason.

    CannotRunError if the nodes cannot be listed (deadline: time.monotonic) or none is to be reached.
    """
    access = login.access()
    client = ApiClient(access, login.again, deadline, 1)
    listing: Listing[Target | Unseen] = Listing()
    read_list(client, _PATH, {}, ListDecoders(wire.Node), _host, listing)
    error = listing.error
    if error is not None and not listing.items:
        raise CannotRunError(f"{access.server}: the nodes could not be listed: {error.words}")
    targets = tuple(item for item in listing.items if isinstance(item, Target))
    unseen = [item for item in listing.items if isinstance(item, Unseen)]
    if error is not None:
        detail = f"{error.words}; {listing.shortfall}"
        unseen.append(Unseen(name="(nodes that were not listed)", reason=error.reason, detail=detail))
    if listing.odd:
        detail = f"{len(listing.odd)} of the list could not be read: {listing.odd[0]}"
        unseen.append(Unseen(name="(nodes of an odd shape)", reason=Reason.UNPARSABLE, detail=detail))
    if not targets:
        raise CannotRunError(f"{access.server}: {unseen[0].detail if unseen else 'the cluster has no nodes'}")
    return targets, tuple(unseen)


def _host(node: wire.Node) -> Target | Unseen:
    name, status = excerpt(node.metadata.name), node.status or wire.NodeStatus()
    system = status.node_info.operating_system if status.node_info else ""
    if system not in ("", "linux"):
        return Unseen(name=name, reason=Reason.UNSUPPORTED, detail=f"it runs {excerpt(system, 40)}, not Linux")
    found = {address.type: address.address for address in reversed(status.addresses or ())}
    address = next((found[kind] for kind in _TYPES if found.get(kind)), None)
    if address is None:
        return Unseen(name=name, reason=Reason.NOT_COLLECTED, detail="the API gives no address of it")
    if not is_host(address):
        detail = f"{excerpt(address, 60)!r} is no address"
        return Unseen(name=name, reason=Reason.UNPARSABLE, detail=detail)
    return Target(name=name, host=address)
