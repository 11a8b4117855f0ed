"""Mount tables: /proc/mounts, /proc/PID/mountinfo and what mount(8) prints, read alike."""

import re

import msgspec

from ebpfcheck.model.facts import Mount, MountStack

_OCTAL = re.compile(r"\\([0-7]{3})")
_MOUNTINFO_HEAD = re.compile(r"(\d+) (\d+) \d+:\d+ (\S+) (/\S*) (\S+)(?: \S+)*", re.ASCII)
_PROC_MOUNTS = re.compile(r"(?P<source>\S+) (?P<point>/\S*) (?P<fstype>\S+) (?P<options>r[wo](?:,\S*)?)(?: \d+ \d+)?")


class MountEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a mount table; ids are there only in mountinfo."""

    mount: Mount
    id: int | None = None
    parent: int | None = None


class MountTable(msgspec.Struct, frozen=True, kw_only=True):
    """The entries in the order of the table, and how many lines could not be read."""

    entries: tuple[MountEntry, ...]
    unread_lines: int = 0


def parse_mount_table(text: str) -> MountTable:
    """Read a mount table line by line, each in whichever of the three forms it has; blank lines do not count."""
    entries: list[MountEntry] = []
    unread = 0
    for line in text.split("\n"):
        entry = _parse_line(line.strip("\r"))
        if entry is not None:
            entries.append(entry)
        elif line.strip():
            unread += 1
    return MountTable(entries=tuple(entries), unread_lines=unread)


def visible_at(table: MountTable, path: str) -> MountStack | None:
    """Return what is mounted exactly at a path, seen and hidden, or None if nothing ever was.

    Nothing is visible where a later mount covers the path from above.
    """
    path = normal_path(path)
    here = tuple(entry for entry in table.entries if entry.mount.point == path)
    if not here:
        return None
    holder = _holder(table, path)
    seen = holder if holder in here else None
    return MountStack(
        visible=None if seen is None else seen.mount,
        hidden=tuple(entry.mount for entry in here if entry is not seen),
    )


def mount_holding(table: MountTable, path: str) -> Mount | None:
    """Return the mount on which a path lies, or None if the table has none (not even a root)."""
    holder = _holder(table, normal_path(path))
    return None if holder is None else holder.mount


def normal_path(path: str) -> str:
    """Return an absolute path without double or trailing slashes."""
    return "/" + "/".join(part for part in path.split("/") if part)


def _parse_line(line: str) -> MountEntry | None:
    head, dash, tail = line.partition(" - ")
    match = _MOUNTINFO_HEAD.fullmatch(head) if dash else None
    if match is not None:
        return _parse_mountinfo(match, tail)
    printed = _parse_printed(line)
    if printed is not None:
        return printed
    match = _PROC_MOUNTS.fullmatch(line)
    if match is None:
        return None
    return MountEntry(
        mount=_mount(match["source"], match["point"], match["fstype"], tuple(match["options"].split(",")))
    )


def _parse_mountinfo(head: re.Match[str], tail: str) -> MountEntry | None:
    # Only the last field may hold blanks; Docker Desktop's do.
    fstype, _, rest = tail.partition(" ")
    source, _, super_options = rest.partition(" ")
    if not fstype:
        return None
    options = dict.fromkeys((*head[5].split(","), *filter(None, super_options.split(","))))
    if "ro" in options and "rw" in options:
        # Read-only is per mount or per file system: either one refuses writes.
        del options["rw"]
    mount = _mount(source, head[4], fstype, tuple(options), is_whole=head[3] == "/")
    return MountEntry(mount=mount, id=int(head[1]), parent=int(head[2]))


def _parse_printed(line: str) -> MountEntry | None:
    """Read "SOURCE on POINT type FSTYPE (OPTIONS)"; split, not matched: a long hostile line must not cost more."""
    head, opening, options = line.rpartition(" (")
    head, word_type, fstype = head.rpartition(" type ")
    source, word_on, point = head.partition(" on /")
    if not (opening and word_type and word_on and options.endswith(")")):
        return None
    return MountEntry(mount=_mount(source, "/" + point, fstype, tuple(options[:-1].split(","))))


def _mount(source: str, point: str, fstype: str, options: tuple[str, ...], *, is_whole: bool = True) -> Mount:
    return Mount(
        point=normal_path(_unescape(point)),
        fstype=fstype,
        source=_unescape(source),
        options=options,
        is_whole=is_whole,
    )


def _unescape(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)


def _holder(table: MountTable, path: str) -> MountEntry | None:
    return _holder_by_ids(table, path) or _holder_by_order(table, path)


def _holder_by_ids(table: MountTable, path: str) -> MountEntry | None:
    """Walk down from the root as the kernel does, stepping onto whatever is mounted on each directory.

    None where the table has no ids, or is an excerpt that lacks the parent of a mount on the way.
    """
    prefixes = _prefixes(path)
    ids = {entry.id for entry in table.entries}
    children: dict[tuple[int | None, str], MountEntry] = {}
    current: MountEntry | None = None
    for entry in table.entries:
        if entry.id is None:
            return None
        orphan = entry.parent not in ids or entry.parent == entry.id
        if entry.mount.point == "/" and orphan:
            current = entry
        elif orphan and entry.mount.point in prefixes:
            return None
        else:
            children[(entry.parent, entry.mount.point)] = entry
    if current is None:
        return None
    for prefix in prefixes:
        visited: set[int | None] = set()
        while (above := children.get((current.id, prefix))) is not None and above.id not in visited:
            visited.add(above.id)
            current = above
    return current


def _holder_by_order(table: MountTable, path: str) -> MountEntry | None:
    """Take the last mount on the path or above it: without ids the order of the lines is all there is.

    The root covers nothing, wherever its line stands: what lay beneath another root could not be listed.
    """
    below_root = frozenset(_prefixes(path)[1:])
    last_first = tuple(reversed(table.entries))
    return next(
        (entry for entry in last_first if entry.mount.point in below_root),
        next((entry for entry in last_first if entry.mount.point == "/"), None),
    )


def _prefixes(path: str) -> list[str]:
    """Return the root, each directory on the way, and the path itself."""
    parts = [part for part in path.split("/") if part]
    return ["/"] + ["/" + "/".join(parts[: length + 1]) for length in range(len(parts))]
