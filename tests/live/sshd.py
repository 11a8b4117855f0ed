"""A real sshd on loopback with keys, configuration and ports of the test's own, and a client configuration for it."""

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_PATIENCE = 10.0


class Sshd:
    """A running sshd: one port for each behaviour, by name, and `config` for ssh's -F, with a host alias for each."""

    def __init__(self, folder: Path, ports: Mapping[str, int]) -> None:
        self.folder = folder
        self.ports = ports
        self.key = folder / "user"
        self.known_hosts = folder / "known_hosts"
        self.config = folder / "ssh_config"
        self.log = folder / "log"

    def write_config(self, *, identity: bool = True, more: str = "") -> Path:
        """Write the client's configuration anew; `more` comes first, and so outranks the rest."""
        blocks = [more]
        blocks += [f"Host {name}\n  HostName 127.0.0.1\n  Port {port}\n" for name, port in self.ports.items()]
        blocks.append(
            f"Host *\n  User root\n  UserKnownHostsFile {self.known_hosts}\n  GlobalKnownHostsFile none\n"
            f"  StrictHostKeyChecking yes\n  IdentitiesOnly {'yes' if identity else 'no'}\n"
            f"  IdentityFile {self.key if identity else 'none'}\n"
        )
        self.config.write_text("".join(blocks))
        return self.config

    def logins(self, name: str) -> int:
        """How many connections to a port were let in so far."""
        log = self.log.read_text()
        arrived = re.findall(rf"Connection from \S+ port (\d+) on \S+ port {self.ports[name]} ", log)
        return len({*arrived} & {*re.findall(r"Accepted publickey for \S+ from \S+ port (\d+) ", log)})


@contextmanager
def sshd(folder: Path, behaviours: Mapping[str, str]) -> Iterator[Sshd]:
    """Run sshd; each behaviour is what a Match block for its port says (empty: as usual)."""
    ports = _free_ports(len(behaviours))
    running = Sshd(folder, dict(zip(behaviours, ports, strict=True)))
    host_key = _key(folder / "host")
    (folder / "authorized_keys").write_text(_key(running.key))
    running.known_hosts.write_text("".join(f"[127.0.0.1]:{port} {host_key}" for port in ports))
    running.write_config()
    config = folder / "sshd_config"
    config.write_text(
        "".join(f"ListenAddress 127.0.0.1:{port}\n" for port in ports)
        + f"HostKey {folder / 'host'}\nPidFile none\nAuthorizedKeysFile {folder / 'authorized_keys'}\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        "PermitRootLogin yes\nMaxStartups 300\nMaxSessions 300\nLogLevel VERBOSE\nPrintMotd no\n"
        + "".join(
            f"Match LocalPort {running.ports[name]}\n  {settings}\n"
            for name, settings in behaviours.items()
            if settings
        )
    )
    # Where it parts with its privileges; packages make it at boot.
    Path("/run/sshd").mkdir(exist_ok=True)
    program = shutil.which("sshd") or "/usr/sbin/sshd"
    with subprocess.Popen((program, "-D", "-f", str(config), "-E", str(running.log))) as process:
        try:
            for port in ports:
                _wait_for(port)
            yield running
        finally:
            process.terminate()


def _key(path: Path) -> str:
    """Make a key pair and return its public half, as a line."""
    subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)), check=True)
    return path.with_suffix(".pub").read_text()


def _free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _wait_for(port: int) -> None:
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
