"""Turns what the survey printed of the network into facts: links, routes, ports, settings."""

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface

import msgspec

from ebpfcheck.collect.framing import State
from ebpfcheck.collect.sections import SectionReader
from ebpfcheck.model.facts import FIRST_EPHEMERAL_PORT, Absent, Fact, Known, Link, Reason, Unknown, Vxlan

# The kernel's constant inode number of the first network namespace (since 6.18).
_FIRST_NET_NAMESPACE = "net:[4026531833]"
OTHER_NAMESPACE = "the survey ran in another network namespace than the node's"

_POD_LINK = re.compile(r"(?:cali|veth|lxc|tap|azv)[0-9a-f]|(?:eni|gke)[0-9a-f]{5}")
_SYS_LINE = re.compile(r"/sys/class/net/([^/]+)/\w+:(.*)")
_PART = re.compile(r"/sys/class/net/([^/]+)/(.+)")
_DRIVER = re.compile(r"/sys/class/net/([^/]+)/device/driver (\S+)")
_RP_FILTER = re.compile(r"/proc/sys/net/ipv4/conf/([^/]+)/rp_filter:(\d{1,3})", re.ASCII)
_ADDRESS = re.compile(r"\d+: +(\S+?)(?:@\S+)? +inet6? (\S+) (?:peer (\S+) )?.*?scope (\w+)", re.ASCII)
_OFFLOAD = re.compile(r"\s*([\w-]+): on\b", re.ASCII)
_PORT = re.compile(r"[0-9A-F]{4}", re.ASCII)
_ETHERNET, _LOOPBACK = 1, 772
# From linux/if_arp.h; what is neither of these carries IP packets without such headers, as tunnels do.
_HARDWARE = {_ETHERNET: "ethernet", 32: "infiniband", 512: "ppp"}
_FLAG_UP, _FLAG_NOARP = 0x1, 0x80
# States (RFC 2863) in which the kernel does not set IFF_RUNNING.
_NOT_RUNNING = frozenset({"down", "lowerlayerdown", "notpresent", "testing", "dormant"})
# WireGuard's usual ports, for IPv4 and for IPv6, among those that Linux hands out by itself.
_WIREGUARD_PORTS = frozenset({51820, 51821})


def network_view(reader: SectionReader, *, is_node: bool) -> Unknown | None:
    """Return why the network that was seen is not known to be the node's; None if it is.

    `is_node`: process 1 is the node's, so that its network is; that of a container may be its own.
    """
    own, of_init = reader.line("net-namespace"), reader.line("init-net-namespace")
    if is_node and isinstance(own, Known) and isinstance(of_init, Known):
        same = own.value == of_init.value
        return None if same else Unknown(reason=Reason.NOT_COLLECTED, detail=OTHER_NAMESPACE)
    if isinstance(own, Known) and own.value == _FIRST_NET_NAMESPACE:
        return None
    # Only the first network namespace has it.
    if reader.state("host-net") is State.OK:
        return None
    if isinstance(own, Unknown):
        return Unknown(reason=own.reason, detail=f"whether {OTHER_NAMESPACE} could not be told")
    return Unknown(reason=Reason.NOT_COLLECTED, detail=OTHER_NAMESPACE)


def is_of_pod(name: str) -> bool:
    """Whether an interface belongs to a pod; those differ on every node and say nothing of it."""
    return _POD_LINK.match(name) is not None


def links(reader: SectionReader) -> Fact[tuple[Link, ...]]:
    """Return the node's own interfaces, in the order of their names."""
    mtus = reader.fact("link-mtus", _numbers)
    flags, types = reader.fact("link-flags", _numbers), reader.fact("link-types", _numbers)
    events, pieces = reader.fact("link-events", _events), reader.fact("link-parts", _pieces)
    routes = reader.fact("routes", _route_devices), reader.fact("routes6", _route6_devices)
    for fact in (mtus, flags, types, events, pieces, *routes):
        if isinstance(fact, Unknown):
            return fact
    if not (
        isinstance(mtus, Known)
        and isinstance(flags, Known)
        and isinstance(types, Known)
        and isinstance(events, Known)
        and isinstance(pieces, Known)
    ):
        return Unknown(reason=Reason.NOT_COLLECTED, detail="/sys/class/net is not there to look in")
    drivers, states = reader.fact("link-drivers", _drivers), reader.fact("link-states", _states)
    default = {device for fact in routes if isinstance(fact, Known) for device in fact.value}
    found = tuple(
        Link(
            name=name,
            kind=_kind(
                types.value.get(name, 0),
                flags.value.get(name, 0),
                events.value.get(name, ""),
                pieces.value.get(name, ()),
                has_driver=isinstance(drivers, Known) and name in drivers.value,
            ),
            mtu=mtu,
            is_up=bool(flags.value.get(name, 0) & _FLAG_UP),
            is_running=not isinstance(states, Known) or states.value.get(name, "") not in _NOT_RUNNING,
            has_default_route=name in default,
            driver=drivers.value.get(name, "") if isinstance(drivers, Known) else None,
            lower=tuple(
                sorted(
                    below
                    for piece in pieces.value.get(name, ())
                    if (below := piece.removeprefix("lower_")) != piece and not is_of_pod(below)
                )
            ),
        )
        for name, mtu in sorted(mtus.value.items())
        if not is_of_pod(name) and types.value.get(name) != _LOOPBACK
    )
    return Known(value=found, source=mtus.source)


def offloads(reader: SectionReader) -> Fact[tuple[tuple[str, tuple[str, ...]], ...]]:
    """Return the offloads of each NIC that are on."""
    return reader.fact("offloads", _offloads)


def addresses(reader: SectionReader) -> Fact[tuple[tuple[str, str], ...]]:
    """Return the node's own addresses as pairs of interface and address/prefix length."""
    return reader.fact("addresses", _addresses)


def node_address_links(reader: SectionReader) -> Fact[tuple[str, ...]]:
    """Return the interfaces that own the addresses which kubelet was started with."""
    asked = reader.fact("node-ip", _node_addresses)
    if not isinstance(asked, Known):
        return asked
    if asked.value is None:
        return Unknown(reason=Reason.NOT_COLLECTED, detail="no kubelet runs here", source=asked.source)
    owned = addresses(reader)
    if not isinstance(owned, Known):
        return owned
    links = {link for link, address in owned.value if ip_interface(address).ip in asked.value}
    return Known(value=tuple(sorted(links)), source=asked.source) if links else Absent(source=asked.source)


def vxlans(reader: SectionReader, file_view: Unknown | None) -> Fact[tuple[Vxlan, ...]]:
    """Return the VXLAN devices; Unknown if one of the namespaces could not be looked at.

    `file_view`: why the files that were seen are not the node's, and so not the names of its namespaces either.
    """
    own = reader.fact("vxlans", lambda text: _vxlans(text, ""))
    if not isinstance(own, Known):
        return own
    if file_view is not None:
        detail = f"VXLAN devices may be in other network namespaces too, which were not seen ({file_view.detail})"
        return Unknown(reason=file_view.reason, detail=detail)
    found = list(own.value)
    for name in reader.names("vxlans-in:"):
        namespace = name.partition(":")[2]
        other = reader.fact(name, lambda text, namespace=namespace: _vxlans(text, namespace))  # type: ignore[misc]
        if isinstance(other, Unknown):
            return other
        found.extend(other.value if isinstance(other, Known) else ())
    return Known(value=tuple(sorted(found, key=lambda device: (device.namespace, device.name))), source=own.source)


def ports(reader: SectionReader, *names: str) -> Fact[tuple[int, ...]]:
    """Return the ports that the tables of those names list, the ephemeral ones left out."""
    facts = [reader.fact(name, _ports) for name in names]
    known = [fact for fact in facts if isinstance(fact, Known)]
    for fact in facts:
        if isinstance(fact, Unknown):
            return fact
    if not known:
        return Absent(source=reader.source(names[0]))
    return Known(value=tuple(sorted(set().union(*(fact.value for fact in known)))), source=known[0].source)


def rp_filter(reader: SectionReader) -> Fact[tuple[tuple[str, int], ...]]:
    """Return reverse path filtering by interface."""
    return reader.fact(
        "rp-filter",
        lambda text: tuple(
            sorted((match[1], int(match[2])) for match in _RP_FILTER.finditer(text) if not is_of_pod(match[1]))
        ),
    )


def _numbers(text: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for match in _SYS_LINE.finditer(text):
        try:
            found[match[1]] = int(match[2].strip(), 0)
        except ValueError:
            continue
    if text.strip() and not found:
        raise ValueError("none of its lines can be read")
    return found


def _drivers(text: str) -> dict[str, str]:
    """Return the driver of each NIC: the last part of what its link says."""
    return {match[1]: match[2].rpartition("/")[2] for match in _DRIVER.finditer(text)}


def _states(text: str) -> dict[str, str]:
    """Return whether each interface works (operstate)."""
    return {match[1]: match[2].strip() for match in _SYS_LINE.finditer(text)}


def _events(text: str) -> dict[str, str]:
    """Return the kind that each interface gives itself (DEVTYPE)."""
    return {match[1]: match[2].strip().removeprefix("DEVTYPE=") for match in _SYS_LINE.finditer(text)}


def _pieces(text: str) -> dict[str, tuple[str, ...]]:
    pieces: dict[str, list[str]] = {}
    for line in text.split("\n"):
        match = _PART.fullmatch(line)
        if match is not None:
            pieces.setdefault(match[1], []).append(match[2])
    return {name: tuple(of_link) for name, of_link in pieces.items()}


def _kind(hardware: int, flags: int, event: str, pieces: Iterable[str], *, has_driver: bool) -> str:
    named = set(pieces)
    for piece, kind in (("bonding", "bond"), ("bridge", "bridge")):
        if piece in named:
            return kind
    # A tap has the same files as a tun, and Ethernet headers.
    if "tun_flags" in named and hardware != _ETHERNET:
        return "tun"
    if hardware == _ETHERNET and flags & _FLAG_NOARP and not event:
        return "dummy"
    # A team says nothing of itself; NICs that have others below them, as on Azure, have drivers.
    if hardware == _ETHERNET and not event and not has_driver and any(piece.startswith("lower_") for piece in named):
        return "team"
    return event or _HARDWARE.get(hardware, "tunnel")


def _offloads(text: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in text.split("\n"):
        if line.startswith("Features for "):
            current = found.setdefault(line.removeprefix("Features for ").rstrip(": "), [])
        elif (match := _OFFLOAD.match(line)) is not None:
            current.append(match[1])
    return tuple(sorted((name, tuple(sorted(features))) for name, features in found.items()))


def _addresses(text: str) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for line in text.split("\n"):
        match = _ADDRESS.match(line)
        if match is None:
            if line.strip() and " inet" in line:
                raise ValueError(f"{line[:60]!r} is not what ip prints")
            continue
        if match[4] in ("global", "site") and not is_of_pod(match[1]):
            # With a peer, the prefix length is written behind the peer's address.
            address = match[2] if "/" in match[2] else f"{match[2]}/{(match[3] or '').rpartition('/')[2] or 'invalid'}"
            found.append((match[1], str(ip_interface(address))))
    return tuple(found)


def _node_addresses(text: str) -> frozenset[IPv4Address | IPv6Address] | None:
    """Return the addresses that kubelet was given, None where no kubelet runs."""
    lines = text.split("\n")
    if "kubelet" not in lines:
        return None
    given = (re.split("[=\0]", line, maxsplit=1)[-1] for line in lines if line.startswith("--node-ip"))
    named = (ip_address(word) for words in given for word in words.split(",") if word)
    return frozenset(address for address in named if not address.is_unspecified)


def _route_devices(text: str) -> tuple[str, ...]:
    """Return the devices of default routes: destination and mask are zero."""
    rows = [line.split() for line in text.split("\n")]
    return tuple(row[0] for row in rows if len(row) >= 8 and row[1] == row[7] == "0" * 8)


def _route6_devices(text: str) -> tuple[str, ...]:
    """Return the devices of IPv6 default routes; the kernel's own one that rejects is on lo."""
    rows = [line.split() for line in text.split("\n")]
    return tuple(row[9] for row in rows if len(row) >= 10 and row[9] != "lo")


def _ports(text: str) -> frozenset[int]:
    lines = set(text.split())
    for line in lines:
        if not _PORT.fullmatch(line):
            raise ValueError(f"{line[:40]!r} is not a port in hexadecimal digits")
    found = {int(line, 16) for line in lines}
    return frozenset(port for port in found if port < FIRST_EPHEMERAL_PORT or port in _WIREGUARD_PORTS)


class _VxlanData(msgspec.Struct):
    port: int = 0
    external: bool = False


class _LinkInfo(msgspec.Struct):
    info_data: _VxlanData = msgspec.field(default_factory=_VxlanData)


class _Device(msgspec.Struct):
    ifname: str = ""
    flags: tuple[str, ...] = ()
    linkinfo: _LinkInfo = msgspec.field(default_factory=_LinkInfo)


def _vxlans(text: str, namespace: str) -> tuple[Vxlan, ...]:
    try:
        # With no device at all some versions print nothing, others an empty list.
        devices = msgspec.json.decode(text.strip() or "[]", type=list[_Device])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(f"it is not what ip prints ({error})") from error
    return tuple(
        Vxlan(
            name=device.ifname,
            port=device.linkinfo.info_data.port,
            is_up="UP" in device.flags,
            takes_all_vnis=device.linkinfo.info_data.external,
            namespace=namespace,
        )
        for device in devices
        if device.ifname
    )
