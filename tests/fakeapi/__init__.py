"""A fake Kubernetes API server over real TLS that serves the objects of a story."""

from tests.fakeapi.admission import pod_security, quota, webhook
from tests.fakeapi.exec import ExecLife
from tests.fakeapi.kubeconfig import write_kubeconfig
from tests.fakeapi.podlife import ITS_COMMAND, PodLife
from tests.fakeapi.pods import ALWAYS
from tests.fakeapi.proxy import ForwardProxy, forward_proxy
from tests.fakeapi.server import TOKEN, USER, FakeApi, Fault, Request, expire_continue_after
from tests.fakeapi.story import Object, Story
from tests.fakeapi.storylogs import LongLog, StoryLog, felix
from tests.fakeapi.watch import WatchFault

__all__ = [
    "ALWAYS",
    "ITS_COMMAND",
    "TOKEN",
    "USER",
    "ExecLife",
    "FakeApi",
    "Fault",
    "ForwardProxy",
    "LongLog",
    "Object",
    "PodLife",
    "Request",
    "Story",
    "StoryLog",
    "WatchFault",
    "expire_continue_after",
    "felix",
    "forward_proxy",
    "pod_security",
    "quota",
    "webhook",
    "write_kubeconfig",
]
