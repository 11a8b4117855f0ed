import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpfcheck.versions import CalicoVersion, KernelRelease


@pytest.mark.parametrize(
    ("text", "base", "build", "is_el"),
    [
        ("5.4.0-42-generic", (5, 4, 0), 42, False),
        ("4.18.0-193.el8.x86_64", (4, 18, 0), 193, True),
        ("4.18.0-240.22.1.el8_3.x86_64", (4, 18, 0), 240, True),
        ("4.18.0-553.51.1.lve.el8.x86_64", (4, 18, 0), 553, True),
        ("5.4.142-1.el8.elrepo.x86_64", (5, 4, 142), 1, False),
        ("4.14.0-49.1.1.el7a.ppc64le", (4, 14, 0), 49, False),
        ("5.4.17-2136.312.3.4.el8uek.x86_64", (5, 4, 17), 2136, False),
        ("6.6.137.mshv1-1.azl3", (6, 6, 137), None, False),
        ("5.15.89+", (5, 15, 89), None, False),
        ("5.10", (5, 10, 0), None, False),
        ("6.6-rc1", (6, 6, 0), None, False),
        ("6.12.0-124.52.1.el10_1.x86_64 (amd64)", (6, 12, 0), 124, True),
        ("5.4.0-42-generic\n", (5, 4, 0), 42, False),
        ("5.10.0-99999999999999999999999-generic", (5, 10, 0), 99999999999999999999999, False),
    ],
)
def test_kernel_releases_are_taken_apart(text: str, base: tuple[int, int, int], build: int | None, is_el: bool) -> None:
    release = KernelRelease.parse(text)
    assert release is not None
    assert (release.base, release.build, release.is_el) == (base, build, is_el)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "unknown",
        "-5.10.0",
        "5..10.0",
        "\u0665.\u0661\u0660.\u0660",
        "5",
        "5.",
        "5.10.0 generic",
        "5.15.0-\x1b[31mx",
        "9" * 5000 + ".1",
    ],
)
def test_what_is_no_kernel_release_is_not_read_as_one(text: str) -> None:
    assert KernelRelease.parse(text) is None


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    release = KernelRelease.parse(text)
    if release is not None:
        assert release.base >= (0, 0, 0)
        assert release.text.isascii()


@pytest.mark.parametrize(("text", "shown"), [("v3.16", "v3.16"), ("3.32.1", "v3.32.1"), (" v3.9 ", "v3.9")])
def test_calico_versions_are_read(text: str, shown: str) -> None:
    assert str(CalicoVersion.parse(text)) == shown


@pytest.mark.parametrize("text", ["", "v9", "3.x", "v3.16.1.2", "v3.16-rc1", "latest", "v-3.1", "v3.99999"])
def test_what_is_no_calico_version_is_refused(text: str) -> None:
    assert CalicoVersion.parse(text) is None


@pytest.mark.parametrize(
    ("version", "releases", "answer"),
    [
        ("v3.29.6", ">=3.28,<3.29.7", True),
        ("v3.29.7", ">=3.28,<3.29.7", False),
        ("v3.29", ">=3.28,<3.29.7", None),
        ("v3.28", ">=3.28,<3.29.7", True),
        ("v3.30", ">=3.28,<3.29.7", False),
        ("v3.16", ">=3.16", True),
    ],
)
def test_a_version_without_its_patch_is_undecided_only_where_the_patch_decides(
    version: str, releases: str, answer: bool | None
) -> None:
    parsed = CalicoVersion.parse(version)
    assert parsed is not None
    assert parsed.within(releases) is answer


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("v3.28.2", "v3.28.2"),
        (" v3.28.2\n", "v3.28.2"),
        ("v3.28.2-build20241016", "v3.28.2"),
        ("v3.26.3-gke.13", "v3.26.3"),
        ("v3.33.0-0.dev-12-gabcdef", "v3.33.0"),
        ("3.28.2", "v3.28.2"),
        ("v3.28", None),
        ("master", None),
        ("v3.28.2 and more", None),
        ("", None),
    ],
)
def test_the_release_of_a_build(text: str, version: str | None) -> None:
    found = CalicoVersion.of_build(text)
    assert (None if found is None else str(found)) == version


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("docker.io/calico/node:v3.28.2", "v3.28.2"),
        ("registry.example:5000/calico/node:v3.28.2", "v3.28.2"),
        ("rancher/hardened-calico:v3.28.2-build20241016", "v3.28.2"),
        ("calico/node:v3.28.2@sha256:0123", "v3.28.2"),
        ("registry.example:5000/calico/node@sha256:0123", None),
        ("registry.example:5000/calico/node", None),
        ("calico/node:latest", None),
        ("quay.io/tigera/cnx-node:v3.19.1", None),
        ("", None),
    ],
)
def test_the_release_of_an_image(image: str, version: str | None) -> None:
    found = CalicoVersion.of_image(image)
    assert (None if found is None else str(found)) == version
