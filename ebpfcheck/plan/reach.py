"""The pods by which enable.sh has every node reach the API server's address."""

from typing import Any

from ebpfcheck.model.plan import Reached

NAME = "ebpfcheck-reach"
_LABELS = {"app.kubernetes.io/name": NAME}
# The words are host, port and greeting. A load balancer takes connections with no server behind it, so what counts is a
# TLS record that comes back: a handshake (22), or an alert (21) of a server that wants more than this greeting has.
_TRY = r"""exec 3<>"/dev/tcp/$0/$1" && printf "$2" >&3 && LC_ALL=C IFS= read -r -n 1 -u 3 type || exit
case $type in $'\x15' | $'\x16') ;; *) exit 1 ;; esac"""
# bash and timeout are in the image of calico-node; the pod is ready once the file is there.
_UNTIL = 'until timeout 5 bash -c "$0" "$@"; do sleep 2; done; : >/tmp/reached; while :; do sleep 3600; done'


def reach_manifest(condition: Reached) -> dict[str, Any]:
    """Return a DaemonSet whose pods are on the host's network, use its resolver, and become ready once answered."""
    host, port = condition.host, condition.port
    account = {"serviceAccountName": condition.service_account} if condition.service_account else {}
    marks = (mark.partition("=") for mark in condition.leave_out)
    others = [{"key": key, "operator": "NotIn", "values": [value]} for key, _, value in marks]
    terms = {"nodeSelectorTerms": [{"matchExpressions": others}]}
    where = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    affinity = {"affinity": where} if others else {}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": NAME, "namespace": condition.namespace, "labels": _LABELS},
        "spec": {
            "selector": {"matchLabels": _LABELS},
            "template": {
                "metadata": {"labels": _LABELS},
                "spec": {
                    "hostNetwork": True,
                    "dnsPolicy": "Default",
                    "automountServiceAccountToken": False,
                    "terminationGracePeriodSeconds": 0,
                    "nodeSelector": {"kubernetes.io/os": "linux"},
                    "tolerations": [{"operator": "Exists"}],
                    **account,
                    **affinity,
                    "containers": [
                        {
                            "name": "reach",
                            "image": condition.image,
                            "imagePullPolicy": "IfNotPresent",
                            "command": ["/bin/bash", "-c", _UNTIL, _TRY, host, str(port), _escaped(_hello(host))],
                            "readinessProbe": {
                                "exec": {"command": ["/bin/bash", "-c", "test -e /tmp/reached"]},
                                "periodSeconds": 2,
                            },
                            "resources": {
                                "requests": {"cpu": "10m", "memory": "16Mi"},
                                "limits": {"cpu": "100m", "memory": "32Mi"},
                            },
                            "securityContext": {
                                "allowPrivilegeEscalation": False,
                                "capabilities": {"drop": ["ALL"]},
                            },
                        }
                    ],
                },
            },
        },
    }


def _hello(host: str) -> bytes:
    """Return the first record of a TLS 1.2 client, with the server's name where the host is one (RFC 5246, 6066)."""
    suites = bytes.fromhex("c02fc030c02bc02c009c009d")
    groups, formats = bytes.fromhex("001d00170018"), b"\0"
    signatures = bytes.fromhex("0403080404010503080505010806060102010203")
    extensions = (
        _extension(10, _sized(2, groups)) + _extension(11, _sized(1, formats)) + _extension(13, _sized(2, signatures))
    )
    is_address = ":" in host or host.rpartition(".")[2].isdigit()
    if not is_address:
        extensions += _extension(0, _sized(2, b"\0" + _sized(2, host.encode())))
    # The random bytes of a greeting that no handshake follows may as well be fixed.
    hello = b"\x03\x03" + bytes(32) + _sized(1, b"") + _sized(2, suites) + _sized(1, b"\0") + _sized(2, extensions)
    return b"\x16\x03\x01" + _sized(2, b"\x01" + _sized(3, hello))


def _sized(length: int, data: bytes) -> bytes:
    """Put the length of some bytes before them, in that many bytes."""
    return len(data).to_bytes(length, "big") + data


def _extension(number: int, data: bytes) -> bytes:
    return number.to_bytes(2, "big") + _sized(2, data)


def _escaped(data: bytes) -> str:
    """Write bytes as a format of printf."""
    return "".join(f"\\x{byte:02x}" for byte in data)
