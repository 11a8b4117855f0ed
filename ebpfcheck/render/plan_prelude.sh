# What the steps below are made of. It takes nothing but kubectl and a POSIX sh.

KUBECTL=${KUBECTL:-kubectl}
context=
yes=
accept_unknown=
confirmed=" "
skipped=" "
missed=
lacks=

usage() {
    cat <<END
$0 [--context NAME] [--yes] [--done STEP]... [--skip STEP]... [--accept-unknown]

  --context NAME    the context of the kubeconfig (default: the one that is current now)
  --yes             do not ask before steps that disrupt
  --done STEP       say that what STEP asks of you has been done, or seen
  --skip STEP       leave STEP out
  --accept-unknown  go on although the plan names things that are not known

It goes on where it stopped. KUBECONFIG is honoured; KUBECTL names another kubectl.
END
}

while [ $# -gt 0 ]; do
    case $1 in
        --yes | -y) yes=1 ;;
        --accept-unknown) accept_unknown=1 ;;
        --done | --skip | --context)
            [ $# -gt 1 ] || { usage >&2; exit 2; }
            case $1 in
                --done) confirmed="$confirmed$2 " ;;
                --skip) skipped="$skipped$2 " ;;
                *) context=$2 ;;
            esac
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

# On the way back nothing that takes too long may keep kube-proxy from coming back.
lacking() {
    [ "$way" = back ] || stop "$*"
    say "NOT YET: $*"
    missed=1
    lacks=1
}

# Whatever stands on stdin is for questions, not for kubectl.
k() { "$KUBECTL" ${context:+--context "$context"} "$@" </dev/null; }

# In the directory of the plan, so that a second run finds it.
begin() { # WAY STATE OTHER
    way=$1
    [ -f "$0" ] || stop "save it to a file first: what was done is kept beside it"
    here=$(dirname "$0")
    state=$here/$2
    other=$here/$3
    lock=$here/lock
    if ! mkdir "$lock" 2>/dev/null; then
        holder=$(cat "$lock/pid" 2>/dev/null) || holder=
        [ -d "$lock" ] || stop "cannot write to $here"
        if [ -z "$holder" ] || kill -0 "$holder" 2>/dev/null; then
            stop "another run is under way (process ${holder:-unknown}); if none is, remove $lock"
        fi
    fi
    printf '%s\n' "$$" >"$lock/pid" || stop "cannot write to $here"
    trap 'leave' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    mkdir -p "$state" || stop "cannot write to $here"
    if [ -z "$context" ]; then context=$("$KUBECTL" config current-context 2>/dev/null) || context=; fi
    say "On the cluster of context ${context:-(none)}."
}

probe_in=
leave() {
    [ -z "$probe_in" ] || k delete daemonsets.apps ebpfcheck-reach -n "$probe_in" --ignore-not-found || :
    rm -rf "${lock:?}"
}

same_cluster() { # UID
    now=$(k get services kubernetes -n default -o 'jsonpath={.metadata.uid}') || stop "the cluster does not answer"
    [ "$now" = "$1" ] || stop "this is another cluster than the one that the plan was made for"
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
    lacks=
    say ""
    case $skipped in
        *" $current "*)
            say "== $2: left out"
            return 1
            ;;
    esac
    if [ -e "$state/$1" ]; then
        say "== $2: done before"
        return 1
    fi
    say "== $2"
}

finish() {
    # What has not come about yet is waited for again by the next run.
    [ -z "$lacks" ] || return 0
    : >"$state/$current" || stop "cannot write to $state"
    # What was done on the other way counts no more.
    rm -rf "${other:?}"
}

ask() { # WORDS
    say "It disrupts: $1"
    [ -n "$yes" ] || answered "Go on?" || stop "nothing of this step was done"
}

answered() { # QUESTION
    [ -t 0 ] || stop "nobody is there to answer: $1 (--yes answers for steps that disrupt)"
    printf '%s [y/N] ' "$(plain "$1")"
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
    k get "$1" "$2" ${3:+-n "$3"} --ignore-not-found -o "jsonpath=$4"
}

# A switch that nobody has set is off.
is() { # NOW WANTED
    [ "$1" = "$2" ] || { [ -z "$1" ] && [ "$2" = false ]; }
}

# Fields that are what they should be are left alone, and so is what is neither that nor what the plan saw.
patch() { # RESOURCE NAME NAMESPACE PATCH (JSONPATH BEFORE AFTER)...
    resource=$1 name=$2 namespace=$3 document=$4
    shift 4
    needed=
    while [ $# -gt 0 ]; do
        now=$(value "$resource" "$name" "$namespace" "$1") || stop "$resource $name could not be read"
        if [ "$now" != "$3" ]; then
            if [ "$now" != "$2" ]; then
                lacking "$1 of $resource $name is '$now', not '$2' as when the plan was made, and was left alone"
                return
            fi
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
        make "$manifest" || stop "it was refused"
        return
    fi
    while [ $# -gt 0 ]; do
        now=$(value "$resource" "$name" "$namespace" "$1") || stop "$resource $name could not be read"
        [ "$now" = "$2" ] || stop "there is a $resource $name already, and its $1 is '$now', not '$2'"
        shift 2
    done
    say "$resource $name is there already"
}

make() { # MANIFEST
    printf '%s' "$1" | "$KUBECTL" ${context:+--context "$context"} create -f -
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
    k rollout status "$1" -n "$2" --timeout="${3}m" || lacking "$1 has not rolled out within $3 minutes"
}

# An API server that is away for a moment does not end the wait.
until_value() { # MINUTES VALUE WHAT RESOURCE NAME NAMESPACE JSONPATH
    minutes=$1 wanted=$2 what=$3
    shift 3
    tries=$((minutes * 12))
    told=
    while :; do
        if now=$(value "$@"); then
            if is "$now" "$wanted"; then return; fi
        else
            now="not to be read"
        fi
        [ -n "$told" ] || say "waiting until $what is '$wanted'"
        told=1
        if [ "$tries" -le 0 ]; then
            lacking "$what is '$now', not '$wanted', after $minutes minutes"
            return
        fi
        tries=$((tries - 1))
        sleep 5
    done
}

counts() { # NAME NAMESPACE
    k get daemonsets.apps "$1" -n "$2" --ignore-not-found \
        -o 'jsonpath={.metadata.generation} {.status.observedGeneration} {.status.desiredNumberScheduled} {.status.numberReady}'
}

# A DaemonSet that is not there has no pods either.
are_gone() { # GENERATION OBSERVED DESIRED READY
    [ $# = 0 ] || { [ $# -ge 3 ] && [ "$1" = "$2" ] && [ "$3" = 0 ]; }
}

are_running() { # GENERATION OBSERVED DESIRED READY
    [ $# = 4 ] && [ "$1" = "$2" ] && [ "$3" != 0 ] && [ "$3" = "$4" ]
}

pods() { # are_gone|are_running NAME NAMESPACE MINUTES
    tries=$(($4 * 12))
    while :; do
        # shellcheck disable=SC2046,SC2086 # its words are numbers
        if now=$(counts "$2" "$3") && "$1" $now; then return; fi
        if [ "$tries" -le 0 ]; then
            case $1 in
                are_gone) lacking "$3/$2 still has pods after $4 minutes" ;;
                *) lacking "$3/$2 does not run on all of its nodes after $4 minutes" ;;
            esac
            return
        fi
        tries=$((tries - 1))
        sleep 5
    done
}

# The pods become ready when they have been answered.
reached() { # NAMESPACE MINUTES WHAT MANIFEST
    probe_in=$1
    k delete daemonsets.apps ebpfcheck-reach -n "$1" --ignore-not-found ||
        stop "what an earlier run left could not be removed"
    make "$4" || stop "the pods that try it could not be made"
    if ! k rollout status daemonsets.apps/ebpfcheck-reach -n "$1" --timeout="${2}m"; then
        k get pods -n "$1" -l app.kubernetes.io/name=ebpfcheck-reach \
            -o 'custom-columns=NODE:.spec.nodeName,READY:.status.containerStatuses[0].ready,PHASE:.status.phase' || :
        k get events -n "$1" --field-selector involvedObject.kind=DaemonSet,involvedObject.name=ebpfcheck-reach \
            -o 'custom-columns=REASON:.reason,MESSAGE:.message' || :
        stop "not every node has reached $3 within $2 minutes"
    fi
    wanted=$(value daemonsets.apps ebpfcheck-reach "$1" '{.status.desiredNumberScheduled}') || wanted=
    [ "${wanted:-0}" -gt 0 ] || stop "there was no node to try $3 from"
    k delete daemonsets.apps ebpfcheck-reach -n "$1" --ignore-not-found ||
        stop "the pods that tried it could not be removed"
    probe_in=
    say "all $wanted nodes reach $3"
}

# Each node's boot, and the container in which calico-node runs on it.
boots() {
    k get nodes -l kubernetes.io/os=linux \
        -o 'jsonpath={range .items[*]}{.metadata.name} {.status.nodeInfo.bootID} {.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}'
}

agents() { # NAMESPACE
    k get pods -n "$1" -l k8s-app=calico-node \
        -o 'jsonpath={range .items[*]}{.spec.nodeName} {.status.containerStatuses[?(@.name=="calico-node")].containerID} {.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}'
}

record() { # NAMESPACE
    boots >"$state/boots.now" || stop "the nodes could not be read"
    agents "$1" >"$state/agents.now" || stop "the pods of calico-node could not be read"
    for list in boots agents; do
        sed 's/ [A-Za-z]*$//' "$state/$list.now" >"$state/$list.told" || stop "cannot write to $state"
        rm -f "$state/$list.now"
    done
    mv "$state/agents.told" "$state/agents" || stop "cannot write to $state"
    mv "$state/boots.told" "$state/boots" || stop "cannot write to $state"
}

fresh_node() { # NAMESPACE
    [ -e "$state/boots" ] || record "$1"
    fresh=$(boots) || stop "the nodes could not be read"
    fresh=$(printf '%s\n' "$fresh" | sed -n 's/ True$//p' | grep -vxF -f "$state/boots" | sed 's/ .*//') || :
    running=$(agents "$1") || stop "the pods of calico-node could not be read"
    running=$(printf '%s\n' "$running" | sed -n 's/ True$//p' | grep -vxF -f "$state/agents" | sed 's/ .*//') || :
    for node in $fresh; do
        if printf '%s\n' "$running" | grep -qxF -- "$node"; then
            say "$node was rebooted or added, and is Ready"
            return
        fi
    done
    stop "reboot one node now, or add one, and run this again once it and its calico-node are Ready: none has become so since this was first asked"
}

# What is to be said at the end.
end() {
    if [ -n "$missed" ]; then
        stop "the way was gone to its end, but some of it has not come about: see NOT YET above, and run it again"
    fi
    say "Done."
}
