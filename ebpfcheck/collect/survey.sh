#!/bin/sh
# Prints what a node says of itself, as one framed document for ebpfcheck to read. It changes nothing.
#
#     sh survey.sh NONCE [ROOT [HOST PORT]...]        or        sh -s NONCE [ROOT [HOST PORT]...] <survey.sh
#
# ROOT is where the node's own root directory is mounted, / by default; to each HOST PORT a TCP connection is made and
# closed again.
#
# A frame is the line "ebpfcheck-NONCE begin NAME LOCATOR", the bytes as they are, and the line
# "ebpfcheck-NONCE end STATE [WORDS]"; the newline before an end marker belongs to the marker. STATE is ok, absent,
# forbidden, failed, or no-tool. The last line is "ebpfcheck-NONCE done".
# Bytes never pass through a shell variable, which would drop NULs, and no command here reads stdin, which may be
# this script.

LC_ALL=C
export LC_ALL
PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin
export PATH

nonce=$1
mark=ebpfcheck-$nonce
root=${2:-/}
root=${root%/}
shift
if [ $# -gt 0 ]; then shift; fi

begin() { printf '\n%s begin %s %s\n' "$mark" "$1" "$2"; }
end() { printf '\n%s end %s\n' "$mark" "$*"; }

has() { command -v "$1" >/dev/null 2>&1; }

# PATH: sets $real to where a path of the node is found, symbolic links followed below the node's root. Those of /proc
# are no paths.
at() {
    real=$1
    if [ -z "$root" ]; then return; fi
    case $1 in
    /proc/*)
        real=$root$1
        return
        ;;
    esac
    real=$root
    rest=$1
    hops=0
    while [ -n "$rest" ]; do
        part=${rest%%/*}
        case $rest in
        */*) rest=${rest#*/} ;;
        *) rest= ;;
        esac
        case $part in
        '' | .) ;;
        ..) if [ "$real" != "$root" ]; then real=${real%/*}; fi ;;
        *)
            if [ -L "$real/$part" ] && has readlink; then
                hops=$((hops + 1))
                # As the kernel does, which gives up on links that lead in circles.
                if [ $hops -gt 40 ]; then
                    real=$root/dev/null/circle
                    return
                fi
                target=$(readlink "$real/$part")
                case $target in
                /*) real=$root ;;
                esac
                rest=$target/$rest
            else
                real=$real/$part
            fi
            ;;
        esac
    done
}

# Is a path that cannot be seen merely hidden, by a directory that we may not search?
hidden() {
    up=${1%/*}
    while [ -n "$up" ] && [ ! -d "$up" ]; do up=${up%/*}; done
    [ ! -x "${up:-/}" ]
}

# Ends the frame of a path that is not there, or not to be seen.
end_missing() {
    if hidden "$1"; then end forbidden 'its directory may not be searched'; else end absent; fi
}

# Ends the frame of a path that is there but could not be read.
end_unreadable() {
    if ! has cat; then
        end no-tool cat
        return
    fi
    words=$(cat "$1" 2>&1 >/dev/null </dev/null)
    case $words in
    *ermission\ denied* | *not\ permitted*) end forbidden "${words##*: }" ;;
    *o\ such\ file*) end absent ;;
    *) end failed "${words##*: }" ;;
    esac
}

# NAME PATH: the bytes of a file.
file() {
    begin "$1" "$2"
    at "$2"
    if [ ! -e "$real" ]; then
        end_missing "$real"
    elif cat "$real" 2>/dev/null </dev/null; then
        end ok
    else
        end_unreadable "$real"
    fi
}

# NAME PATH PATTERN: the lines of a file that match an extended regular expression.
lines() {
    begin "$1" "$2"
    at "$2"
    if [ ! -e "$real" ]; then
        end_missing "$real"
    elif ! has sed; then
        end no-tool sed
    elif sed -n -E "$3" "$real" 2>/dev/null </dev/null; then
        end ok
    else
        end_unreadable "$real"
    fi
}

# NAME PATH: what a symbolic link of /proc says.
link() {
    begin "$1" "$2"
    if ! has readlink; then
        end no-tool readlink
    elif [ ! -L "$root$2" ]; then
        end_missing "$root$2"
    elif readlink "$root$2" 2>/dev/null </dev/null; then
        end ok
    else
        end forbidden 'it may not be read'
    fi
}

# NAME PATH: whether a path is there, is a directory, has content.
kind() {
    begin "$1" "$2"
    at "$2"
    if [ ! -e "$real" ]; then
        end_missing "$real"
        return
    fi
    if [ -d "$real" ]; then echo directory; fi
    if [ -s "$real" ]; then echo content; fi
    end ok
}

# NAME LOCATOR PATH...: which of the paths, given with the root, are there.
which_of() {
    begin "$1" "$2"
    shift 2
    for path; do
        if [ -e "$path" ] || [ -L "$path" ]; then printf '%s\n' "${path#"$root"}"; fi
    done
    end ok
}

# NAME UNIT: the links by which systemd starts a unit at boot.
wanted_units() {
    begin "$1" "systemd unit $2"
    blind=
    for base in /etc/systemd/system /run/systemd/system /usr/lib/systemd/system /lib/systemd/system; do
        at "$base"
        base=$real
        if [ -d "$base" ] && { [ ! -r "$base" ] || [ ! -x "$base" ]; }; then blind=$base; fi
        for dir in "$base"/*.wants "$base"/*.requires; do
            if [ -d "$dir" ] && [ ! -x "$dir" ]; then blind=$dir; fi
            if [ -e "$dir/$2" ] || [ -L "$dir/$2" ]; then printf '%s\n' "${dir#"$root"}/$2"; fi
        done
    done
    if [ -n "$blind" ]; then end forbidden "${blind#"$root"} may not be searched"; else end ok; fi
}

# NAME LOCATOR TOOL ARGUMENT...: what a tool prints, where there is one that knows these arguments.
tool() {
    begin "$1" "$2"
    shift 2
    if ! has "$1"; then
        end no-tool "$1"
    elif "$@" 2>/dev/null </dev/null; then
        end ok
        return 0
    else
        end failed "$1 does not know how, or refused"
    fi
    return 1
}

# Is a part of the kernel there, so that a tool which asks for it does not load its module? True in a kernel without
# modules, and where it cannot be told that it is not.
in_kernel() {
    at "/lib/modules/$release/modules.builtin"
    [ ! -r /proc/modules ] || [ -d "/sys/module/$1" ] || ! has grep ||
        grep -q -e "^$1 " /proc/modules 2>/dev/null </dev/null ||
        grep -q -e "/$1\.ko" "$real" 2>/dev/null </dev/null
}

# Filters a listing of iptables or nftables: the chains that kube-proxy and kubelet make once by name, and a "+" for each
# of those that kube-proxy makes for Services and endpoints, of which there may be tens of thousands. A "!" stands for a
# listing that failed.
kube_chains() {
    name=$1
    shift
    begin "$name" "$*"
    if ! has "$1"; then
        end no-tool "$1"
    elif { "$@" 2>/dev/null </dev/null || echo '!'; } | sed -n -E -e '/^!$/p' -e 's/^# Table .* is incompatible.*/!/p' \
        -e '/KUBE-(EXT|SVL)-/d' -e 's/^(.*chain |:)KUBE-(SVC|SEP|FW|XLB)-.*/+/p' \
        -e 's/^(.*chain |:)(KUBE-[A-Z-]+)( .*|$)/\2/p' 2>/dev/null; then
        end ok
    else
        end no-tool sed
    fi
}

# Takes the root off the paths at the beginning of lines.
without_root() {
    if [ -n "$root" ]; then sed "s#^$root/#/#"; else cat; fi
}

# Does an interface belong to a pod?
of_pod() {
    case $1 in
    cali[0-9a-f]* | veth[0-9a-f]* | lxc[0-9a-f]* | tap[0-9a-f]*) return 0 ;;
    azv[0-9a-f]* | gke[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]* | eni[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]*) return 0 ;;
    esac
    return 1
}

# NAME LOCATOR PATTERN PATH...: the lines of many files, given with the root, that match, each after "PATH:"; a file that is not there does
# not count, one that may not be read makes the whole forbidden.
listing() {
    begin "$1" "$2"
    pattern=$3
    shift 3
    blind=
    links=
    for path; do
        if [ -e "$path" ] && [ ! -r "$path" ]; then blind=$path; fi
        case $path in
        "$root"/sys/* | "$root"/proc/*) ;;
        *) if [ -n "$root" ] && [ -L "$path" ]; then links=there; fi ;;
        esac
    done
    if [ -n "$blind" ]; then
        end forbidden "${blind#"$root"} may not be read"
    elif ! has grep; then
        end no-tool grep
    elif [ -n "$root" ] && ! has sed; then
        end no-tool sed
    elif [ -n "$links" ]; then
        for path; do
            at "${path#"$root"}"
            if [ -f "$real" ] && [ -r "$real" ]; then
                grep -a -e "$pattern" "$real" 2>/dev/null </dev/null | sed "s#^#${path#"$root"}:#"
            fi
        done
        end ok
    else
        # A file with a NUL in it is still read by what it is for.
        grep -a -H -e "$pattern" "$@" 2>/dev/null </dev/null | without_root
        end ok
    fi
}

# TOOL COMMAND...: what a command says that connects to $host and $port; its code ends the frame where it failed.
attempt() {
    begin "endpoint-$tried" "$host $port by $1"
    shift
    "$@" 2>&1 </dev/null
    code=$?
    if [ $code -eq 0 ]; then end ok; else end failed $code; fi
}

# Connects to $host and $port by whatever there is.
try_endpoint() {
    if has bash && has timeout; then
        # shellcheck disable=SC2016 # it is bash that has to read this
        attempt bash timeout 6 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$host" "$port"
    elif has python3; then
        attempt python3 python3 -c \
            'import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 6).close()' "$host" "$port"
    elif has nc; then
        attempt nc nc -v -z -w 6 "$host" "$port"
    elif has openssl && has timeout; then
        case $host in
        *:*) attempt openssl timeout 6 openssl s_client -connect "[$host]:$port" ;;
        *) attempt openssl timeout 6 openssl s_client -connect "$host:$port" ;;
        esac
    else
        begin "endpoint-$tried" "$host $port"
        end no-tool 'bash, python3, nc or openssl'
    fi
}

# Where and as whom this runs.
lines self /proc/self/status '/^(Uid|NSpid|CapEff|Seccomp):/p'
link pid-namespace /proc/self/ns/pid
# Mount ids are unique on a machine, so one line tells whether process 1 lives in our mount namespace.
lines own-first-mount /proc/self/mountinfo '1p'
if [ -n "$root" ] && ! has readlink; then
    # Links would lead out of the node's root.
    begin root-mount /proc/self/mountinfo
    end no-tool readlink
elif [ -n "$root" ]; then
    lines root-mount /proc/self/mountinfo "\\#^([0-9]+ ){2}[0-9:]+ [^ ]+ $root #p"
fi
file init /proc/1/comm
file init-cgroup /proc/1/cgroup
which_of container-marks 'marks of container engines' "$root/.dockerenv" "$root/run/.containerenv" \
    "$root/run/systemd/container"
file container /run/systemd/container
file hostname /proc/sys/kernel/hostname

# The kernel and the system.
file version /proc/version
file osrelease /proc/sys/kernel/osrelease
if [ -r /proc/sys/kernel/arch ]; then
    file arch /proc/sys/kernel/arch
else
    begin arch 'uname -m'
    if has uname; then
        if uname -m; then end ok; else end failed uname; fi
    elif has coreutils; then
        if coreutils --coreutils-prog=uname -m; then end ok; else end failed coreutils; fi
    else
        end no-tool uname
    fi
fi
at /etc/os-release
if [ -e "$real" ]; then file os-release /etc/os-release; else file os-release /usr/lib/os-release; fi

# The kernel's configuration: only a file that belongs to the running release.
release=
if [ -r /proc/sys/kernel/osrelease ]; then read -r release </proc/sys/kernel/osrelease; fi
if [ -r /proc/config.gz ]; then
    file config-gz /proc/config.gz
else
    config=
    unreadable=
    case $release in
    '' | */*) ;;
    *)
        for path in "/boot/config-$release" "/lib/modules/$release/config" "/usr/lib/modules/$release/config" \
            "/usr/lib/ostree-boot/config-$release" "/lib/modules/$release/build/.config"; do
            at "$path"
            if [ -z "$config" ] && [ -r "$real" ]; then config=$path; fi
            if [ -e "$real" ] && [ ! -r "$real" ]; then unreadable=$path; fi
        done
        ;;
    esac
    config=${config:-$unreadable}
    if [ -n "$config" ]; then
        wanted='BPF|CGROUP|DEBUG_INFO_BTF|HAVE_EBPF|NETKIT|NET_CLS|NET_SCH|SECURITY_LOCK|VETH|VXLAN|XDP'
        wanted="$wanted|IP_NF_|IP_SET|NETFILTER_XT_|NFT_COMPAT|NF_CONNTRACK|NF_REJECT|NF_TABLES"
        # The last two show that the file goes on to its last part.
        lines config "$config" "/^(# )?CONFIG_($wanted|FRAME_WARN|STRIP_ASM)/p"
    else
        begin config "kernel configuration of $release"
        end absent
    fi
fi

file filesystems /proc/filesystems
kind sysfs /sys/kernel
kind btf /sys/kernel/btf/vmlinux
file lockdown /sys/kernel/security/lockdown
file lsm /sys/kernel/security/lsm
file selinux /sys/fs/selinux/enforce
file jit-enable /proc/sys/net/core/bpf_jit_enable
file jit-harden /proc/sys/net/core/bpf_jit_harden
# Only the host's network namespace has it, as it has bpf_jit_*.
kind host-net /proc/sys/net/core/netdev_budget
file unprivileged-bpf /proc/sys/kernel/unprivileged_bpf_disabled

# Mounts: those of process 1 are the node's; our own are only worth a hint. A busy node has tens of thousands: of these only
# what lies on the way to the places in question, and what is of the types in question. The first line tells one namespace
# from another.
places='1{p;d;}; /^([0-9]+ ){2}[0-9:]+ [^ ]+ (\/|\/sys[^ ]*|\/run|\/run\/calico[^ ]*) | - (bpf|cgroup2?) /p'
lines mountinfo /proc/1/mountinfo "$places"
if ! cat "$root/proc/1/mountinfo" >/dev/null 2>&1 </dev/null; then lines own-mountinfo /proc/self/mountinfo "$places"; fi
kind run-calico /run/calico
# The network, as the network namespace shows it that this runs in.
link net-namespace /proc/self/ns/net
link init-net-namespace /proc/1/ns/net
if [ -d "$root/sys/class/net" ]; then
    listing link-mtus /sys/class/net '' "$root"/sys/class/net/*/mtu
    listing link-flags /sys/class/net '' "$root"/sys/class/net/*/flags
    listing link-states /sys/class/net '' "$root"/sys/class/net/*/operstate
    listing link-types /sys/class/net '' "$root"/sys/class/net/*/type
    listing link-events /sys/class/net DEVTYPE= "$root"/sys/class/net/*/uevent
    which_of link-parts /sys/class/net "$root"/sys/class/net/*/lower_* "$root"/sys/class/net/*/bonding "$root"/sys/class/net/*/bridge \
        "$root"/sys/class/net/*/tun_flags "$root"/sys/class/net/*/wireless
fi
begin link-drivers '/sys/class/net/*/device/driver'
for path in "$root"/sys/class/net/*/device/driver; do
    if [ -L "$path" ] && has readlink; then
        printf '%s ' "${path#"$root"}"
        readlink "$path" 2>/dev/null </dev/null || echo
    fi
done
if has readlink; then end ok; else end no-tool readlink; fi
tool addresses 'ip -o addr' ip -o addr show
begin offloads 'ethtool -k'
if has ethtool; then
    for path in "$root"/sys/class/net/*/device; do
        device=${path%/device}
        device=${device##*/}
        if [ -d "$path" ] && ! of_pod "$device"; then ethtool -k "$device" 2>/dev/null </dev/null; fi
    done | sed -n -E '/^[[:space:]]*(Features for |tx-udp_tnl-|tx-checksum-ip-generic:|rx-vlan-offload:)/p'
    end ok
else
    end no-tool ethtool
fi
lines routes /proc/net/route '/^[^[:space:]]+[[:space:]]00000000[[:space:]]/p'
lines routes6 /proc/net/ipv6_route '/^0{32} 00 /p'
tool vxlans 'ip -d -j link show type vxlan' ip -d -j link show type vxlan
for path in "$root"/run/netns/*; do
    name=${path##*/}
    case $name in
    cni-* | '*') ;;
    *)
        if [ -z "$root" ]; then
            tool "vxlans-in:$name" "ip -n $name link" ip -n "$name" -d -j link show type vxlan
        else
            tool "vxlans-in:$name" "/run/netns/$name" nsenter "--net=$path" ip -d -j link show type vxlan
        fi
        ;;
    esac
done
for path in "$root"/run/docker/netns/*; do
    name=${path##*/}
    case $name in
    '*' | default) ;;
    *) tool "vxlans-in:docker/$name" "${path#"$root"}" nsenter "--net=$path" ip -d -j link show type vxlan ;;
    esac
done
# The local ports alone, in hexadecimal digits: of TCP those that are listened on, of UDP all.
for name in tcp tcp6; do lines $name /proc/net/$name 's/^ *[0-9]+: [0-9A-F]+:([0-9A-F]{4}) [0-9A-F:]+ 0A .*/\1/p'; done
for name in udp udp6; do lines $name /proc/net/$name 's/^ *[0-9]+: [0-9A-F]+:([0-9A-F]{4}) .*/\1/p'; done
if in_kernel nf_tables; then
    tool nft-tables 'nft list tables' nft list tables
    if has nft || ! has iptables-nft-save; then
        kube_chains kube-chains-nft nft list chains
    else
        kube_chains kube-chains-nft iptables-nft-save -t nat
    fi
else
    for name in nft-tables kube-chains-nft; do
        begin $name 'nftables, not loaded'
        end absent
    done
fi
# The tables of the older iptables that are in use; to ask for another would load it.
file legacy-tables /proc/net/ip_tables_names
if ! has grep || grep -q -e '^nat$' /proc/net/ip_tables_names 2>/dev/null </dev/null; then
    kube_chains kube-chains-legacy iptables-legacy-save -t nat
fi
tool bpftool-version 'bpftool version' bpftool version
if ! tool bpf-net 'bpftool -j net' bpftool -j net; then
    begin tc-filters 'tc filter show'
    if has tc; then
        for path in "$root"/sys/class/net/*; do
            device=${path##*/}
            if ! of_pod "$device" && [ -e "$path/ifindex" ]; then
                for hook in ingress egress; do
                    printf 'device %s %s\n' "$device" "$hook"
                    tc filter show dev "$device" "$hook" 2>/dev/null </dev/null || echo '!'
                done
            fi
        done
        end ok
    else
        end no-tool tc
    fi
fi
lines ipvs /proc/net/ip_vs '4,5p'
file ip-forward /proc/sys/net/ipv4/ip_forward
listing rp-filter /proc/sys/net/ipv4/conf '' "$root"/proc/sys/net/ipv4/conf/*/rp_filter
# Where /lib is a link to /usr/lib, its files are those.
if [ -L "$root/lib" ]; then own=; else own=$root/lib; fi
listing sysctl-files 'sysctl.conf and sysctl.d' rp_filter "$root"/etc/sysctl.conf "$root"/etc/sysctl.d/*.conf \
    "$root"/run/sysctl.d/*.conf "$root"/usr/local/lib/sysctl.d/*.conf "$root"/usr/lib/sysctl.d/*.conf \
    ${own:+"$own"/sysctl.d/*.conf}
begin programs '/proc/*/comm'
cat "$root"/proc/[0-9]*/comm 2>/dev/null </dev/null
end ok
begin node-ip 'kubelet --node-ip'
if has grep; then
    # shellcheck disable=SC2013 # no path of /proc has blanks
    for path in $(grep -l -x -e kubelet "$root"/proc/[0-9]*/comm 2>/dev/null </dev/null); do
        echo kubelet
        # The dot stands for "=" or for the NUL between two arguments.
        grep -a -o -E -e '--node-ip.[0-9a-fA-F:.,]+' "${path%comm}cmdline" 2>/dev/null </dev/null
    done
    end ok
else
    end no-tool grep
fi
lines nameservers /etc/resolv.conf '/^[[:space:]]*nameserver[[:space:]]/p'
# Kernel modules: those that are loaded, built in, and on disk.
lines modules /proc/modules 's/^([^ ]*(_set|conntrack|tables|ipt_|xt_|nft_|vxlan|ipip|wireguard)[^ ]*) .*/\1/p'
for name in builtin dep; do
    lines "modules-$name" "/lib/modules/${release:-none}/modules.$name" \
        's/^([^:]*\/)?([^/:]*(set|conntrack|tables|ipt_|xt_|nft_|vxlan|ipip|wireguard|REJECT)[^/:]*)\.ko.*/\2/p'
done
lines ufw /etc/ufw/ufw.conf '/^ENABLED=/p'
listing network-manager NetworkManager.conf unmanaged-devices "$root"/etc/NetworkManager/NetworkManager.conf \
    "$root"/etc/NetworkManager/conf.d/*.conf "$root"/run/NetworkManager/conf.d/*.conf \
    "$root"/usr/lib/NetworkManager/conf.d/*.conf
begin pins /sys/fs/bpf
if [ ! -d "$root/sys/fs/bpf" ]; then
    end_missing "$root/sys/fs/bpf"
elif ! has find; then
    end no-tool find
elif find "$root/sys/fs/bpf" -xdev -mindepth 1 -maxdepth 4 2>/dev/null </dev/null; then
    end ok
else
    end forbidden 'it may not be searched'
fi

lines fstab /etc/fstab '\#/sys/fs/bpf#p'
wanted_units bpffs-units sys-fs-bpf.mount
which_of systemd 'libsystemd-shared-*.so' "$root"/usr/lib/systemd/libsystemd-shared-*.so \
    "$root"/lib/systemd/libsystemd-shared-*.so "$root"/usr/lib/*/systemd/libsystemd-shared-*.so \
    "$root"/usr/lib64/systemd/libsystemd-shared-*.so

# Addresses of the API server: whether each takes a TCP connection.
begin endpoints 'addresses to connect to'
if [ $# -gt 0 ]; then
    echo $(($# / 2))
    end ok
else
    end absent
fi
tried=0
while [ $# -gt 1 ]; do
    tried=$((tried + 1))
    host=$1
    port=$2
    shift 2
    try_endpoint
done

# A trial that was asked for is put in here.

printf '\n%s done\n' "$mark"
exit 0
