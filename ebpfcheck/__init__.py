"""Preflight for Calico's eBPF dataplane: says whether it will work on a cluster and on each of its nodes."""

__version__ = "0.1.0"
