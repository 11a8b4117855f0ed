"""The shape of objects.toml: the BPF objects of a release, and what the words of a refusal mean."""

from typing import Literal

from ebpfcheck.knowledge.table import Table


class Role(Table, frozen=True, kw_only=True):
    """What an object is for, by how its name begins, and what its refusal costs; objects.toml explains the words."""

    name: str
    cost: Literal["blocker", "depends", "degrade", "note", "none"]
    when: str = ""
    balances: bool = False
    """Whether it is for connect-time load balancing, which can be turned off; what Felix does without depends on the
    release."""
    effect: str
    source: str


class Fragments(Table, frozen=True, kw_only=True):
    """The program that Felix does without where a kernel refuses it."""

    program: str
    effect: str
    source: str


class Fallback(Table, frozen=True, kw_only=True):
    """The mark in the name of an object that has a twin without it, which Felix loads where that one is refused."""

    mark: str
    source: str


class Era(Table, frozen=True, kw_only=True):
    """An object that only some releases have."""

    name: str
    releases: str
    source: str


class RefusalMeaning(Table, frozen=True, kw_only=True):
    """What a refusal means, by a pattern of its words or by its errno; objects.toml explains the verdicts."""

    kind: str
    verdict: Literal["refused", "unfair", "forbidden", "exhausted"]
    words: str
    errno: str = ""
    of_verifier: bool = False
    """Whether the errno means it only where the verifier had found fault."""
    meaning: str
    source: str


class ObjectTables(Table, frozen=True, kw_only=True):
    """objects.toml."""

    role: tuple[Role, ...]
    fragments: Fragments
    fallback: Fallback
    era: tuple[Era, ...]
    refusal: tuple[RefusalMeaning, ...]
