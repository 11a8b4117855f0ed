"""What a trial says: the kernel's own answers, by the program of ebpfcheck/trial, or as much as bpftool tells."""

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Literal

import msgspec

from ebpfcheck.collect.framing import State
from ebpfcheck.collect.sections import SectionReader
from ebpfcheck.model.facts import Fact, Known, Reason, Refusal, RootHook, TrialAnswers, Unknown, Untold

_FORMAT = "ebpfcheck.trial.kernel/1"
# Far more than a trial prints.
_LONGEST_DOCUMENT, _LONGEST_WORDS = 1024 * 1024, 200
# The kernel's numbers of programs and flags have 32 bits.
_LARGEST = 1 << 32
# By what each fact is found: the topic in the document, and the call that the kernel answered.
_TOPICS = {
    "trial_maps": ("map", "bpf(2) BPF_MAP_CREATE"),
    "trial_programs": ("program", "bpf(2) BPF_PROG_LOAD"),
    "trial_helpers": ("helper", "bpf(2) BPF_PROG_LOAD"),
    "trial_features": ("feature", "bpf(2) BPF_PROG_LOAD, BPF_PROG_TEST_RUN"),
    "trial_attachments": ("attach", "bpf(2) BPF_LINK_CREATE, rtnetlink"),
    "trial_devices": ("device", "rtnetlink"),
}
_HOOKS_CALL = "bpf(2) BPF_PROG_QUERY"
_ANSWERED = "the kernel's own answer to {}"
_NAME = re.compile(r"[a-z0-9][a-z0-9_/-]{0,63}", re.ASCII)
_CONSTANT = re.compile(r"[A-Z0-9_]{1,24}", re.ASCII)
# What differs from one run to the next, and would make a kind of its own of every node.
_OF_ONE_RUN = re.compile(r"\b0x[0-9a-f]{6,16}\b|(?<=ebpfcheck-trial-)\d+|\bpid \d+", re.ASCII)
_EFFECTIVE = re.compile(r"^CapEff:\s+([0-9a-f]{1,16})$", re.MULTILINE | re.ASCII)
_NET_ADMIN, _SYS_ADMIN, _PERFMON, _BPF = (1 << bit for bit in (12, 21, 38, 39))
# No kernel has these helpers for these types of programs; a bpftool that does not know the kernel's wording lists them.
_IMPOSSIBLE = (("xdp", "skb_adjust_room"), ("sched_cls", "xdp_adjust_head"))
# Of bpftool's lists, which name some hundred helpers for each of thirty types, what programs of any Calico may call.
_PROGRAM_TYPES = ("cgroup_sock_addr", "sched_cls", "xdp")
HELPERS = frozenset(
    {
        "csum_diff", "fib_lookup", "for_each_map_elem", "get_prandom_u32", "get_socket_cookie", "ktime_get_ns",
        "l3_csum_replace", "l4_csum_replace", "loop", "map_delete_elem", "map_lookup_elem", "map_update_elem",
        "perf_event_output", "redirect", "redirect_neigh", "redirect_peer", "ringbuf_output", "skb_adjust_room",
        "skb_change_head", "skb_change_tail", "skb_change_type", "skb_load_bytes", "skb_pull_data",
        "skb_set_tunnel_key", "skb_store_bytes", "spin_lock", "spin_unlock", "tail_call", "timer_init",
        "timer_set_callback", "timer_start", "xdp_adjust_meta", "xdp_load_bytes",
    }
)  # fmt: skip


class _Answer(msgspec.Struct):
    topic: str
    name: str
    answer: Literal["yes", "no", "untold"]
    errno: str = ""
    words: str = ""
    needs: list[str] = []


class _Hook(msgspec.Struct):
    hook: str
    answer: Literal["yes", "no", "untold"]
    programs: int = 0
    flags: int = 0
    errno: str = ""
    words: str = ""
    needs: list[str] = []


class _Document(msgspec.Struct):
    trial: str
    answers: list[_Answer] = []
    root_hooks: list[_Hook] = []
    root_hooks_path: str = ""
    left: str = ""


class _Features(msgspec.Struct):
    """What `bpftool -j feature probe` prints, as far as it is read."""

    error: str = ""
    program_types: dict[str, Any] = {}
    map_types: dict[str, Any] = {}
    helpers: dict[str, Any] = {}


def facts(reader: SectionReader) -> dict[str, Fact[Any]]:
    """Return the facts of a trial by their names: what the kernel told, or why it could not be asked."""
    if reader.state("trial") is State.NO_TOOL:
        return _by_bpftool(reader)
    read = reader.bytes_fact("trial", _read)
    if reader.state("trial") is State.FAILED:
        # One that was ended may have told what it knew by then.
        with suppress(ValueError):
            read = Known(value=_read(reader.printed("trial")[0].encode()), source=reader.source("trial"))
    if not isinstance(read, Known):
        return dict.fromkeys((*_TOPICS, "trial_root_hooks"), _why_not(reader, "trial", read))
    document = read.value
    found: dict[str, Fact[Any]] = {name: _topic(reader, document, *topic) for name, topic in _TOPICS.items()}
    return {**found, "trial_root_hooks": _root_hooks(reader, document)}


def _why_not(reader: SectionReader, section: str, fact: Fact[Any]) -> Fact[Any]:
    if reader.state(section) is State.FAILED and reader.printed(section)[1] == "timeout":
        return Unknown(reason=Reason.TIMEOUT, detail="the trial took longer than it may, and was ended")
    return fact


def _read(data: bytes) -> _Document:
    document: _Document = _decoded(data, _Document)
    if document.trial != _FORMAT:
        raise ValueError(f"it is not {_FORMAT}")
    return document


def _decoded(data: bytes, shape: type[Any]) -> Any:
    if len(data) > _LONGEST_DOCUMENT:
        raise ValueError("it is too long for what a trial says")
    try:
        return msgspec.json.decode(data, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"it is not what a trial says ({error})") from error


def _topic(reader: SectionReader, document: _Document, topic: str, call: str) -> Fact[TrialAnswers]:
    source = reader.called(_ANSWERED.format(call))
    answers = [one for one in document.answers if one.topic == topic and _NAME.fullmatch(one.name)]
    left = _words(document.left)
    if not answers:
        return Unknown(
            reason=Reason.UNSUPPORTED if left else Reason.NOT_COLLECTED,
            detail=f"the trial ended before it asked for this{f': {left}' if left else ''}",
            source=source,
        )
    by_name: dict[str, _Answer] = {}
    for one in answers:
        if one.name in by_name and by_name[one.name].answer != one.answer:
            one = _Answer(topic=topic, name=one.name, answer="untold", words="it was answered in two ways")
        by_name[one.name] = one
    listed = [by_name[name] for name in sorted(by_name)]
    value = TrialAnswers(
        yes=tuple(one.name for one in listed if one.answer == "yes"),
        no=tuple(
            Refusal(name=one.name, errno=_constant(one.errno), words=_words(one.words))
            for one in listed
            if one.answer == "no"
        ),
        untold=tuple(_untold(one, one.name) for one in listed if one.answer == "untold"),
        left=left,
    )
    return Known(value=value, source=source)


def _untold(one: _Answer | _Hook, name: str) -> Untold:
    needs = tuple(need for need in one.needs if _CONSTANT.fullmatch(need))
    return Untold(name=name, errno=_constant(one.errno), words=_words(one.words), needs=needs)


def _root_hooks(reader: SectionReader, document: _Document) -> Fact[tuple[RootHook, ...]]:
    source = reader.called(_ANSWERED.format(_HOOKS_CALL))
    hooks = {one.hook: one for one in document.root_hooks if _NAME.fullmatch(one.hook)}
    is_found = bool(document.root_hooks_path) or not any(one.answer == "yes" for one in hooks.values())
    if not is_found or not hooks:
        left = _words(document.left)
        detail = "no hook of cgroup2 was asked for" if is_found else "the root of cgroup2 was not found there"
        return Unknown(reason=Reason.NOT_COLLECTED, detail=f"{detail}{f' ({left})' if left else ''}", source=source)
    return Known(value=tuple(_root_hook(hooks[name]) for name in sorted(hooks)), source=source)


def _root_hook(one: _Hook) -> RootHook:
    if one.answer != "yes" or not (0 <= one.programs < _LARGEST and 0 <= one.flags < _LARGEST):
        return RootHook(hook=one.hook, untold=_untold(one, one.hook))
    return RootHook(hook=one.hook, programs=one.programs, flags=one.flags)


def _words(text: str) -> str:
    """Return words on one line, without what is of one run alone."""
    return _OF_ONE_RUN.sub("N", " ".join(text.split()))[:_LONGEST_WORDS]


def _constant(text: str) -> str:
    return text if _CONSTANT.fullmatch(text) else ""


# What bpftool tells where there is no python3.

_NO_PYTHON = "there is no python3 to ask the kernel with, and bpftool does not tell this"


def _by_bpftool(reader: SectionReader) -> dict[str, Fact[Any]]:
    names = (*_TOPICS, "trial_root_hooks")
    if reader.state("trial-bpftool") is State.NO_TOOL:
        detail = "there is neither python3 nor bpftool to ask the kernel with"
        source = reader.source("trial")
        return dict.fromkeys(names, Unknown(reason=Reason.TOOL_MISSING, detail=detail, source=source))
    read = reader.bytes_fact("trial-bpftool", _read_features)
    if not isinstance(read, Known):
        return dict.fromkeys(names, _why_not(reader, "trial-bpftool", read))
    found: dict[str, Fact[Any]] = dict.fromkeys(
        names, Unknown(reason=Reason.TOOL_MISSING, detail=_NO_PYTHON, source=reader.source("trial"))
    )
    features, source = read.value, read.source
    if features.error:
        refused = Unknown(reason=Reason.FORBIDDEN, detail=f"bpftool: {_words(features.error)}", source=source)
        return {**found, "trial_maps": refused, "trial_programs": refused, "trial_helpers": refused}
    # Each of the two calls may be kept from it by itself; every kernel has these types.
    sees = _sees_all(reader) and features.map_types.get("have_hash_map_type") is True
    sees_programs = sees and features.program_types.get("have_socket_filter_prog_type") is True
    maps = _types(features.map_types, "map", sees=sees)
    programs = _types(features.program_types, "prog", sees=sees_programs)
    return {
        **found,
        "trial_maps": _told(maps, source),
        "trial_programs": _told(programs, source),
        "trial_helpers": _helpers(features, sees=sees_programs, source=source),
    }


def _read_features(data: bytes) -> _Features:
    # Warnings may come before it.
    start = data.find(b"{")
    if start < 0:
        raise ValueError("it is not JSON")
    features: _Features = _decoded(data[start:], _Features)
    return features


def _sees_all(reader: SectionReader) -> bool:
    """Whether the survey had what the kernel wants before it says what it has; else it refuses all alike."""
    found = _EFFECTIVE.search(reader.text("self"))
    held = int(found[1], 16) if found else 0
    return bool(held & _NET_ADMIN and (held & _SYS_ADMIN or (held & _BPF and held & _PERFMON)))


def _told(answers: TrialAnswers, source: int) -> Fact[TrialAnswers]:
    if answers.yes or answers.no or answers.untold:
        return Known(value=answers, source=source)
    return Unknown(reason=Reason.UNPARSABLE, detail="bpftool -j feature probe names nothing of it", source=source)


def _types(told: Mapping[str, Any], what: str, *, sees: bool) -> TrialAnswers:
    pattern = re.compile(rf"have_([a-z0-9_]{{1,48}})_{what}_type", re.ASCII)
    answers = {match[1]: answer for key, answer in told.items() if (match := pattern.fullmatch(key))}
    return _answers(answers, answers.get, sees=sees)


def _answers(names: Iterable[str], answer: Callable[[str], Any], *, sees: bool) -> TrialAnswers:
    listed = sorted(names)
    noes = [name for name in listed if answer(name) is False]
    doubt = "bpftool may not have been let ask: it took BPF, NET_ADMIN and PERFMON, or SYS_ADMIN and NET_ADMIN"
    return TrialAnswers(
        yes=tuple(name for name in listed if answer(name) is True),
        no=tuple(Refusal(name=name, words="bpftool does not find it") for name in noes if sees),
        untold=tuple(Untold(name=name, words=doubt, needs=("BPF", "NET_ADMIN")) for name in noes if not sees),
        left=_NO_PYTHON,
        by="bpftool",
    )


def _helpers(features: _Features, *, sees: bool, source: int) -> Fact[TrialAnswers]:
    of_type: dict[str, set[str]] = {}
    for key, names in features.helpers.items():
        kind, sign, _ = key.partition("_available_helpers")
        if sign and isinstance(names, list):
            of_type[kind] = {name.removeprefix("bpf_") for name in names if isinstance(name, str)}
    if any(helper in of_type.get(kind, ()) for kind, helper in _IMPOSSIBLE):
        detail = "this bpftool is too old for the kernel's wording: it lists every helper for every type of program"
        return Unknown(reason=Reason.UNSUPPORTED, detail=detail, source=source)
    # What it finds for no type at all it may not know of.
    known = HELPERS & set[str]().union(*of_type.values())
    pairs = {f"{kind}/{name}": name in of_type[kind] for kind in _PROGRAM_TYPES if of_type.get(kind) for name in known}
    return _told(_answers(pairs, pairs.get, sees=sees), source)
