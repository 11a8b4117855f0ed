#!/bin/sh
# Has the kernel verify the BPF objects of a directory, by bpftool, and prints one frame of ebpfcheck's survey.
#
#     sh objects.sh NONCE DIRECTORY SECONDS SECONDS_EACH
#
# Each object is loaded into a bpffs of its own, in a mount namespace of its own, and dropped again: nothing is attached,
# nothing is pinned where others see it, and all of it is gone with the last process here, however that ends.
#
# The frame "objects" holds lines, each beginning with a word: "loader WORDS", "found N", "object NAME" with what bpftool
# printed of it, each line after "| ", and "end CODE" or "end MARK" (large, irregular); "left NAME" for what was
# not tried within SECONDS.

LC_ALL=C
export LC_ALL
PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin
export PATH

nonce=$1
directory=$2
seconds=$3
each=$4
mark=ebpfcheck-$nonce

# No object of a release comes near these.
most_objects=600
most_kib=16384
# What is kept of what bpftool prints of an object: the last lines, which say what it stumbled over, and of each line.
lines_kept=14
line_length=200
# The most memory that bpftool may take for the verifier's log, in KiB.
memory=786432

begin() { printf '\n%s begin objects %s\n' "$mark" "$directory"; }
finish() {
    printf '\n%s end %s\n' "$mark" "$*"
    exit 0
}
has() { command -v "$1" >/dev/null 2>&1; }
namespace() { readlink "/proc/$1/ns/mnt" 2>/dev/null </dev/null; }
# The seconds since boot, as they go on even where the clock is set.
now() {
    read -r now _ </proc/uptime
    now=${now%%.*}
}

# The first stage finds out whether it may go on, and does so in a mount namespace of its own. EBPFCHECK_OBJECTS is this
# script, where it was not read from a file.
if [ "${EBPFCHECK_OBJECTS_FROM-none}" = none ]; then
    begin
    if [ ! -d "$directory" ]; then
        if [ -e "$directory" ]; then finish failed 'it is no directory'; fi
        finish absent
    fi
    for tool in bpftool timeout readlink find sed tail rm; do
        if ! has "$tool"; then finish no-tool "$tool"; fi
    done
    if ! timeout -s KILL 30 sh -c : 2>/dev/null </dev/null; then finish no-tool 'timeout -s'; fi
    if [ -z "${EBPFCHECK_OBJECTS-}" ]; then
        EBPFCHECK_OBJECTS=$(cat "$0")
        export EBPFCHECK_OBJECTS
    fi
    EBPFCHECK_OBJECTS_FROM=$(namespace self)
    if has unshare; then
        export EBPFCHECK_OBJECTS_FROM
        refusal=$(unshare -m true 2>&1 </dev/null) || finish forbidden "unshare -m: ${refusal##*: }"
        exec unshare -m sh -c "$EBPFCHECK_OBJECTS" sh "$@" </dev/null
    fi
    # A container has one already.
    EBPFCHECK_OBJECTS_FROM=$(namespace 1)
    export EBPFCHECK_OBJECTS_FROM
    exec sh -c "$EBPFCHECK_OBJECTS" sh "$@" </dev/null
fi

own=$(namespace self)
if [ -z "$own" ] || [ -z "$EBPFCHECK_OBJECTS_FROM" ] || [ "$own" = "$EBPFCHECK_OBJECTS_FROM" ]; then
    finish no-tool unshare
fi
cd "$directory" 2>/dev/null || finish forbidden 'it may not be entered'
# shellcheck disable=SC3045 # where a shell has no -v, nothing is limited
ulimit -v "$memory" 2>/dev/null

limited() {
    limit=$1
    shift
    timeout -s KILL "$limit" "$@" </dev/null
}

# Is a bpffs mounted at a directory, in this namespace?
has_bpffs() {
    while read -r _ _ _ _ point rest; do
        case $point:$rest in
        "$1":*' - bpf '*) return 0 ;;
        esac
    done </proc/self/mountinfo
    return 1
}

# libbpf pins maps here by itself, if an object asks for that. What others have pinned is hidden by a bpffs of our own, which
# bpftool mounts where there is none; it pins what it is told to make, if only a map.
place=/sys/fs/bpf
if has_bpffs $place; then
    if ! has mount; then finish no-tool mount; fi
    words=$(limited 30 mount -t bpf ebpfcheck $place 2>&1) || finish forbidden "mount -t bpf: ${words##*: }"
fi
if ! words=$(limited 30 bpftool map create $place/ebpfcheck type array key 4 value 4 entries 1 name ebpfcheck 2>&1); then
    case $words in
    *ermitted* | *ermission\ denied*) finish forbidden "bpftool: ${words##*Error: }" ;;
    esac
    finish failed "bpftool makes no map: ${words##*Error: }"
fi
rm -f $place/ebpfcheck
if ! has_bpffs $place; then finish failed "bpftool has mounted no bpffs at $place"; fi

printf 'loader bpftool %.40s\n' "$(limited 30 bpftool version 2>/dev/null | sed -n -e 's/^bpftool //p')"

try_object() {
    path=./$1
    printf 'object %s\n' "$1"
    if [ -n "$(find -L "$path" -maxdepth 0 ! -type f 2>&1 </dev/null)" ]; then
        echo end irregular
        return
    fi
    if [ -n "$(find -L "$path" -maxdepth 0 -size +${most_kib}k 2>&1 </dev/null)" ]; then
        echo end large
        return
    fi
    now
    left=$((end - now))
    if [ "$left" -gt "$each" ]; then left=$each; fi
    {
        limited "$left" bpftool prog loadall "$path" $place/try 2>&1
        printf '\n%s code %s\n' "$mark" $?
    } | tail -n $lines_kept | sed -E -e '/^$/d' -e "s/^(.{$line_length}).+/\\1/" -e 's/^/| /' -e "s/^[|] $mark code /end /"
    rm -rf $place/try 2>/dev/null
}

# What was tried or left, between blanks; names that hold any are none of a release.
seen=' '
total=0
# PATTERN...: tries all objects that match and were not yet.
try_all() {
    for name; do
        name=${name#./}
        case $name in
        *[!A-Za-z0-9._+-]* | -*) continue ;;
        esac
        case $seen in
        *" $name "*) continue ;;
        esac
        if [ ! -e "./$name" ]; then continue; fi
        seen="$seen$name "
        total=$((total + 1))
        now
        if [ "$now" -ge "$end" ] || [ "$total" -gt "$most_objects" ]; then
            if [ "$total" -le "$most_objects" ]; then echo "left $name"; fi
        else
            try_object "$name"
        fi
    done
}

now
end=$((now + seconds))
set -- ./*.o
if [ ! -e "$1" ] && [ ! -L "$1" ]; then shift; fi
echo "found $#"
# First those that every node needs, then variants of them, then those for debugging.
try_all from_hep_no_log*.o from_hep_fib_no_log*.o from_wep_no_log*.o from_wep_fib_no_log*.o to_hep_no_log*.o \
    to_hep_fib_no_log*.o to_wep_no_log*.o from_vxlan*no_log*.o from_tnl*no_log*.o conntrack_cleanup_no_log*.o \
    connect_*no_log*.o ./*preamble*.o ./*default*.o ./*no_log*.o ./*.o
finish ok
