"""The pods by which enable.sh has every node connect to the API server's address."""

from typing import Any

from ebpfcheck.model.plan import Reached

NAME = "ebpfcheck-reach"
_LABELS = {"app.kubernetes.io/name": NAME}
# bash and timeout are in the image of calico-node; the pod is ready once the file is there.
_TRY = (
    'until timeout 5 bash -c \'exec 3<>"/dev/tcp/$0/$1"\' "$0" "$1"; do sleep 2; done; : >/tmp/reached; '
    "while :; do sleep 3600; done"
)


def reach_manifest(condition: Reached) -> dict[str, Any]:
    """Return a DaemonSet whose pods are on the host's network, use its resolver, and become ready once connected."""
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
                            "command": ["/bin/bash", "-c", _TRY, condition.host, str(condition.port)],
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
