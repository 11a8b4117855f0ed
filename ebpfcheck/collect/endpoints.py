"""Addresses of the API server: as users write them, and what came of connecting to them."""

import ipaddress
import re

from ebpfcheck.collect.framing import State
from ebpfcheck.collect.sections import SectionReader, number
from ebpfcheck.errors import UsageError
from ebpfcheck.model.facts import Endpoint, EndpointTrial, Fact, Known, Reason, SourceKind, Unknown
from ebpfcheck.model.text import excerpt

# What stands in a DNS name or an address; nothing that a shell reads as its own.
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}|[0-9A-Fa-f:.]{2,45}", re.ASCII)
_LOCATOR = re.compile(r"(\S+) (\d{1,5})(?: by (\w+))?", re.ASCII)
# What the tools say, and what that means; the first that is found counts. EAI_AGAIN is a resolver that does not answer.
_WORDS = (
    (re.compile(r"refused|errno=111\b", re.IGNORECASE), "refused"),
    (re.compile(r"timed out|errno=110\b", re.IGNORECASE), "timed_out"),
    (re.compile(r"no route|unreachable|errno=1(?:13|01)\b", re.IGNORECASE), "no_route"),
    (re.compile(r"operation not permitted|permission denied|errno=1\b", re.IGNORECASE), "denied"),
    (
        re.compile(
            r"not known|name resolution|no address associated|nodename nor servname|bad address|could not resolve"
            r"|cannot resolve|unknown host|lookup failed|gethostbyname|host not found|BIO_lookup",
            re.IGNORECASE,
        ),
        "unresolved",
    ),
)
# What `timeout` returns for what it has ended.
_ENDED = ("124", "143")


def parse_endpoint(text: str) -> Endpoint:
    """Read HOST:PORT, an IPv6 address in brackets; UsageError, which says what is wrong, if it is none."""
    shown = excerpt(text, 80)
    if "://" in text or "/" in text:
        raise UsageError(f"--api-endpoint: {shown!r} is a URL; give HOST:PORT alone, such as api.example.com:6443")
    host, sign, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1] if ":" in host else ""
    elif ":" in host:
        raise UsageError(f"--api-endpoint: {shown!r}: an IPv6 address stands in brackets, as in [fd00::1]:6443")
    if (
        not sign
        or not _HOST.fullmatch(host)
        or not re.fullmatch(r"\d{1,5}", port, re.ASCII)
        or not 0 < int(port) < 65536
    ):
        raise UsageError(f"--api-endpoint: {shown!r} is not HOST:PORT, such as api.example.com:6443")
    return Endpoint(host=host, port=int(port))


def can_be_tried(host: str) -> bool:
    """Whether a host that an API gave may be put on a command line."""
    return _HOST.fullmatch(host) is not None


def is_name(host: str) -> bool:
    """Whether a host has to be resolved."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return True
    return False


def trials(reader: SectionReader, kind: SourceKind) -> Fact[tuple[EndpointTrial, ...]]:
    """Return what came of connecting to each address, in the order in which they were given."""
    asked = reader.fact("endpoints", number)
    if not isinstance(asked, Known):
        return asked
    names = sorted(reader.names("endpoint-"), key=lambda name: (len(name), name))
    if len(names) < asked.value:
        return Unknown(reason=reader.cut, detail="the survey ended before it", source=asked.source)
    told = [_trial(reader, name, kind) for name in names]
    failed = next((one for one in told if isinstance(one, Unknown)), None)
    if failed is not None:
        return failed
    return Known(value=tuple(one for one in told if isinstance(one, EndpointTrial)), source=asked.source)


def _trial(reader: SectionReader, name: str, kind: SourceKind) -> EndpointTrial | Unknown:
    match = _LOCATOR.fullmatch(reader.locator(name))
    if match is None:
        return Unknown(reason=Reason.UNPARSABLE, detail="the survey does not say which address it tried")
    host, port = match[1], int(match[2])
    state = reader.state(name)
    if state not in (State.OK, State.FAILED):
        fact = reader.fact(name, lambda _: None)
        return fact if isinstance(fact, Unknown) else Unknown(reason=Reason.UNPARSABLE, detail="it was not tried")
    if kind is SourceKind.EXEC and is_name(host):
        words = "the container resolves names by another resolver than the node"
        return EndpointTrial(host=host, port=port, outcome="untold", words=words)
    text, code = reader.printed(name)
    if state is State.OK or (match[3] == "openssl" and "CONNECTED(" in text):
        return EndpointTrial(host=host, port=port, outcome="connected")
    if code in _ENDED:
        return EndpointTrial(host=host, port=port, outcome="timed_out")
    for pattern, outcome in _WORDS:
        if pattern.search(text):
            return EndpointTrial(host=host, port=port, outcome=outcome)  # type: ignore[arg-type]
    last = (text.strip().splitlines() or [f"exit code {code}"])[-1]
    return EndpointTrial(host=host, port=port, outcome="untold", words=f"{match[3]}: {excerpt(last, 120)}")
