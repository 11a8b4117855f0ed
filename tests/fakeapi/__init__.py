"""A fake Kubernetes API server over real TLS that serves the objects of a story."""

from tests.fakeapi.kubeconfig import write_kubeconfig
from tests.fakeapi.proxy import ForwardProxy, forward_proxy
from tests.fakeapi.server import ALWAYS, TOKEN, USER, FakeApi, Fault, Request, expire_continue_after
from tests.fakeapi.story import Object, Story

__all__ = [
    "ALWAYS",
    "TOKEN",
    "USER",
    "FakeApi",
    "Fault",
    "ForwardProxy",
    "Object",
    "Request",
    "Story",
    "expire_continue_after",
    "forward_proxy",
    "write_kubeconfig",
]
