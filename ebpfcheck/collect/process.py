"""Processes that were started, and their ends."""

import subprocess

# How long processes that were killed may take to be gone, in seconds.
_END_TIMEOUT = 3.0


def end_tree(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that was started, and all that it has started itself."""
    import psutil

    try:
        started = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return
    process.kill()
    for member in started:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(started, timeout=_END_TIMEOUT)
