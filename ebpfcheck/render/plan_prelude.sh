# What the steps below are made of. It takes nothing but kubectl and a POSIX sh.

KUBECTL=${KUBECTL:-kubectl}
yes=
accept_unknown=
confirmed=" "

usage() {
    cat <<END
$0 [--yes] [--done STEP]... [--accept-unknown]

  --yes             do not ask before steps that disrupt
  --done STEP       say that what STEP asks of you has been done
  --accept-unknown  go on although the plan names things that are not known

It goes on where it stopped. KUBECONFIG and the current context choose the cluster; KUBECTL names another kubectl.
END
}

while [ $# -gt 0 ]; do
    case $1 in
        --yes | -y) yes=1 ;;
        --accept-unknown) accept_unknown=1 ;;
        --done)
            [ $# -gt 1 ] || { usage >&2; exit 2; }
            confirmed="$confirmed$2 "
            shift
            ;;
        --help | -h) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
    shift
done

# What a cluster says may hold what a terminal acts on.
plain() { printf '%s' "$*" | tr -d '\000-\037\177'; }

say() { printf '%s\n' "$(plain "$*")"; }

stop() {
    printf '%s: stopped: %s\n' "$0" "$(plain "$*")" >&2
    exit 1
}

# Whatever stands on stdin is for questions, not for kubectl.
k() { "$KUBECTL" "$@" </dev/null; }

# In the directory of the plan, so that a second run finds it.
begin() { # STATE OTHER
    here=$(dirname "$0")
    state=$here/$1
    # What the other script did counts no more once this one has begun.
    rm -rf "${here:?}/$2" || stop "cannot write to $here"
    mkdir -p "$state" || stop "cannot write to $here"
}

same_cluster() { # CLUSTER-IP
    now=$(k get services kubernetes -n default -o 'jsonpath={.spec.clusterIP}') || stop "the cluster does not answer"
    [ "$now" = "$1" ] || stop "this is another cluster: its Service default/kubernetes has $now, not $1"
}

same_image() { # NAMESPACE NAME IMAGE
    now=$(k get daemonsets.apps "$2" -n "$1" -o 'jsonpath={.spec.template.spec.containers[?(@.name=="calico-node")].image}') ||
        stop "$1/$2 could not be read"
    [ "$now" = "$3" ] || stop "calico-node runs $now by now, and the plan was made for $3: make it anew"
}

refuse() { # REASON...
    say "This plan may not be followed yet:"
    for reason in "$@"; do say "  - $reason"; done
    stop "mend that, and make the plan anew"
}

unknown() { # REASON...
    say "Not known when the plan was made:"
    for reason in "$@"; do say "  - $reason"; done
    [ -n "$accept_unknown" ] || stop "look first, or take it upon you with --accept-unknown"
}

# Whether a step is still to be done.
step() { # ID TITLE
    current=$1
    say ""
    if [ -e "$state/$1" ]; then
        say "== $2: done before"
        return 1
    fi
    say "== $2"
}

finish() {
    : >"$state/$current" || stop "cannot write to $state"
}

ask() { # WORDS
    say "It disrupts: $1"
    [ -n "$yes" ] || answered "Go on?" || stop "nothing of this step was done"
}

answered() { # QUESTION
    [ -t 0 ] || stop "nobody is there to answer: $1 (--yes answers for steps that disrupt, --done STEP for what was done)"
    printf '%s [y/N] ' "$1"
    read -r answer || return 1
    [ "$answer" = y ] || [ "$answer" = yes ]
}

confirmed() { # QUESTION
    case $confirmed in *" $current "*) return 0 ;; esac
    [ -t 0 ] || stop "$1 Run it again with --done $current once it is so."
    answered "$1" || stop "do that first"
}

pause() { # SECONDS WHY
    say "waiting $1 s: $2"
    sleep "$1"
}

value() { # RESOURCE NAME NAMESPACE JSONPATH
    k get "$1" "$2" ${3:+-n "$3"} -o "jsonpath=$4"
}

# A switch that nobody has set is off.
is() { # NOW WANTED
    [ "$1" = "$2" ] || { [ -z "$1" ] && [ "$2" = false ]; }
}

# Fields that are what they should be are left alone; what is neither that nor what the plan saw stops it.
patch() { # RESOURCE NAME NAMESPACE PATCH (JSONPATH BEFORE AFTER)...
    resource=$1 name=$2 namespace=$3 document=$4
    shift 4
    needed=
    while [ $# -gt 0 ]; do
        now=$(value "$resource" "$name" "$namespace" "$1") || stop "$resource $name could not be read"
        if [ "$now" != "$3" ]; then
            [ "$now" = "$2" ] || stop "$1 of $resource $name is '$now', not '$2' as when the plan was made"
            needed=1
        fi
        shift 3
    done
    if [ -z "$needed" ]; then
        say "$resource $name is so already"
        return
    fi
    k patch "$resource" "$name" ${namespace:+-n "$namespace"} --type merge -p "$document" || stop "it was refused"
}

create() { # RESOURCE NAME NAMESPACE MANIFEST (JSONPATH VALUE)...
    resource=$1 name=$2 namespace=$3 manifest=$4
    shift 4
    there=$(k get "$resource" "$name" ${namespace:+-n "$namespace"} --ignore-not-found -o name) ||
        stop "$resource $name could not be read"
    if [ -z "$there" ]; then
        printf '%s' "$manifest" | "$KUBECTL" create -f - || stop "it was refused"
        return
    fi
    while [ $# -gt 0 ]; do
        now=$(value "$resource" "$name" "$namespace" "$1") || stop "$resource $name could not be read"
        [ "$now" = "$2" ] || stop "there is a $resource $name already, and its $1 is '$now', not '$2'"
        shift 2
    done
    say "$resource $name is there already"
}

delete() { # RESOURCE NAME NAMESPACE
    k delete "$1" "$2" ${3:+-n "$3"} --ignore-not-found || stop "it was refused"
}

restart() { # RESOURCE/NAME NAMESPACE [optional]
    if [ -n "${3-}" ]; then
        there=$(k get "$1" -n "$2" --ignore-not-found -o name) || stop "$1 could not be read"
        [ -n "$there" ] || return 0
    fi
    k rollout restart "$1" -n "$2" || stop "$1 could not be restarted"
}

rolled_out() { # RESOURCE/NAME NAMESPACE MINUTES
    k rollout status "$1" -n "$2" --timeout="${3}m" || stop "$1 has not rolled out within $3 minutes"
}

until_value() { # MINUTES VALUE WHAT RESOURCE NAME NAMESPACE JSONPATH
    minutes=$1 wanted=$2 what=$3
    shift 3
    tries=$((minutes * 12))
    now=$(value "$@") || stop "$1 $2 could not be read"
    is "$now" "$wanted" || say "waiting until $what is '$wanted'"
    until is "$now" "$wanted"; do
        [ "$tries" -gt 0 ] || stop "$what is '$now', not '$wanted', after $minutes minutes"
        tries=$((tries - 1))
        sleep 5
        now=$(value "$@") || stop "$1 $2 could not be read"
    done
}

# The pods become ready when they have connected.
reached() { # NAMESPACE MINUTES WHAT MANIFEST
    probe=ebpfcheck-reach
    k delete daemonsets.apps "$probe" -n "$1" --ignore-not-found || stop "what an earlier run left could not be removed"
    trap 'k delete daemonsets.apps "$probe" -n "$probe_namespace" --ignore-not-found' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    probe_namespace=$1
    printf '%s' "$4" | "$KUBECTL" create -f - || stop "the pods that try it could not be made"
    if ! k rollout status "daemonsets.apps/$probe" -n "$1" --timeout="${2}m"; then
        k get pods -n "$1" -l app.kubernetes.io/name=ebpfcheck-reach \
            -o 'custom-columns=NODE:.spec.nodeName,READY:.status.containerStatuses[0].ready,PHASE:.status.phase' || :
        stop "not every node has reached $3 within $2 minutes"
    fi
    trap - EXIT INT TERM HUP
    k delete daemonsets.apps "$probe" -n "$1" --ignore-not-found || stop "the pods that tried it could not be removed"
    say "every node reaches $3"
}

nodes() {
    k get nodes -l kubernetes.io/os=linux \
        -o 'jsonpath={range .items[*]}{.metadata.name} {.status.nodeInfo.bootID} {.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}'
}

record_nodes() {
    [ -e "$state/nodes" ] && return
    nodes >"$state/nodes.new" || stop "the nodes could not be read"
    sed 's/ [A-Za-z]*$//' "$state/nodes.new" >"$state/nodes.told" || stop "cannot write to $state"
    mv "$state/nodes.told" "$state/nodes" || stop "cannot write to $state"
    rm -f "$state/nodes.new"
}

fresh_node() { # NAMESPACE
    found=$(nodes) || stop "the nodes could not be read"
    fresh=$(printf '%s\n' "$found" | sed -n 's/ True$//p' | grep -vxF -f "$state/nodes" | sed 's/ .*//') || :
    running=$(k get pods -n "$1" -l k8s-app=calico-node \
        -o 'jsonpath={range .items[*]}{.spec.nodeName} {.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}') ||
        stop "the pods of calico-node could not be read"
    for node in $fresh; do
        if printf '%s\n' "$running" | grep -qxF "$node True"; then
            say "$node was rebooted or added since, and is Ready"
            return
        fi
    done
    stop "no node that was rebooted or added since the first step is Ready with its calico-node: reboot one (or add one), and run this again once it is Ready"
}
