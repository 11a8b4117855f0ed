"""How `ebpfcheck cluster` comes to an API server, and what it says where it does not."""

import base64
import json
import os
import re
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from ebpfcheck.collect import apiclient, login_child
from ebpfcheck.collect.access import Access, Refusal
from ebpfcheck.collect.apiclient import Answer, ApiClient, ApiError
from ebpfcheck.model.facts import Reason
from tests.acceptance.clusters import Outcome, base, look, nodes, start
from tests.fakeapi import ALWAYS, TOKEN, FakeApi, Fault, Story, forward_proxy, write_kubeconfig
from tests.fakeapi.kubeconfig import EXEC_API

STORY = Story(nodes(3) + base())
# A loaded machine may take as long to start and to end.
SLACK = 15.0


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi(STORY) as serving:
        yield serving


def is_told(outcome: Outcome, code: int, words: str) -> None:
    """One line on stderr with these words (a pattern), nothing on stdout, and that exit code."""
    assert (outcome.code, outcome.stdout) == (code, ""), outcome.stdout + outcome.stderr
    assert outcome.stderr.startswith("ebpfcheck: ")
    assert outcome.stderr.count("\n") == 1, outcome.stderr
    assert re.search(words, outcome.stderr), outcome.stderr


def is_reached(outcome: Outcome, nodes: int = 3) -> None:
    """A report of all nodes."""
    assert outcome.stdout, outcome.stderr
    assert outcome.report["coverage"]["nodes_total"] == nodes
    assert not outcome.report["coverage"]["unseen"]
    assert not outcome.stderr


# The kubeconfig


def loaded(kubeconfig: str | None, context: str | None) -> Access | Refusal:
    with tempfile.TemporaryDirectory() as folder:
        return login_child._answer(kubeconfig, context, folder)


def refusal(kubeconfig: Path | str | None, context: str | None = None) -> Refusal:
    """What the process that loads a kubeconfig answers, without a process."""
    answer = loaded(None if kubeconfig is None else str(kubeconfig), context)
    assert isinstance(answer, Refusal)
    return answer


CONTEXTS = b"contexts: [{name: a, context: {cluster: c, user: u}}]\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x00\x01\xff\xfe\x80" * 100, "is not a kubeconfig"),
        (b"\t{{{ not yaml", "is not a kubeconfig"),
        (b"hello\n", "is not a kubeconfig"),
        (b"[]\n", "config"),
        (b"apiVersion: v1\nkind: Config\nclusters: []\nusers: []\n", "Expected key current-context"),
        (b"clusters: []\nusers: []\ncurrent-context: a\n", "Expected object with name a"),
        (b"clusters: []\ncontexts: []\nusers: []\ncurrent-context: ''\n", "config"),
        (b"clusters:\ncontexts:\nusers:\ncurrent-context: a\n", "config"),
        (b"clusters: 1\ncontexts: {a: b}\nusers: x\ncurrent-context: a\n", "config"),
        (CONTEXTS + b"current-context: a\nclusters: []\nusers: []\n", "Expected object with name c"),
        (CONTEXTS + b"current-context: a\nclusters: [{name: c, cluster: {}}]\nusers: []\n", "server"),
    ],
)
def test_what_is_no_kubeconfig_is_said_to_be_none(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "config"
    path.write_bytes(content)
    answer = refusal(path)
    assert answer.is_usage
    assert str(path) in answer.words
    assert words in answer.words


@pytest.mark.parametrize(
    "server", ["127.0.0.1:6443", "ftp://127.0.0.1", "https://", "https://127.0.0.1:99999", "https://[::1", "host", ""]
)
def test_a_server_that_is_no_url_is_told(tmp_path: Path, api: FakeApi, server: str) -> None:
    path = write_kubeconfig(tmp_path / "config", api, server=server or " ")
    answer = refusal(path)
    assert answer.is_usage
    assert str(path) in answer.words


@pytest.mark.parametrize("content", [b"", b"\xff\x00not yaml: ["])
def test_a_bad_kubeconfig_is_a_usage_error(tmp_path: Path, api: FakeApi, content: bytes) -> None:
    path = tmp_path / "config"
    path.write_bytes(content)
    is_told(look(path, api=api), 2, "config")


def test_a_directory_is_no_kubeconfig(tmp_path: Path, api: FakeApi) -> None:
    is_told(look(tmp_path, api=api), 2, "directory")


def test_without_a_kubeconfig_it_says_where_it_looked(tmp_path: Path, api: FakeApi) -> None:
    is_told(look("", api=api, HOME=str(tmp_path)), 2, r"there is no kubeconfig at ~/\.kube/config")
    gone = str(tmp_path / "gone")
    is_told(look("", api=api, HOME=str(tmp_path), KUBECONFIG=gone), 2, f"there is no kubeconfig at {gone}")
    is_told(look(gone, api=api), 2, f"there is no kubeconfig at {gone}")


def test_the_kubeconfig_at_home_is_found(tmp_path: Path, api: FakeApi) -> None:
    (tmp_path / ".kube").mkdir()
    write_kubeconfig(tmp_path / ".kube" / "config", api)
    is_reached(look("", api=api, HOME=str(tmp_path)))


def test_an_unknown_context_is_named(tmp_path: Path, api: FakeApi) -> None:
    outcome = look(write_kubeconfig(tmp_path / "config", api), "--context", "prud", api=api)
    is_told(outcome, 2, "prud")


def test_several_files_make_one_kubeconfig(tmp_path: Path, api: FakeApi) -> None:
    with FakeApi(Story(nodes(1))) as other:
        files = [
            tmp_path / "missing",
            write_kubeconfig(tmp_path / "a", other, context="one", cluster="one"),
            write_kubeconfig(tmp_path / "b", api, context="two", cluster="two"),
        ]
        joined = os.pathsep.join(map(str, files))
        is_reached(look("", api=api, KUBECONFIG=joined, HOME=str(tmp_path)), 1)
        outcome = look("", "--context", "two", api=api, KUBECONFIG=joined, HOME=str(tmp_path))
        is_reached(outcome)
        assert outcome.report["target"]["context"] == "two"


def test_what_lies_in_the_current_directory_is_not_loaded(tmp_path: Path, api: FakeApi) -> None:
    for name in ("yaml", "msgspec", "logging", "kubernetes"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(7)\n")
    config = write_kubeconfig(tmp_path / "config", api)
    process = start("--kubeconfig", str(config), "--only", "cluster.platform", cwd=tmp_path)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) in ((0, ""), (3, "")), out + err
    assert api.requests


@pytest.mark.parametrize("key", ["certificate-authority", "client-certificate", "client-key"])
@pytest.mark.parametrize("content", [None, "not a certificate\n"])
def test_a_certificate_that_is_missing_or_none_is_told(
    tmp_path: Path, api: FakeApi, key: str, content: str | None
) -> None:
    path = write_kubeconfig(tmp_path / "config", api, auth="cert", inline=False)
    file = tmp_path / f"config.{key}.pem"
    file.unlink()
    if content is not None:
        file.write_text(content)
    is_told(look(path, api=api), 2 if content is None else 5, re.escape(str(file)) if content is None else "certificat")


# Who one is


def plugin(tmp_path: Path, api: FakeApi, script: str) -> Path:
    """A kubeconfig whose exec plugin is that script."""
    file = tmp_path / "plugin"
    file.write_text(f"#!{sys.executable}\nimport json, os, sys, time\n{script}\n")
    file.chmod(0o755)
    return write_kubeconfig(tmp_path / "config", api, auth="exec", exec_command=str(file))


def credential(token: str, **status: str) -> str:
    return json.dumps({"apiVersion": EXEC_API, "kind": "ExecCredential", "status": {"token": token, **status}})


@pytest.mark.parametrize(
    ("auth", "inline"), [("token", True), ("token", False), ("cert", True), ("cert", False), ("exec", True)]
)
def test_every_way_to_say_who_one_is(tmp_path: Path, api: FakeApi, auth: Any, inline: bool) -> None:
    is_reached(look(write_kubeconfig(tmp_path / "config", api, auth=auth, inline=inline), api=api))
    asked = {request.headers.get("authorization") for request in api.requests}
    assert asked == ({None} if auth == "cert" else {f"Bearer {TOKEN}"})


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("print('please run: acme login', file=sys.stderr); sys.exit(3)", "returned 3.*please run: acme login"),
        ("os.kill(os.getpid(), 9)", "returned -9"),
        ("print('hello')", "failed to decode"),
        ("print('{}')", "missing key"),
        ("print('[1]')", "missing key"),
        ("os.write(1, os.urandom(100000) + bytes([255]))", "config: no credentials were had"),
        ("print(json.dumps({'apiVersion': 'v0', 'kind': 'x', 'status': {}}))", "api version v0 does not match"),
    ],
)
def test_an_exec_plugin_that_gives_nothing_is_told_in_its_own_words(
    tmp_path: Path, api: FakeApi, script: str, words: str
) -> None:
    answer = refusal(plugin(tmp_path, api, script))
    assert not answer.is_usage
    assert re.search(words, answer.words), answer.words


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (r"print('\x1b]0;owned\x07run: acme login', file=sys.stderr); sys.exit(3)", r"\x1b]0;owned\x07run: acme login"),
        ("print(r'''" + credential("a\nhunter2") + "''')", "cannot be made"),
        ("print(r'''" + credential("\u20ac") + "''')", "cannot be made"),
    ],
)
def test_credentials_that_cannot_be_used_are_told_in_one_line(
    tmp_path: Path, api: FakeApi, script: str, words: str
) -> None:
    outcome = look(plugin(tmp_path, api, script), api=api)
    is_told(outcome, 5, re.escape(words))
    assert not re.search("hunter2|\u20ac", outcome.stderr)


def test_a_token_file_may_end_in_a_newline(tmp_path: Path, api: FakeApi) -> None:
    path = write_kubeconfig(tmp_path / "config", api, inline=False)
    path.with_name("config.token").write_text(f"{TOKEN}\n")
    is_reached(look(path, api=api))


def test_an_exec_plugin_that_is_not_there_is_named(tmp_path: Path, api: FakeApi) -> None:
    path = write_kubeconfig(tmp_path / "config", api, auth="exec", exec_command="acme-login-9")
    assert "acme-login-9" in refusal(path).words


HANG = """
import subprocess
child = subprocess.Popen(["sleep", "300"])
with open(os.environ["PIDS"], "w") as file:
    file.write(f"{os.getpid()} {child.pid}")
time.sleep(300)
"""


def await_pids(file: Path) -> list[int]:
    end = time.monotonic() + 20
    while len(pids := file.read_text().split() if file.exists() else []) < 2:
        assert time.monotonic() < end, "the plugin did not start"
        time.sleep(0.02)
    return [int(pid) for pid in pids]


def are_gone(pids: list[int]) -> bool:
    _, left = psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=10)
    return all(one.status() == psutil.STATUS_ZOMBIE for one in left)


def test_an_exec_plugin_that_hangs_is_ended_with_its_children(tmp_path: Path, api: FakeApi) -> None:
    pids = tmp_path / "pids"
    outcome = look(plugin(tmp_path, api, HANG), "--timeout", "8", api=api, PIDS=str(pids))
    is_told(outcome, 5, "longer than 8 s; an exec plugin may hang")
    assert outcome.seconds < 8 + SLACK
    assert are_gone(await_pids(pids))


@pytest.mark.parametrize(
    ("where", "number"),
    [
        ("plugin", signal.SIGINT), ("plugin", signal.SIGTERM), ("version", signal.SIGINT), ("list", signal.SIGTERM),
    ],
)  # fmt: skip
def test_being_told_to_stop_is_130_at_once(tmp_path: Path, api: FakeApi, number: signal.Signals, where: str) -> None:
    pids = tmp_path / "pids"
    if where == "plugin":
        path = plugin(tmp_path, api, HANG)
    else:
        path = write_kubeconfig(tmp_path / "config", api)
        api.faults.append(Fault("/version" if where == "version" else "/nodes", "hang", times=ALWAYS))
    process = start("--kubeconfig", str(path), PIDS=str(pids), HTTPS_PROXY="", https_proxy="")
    if where == "plugin":
        await_pids(pids)
    else:
        end = time.monotonic() + 20
        while not any(("/version" if where == "version" else "/nodes") in one.path for one in api.requests):
            assert time.monotonic() < end
            time.sleep(0.02)
    sent = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, "", "ebpfcheck: interrupted\n")
    assert time.monotonic() - sent < SLACK
    assert where != "plugin" or are_gone(await_pids(pids))


def test_keys_of_the_kubeconfig_are_left_nowhere(tmp_path: Path, api: FakeApi) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    path = write_kubeconfig(tmp_path / "config", api, auth="cert")
    outcome = look(path, api=api, TMPDIR=str(folder))
    assert outcome.code in (1, 3), outcome.stderr
    assert list(folder.iterdir()) == []


COUNTING = """
file = os.environ["COUNT"]
count = len(open(file).read()) if os.path.exists(file) else 0
open(file, "a").write("x")
"""


@pytest.mark.parametrize("path", ["/version", "/api/v1/nodes"])
def test_credentials_that_expire_on_the_way_are_renewed_once(tmp_path: Path, api: FakeApi, path: str) -> None:
    script = COUNTING + "print(os.environ['CREDENTIAL'].replace('TOKEN', f'token-{count}'))"
    config, count = plugin(tmp_path, api, script), tmp_path / "count"
    api.tokens = {"token-0", "token-1"}
    # From then on the first token is refused, for whatever is asked.
    original = api.arrived

    def arrived(request: Any) -> Fault | None:
        if path in request.path:
            api.tokens = {"token-1"}
        return original(request)

    api.arrived = arrived  # type: ignore[method-assign]
    is_reached(look(config, api=api, COUNT=str(count), CREDENTIAL=credential("TOKEN")))
    assert count.read_text() == "xx"
    nodes_asked = [one.headers["authorization"] for one in api.requests if one.path.startswith("/api/v1/nodes")]
    assert nodes_asked[-1] == "Bearer token-1"
    assert nodes_asked.count("Bearer token-1") == 1


@pytest.mark.parametrize(
    ("rest", "seconds", "words"),
    [
        ("print('no longer logged in', file=sys.stderr); sys.exit(1)", 30, "no longer logged in"),
        ("time.sleep(300)", 8, "longer than 8 s"),
        ("print(os.environ['CREDENTIAL'])", 30, "it does not accept the credentials"),
    ],
)
def test_credentials_that_expire_for_good_leave_unknowns(
    tmp_path: Path, api: FakeApi, rest: str, seconds: int, words: str
) -> None:
    config, count = (
        plugin(tmp_path, api, f"{COUNTING}\nif count == 0: print(os.environ['CREDENTIAL'])\nelse: {rest}"),
        tmp_path / "count",
    )
    api.faults.append(Fault("/api", status=401, times=ALWAYS))
    outcome = look(config, "--timeout", str(seconds), api=api, COUNT=str(count), CREDENTIAL=credential(TOKEN))
    assert outcome.code == 3
    assert outcome.stderr == ""
    assert words in outcome.words() or "longer than" in words
    assert [one["name"] for one in outcome.report["coverage"]["unseen"]] == ["(nodes that were not listed)"]
    assert "rbac" not in outcome.words()
    assert count.read_text() == "xx"
    assert outcome.seconds < seconds + SLACK


def test_tries_and_the_renewal_of_credentials_are_counted_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apiclient, "_FIRST_DELAY", 0.0)
    old, new = (Access(server="https://127.0.0.1:1", context=None, authorization=one) for one in ("old", "new"))
    client = ApiClient(old, lambda: new, time.monotonic() + 60, 1)
    busy = apiclient._RetryableError(ApiError("busy", Reason.UNREACHABLE, 503))
    answers: list[Answer | Exception] = [
        busy,
        busy,
        busy,
        busy,
        ApiError("expired", Reason.UNREACHABLE, 401),
        Answer(b"{}", ()),
    ]
    asked_with: list[str | None] = []

    def once(road: Any, *_: Any, **__: Any) -> Answer:
        asked_with.append(road.access.authorization)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(client, "_once", once)
    assert client.get("/version") == b"{}"
    assert asked_with == ["old"] * 5 + ["new"]


def test_an_expired_token_is_renewed_by_the_client_itself(tmp_path: Path, api: FakeApi) -> None:
    past = (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    script = f"print('{credential('stale', expirationTimestamp=past)}')"
    is_told(look(plugin(tmp_path, api, script), api=api), 5, "does not accept the credentials")


def test_credentials_that_nobody_accepts_are_told(tmp_path: Path, api: FakeApi) -> None:
    outcome = look(write_kubeconfig(tmp_path / "config", api, token="stale"), api=api)
    is_told(outcome, 5, f"{re.escape(api.url)}: it does not accept the credentials")
    assert outcome.seconds < SLACK
    # Without credentials there is nothing to renew, but nothing is hidden either.
    api.anonymous, api.rules = True, []
    outcome = look(write_kubeconfig(tmp_path / "config", api, auth="none"), api=api)
    assert outcome.code == 3
    assert "not allowed to list nodes" in outcome.words()


# TLS


def test_whom_to_trust(tmp_path: Path, api: FakeApi) -> None:
    def seen(**options: Any) -> Outcome:
        return look(write_kubeconfig(tmp_path / "config", api, **options), api=api)

    for ca in ("wrong", False):
        is_told(seen(ca=ca), 5, "TLS: .*(certificate|self.signed|issuer)")
    assert not api.requests
    is_reached(seen(ca=False, insecure=True))
    is_reached(seen(tls_server_name="kubernetes.default.svc"))
    is_told(seen(tls_server_name="other.example"), 5, "TLS: .*other.example")


# The way there


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.parametrize(
    ("server", "words"),
    [
        ("https://127.0.0.1:{free}", "no connection: Connection refused"),
        ("https://no-such-host.invalid:6443", "the name does not resolve"),
        ("http://127.0.0.1:{port}", "cut"),
        ("https://a..b:6443", "a..b"),
        ("https://127.0.0.1:{port}/base/", r"127.0.0.1:\d+/base: HTTP status 404"),
    ],
)
def test_an_address_that_leads_nowhere_is_told(tmp_path: Path, api: FakeApi, server: str, words: str) -> None:
    at = server.format(free=free_port(), port=api.url.rpartition(":")[2])
    outcome = look(write_kubeconfig(tmp_path / "config", api, server=at), "--timeout", "20", api=api)
    is_told(outcome, 5, words)
    assert outcome.seconds < 20


def test_a_server_that_never_answers_does_not_keep_it(tmp_path: Path, api: FakeApi) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        at = f"https://127.0.0.1:{silent.getsockname()[1]}"
        outcome = look(write_kubeconfig(tmp_path / "config", api, server=at), "--timeout", "6", api=api)
    is_told(outcome, 5, "within the time|in time")
    assert outcome.seconds < 6 + SLACK


@pytest.mark.parametrize(
    "fault",
    [
        Fault("/version", "hang", times=ALWAYS),
        Fault("/version", "slow", times=ALWAYS, step=1, delay=0.2),
        Fault("/version", "cut", times=ALWAYS),
        Fault("/version", status=429, retry_after=3600, times=ALWAYS),
        Fault("/version", status=503, times=ALWAYS),
    ],
    ids=lambda fault: f"{fault.what}-{fault.status}",
)
def test_a_server_that_answers_badly_does_not_keep_it(tmp_path: Path, api: FakeApi, fault: Fault) -> None:
    api.faults.append(fault)
    outcome = look(write_kubeconfig(tmp_path / "config", api), "--timeout", "6", api=api)
    is_told(outcome, 5, re.escape(api.url))
    assert outcome.seconds < 6 + SLACK


def test_a_name_that_takes_long_to_resolve_does_not_keep_it(tmp_path: Path, api: FakeApi) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import socket, time\nwas = socket.getaddrinfo\n"
        "def slow(host, *args, **kwargs):\n    time.sleep(30)\n    return was(host, *args, **kwargs)\n"
        "socket.getaddrinfo = slow\n"
    )
    path = write_kubeconfig(tmp_path / "config", api, server="https://slow.example:6443")
    outcome = look(path, "--timeout", "6", api=api, PYTHONPATH=str(tmp_path))
    is_told(outcome, 5, "in time")
    assert outcome.seconds < 6 + SLACK


@pytest.mark.parametrize("how", ["proxy-url", "environment"])
def test_a_proxy_is_used(tmp_path: Path, api: FakeApi, how: str) -> None:
    with forward_proxy() as proxy:
        given = {"proxy_url": proxy.url} if how == "proxy-url" else {}
        around = {} if given else {"HTTPS_PROXY": proxy.url, "https_proxy": proxy.url}
        path = write_kubeconfig(tmp_path / "config", api, proxy_url=given.get("proxy_url"))
        is_reached(look(path, api=api, **around))
        used = len(proxy.connects)
        assert used
        assert set(proxy.connects) == {api.url.removeprefix("https://")}
        if how == "environment":
            is_reached(look(path, api=api, **around, NO_PROXY="127.0.0.1", no_proxy="127.0.0.1"))
            assert len(proxy.connects) == used


@pytest.mark.parametrize("status", [407, 502, 200])
def test_a_proxy_that_refuses_is_told(tmp_path: Path, api: FakeApi, status: int) -> None:
    with forward_proxy(refuse=status) as proxy:
        outcome = look(write_kubeconfig(tmp_path / "config", api, proxy_url=proxy.url), "--timeout", "30", api=api)
    is_told(outcome, 5, f"the proxy: .*{status}" if status != 200 else "TLS|proxy|cut")
    assert not api.requests


def test_a_proxy_is_told_who_one_is_and_nobody_else(tmp_path: Path, api: FakeApi) -> None:
    wanted = f"Basic {base64.b64encode(b'mallory:hunter@2').decode()}"
    snapshot = tmp_path / "snapshot.json"
    with forward_proxy() as proxy, forward_proxy(refuse=407) as closed:
        urls = [proxy.url, closed.url, f"http://127.0.0.1:{free_port()}", "http://127.0.0.1:port", "ftp://127.0.0.1"]
        for url in urls:
            given = url.replace("//", "//mallory:hunter%402@")
            path = write_kubeconfig(tmp_path / "config", api, proxy_url=given)
            outcome = look(path, "--timeout", "20", "--save", str(snapshot), api=api)
            is_reached(outcome) if url == proxy.url else is_told(outcome, 5, "proxy")
            assert not re.search("mallory|hunter", outcome.stdout + outcome.stderr + snapshot.read_text())
        assert set(proxy.authorizations) == set(closed.authorizations) == {wanted}


@pytest.mark.parametrize("url", ["http://127.0.0.1:{free}", "http://no-such-host.invalid:3128", "ftp://x", "::"])
def test_a_proxy_that_is_not_there_is_told(tmp_path: Path, api: FakeApi, url: str) -> None:
    path = write_kubeconfig(tmp_path / "config", api, proxy_url=url.format(free=free_port()))
    outcome = look(path, "--timeout", "20", api=api)
    is_told(outcome, 5, "proxy")
    assert not api.requests


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault("", "html", times=ALWAYS), "does not answer as a Kubernetes API server does"),
        (Fault("", "html", status=503, times=ALWAYS), "HTTP status 503 with text/html"),
        (Fault("", "html", status=404, times=ALWAYS), "HTTP status 404 with text/html"),
        (Fault("", "html", status=403, times=ALWAYS), "HTTP status 403 with text/html"),
        (Fault("", "garbage", times=ALWAYS), "does not answer as a Kubernetes API server does"),
        (Fault("", status=404, text="404 page not found\n", times=ALWAYS), "404"),
        (Fault("", status=204, text="", times=ALWAYS), "HTTP status 204"),
    ],
    ids=["html-200", "html-503", "html-404", "html-403", "garbage", "text-404", "nothing"],
)
def test_a_server_that_is_no_kubernetes_is_told(tmp_path: Path, api: FakeApi, fault: Fault, words: str) -> None:
    api.faults.append(fault)
    outcome = look(write_kubeconfig(tmp_path / "config", api), "--timeout", "30", api=api)
    is_told(outcome, 5, words)
    assert outcome.seconds < 30


@pytest.mark.parametrize("version", [{}, {"gitVersion": 7}, {"gitVersion": ""}, {"name": "Elasticsearch"}])
def test_json_of_something_else_is_told(tmp_path: Path, version: dict[str, Any]) -> None:
    with FakeApi(Story([], version)) as api:
        outcome = look(write_kubeconfig(tmp_path / "config", api), api=api)
    is_told(outcome, 5, "does not answer as a Kubernetes API server does")


@pytest.mark.parametrize("path", ["/version", "/nodes"])
def test_a_token_does_not_follow_a_redirect(tmp_path: Path, api: FakeApi, path: str) -> None:
    with FakeApi(STORY) as elsewhere:
        api.faults.append(Fault(path, "redirect", location=f"{elsewhere.url}/api/v1/nodes?limit=500", times=ALWAYS))
        outcome = look(write_kubeconfig(tmp_path / "config", api, insecure=True, ca=False), api=api)
        assert not elsewhere.requests
    if path == "/version":
        is_told(outcome, 5, "HTTP status 302")
    else:
        assert outcome.code == 3
        assert "HTTP status 302" in json.dumps(outcome.report["coverage"]["unseen"])


# Inside of a cluster


def test_a_service_account_is_used_where_there_is_no_kubeconfig(
    tmp_path: Path, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kubernetes.config import incluster_config

    host, _, port = api.url.removeprefix("https://").partition(":")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("kubernetes.config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config"))
    for file, name, content in (("token", "TOKEN", TOKEN), ("ca", "CERT", api.ca_pem.decode())):
        (tmp_path / file).write_text(content)
        default = tmp_path / file
        monkeypatch.setattr(incluster_config, f"SERVICE_{name}_FILENAME", str(default))
    loader = incluster_config.InClusterConfigLoader

    def load(client_configuration: Any, try_refresh_token: bool = True) -> None:
        loader(str(tmp_path / "token"), str(tmp_path / "ca"), try_refresh_token).load_and_set(client_configuration)

    monkeypatch.setattr("kubernetes.config.load_incluster_config", load)
    answer = loaded(None, None)
    assert isinstance(answer, Access)
    assert (answer.server, answer.context) == (api.url, None)
    assert answer.authorization is not None
    assert answer.authorization.lower() == f"bearer {TOKEN}"
    assert answer.ca == api.ca_pem.decode()

    (tmp_path / "token").write_text("")
    assert loaded(None, None) == Refusal(words="the service account: Token file exists but empty.", is_usage=True)
    # A kubeconfig or a context that was asked for is never silently replaced by it.
    for given in ((str(tmp_path / "gone"), None), (None, "prod")):
        refusal = loaded(*given)
        assert isinstance(refusal, Refusal)
        assert "there is no kubeconfig" in refusal.words
