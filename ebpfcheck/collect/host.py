"""Turns what the survey printed of the host's software into facts: processes, modules, settings on disk."""

from collections.abc import Iterable

from ebpfcheck.collect.sections import SectionReader
from ebpfcheck.model.facts import Fact, Known, Reason, Unknown

_PROGRAMS = frozenset(
    {
        "kube-proxy", "k3s", "k3s-server", "k3s-agent", "kubelite", "kubelet", "cilium-agent", "dockerd",
        "containerd", "firewalld", "NetworkManager", "calico-node", "flanneld", "rke2",
    }
)  # fmt: skip
# Modules that Calico's requirements name.
_MODULES = frozenset(
    {
        "ip_set", "ip_tables", "ipip", "ipt_REJECT", "ipt_rpfilter", "nf_conntrack", "nf_tables",
        "nft_compat", "vxlan", "wireguard", "xt_LOG", "xt_addrtype", "xt_comment", "xt_conntrack",
        "xt_mark", "xt_multiport", "xt_set",
    }
)  # fmt: skip


def programs(reader: SectionReader) -> Fact[tuple[str, ...]]:
    """Return those of the known programs that run; Unknown where other users' processes are hidden."""
    fact = reader.fact("programs", lambda text: set(text.split("\n")))
    if not isinstance(fact, Known):
        return fact
    init = reader.line("init")
    if not isinstance(init, Known):
        reason = init.reason if isinstance(init, Unknown) else Reason.FORBIDDEN
        return Unknown(reason=reason, detail="process 1 is hidden, and with it others may be", source=fact.source)
    return Known(value=tuple(sorted(_PROGRAMS & fact.value)), source=fact.source)


def modules(reader: SectionReader) -> Fact[tuple[str, ...]]:
    """Return which of the modules in question there are; Unknown where those on disk cannot be seen."""
    loaded = reader.fact("modules", _words)
    on_disk = [reader.fact(f"modules-{name}", _words) for name in ("builtin", "dep")]
    for fact in (loaded, *on_disk):
        if isinstance(fact, Unknown):
            return fact
    if not all(isinstance(fact, Known) for fact in on_disk):
        detail = "the modules of the running kernel are not on disk, where those that are not loaded would show"
        return Unknown(reason=Reason.NOT_COLLECTED, detail=detail, source=on_disk[0].source)
    found = {name.replace("-", "_") for fact in (loaded, *on_disk) if isinstance(fact, Known) for name in fact.value}
    return Known(value=tuple(sorted(found & _MODULES)), source=on_disk[-1].source or 0)


def nameservers(reader: SectionReader) -> Fact[tuple[str, ...]]:
    """Return the name servers in the order of resolv.conf."""
    return reader.fact(
        "nameservers",
        lambda text: tuple(words[1] for line in text.split("\n") if len(words := line.split()) > 1),
    )


def setting_lines(reader: SectionReader, name: str) -> Fact[tuple[str, ...]]:
    """Return the lines of a listing that are no comments, as PATH: LINE."""
    return reader.fact(name, lambda text: tuple(_settings(text.split("\n"))))


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _settings(lines: Iterable[str]) -> Iterable[str]:
    for line in lines:
        path, sign, setting = line.partition(":")
        if sign and setting.strip() and not setting.lstrip().startswith(("#", ";")):
            yield f"{path}: {setting.strip()}"
