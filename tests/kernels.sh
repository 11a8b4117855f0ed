#!/bin/sh
# Fetches the Debian kernels that the tests in tests/live boot, each with its configuration and its network modules, into a
# directory (.kernels of the checkout if none is given). One that is there whole stays; one that cannot be had is named,
# and the others are fetched. The machine's own apt is only asked for its mirror.
#
#     tests/kernels.sh [DIRECTORY]

set -eu

to=${1:-$(dirname "$0")/../.kernels}

say() { printf 'kernels.sh: %s\n' "$*" >&2; }

# SUITE TOOL ARGUMENT...: runs apt-get or apt-cache on that suite alone.
apt_of() {
    own=$work/$1
    tool=$2
    shift 2
    "$tool" -qq -o "Dir::Etc::SourceList=$own/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
        -o "Dir::State::Lists=$own/lists" -o "Dir::State::Status=$own/status" -o "Dir::Cache=$own/cache" \
        -o APT::Architecture=amd64 -o APT::Architectures=amd64 -o Acquire::Languages=none \
        -o APT::Sandbox::User=root "$@"
}

# SUITE: prints the version of its newest kernel; fails if the mirror does not have the suite.
version_in() {
    mkdir -p "$work/$1/lists/partial" "$work/$1/cache/archives/partial"
    : >"$work/$1/status"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $1 main" >"$work/$1/sources.list"
    apt_of "$1" apt-get update >&2 || return 1
    apt_of "$1" apt-cache show --no-all-versions linux-image-cloud-amd64 | sed -n 's/^Version: //p'
}

# SUITE RELEASE DIRECTORY: unpacks that kernel and its configuration, under the paths that they have on a node.
unpack() {
    mkdir -p "$3/debs"
    # From 7.x on linux-image brings none of it: the kernel is in linux-binary, its configuration in linux-base.
    for package in "linux-image-$2" "linux-binary-$2" "linux-base-$2" "linux-modules-$2"; do
        if apt_of "$1" apt-cache show "$package" >/dev/null 2>&1; then
            (cd "$3/debs" && apt_of "$1" apt-get download "$package" >&2) || return 1
        fi
    done
    for deb in "$3/debs"/*.deb; do
        # tar fails where one of the patterns is not in the package; what is there is looked at below.
        dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$3" --wildcards './boot/vmlinuz-*' './boot/config-*' \
            './usr/lib/modules/*/vmlinuz' './usr/lib/modules/*/config' '*/modules/*/kernel/net/*' \
            '*/modules/*/kernel/drivers/net/*' '*/modules/*/kernel/*crypto/*' 2>/dev/null || :
    done
    rm -r "$3/debs"
    is_whole "$3"
}

# DIRECTORY: whether a kernel is in it with all that the tests need of it.
is_whole() {
    for wanted in 'vmlinuz*' 'config*' 'veth.ko*'; do
        [ -n "$(find "$1" -name "$wanted")" ] || return 1
    done
}

# NAME SUITE...: fetches the newest kernel of these suites, unless there is one of that name.
fetch() {
    name=$1
    shift
    if [ -e "$to/$name/release" ] && is_whole "$to/$name"; then return; fi
    best=
    for suite; do
        version=$(version_in "$suite") || continue
        if [ -z "$best" ] || dpkg --compare-versions "$version" gt "$best"; then
            best=$version
            from=$suite
        fi
    done
    if [ -z "$best" ]; then
        say "no kernel $name: the mirror does not have $*"
        return
    fi
    release=$(apt_of "$from" apt-cache show "linux-image-cloud-amd64=$best" |
        sed -n 's/^Depends: .*linux-image-\([^ ,]*\).*/\1/p')
    rm -rf "${to:?}/$name"
    if unpack "$from" "$release" "$work/new/$name"; then
        mv "$work/new/$name" "$to/$name"
        # Comes last: what has it is whole.
        echo "$release" >"$to/$name/release"
        say "kernel $name is $release, of $from"
    else
        say "no kernel $name: $release of $from could not be fetched"
    fi
}

mirror=$(apt-get indextargets --format "\$(REPO_URI)" 'Origin: Debian' 'Label: Debian' 'Component: main' 2>/dev/null |
    head -n 1) || :
if [ -z "$mirror" ]; then
    say "no kernels: apt knows no Debian mirror here (where it should, run apt-get update first)"
    exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$to"
fetch 5.10 bullseye
fetch 6.1 bookworm
fetch 6.12 trixie
fetch newest trixie-backports sid
