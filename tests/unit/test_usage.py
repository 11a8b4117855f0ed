"""What Services, workloads and policies ask for, from objects in the shape in which servers send them."""

from typing import Any, TypeVar

import msgspec
import pytest

from ebpfcheck.collect import usage, wire
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.model.cluster import AddOn, Deployment, DnsService, HostEndpoints, NodeLocalDns, Services, Users

T = TypeVar("T")
Object = dict[str, Any]


def decoded(shape: type[T], item: Object) -> T:
    return msgspec.json.decode(msgspec.json.encode(item), type=shape)


def named(name: str, namespace: str = "shop", **metadata: Any) -> Object:
    return {"name": name, "namespace": namespace, **metadata}


def one(*names: str) -> Users:
    return Users(count=len(names), examples=names)


def test_only_the_first_few_are_named_in_order() -> None:
    rows = [usage.Row(f"shop/web-{n}", ("sctp",) if n % 2 else ()) for n in range(40, 0, -1)]
    found = usage.users(rows, "sctp")
    assert found.count == 20
    assert found.examples == ("shop/web-1", "shop/web-11", "shop/web-13", "shop/web-15", "shop/web-17")


# Workloads.


def workload(name: str = "web", *, annotations: Object | None = None, **spec: Any) -> Object:
    template = {"metadata": {"annotations": annotations or {}, "labels": {"app": name}}, "spec": spec}
    return {"metadata": named(name), "spec": {"replicas": 2, "template": template}, "status": {"availableReplicas": 1}}


def container(*ports: Object, image: str = "registry.k8s.io/pause:3.10") -> Object:
    return {"name": "main", "image": image, "ports": list(ports)}


WORKLOADS: list[tuple[Object, Object, tuple[str, ...]]] = [
    ({"containers": [container({"containerPort": 80, "protocol": "TCP"})]}, {}, ()),
    ({"containers": [container()]}, {}, ()),
    ({"containers": [{"name": "main"}]}, {}, ()),
    ({"containers": [container({"containerPort": 80, "hostPort": 8080, "protocol": "TCP"})]}, {}, ("host_ports",)),
    # On the host's network servers fill hostPort in by themselves.
    ({"containers": [container({"containerPort": 80, "hostPort": 80})], "hostNetwork": True}, {}, ()),
    ({"containers": [container(), container({"containerPort": 38412, "protocol": "SCTP"})]}, {}, ("sctp",)),
    ({"containers": []}, {"cni.projectcalico.org/floatingIPs": '["10.0.0.9"]'}, ("floating_ips",)),
    ({"containers": []}, {"cni.projectcalico.org/allowedSourcePrefixes": '["10.0.0.0/8"]'}, ("source_prefixes",)),
    ({"containers": []}, {"k8s.v1.cni.cncf.io/networks": "macvlan-1"}, ("extra_networks",)),
    ({"containers": []}, {"k8s.v1.cni.cncf.io/networks": ""}, ()),
    ({"containers": []}, {"example.com/other": "x"}, ()),
]


@pytest.mark.parametrize(("spec", "annotations", "tags"), WORKLOADS)
def test_what_a_workload_asks_for(spec: Object, annotations: Object, tags: tuple[str, ...]) -> None:
    item = workload(annotations=annotations, **spec)
    for row in (usage.workload_row(decoded(wire.Workload, item)), usage.daemon_set_row(decoded(wire.DaemonSet, item))):
        assert row.tags == tags
        assert row.name in ("shop/web", "" if not tags else "shop/web")
    pod = {"metadata": named("web-1", annotations=annotations), "spec": spec}
    assert usage.pod_row(decoded(wire.BriefPod, pod)).tags == tags


def test_workloads_are_summed_up() -> None:
    rows = [
        usage.workload_row(decoded(wire.Workload, workload(f"web-{n}", annotations=annotations, **spec)))
        for n, (spec, annotations, _) in enumerate(WORKLOADS)
    ]
    found = usage.workloads_of(rows)
    assert found.count == len(WORKLOADS)
    assert found.host_ports == one("shop/web-3")
    assert found.sctp == one("shop/web-5")
    assert found.floating_ips == one("shop/web-6")
    assert found.source_prefixes == one("shop/web-7")
    assert found.extra_networks == one("shop/web-8")


@pytest.mark.parametrize(
    ("name", "program"),
    [
        ("istiod", "istiod"),
        ("istiod-1-24-2", "istiod"),
        ("istio-ingressgateway", None),
        ("ztunnel", "ztunnel"),
        ("linkerd-destination", "linkerd"),
        ("kuma-control-plane", "kuma"),
        ("release-consul-connect-injector", "consul"),
        ("speaker", "metallb"),
        ("metallb-speaker", "metallb"),
        ("loudspeaker", None),
        ("kube-vip-ds", "kube-vip"),
        ("svclb-traefik-5dd6a8e6", "klipper-lb"),
        ("aws-load-balancer-controller", "aws-load-balancer-controller"),
        ("kube-multus-ds", "multus"),
        ("virt-handler", "kubevirt"),
        ("cilium", "cilium"),
        ("cilium-operator", None),
        ("my-beyla", "beyla"),
        ("datadog-agent", "datadog"),
        ("datadog", "datadog"),
        ("datadog-cluster-agent", None),
        ("netobserv-ebpf-agent", "netobserv"),
        ("kmesh", "kmesh"),
        ("retina-agent", "retina"),
        ("kubeshark-worker-daemon-set", "kubeshark"),
        ("web", None),
        ("", None),
    ],
)
def test_add_ons_are_known_by_their_names(name: str, program: str | None) -> None:
    expected = None if program is None else AddOn(program=program, namespace="shop", name=name)
    item = workload(name, containers=[container()])
    assert usage.workload_row(decoded(wire.Workload, item)).add_on == expected
    assert usage.daemon_set_row(decoded(wire.DaemonSet, item)).add_on == expected


def test_calicos_own_deployments_are_kept_and_what_they_do_not_say_is_not_known() -> None:
    item = workload("calico-typha", containers=[container(image="quay.io/calico/typha:v3.32.1")])
    row = usage.workload_row(decoded(wire.Workload, item))
    expected = Deployment(
        namespace="shop", name="calico-typha", image="quay.io/calico/typha:v3.32.1", desired=2, available=1
    )
    assert row.own == expected
    del item["status"], item["spec"]["replicas"]
    assert usage.workload_row(decoded(wire.Workload, item)).own == msgspec.structs.replace(
        expected, desired=1, available=None
    )
    # That none is available servers say by leaving the number out.
    item["status"] = {"replicas": 2, "unavailableReplicas": 2}
    assert usage.workload_row(decoded(wire.Workload, item)).own == msgspec.structs.replace(
        expected, desired=1, available=0
    )


@pytest.mark.parametrize(
    ("name", "image", "words", "ips"),
    [
        ("node-local-dns", "x", ["-localip", "169.254.20.10,10.96.0.10"], ("169.254.20.10", "10.96.0.10")),
        ("nodelocaldns", "x", ["-localip=169.254.25.10", "-conf", "/etc/Corefile"], ("169.254.25.10",)),
        ("cache", "registry.k8s.io/dns/k8s-dns-node-cache:1.23.1", ["--localip", " fd00::a , ,"], ("fd00::a",)),
        ("node-local-dns", "x", ["-localip"], ()),
        ("node-local-dns", "x", None, ()),
    ],
)
def test_node_local_dns(name: str, image: str, words: list[str] | None, ips: tuple[str, ...]) -> None:
    item = workload(name, containers=[{"name": "node-cache", "image": image, "args": words}])
    found = usage.node_local_dns([decoded(wire.DaemonSet, item)])
    assert found == (NodeLocalDns(namespace="shop", name=name, local_ips=ips),)


def test_other_daemon_sets_are_no_node_local_dns() -> None:
    assert usage.node_local_dns([decoded(wire.DaemonSet, workload("coredns", containers=[container()]))]) == ()


# Services.


def service(name: str = "web", namespace: str = "shop", *, annotations: Object | None = None, **spec: Any) -> Object:
    plain = {
        "clusterIP": "10.96.7.8",
        "clusterIPs": ["10.96.7.8"],
        "internalTrafficPolicy": "Cluster",
        "ipFamilies": ["IPv4"],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}],
        "sessionAffinity": "None",
        "type": "ClusterIP",
    }
    metadata = named(name, namespace, **({"annotations": annotations} if annotations else {}))
    return {"metadata": metadata, "spec": plain | spec, "status": {"loadBalancer": {}}}


NODE_PORT = {"port": 80, "nodePort": 30080, "protocol": "TCP"}


@pytest.mark.parametrize(
    ("item", "field"),
    [
        (service(type="LoadBalancer"), "load_balancers"),
        (service(ports=[NODE_PORT]), "of_node_ports"),
        (service(externalTrafficPolicy="Local"), "external_local"),
        (service(healthCheckNodePort=31234), "health_checked"),
        (service(internalTrafficPolicy="Local"), "internal_local"),
        (service(trafficDistribution="PreferClose"), "traffic_distribution"),
        (service(annotations={"lb.projectcalico.org/external-traffic-strategy": "maglev"}), "maglev"),
        (service(ports=[{"port": 38412, "protocol": "SCTP"}]), "sctp"),
        (service(clusterIPs=["10.96.7.8", "fd00:96::8"]), "ipv6"),
    ],
)
def test_what_a_service_asks_for(item: Object, field: str) -> None:
    found = usage.services_of([usage.service_row(decoded(wire.Service, one)) for one in (item, service("plain"))])
    asked = {name: value for name in found.__struct_fields__ if isinstance(value := getattr(found, name), Users)}
    assert {name: value for name, value in asked.items() if value.count} == {field: one("shop/web")}


def test_a_service_without_an_address_balances_no_sctp() -> None:
    item = service(ports=[{"port": 38412, "protocol": "SCTP"}], clusterIP="None", clusterIPs=["None"])
    assert usage.service_row(decoded(wire.Service, item)).tags == ()


def test_addresses_and_ports_are_counted() -> None:
    balanced = service(
        ports=[NODE_PORT, NODE_PORT],
        type="LoadBalancer",
        externalIPs=["192.0.2.1"],
        clusterIPs=["10.96.7.8", "fd00::8"],
    )
    balanced["status"] = {"loadBalancer": {"ingress": [{"ip": "192.0.2.2"}, {"hostname": "lb.example.net"}]}}
    headless = service("db", clusterIP="None", clusterIPs=["None"])
    external = {"metadata": named("out"), "spec": {"type": "ExternalName", "externalName": "x.example"}, "status": {}}
    rows = [usage.service_row(decoded(wire.Service, item)) for item in (balanced, headless, external)]
    found = usage.services_of(rows)
    assert (found.count, found.ports, found.addresses, found.node_ports) == (3, 2, 8, 2)
    assert usage.services_of([]) == Services()


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (
            service("kube-dns", "kube-system", ports=[{"port": 53, "protocol": "UDP"}, {"port": 9153}]),
            DnsService(namespace="kube-system", name="kube-dns", cluster_ips=("10.96.7.8",)),
        ),
        (
            service(
                "rke2-coredns-rke2-coredns", "kube-system", ports=[{"port": 53, "protocol": "UDP"}],
                annotations={"projectcalico.org/natExcludeService": "true"},
            ),
            DnsService(
                namespace="kube-system", name="rke2-coredns-rke2-coredns", cluster_ips=("10.96.7.8",),
                nat_exclude="true",
            ),
        ),
        (service("metrics-server", "kube-system", ports=[{"port": 443}]), None),
        (service("kube-dns", "shop", ports=[{"port": 53}]), None),
        (service("headless-dns", "kube-system", ports=[{"port": 53}], clusterIP="None", clusterIPs=["None"]), None),
    ],
)  # fmt: skip
def test_the_service_of_dns(item: Object, expected: DnsService | None) -> None:
    assert usage.service_row(decoded(wire.Service, item)).dns == expected


# Policies and host endpoints.


def policy(**spec: Any) -> Object:
    return {"metadata": named("default.web"), "spec": {"selector": "app == 'web'", "tier": "default", **spec}}


POLICIES: list[tuple[Object, tuple[str, ...]]] = [
    (policy(ingress=[{"action": "Allow", "protocol": "TCP", "destination": {"ports": [80, "8080:8090"]}}]), ()),
    (policy(ingress=[{"action": "Allow", "protocol": "SCTP"}]), ("sctp",)),
    (policy(egress=[{"action": "Allow", "protocol": 132}]), ("sctp",)),
    (policy(egress=[{"action": "Log"}, {"action": "Deny"}]), ("log",)),
    (policy(doNotTrack=True, ingress=[{"action": "Allow", "ipVersion": 4}]), ("do_not_track",)),
    (policy(preDNAT=True, applyOnForward=True), ()),
    ({"metadata": named("default.web")}, ()),
]


@pytest.mark.parametrize(("item", "tags"), POLICIES)
def test_what_a_policy_of_calicos_asks_for(item: Object, tags: tuple[str, ...]) -> None:
    row = usage.calico_policy_row(decoded(wire.CalicoPolicy, item))
    assert row.tags == tags
    found = usage.calico_policies_of([row])
    assert found.count == 1
    for tag in ("sctp", "log", "do_not_track"):
        assert getattr(found, tag) == (one("shop/default.web") if tag in tags else Users())


@pytest.mark.parametrize(
    ("rules", "is_sctp"),
    [
        ({"ingress": [{"ports": [{"port": 80, "protocol": "TCP"}]}]}, False),
        ({"egress": [{"to": []}, {"ports": [{"port": 38412, "protocol": "SCTP"}]}]}, True),
        ({"ingress": [{}]}, False),
        ({}, False),
    ],
)
def test_sctp_in_policies_of_kubernetes(rules: Object, is_sctp: bool) -> None:
    item = {"metadata": named("web"), "spec": {"podSelector": {}, **rules}}
    found = usage.network_policies_of([usage.network_policy_row(decoded(wire.NetworkPolicy, item))])
    assert (found.count, found.sctp) == (1, one("shop/web") if is_sctp else Users())


def test_host_endpoints_of_others_are_told_from_automatic_ones() -> None:
    made_by = {"projectcalico.org/created-by": "calico-kube-controllers"}
    items: list[Object] = [
        {"metadata": {"name": "worker-1-auto-hep", "labels": made_by}, "spec": {"node": "worker-1"}},
        {"metadata": {"name": "worker-1-eth0", "labels": {"role": "edge"}}, "spec": {"interfaceName": "eth0"}},
        {"metadata": {"name": "worker-2-eth0"}, "spec": {"interfaceName": "eth0"}},
    ]
    rows = [usage.host_endpoint_row(decoded(wire.HostEndpoint, item)) for item in items]
    assert usage.host_endpoints_of(rows) == HostEndpoints(automatic=1, own=one("worker-1-eth0", "worker-2-eth0"))


# Virtual machines and meshes.


@pytest.mark.parametrize(
    ("interface", "network", "is_bridged"),
    [
        ({"name": "default", "bridge": {}}, {"name": "default", "pod": {}}, True),
        ({"name": "default", "masquerade": {}}, {"name": "default", "pod": {}}, False),
        ({"name": "default", "bridge": {}}, {"name": "default", "multus": {"networkName": "vlan-7"}}, False),
        ({"name": "other", "bridge": {}}, {"name": "default", "pod": {}}, False),
    ],
)
def test_guests_that_are_bridged_to_the_pod_network(interface: Object, network: Object, is_bridged: bool) -> None:
    domain = {"cpu": {"cores": 2}, "devices": {"interfaces": [interface], "disks": []}}
    item = {"metadata": named("vm-1"), "spec": {"domain": domain, "networks": [network]}}
    found = usage.guests_of([usage.guest_row(decoded(wire.Guest, item))])
    assert (found.count, found.bridged) == (1, one("shop/vm-1") if is_bridged else Users())


@pytest.mark.parametrize(
    ("labels", "annotations", "mesh"),
    [
        ({"istio-injection": "enabled"}, {}, "istio"),
        ({"istio-injection": "disabled"}, {}, ""),
        ({"istio.io/rev": "1-24-2"}, {}, "istio"),
        ({"istio.io/dataplane-mode": "ambient"}, {}, "istio-ambient"),
        ({"istio.io/dataplane-mode": "Kmesh"}, {}, "kmesh"),
        ({"istio.io/dataplane-mode": "none"}, {}, ""),
        ({}, {"linkerd.io/inject": "enabled"}, "linkerd"),
        ({}, {"linkerd.io/inject": "ingress"}, "linkerd"),
        ({}, {"linkerd.io/inject": "disabled"}, ""),
        ({"kuma.io/sidecar-injection": "enabled"}, {}, "kuma"),
        ({"connect-inject": "enabled"}, {}, "consul"),
        ({"kubernetes.io/metadata.name": "shop"}, {}, ""),
        (None, None, ""),
    ],
)
def test_the_mesh_that_a_namespace_joins(labels: Object | None, annotations: Object | None, mesh: str) -> None:
    item = {"metadata": {"name": "shop", "labels": labels, "annotations": annotations}}
    assert usage.mesh_of(decoded(wire.Namespace, item)) == mesh


def test_what_the_knowledge_calls_by_name_is_looked_for() -> None:
    tables = load_knowledge().add_ons
    named = {program for mesh in tables.mesh for program in mesh.programs}
    named |= {one.program for one in tables.bpf_program} | {tables.multus.program, tables.kubevirt.program}
    named |= {balancer.program for balancer in load_knowledge().services.load_balancer}
    assert named <= set(usage._PROGRAMS)
    # Cilium is judged as a dataplane.
    assert set(usage._PROGRAMS) - named == {"cilium"}
