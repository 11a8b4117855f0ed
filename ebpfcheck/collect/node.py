"""Turns what the survey printed into facts of a node; the same whichever transport brought it."""

import os
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Literal, TypeVar

import distro
import msgspec

from ebpfcheck.collect import bpf_objects, endpoints, hooks, host, network, trial
from ebpfcheck.collect.framing import SURVEY_LIMIT, State, read_document
from ebpfcheck.collect.mounts import MountTable, mount_holding, normal_path, parse_mount_table, visible_at
from ebpfcheck.collect.sections import SectionReader, behind, number, one_line
from ebpfcheck.collect.transport import NotReachedError, ObjectsTrial, Survey
from ebpfcheck.model.facts import (
    Absent,
    Fact,
    Known,
    Mount,
    MountStack,
    NodeFacts,
    NodeIdentity,
    NodeKind,
    OsRelease,
    Place,
    Reason,
    SourceKind,
    Unknown,
)
from ebpfcheck.model.snapshot import Problem, SourceIndex

T = TypeVar("T")

# The kernel's constant inode number of the first process id namespace (PROC_PID_INIT_INO).
_FIRST_PID_NAMESPACE = "pid:[4026531836]"
# Programs that are process 1 of a container that is itself a node (kind, k3d, WSL, LXC). Those that also serve as
# process 1 of ordinary containers, such as s6-svscan and tini, are not among them.
_INIT_PROGRAMS = frozenset({"systemd", "init", "openrc-init", "machined", "k3s"})
# gVisor shows a kernel of its own making: no compiler, no builder, a fixed date.
_GVISOR = re.compile(r"Linux version 4\.4\.0 #1 SMP [^()]*")
_CONFIG_OPTION = re.compile(
    r"(?:# )?(CONFIG_(?:BPF\w*|CGROUPS|CGROUP_BPF|DEBUG_INFO_BTF|HAVE_EBPF_JIT|NETKIT|NET_CLS_ACT|NET_CLS_BPF|NET_SCHED"
    r"|NET_SCH_INGRESS|SECURITY_LOCKDOWN_LSM|VETH|VXLAN|XDP_SOCKETS|FRAME_WARN|STRIP_ASM_SYMS"
    r"|IP_NF_IPTABLES|IP_NF_MATCH_RPFILTER|IP_NF_TARGET_REJECT|IP_SET|NETFILTER_XT_MARK|NETFILTER_XT_SET"
    r"|NETFILTER_XT_MATCH_(?:ADDRTYPE|COMMENT|CONNTRACK|MULTIPORT)|NETFILTER_XT_TARGET_LOG|NF_CONNTRACK|NF_TABLES"
    r"|NFT_COMPAT))"
    r"(?:=(\S{1,64})| is not set)",
    re.ASCII,
)
# Options of the last part of every configuration, "Kernel hacking".
_LAST_OPTIONS = frozenset({"CONFIG_FRAME_WARN", "CONFIG_STRIP_ASM_SYMS"})
_FILESYSTEMS = ("bpf", "cgroup", "cgroup2")
_SYSTEMD_LIBRARY = re.compile(r"libsystemd-shared-(\d{1,5})", re.ASCII)
# Mounts of pods and containers differ on every node and say nothing of the node.
_WORKLOAD_PATH = re.compile(r"/(?:pods|containers|overlay2|rootfs|netns|docker|sandboxes)/")

# A line of mountinfo: the device and the directory of it that is mounted, and where.
_ROOT_OF = re.compile(r"^\d+ \d+ (?P<what>\d+:\d+ \S+) (?P<point>\S+) ", re.MULTILINE | re.ASCII)

CONTAINER_WORDS = "the survey ran inside a container, which shows its own files and mounts, not the node's"
DOUBT_WORDS = "whether the survey ran on the node or inside a container could not be told"
NAMESPACE_DOUBT = "whether the survey saw the node's own files could not be told from the mount tables"
ROOT_DOUBT = "what the survey was given as the node's root is not what process 1 has as its root"
NAMESPACE_WORDS = "the survey ran in another mount namespace than process 1, which need not show the node's files"


def node_facts(survey: Survey, kind: SourceKind, sources: SourceIndex) -> tuple[NodeFacts, tuple[Problem, ...]]:
    """Return the facts that a survey gives and what went wrong; NotReachedError if that is nothing at all."""
    document = read_document(survey.data, survey.nonce)
    if not document.sections:
        raise NotReachedError(
            survey.cut or Reason.UNPARSABLE,
            f"the survey printed nothing that can be read{': ' + survey.detail if survey.detail else ''}",
        )
    reader = _Reader(document, survey, kind, sources)
    if reader.is_root_doubted():
        # Nothing is read from anywhere else, so that all of it might be somebody else's, or absent for no reason.
        raise NotReachedError(survey.cut or Reason.NOT_COLLECTED, ROOT_DOUBT)
    problems: tuple[Problem, ...] = ()
    if not document.complete:
        problems = (
            Problem(
                source="survey",
                reason=survey.cut or Reason.TRUNCATED,
                detail=survey.detail or "the survey was cut off before its end",
            ),
        )
    facts = reader.facts()
    if all(isinstance(getattr(facts.kind, name), Unknown) for name in facts.kind.__struct_fields__):
        raise NotReachedError(
            survey.cut or Reason.NOT_COLLECTED,
            f"nothing could be learned: {survey.detail or 'every part of the survey failed'}",
        )
    return facts, problems


class _Reader(SectionReader):
    """Reads what a node is; each method gives one fact, or Unknown with the reason."""

    def facts(self) -> NodeFacts:
        """Read all facts."""
        proc_version = self.fact("version", _proc_version)
        kernel_view = self._kernel_view(proc_version)
        file_view = self._file_view()
        network_view = network.network_view(self, is_node=self._where() == "node")
        config = behind(kernel_view, self._kernel_config(file_view))
        mounts = behind(self._process_view(), self._mount_table())
        name, own_addresses = self.line("hostname"), network.addresses(self)
        return NodeFacts(
            identity=NodeIdentity(
                name=name.value if isinstance(name, Known) and name.value else "unnamed",
                addresses=own_addresses.value if isinstance(own_addresses, Known) and network_view is None else (),
            ),
            kind=NodeKind(
                proc_version=behind(kernel_view, proc_version),
                kernel_release=behind(kernel_view, self.line("osrelease")),
                arch=self.line("arch"),
                os=behind(file_view, self.fact("os-release", _os_release)),
                container=self._container(),
                init=behind(self._process_view(), self.line("init")),
                systemd_version=behind(file_view, self._systemd_version()),
                kernel_config=config,
                vmlinux_btf=behind(kernel_view, self._btf(config)),
                lockdown=behind(kernel_view, self._lockdown(config)),
                lsm=behind(kernel_view, self._lsm()),
                selinux=behind(file_view, self.fact("selinux", _selinux)),
                bpf_jit_enable=behind(kernel_view, self._host_net_number("jit-enable")),
                bpf_jit_harden=behind(kernel_view, self._host_net_number("jit-harden")),
                unprivileged_bpf_disabled=behind(kernel_view, self.fact("unprivileged-bpf", number)),
                filesystems=behind(kernel_view, self.fact("filesystems", _filesystems)),
                bpffs=self._bpffs(mounts),
                bpffs_elsewhere=_of(mounts, lambda table: _points(table, "bpf", {"/sys/fs/bpf"})),
                bpffs_fstab=behind(file_view, self._fstab()),
                bpffs_unit=behind(file_view, self._first_path("bpffs-units")),
                cgroup_layout=_of(mounts, _cgroup_layout),
                cgroup2_mounts=_of(mounts, lambda table: _points(table, "cgroup2", set())),
                links=behind(network_view, network.links(self)),
                offloads=behind(network_view, network.offloads(self)),
                node_address_links=behind(self._process_view(), behind(network_view, network.node_address_links(self))),
                nameservers=behind(file_view, host.nameservers(self)),
                vxlans=behind(network_view, network.vxlans(self, file_view)),
                tcp_listeners=behind(network_view, network.ports(self, "tcp", "tcp6")),
                udp_ports=behind(network_view, network.ports(self, "udp", "udp6")),
                ipvs_services=behind(network_view, hooks.ipvs_services(self)),
                nft_tables=behind(network_view, hooks.nft_tables(self)),
                kube_chains=behind(network_view, hooks.kube_chains(self)),
                bpf_programs=behind(network_view, hooks.bpf_programs(self)),
                modules=behind(
                    kernel_view, behind(None if "/lib/modules" in self._declared else file_view, host.modules(self))
                ),
                programs=behind(self._process_view(), host.programs(self)),
                bpf_pins=behind(None if self._shows_bpffs() else file_view, hooks.bpf_pins(self)),
                ip_forward=behind(network_view, self.fact("ip-forward", number)),
                rp_filter=behind(network_view, network.rp_filter(self)),
                rp_filter_files=behind(file_view, host.setting_lines(self, "sysctl-files")),
                ufw_enabled=behind(file_view, self.fact("ufw", lambda text: "yes" in text.lower())),
                unmanaged_devices=behind(file_view, host.setting_lines(self, "network-manager")),
                run_calico=behind(file_view, self._run_calico(mounts)),
                calico_cgroup=_mounted(mounts, "/run/calico/cgroup"),
                api_endpoints=behind(network_view, endpoints.trials(self, self._kind)),
                **self._trial_facts(kernel_view),
            ),
        )

    def _trial_facts(self, kernel_view: Unknown | None) -> dict[str, Fact[Any]]:
        if self._trial == "none":
            return {}
        if isinstance(self._trial, ObjectsTrial):
            return {"trial_objects": behind(kernel_view, bpf_objects.fact(self, self._trial))}
        return {name: behind(kernel_view, fact) for name, fact in trial.facts(self).items()}

    # Where the survey ran, and so whose files, mounts and kernel it saw.

    def _where(self) -> Literal["node", "container"] | None:
        """Tell whether process 1 is a node's or a mere container's; None where neither shows."""
        namespace, init = self.line("pid-namespace"), self.line("init")
        if isinstance(namespace, Known) and namespace.value == _FIRST_PID_NAMESPACE:
            return "node"
        if not isinstance(init, Known):
            return None
        if init.value in _INIT_PROGRAMS and "kubepods" not in self.text("init-cgroup"):
            return "node"
        return "container" if isinstance(namespace, Known) else None

    def _container(self) -> Fact[str]:
        if self._where() is None:
            return self._unclear()
        source = self.source("container-marks")
        if not self._in_other_pid_namespace():
            return Absent(source=source)
        if self._kind is SourceKind.EXEC:
            # It is calico-node's container that shows.
            return Unknown(reason=Reason.NOT_COLLECTED, detail=CONTAINER_WORDS)
        named = self.line("container")
        if isinstance(named, Known) and named.value:
            return Known(value=named.value, source=self.source("container"))
        marks = self.text("container-marks") + self.text("init-cgroup")
        for word, engine in (("dockerenv", "docker"), ("containerenv", "podman"), ("kubepods", "kubernetes")):
            if word in marks:
                return Known(value=engine, source=source)
        return Known(value="unnamed", source=source)

    def _in_other_pid_namespace(self) -> bool:
        namespace = self.line("pid-namespace")
        return isinstance(namespace, Known) and namespace.value != _FIRST_PID_NAMESPACE

    def _process_view(self) -> Unknown | None:
        """Why what hangs on process 1 is not known to be the node's; None if it is."""
        where = self._where()
        if where == "container":
            return Unknown(reason=Reason.NOT_COLLECTED, detail=CONTAINER_WORDS)
        return self._unclear() if where is None else None

    def _unclear(self) -> Unknown:
        """Why it is not known whether the survey ran on the node or in a container."""
        for name in ("pid-namespace", "init"):
            fact = self.line(name)
            if isinstance(fact, Unknown):
                return Unknown(reason=fact.reason, detail=f"{DOUBT_WORDS} ({fact.detail})")
        return Unknown(reason=Reason.NOT_COLLECTED, detail=DOUBT_WORDS)

    def _file_view(self) -> Unknown | None:
        """Why the files that were seen are not known to be the node's; None if they are."""
        if "root-mount" in self._sections:
            return self._process_view()
        own = self.text("own-first-mount").strip()
        of_init = self.text("mountinfo").partition("\n")[0].strip()
        if own and of_init and own != of_init:
            return Unknown(reason=Reason.NOT_COLLECTED, detail=NAMESPACE_WORDS)
        view = self._process_view()
        if view is None and not (own and of_init):
            facts = [self.fact(name, _not_empty) for name in ("own-first-mount", "mountinfo")]
            reason = next((fact.reason for fact in facts if isinstance(fact, Unknown)), Reason.FORBIDDEN)
            return Unknown(reason=reason, detail=f"{NAMESPACE_DOUBT}{self.root_hint}")
        return view

    def is_root_doubted(self) -> bool:
        """Whether the survey was given a root directory that is not known to be that of process 1."""
        if "root-mount" not in self._sections:
            return False
        mounted = _ROOT_OF.search(self.text("root-mount"))
        of_init = [match for match in _ROOT_OF.finditer(self.text("mountinfo")) if match["point"] == "/"]
        return not (mounted and of_init and mounted["what"] == of_init[-1]["what"])

    def _kernel_view(self, proc_version: Fact[str]) -> Unknown | None:
        if isinstance(proc_version, Known) and _GVISOR.fullmatch(proc_version.value):
            return Unknown(
                reason=Reason.NOT_COLLECTED,
                detail="the survey ran in a gVisor sandbox, which shows a kernel of its own",
            )
        return None

    # Facts that take more than one section.

    def _kernel_config(self, file_view: Unknown | None) -> Fact[tuple[tuple[str, str], ...]]:
        if "config-gz" in self._sections:
            return self.bytes_fact("config-gz", _gzipped_config)
        fact = self.fact("config", _config)
        if isinstance(fact, Absent):
            return Unknown(
                reason=Reason.NOT_COLLECTED,
                detail="neither /proc/config.gz nor a configuration file of the running kernel is there",
                source=fact.source,
            )
        return behind(file_view, fact)

    def _btf(self, config: Fact[tuple[tuple[str, str], ...]]) -> Fact[bool]:
        fact = self.fact("btf", lambda text: "content" in text.split())
        if isinstance(fact, Unknown) or (isinstance(fact, Known) and fact.value):
            return fact
        if self.state("sysfs") is not State.OK:
            return Unknown(reason=Reason.NOT_COLLECTED, detail="/sys/kernel is not there to look in")
        if isinstance(config, Known) and dict(config.value).get("CONFIG_DEBUG_INFO_BTF") == "y":
            detail = "/sys/kernel/btf/vmlinux is not there, or empty, although the kernel was built with BTF"
            return Unknown(reason=Reason.NOT_COLLECTED, detail=detail, source=fact.source)
        return fact

    def _lockdown(self, config: Fact[tuple[tuple[str, str], ...]]) -> Fact[str]:
        fact = self.fact("lockdown", _chosen)
        if not isinstance(fact, Absent) or self.state("lsm") is State.OK:
            return fact
        if isinstance(config, Known) and dict(config.value).get("CONFIG_SECURITY_LOCKDOWN_LSM", "n") == "n":
            return Absent(source=config.source)
        return Unknown(reason=Reason.NOT_COLLECTED, detail="securityfs is not mounted", source=fact.source)

    def _lsm(self) -> Fact[tuple[str, ...]]:
        fact = self.fact("lsm", lambda text: tuple(one_line(text).split(",")))
        if isinstance(fact, Absent):
            return Unknown(reason=Reason.NOT_COLLECTED, detail="securityfs is not mounted", source=fact.source)
        return fact

    def _host_net_number(self, name: str) -> Fact[int]:
        fact = self.fact(name, number)
        if isinstance(fact, Absent) and self.state("host-net") is not State.OK:
            detail = "the survey ran in another network namespace than the node's, which does not show this setting"
            return Unknown(reason=Reason.NOT_COLLECTED, detail=detail, source=fact.source)
        return fact

    def _systemd_version(self) -> Fact[int]:
        fact = self.fact("systemd", lambda text: [int(number) for number in _SYSTEMD_LIBRARY.findall(text)])
        if not isinstance(fact, Known):
            return fact
        return Known(value=max(fact.value), source=fact.source) if fact.value else Absent(source=fact.source)

    def _first_path(self, name: str) -> Fact[str]:
        fact = self.fact(name, lambda text: text.split("\n")[0])
        return Absent(source=fact.source) if isinstance(fact, Known) and not fact.value else fact

    def _fstab(self) -> Fact[tuple[str, ...]]:
        fact = self.fact("fstab", _fstab_lines)
        return Absent(source=fact.source) if isinstance(fact, Known) and not fact.value else fact

    def _mount_table(self) -> Fact[MountTable]:
        fact = self.fact("mountinfo", _mount_table)
        if not isinstance(fact, Unknown) and not isinstance(fact, Absent):
            return fact
        detail = fact.detail if isinstance(fact, Unknown) else "/proc/1 is hidden" + self.root_hint
        reason = fact.reason if isinstance(fact, Unknown) else Reason.FORBIDDEN
        return Unknown(reason=reason, detail=detail, source=fact.source)

    def _shows_bpffs(self) -> bool:
        """Whether the container shows bpffs as it is mounted on the node; where it shows none, there may be one."""
        if not {"/sys/fs/bpf", "/sys/fs"} & set(self._declared):
            return False
        own = self.fact("mountinfo", _mount_table)
        stack = visible_at(own.value, "/sys/fs/bpf") if isinstance(own, Known) else None
        return stack is not None and stack.visible is not None and stack.visible.fstype == "bpf"

    def _bpffs(self, mounts: Fact[MountTable]) -> Fact[MountStack]:
        fact = _mounted(self._mount_table() if self._shows_bpffs() else mounts, "/sys/fs/bpf")
        own = self.text("own-mountinfo")
        if not isinstance(fact, Unknown) or not own:
            return fact
        # Only a hint: it is process 1 whose mounts count.
        stack = visible_at(parse_mount_table(own), "/sys/fs/bpf")
        seen = f"{stack.visible.fstype} is" if stack and stack.visible else "nothing is"
        detail = f"{fact.detail} (in the survey's own mount table {seen} mounted at /sys/fs/bpf)"
        return Unknown(reason=fact.reason, detail=detail, source=fact.source)

    def _run_calico(self, mounts: Fact[MountTable]) -> Fact[Place]:
        if not isinstance(mounts, Known):
            return mounts
        mount = mount_holding(mounts.value, "/run/calico")
        if mount is None:
            return Unknown(reason=Reason.UNPARSABLE, detail="the mount table has no root", source=mounts.source)
        kind = self.fact("run-calico", lambda text: "directory" in text.split())
        if isinstance(kind, Unknown):
            return kind
        state: Literal["directory", "missing", "other"] = "missing"
        if isinstance(kind, Known):
            state = "directory" if kind.value else "other"
        return Known(
            value=Place(state=state, fstype=mount.fstype, read_only=mount.read_only), source=self.source("run-calico")
        )


def _of(fact: Fact[MountTable], convert: Callable[[MountTable], T]) -> Fact[T]:
    return Known(value=convert(fact.value), source=fact.source) if isinstance(fact, Known) else fact


def _mounted(fact: Fact[MountTable], path: str) -> Fact[MountStack]:
    if not isinstance(fact, Known):
        return fact
    stack = visible_at(fact.value, path)
    if stack is None:
        return Absent(source=fact.source)
    plain = MountStack(
        visible=None if stack.visible is None else _without_sizes(stack.visible),
        hidden=tuple(_without_sizes(mount) for mount in stack.hidden),
    )
    return Known(value=plain, source=fact.source)


def _without_sizes(mount: Mount) -> Mount:
    """Drop the options that differ from node to node, such as size=12334492k."""
    kept = tuple(option for option in mount.options if "=" not in option or option.startswith("mode="))
    return msgspec.structs.replace(mount, options=kept)


def _points(table: MountTable, fstype: str, but: set[str]) -> tuple[str, ...]:
    points = {entry.mount.point for entry in table.entries if entry.mount.fstype == fstype} - but
    return tuple(sorted(point for point in points if not _WORKLOAD_PATH.search(point)))


def _cgroup_layout(table: MountTable) -> Literal["unified", "hybrid", "legacy", "none"]:
    root = visible_at(table, "/sys/fs/cgroup")
    if root is not None and root.visible is not None and root.visible.fstype == "cgroup2":
        return "unified"
    below = {entry.mount.fstype for entry in table.entries if entry.mount.point.startswith("/sys/fs/cgroup/")}
    if "cgroup" in below:
        return "hybrid" if "cgroup2" in below else "legacy"
    return "none"


def _not_empty(text: str) -> str:
    if not text.strip():
        raise ValueError("it is empty")
    return text


def _proc_version(text: str) -> str:
    line = one_line(text)
    if not line.startswith("Linux version "):
        raise ValueError("it does not begin with 'Linux version'")
    return line


def _chosen(text: str) -> str:
    match = re.search(r"\[(\w+)\]", one_line(text), re.ASCII)
    if match is None:
        raise ValueError("no choice is marked")
    return match[1]


def _selinux(text: str) -> Literal["enforcing", "permissive"]:
    return "enforcing" if number(text) else "permissive"


def _filesystems(text: str) -> tuple[str, ...]:
    listed = {line.split()[-1] for line in text.splitlines() if line.split()}
    if not listed:
        raise ValueError("it is empty")
    return tuple(name for name in _FILESYSTEMS if name in listed)


def _mount_table(text: str) -> MountTable:
    table = parse_mount_table(text)
    if not table.entries or table.unread_lines:
        raise ValueError(f"{table.unread_lines or 'all'} of its lines cannot be read")
    return table


def _gzipped_config(data: bytes) -> tuple[tuple[str, str], ...]:
    unzip = zlib.decompressobj(wbits=31)
    try:
        content = unzip.decompress(data, SURVEY_LIMIT)
    except zlib.error as error:
        raise ValueError(f"it cannot be unpacked ({error})") from error
    if not unzip.eof:
        raise ValueError("it is cut off or too large")
    return _config(content.decode("utf-8", "backslashreplace"))


def _config(text: str) -> tuple[tuple[str, str], ...]:
    options = {match[1]: match[2] or "n" for line in text.splitlines() if (match := _CONFIG_OPTION.fullmatch(line))}
    # An option that is not mentioned is not set, but only in a file that goes on to its last part.
    if not options.keys() & _LAST_OPTIONS:
        raise ValueError("it is no kernel configuration, or it is cut off")
    return tuple(sorted((name, setting) for name, setting in options.items() if name not in _LAST_OPTIONS))


def _fstab_lines(text: str) -> tuple[str, ...]:
    """Return the lines for /sys/fs/bpf, fields parted by one blank; the options may be left out of a line."""
    lines = (line.split() for line in text.splitlines())
    return tuple(
        " ".join(fields)
        for fields in lines
        if len(fields) >= 3 and not fields[0].startswith("#") and normal_path(fields[1]) == "/sys/fs/bpf"
    )


# Many nodes share one.
@lru_cache(maxsize=64)
def _os_release(text: str) -> OsRelease:
    if len(text) > 64 * 1024:
        raise ValueError("it is too long")
    try:
        with _as_file(text) as path:
            system = distro.LinuxDistribution(
                include_lsb=False, os_release_file=path, include_uname=False, include_oslevel=False
            )
            fields = system.os_release_info()
    except OSError as error:
        raise ValueError(f"no file could be made to read it from ({error.strerror})") from error
    if not fields.get("id") and not fields.get("name"):
        raise ValueError("it names no distribution")
    return OsRelease(
        id=fields.get("id", "").lower(),
        id_like=tuple(fields.get("id_like", "").lower().split()),
        version=fields.get("version_id", ""),
        name=fields.get("pretty_name", "") or fields.get("name", ""),
    )


@contextmanager
def _as_file(text: str) -> Iterator[str]:
    """Give the path of a file that holds a text, in memory where the system can: distro reads nothing but files."""
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("os-release"), "w", encoding="utf-8") as content:
            content.write(text)
            content.flush()
            yield f"/proc/self/fd/{content.fileno()}"
    else:
        import tempfile

        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as content:
            content.write(text)
            content.flush()
            yield content.name
