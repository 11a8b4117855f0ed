"""Turns what the survey printed of what else handles packets into facts: IPVS, iptables, nftables, BPF programs."""

import re
from collections.abc import Iterable

import msgspec

from ebpfcheck.collect.network import is_of_pod
from ebpfcheck.collect.sections import SectionReader
from ebpfcheck.model.facts import (
    Absent,
    AttachedProgram,
    AttachedPrograms,
    Fact,
    Known,
    KubeChains,
    Unknown,
    rounded_down,
)
from ebpfcheck.versions import KernelRelease

_TC_PROGRAM = re.compile(r"filter .* bpf .*\bhandle \S+ (\S+)")
_KUBE_CHAIN = re.compile(r"\+|KUBE-[A-Z-]{1,40}", re.ASCII)


def ipvs_services(reader: SectionReader) -> Fact[bool]:
    """Return whether IPVS has virtual services."""
    return reader.fact("ipvs", lambda text: bool(text.strip()))


def nft_tables(reader: SectionReader) -> Fact[tuple[str, ...]]:
    """Return the tables that nft lists."""
    return reader.fact("nft-tables", _tables)


def kube_chains(reader: SectionReader) -> Fact[KubeChains]:
    """Return the KUBE- chains of both kinds of iptables; Unknown if those of either could not be listed."""
    tables = reader.fact("legacy-tables", lambda text: "nat" in text.split())
    if isinstance(tables, Unknown):
        return tables
    listed = nft_tables(reader)
    if isinstance(listed, Unknown) and reader.locator("kube-chains-nft").startswith("nft "):
        # An nft that cannot list its tables is not to be trusted with its chains.
        return listed
    has_legacy = isinstance(tables, Known) and tables.value
    facts = [
        reader.fact(name, _kube_chains) for name in ("kube-chains-nft", *(["kube-chains-legacy"] if has_legacy else []))
    ]
    for fact in facts:
        if isinstance(fact, Unknown):
            return fact
    known = [fact for fact in facts if isinstance(fact, Known)]
    if not known:
        return Absent(source=facts[0].source or 0)
    chains = [name for fact in known for name in fact.value]
    of_services = chains.count("+")
    return Known(
        value=KubeChains(
            names=tuple(sorted(set(chains) - {"+"})),
            of_services=rounded_down(of_services),
        ),
        source=known[-1].source,
    )


def bpf_programs(reader: SectionReader) -> Fact[AttachedPrograms]:
    """Return the BPF programs on the node's own interfaces, as bpftool lists them, or else tc."""
    listed = reader.fact("bpf-net", _programs_of_bpftool)
    if isinstance(listed, Known):
        whole = AttachedPrograms(programs=listed.value, by="bpftool", misses_tcx=_misses_tcx(reader))
        return Known(value=whole, source=listed.source)
    filters = reader.fact("tc-filters", _programs_of_tc)
    if isinstance(filters, Known):
        return Known(value=AttachedPrograms(programs=filters.value, by="tc"), source=filters.source)
    return listed


# From here on bpftool lists what is attached by TCX, and kernels have it. That 7.1 does not, was seen on kernel 6.18.
_BPFTOOL_WITH_TCX = (7, 3)
_KERNEL_WITH_TCX = (6, 6)
_BPFTOOL = re.compile(r"bpftool v(\d{1,4})\.(\d{1,4})", re.ASCII)


def _misses_tcx(reader: SectionReader) -> bool:
    if reader.state("bpftool-version") is None:
        # A survey that did not ask.
        return False
    tool = _BPFTOOL.search(reader.text("bpftool-version"))
    kernel = KernelRelease.parse(reader.text("osrelease"))
    is_new = tool is not None and (int(tool[1]), int(tool[2])) >= _BPFTOOL_WITH_TCX
    return not is_new and (kernel is None or (kernel.major, kernel.minor) >= _KERNEL_WITH_TCX)


def bpf_pins(reader: SectionReader) -> Fact[tuple[str, ...]]:
    """Return who has pinned something in bpffs."""
    fact = reader.fact("pins", _owners)
    return Absent(source=fact.source) if isinstance(fact, Known) and not fact.value else fact


def _tables(text: str) -> tuple[str, ...]:
    lines = [line.split() for line in text.split("\n") if line.strip()]
    for words in lines:
        if len(words) != 3 or words[0] != "table":
            raise ValueError(f"{' '.join(words)[:40]!r} is not how nft lists a table")
    return tuple(sorted(" ".join(words[1:]) for words in lines))


def _kube_chains(text: str) -> tuple[str, ...]:
    lines = [line for line in text.split("\n") if line]
    if "!" in lines:
        raise ValueError("they could not be listed")
    for line in lines:
        if not _KUBE_CHAIN.fullmatch(line):
            raise ValueError(f"{line[:40]!r} is not the name of a chain")
    return tuple(lines)


class _NetProgram(msgspec.Struct):
    devname: str = ""
    kind: str = ""
    name: str = ""


class _Net(msgspec.Struct):
    xdp: tuple[_NetProgram, ...] = ()
    tc: tuple[_NetProgram, ...] = ()


def _programs_of_bpftool(text: str) -> tuple[AttachedProgram, ...]:
    try:
        listed = msgspec.json.decode(text, type=list[_Net])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(f"it is not what bpftool prints ({error})") from error
    found = {
        AttachedProgram(
            device=one.devname, hook=_hook(one.kind) if group == "tc" else "xdp", name=_filter_name(one.name)
        )
        for net in listed
        for group, programs in (("tc", net.tc), ("xdp", net.xdp))
        for one in programs
        if one.devname and not is_of_pod(one.devname)
    }
    return _sorted_programs(found)


def _hook(kind: str) -> str:
    """Return tc/ingress for clsact/ingress, and what else bpftool says as it is."""
    return kind.replace("clsact/", "tc/")


def _programs_of_tc(text: str) -> tuple[AttachedProgram, ...]:
    found: set[AttachedProgram] = set()
    device, hook = "", ""
    for line in text.split("\n"):
        words = line.split()
        if line == "!":
            raise ValueError(f"tc could not list those of {device}")
        if len(words) == 3 and words[0] == "device":
            device, hook = words[1], words[2]
        elif (match := _TC_PROGRAM.match(line)) is not None:
            found.add(AttachedProgram(device=device, hook=f"tc/{hook}", name=_filter_name(match[1])))
    return _sorted_programs(found)


def _filter_name(shown: str) -> str:
    """Return the name in that of a filter: NAME, NAME:[ID] by libbpf, FILE:[NAME] or PIN:[*fsobj] by tc."""
    before, sign, inside = shown.removesuffix("]").partition(":[")
    return inside if sign and not inside.isdecimal() and not inside.startswith("*") else before


def _sorted_programs(found: Iterable[AttachedProgram]) -> tuple[AttachedProgram, ...]:
    return tuple(sorted(found, key=lambda one: (one.device, one.hook, one.name)))


def _owners(text: str) -> tuple[str, ...]:
    owners: set[str] = set()
    for path in text.split("\n"):
        below = path.partition("/sys/fs/bpf/")[2]
        if not below or below in ("tc", "tc/globals", "xdp", "ip", "tcx"):
            continue
        name = below.rpartition("/")[2]
        if below.startswith(("calico", "tcx/")) or name.startswith(("cali_", "calico", "xdp_cali_")):
            owners.add("calico")
        elif below.startswith("cilium") or name.startswith("cilium"):
            owners.add("cilium")
        elif not below.startswith("tc/") or name.startswith("map"):
            owners.add("other")
    return tuple(sorted(owners))
