"""Kernel releases and Calico versions: parsing and comparing."""

import re
from functools import cache

import msgspec
from packaging.specifiers import SpecifierSet
from packaging.version import Version

_KERNEL = re.compile(
    r"(?P<major>\d{1,40})\.(?P<minor>\d{1,40})(?:\.(?P<patch>\d{1,40}))?(?P<rest>[\x21-\x7e]{0,256})",
    re.ASCII,
)
# kubectl's KERNEL-VERSION column appends the architecture: "6.12.0-124.el10_1.x86_64 (amd64)".
_ARCH_TAIL = re.compile(r" \([a-z0-9_]{1,16}\)$", re.ASCII)
_BUILD = re.compile(r"-(\d{1,40})", re.ASCII)
_EL_TAG = re.compile(r"\.el(?P<major>\d{1,3})(?:_\d{1,3})?(?:\.|$)", re.ASCII)
_CALICO = re.compile(r"[vV]?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?", re.ASCII)
# A release as clusters and image tags name it: v3.28.2, v3.28.2-build20241016, v3.33.0-0.dev-12-gabc.
_CALICO_BUILD = re.compile(r"[vV]?(\d{1,4}\.\d{1,4}\.\d{1,4})(?:[-+._].{0,200})?", re.ASCII)

# Stands for "the last patch of a minor release, whatever its number": no Calico minor has come near it.
_ANY_LATER_PATCH = 9999


@cache
def _specifiers(releases: str) -> SpecifierSet:
    return SpecifierSet(releases)


class KernelRelease(msgspec.Struct, frozen=True, kw_only=True):
    """A kernel release string (`uname -r`), taken apart; `patch` is None where only two numbers are given."""

    text: str
    major: int
    minor: int
    patch: int | None
    rest: str

    @classmethod
    def parse(cls, text: str) -> "KernelRelease | None":
        """Read a release string; None where it does not start with two ASCII numbers or has blanks in it."""
        text = _ARCH_TAIL.sub("", text.strip())
        match = _KERNEL.fullmatch(text)
        if match is None:
            return None
        patch = match["patch"]
        return cls(
            text=text,
            major=int(match["major"]),
            minor=int(match["minor"]),
            patch=None if patch is None else int(patch),
            rest=match["rest"],
        )

    @property
    def base(self) -> tuple[int, int, int]:
        """The three leading numbers, a missing third one counted as 0."""
        return (self.major, self.minor, self.patch or 0)

    @property
    def series(self) -> str:
        """The stable series, such as "6.12"."""
        return f"{self.major}.{self.minor}"

    @property
    def build(self) -> int | None:
        """The number straight after the first dash, such as 193 in 4.18.0-193.el8; None where there is none."""
        match = _BUILD.match(self.rest)
        return None if match is None else int(match[1])

    @property
    def is_el(self) -> bool:
        """Whether the dist tag is that of an Enterprise Linux kernel (`.el8`, `.el8_3`); ELRepo's are not."""
        return (
            _EL_TAG.search(self.rest) is not None and not self.rest.endswith("elrepo") and ".elrepo." not in self.rest
        )


class CalicoVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A Calico release; `patch` is None where only the minor release was named."""

    major: int
    minor: int
    patch: int | None = None

    @classmethod
    def parse(cls, text: str) -> "CalicoVersion | None":
        """Read `vX.Y` or `vX.Y.Z` (the v may be missing); None for anything else."""
        match = _CALICO.fullmatch(text.strip())
        if match is None:
            return None
        patch = match[3]
        return cls(major=int(match[1]), minor=int(match[2]), patch=None if patch is None else int(patch))

    @classmethod
    def of_build(cls, text: str) -> "CalicoVersion | None":
        """Read the release that a cluster or an image tag names, a builder's suffix aside; None if it is none."""
        match = _CALICO_BUILD.fullmatch(text.strip())
        return None if match is None else cls.parse(match[1])

    @classmethod
    def of_image(cls, image: str) -> "CalicoVersion | None":
        """Read the release from the tag of a calico-node image; None where it has none or is not Calico's numbering."""
        name, _, tag = image.partition("@")[0].rpartition("/")[2].partition(":")
        # Calico Enterprise's images (cnx-node) count releases of their own.
        return None if name.startswith("cnx") else cls.of_build(tag)

    def __str__(self) -> str:
        return f"v{self.major}.{self.minor}" + ("" if self.patch is None else f".{self.patch}")

    def within(self, releases: str) -> bool | None:
        """Whether this release lies in a specifier set such as ">=3.28,<3.29.7".

        None where the patch number was not given and the answer depends on it.
        """
        patches = (0, _ANY_LATER_PATCH) if self.patch is None else (self.patch,)
        specifiers = _specifiers(releases)
        answers = {specifiers.contains(Version(f"{self.major}.{self.minor}.{patch}")) for patch in patches}
        return answers.pop() if len(answers) == 1 else None
