"""The shape of health.toml: how Calico shows that it is well, and what its pods are given."""

from ebpfcheck.knowledge.table import Table


class InitContainer(Table, frozen=True, kw_only=True):
    """The names of the init container that prepares a node for eBPF mode."""

    names: tuple[str, ...]
    source: str


class InitExitCode(Table, frozen=True, kw_only=True):
    """What an exit code of that init container says."""

    code: int
    releases: tuple[str, ...]
    meaning: str
    remedy: str
    source: str


class TyphaRules(Table, frozen=True, kw_only=True):
    """How calico-node is told to use Typha."""

    variables: tuple[str, ...]
    unused: tuple[str, ...]
    source: str


class OperatorComponents(Table, frozen=True, kw_only=True):
    """The TigeraStatuses that eBPF mode hangs on."""

    components: tuple[str, ...]
    source: str


class OperatorMessage(Table, frozen=True, kw_only=True):
    """A message of the operator's, by a part of it in lower case, and what it means."""

    part: str
    meaning: str
    source: str


class MarkBits(Table, frozen=True, kw_only=True):
    """The mark bits that BPF programs need, and how many Felix needs beside them."""

    releases: str
    programs: int
    others: int
    source: str


class MarkMask(Table, frozen=True, kw_only=True):
    """Which mask Felix takes its mark bits from; health.toml explains the words."""

    default: int
    nftables: str
    nftables_word: str
    operator_sets_nftables: str
    not_on: tuple[str, ...]
    source: str


class LogLevels(Table, frozen=True, kw_only=True):
    """Log levels of BPF programs, in lower case."""

    debug: str
    info: str
    has_info: str
    source: str


class LogLevelBug(Table, frozen=True, kw_only=True):
    """Kernels that have refused the programs of the level Debug."""

    releases: str
    kernels: tuple[str, ...]
    source: str


class PodPath(Table, frozen=True, kw_only=True):
    """A path of the node that calico-node's pods need, and what is lost without it."""

    releases: tuple[str, ...]
    path: str
    loss: str
    source: str


class PodInit(Table, frozen=True, kw_only=True):
    """The releases whose manifests have the init container, and what is lost without it."""

    releases: tuple[str, ...]
    loss: str
    source: str


class Nested(Table, frozen=True, kw_only=True):
    """Nodes that are containers; health.toml explains the words."""

    name: str
    providers: tuple[str, ...] = ()
    os_images: tuple[str, ...] = ()
    shares: bool = False
    fix: str = ""
    source: str


class NotShared(Table, frozen=True, kw_only=True):
    """Why containers wait where a mount is not shared."""

    waits: tuple[str, ...]
    source: str


class ConfigOwner(Table, frozen=True, kw_only=True):
    """Values of the label managed-by that tell of nobody but the operator."""

    ignored: tuple[str, ...]
    source: str


class ConfigManager(Table, frozen=True, kw_only=True):
    """A field manager that puts back what it applies."""

    name: str
    manager: str
    source: str


class HealthTables(Table, frozen=True, kw_only=True):
    """health.toml: how Calico shows that it is well, and what its pods are given."""

    init: InitContainer
    init_exit: tuple[InitExitCode, ...]
    typha: TyphaRules
    operator: OperatorComponents
    operator_message: tuple[OperatorMessage, ...]
    mark_bits: tuple[MarkBits, ...]
    mark_mask: MarkMask
    log_level: LogLevels
    log_level_bug: tuple[LogLevelBug, ...]
    pod_path: tuple[PodPath, ...]
    pod_init: PodInit
    nested: tuple[Nested, ...]
    not_shared: NotShared
    config_owner: ConfigOwner
    config_manager: tuple[ConfigManager, ...]
