"""The table of names that torch has and toolkit has not, each with a reason."""

from __future__ import annotations

import fnmatch
import textwrap
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from tests.names.namespaces import NAMESPACES

HERE = Path(__file__).parent
REASONS, PLANNED = HERE / "reasons.toml", HERE / "planned.txt"
WAITING = "Not yet written"


@dataclass
class Group:
    """One reason, with patterns of names by namespace."""

    title: str
    why: str
    patterns: dict[str, list[str]] = field(default_factory=dict)

    def covers(self, label: str, name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, p) for p in self.patterns.get(label, ()))


def label_of(path: str) -> str:
    return path or "torch"


def read_groups() -> list[Group]:
    groups = []
    for entry in tomllib.loads(REASONS.read_text())["group"]:
        title, why = entry.pop("title"), entry.pop("why")
        groups.append(Group(title, why, {k: v.split() for k, v in entry.items()}))
    return groups


def write_groups(groups: list[Group]) -> None:
    """Writes reasons.toml again; its head of comments stays."""
    lines = [line for line in REASONS.read_text().splitlines() if line.startswith("#")]
    for group in groups:
        lines += ["", "[[group]]", f'title = "{group.title}"', f'why = "{group.why}"']
        for label, patterns in group.patterns.items():
            key = label if label.isidentifier() else f'"{label}"'
            text = textwrap.fill(" ".join(patterns), 100, break_on_hyphens=False)
            short = f'{key} = "{text}"'
            lines.append(short if len(short) <= 100 else f'{key} = """\n{text}\n"""')
    REASONS.write_text("\n".join(lines) + "\n")


def prune() -> list[str]:
    """Takes patterns that no missing name matches off reasons.toml; what was taken."""
    groups, absent, gone = read_groups(), missing(), []
    for group in groups:
        for label, patterns in group.patterns.items():
            kept = [p for p in patterns if fnmatch.filter(absent.get(label, []), p)]
            gone += [f"{group.title}: {label} {p}" for p in patterns if p not in kept]
            group.patterns[label] = kept
        group.patterns = {label: kept for label, kept in group.patterns.items() if kept}
    write_groups(groups)
    return gone


def read_planned() -> dict[str, list[str]]:
    """Names that wait to be written, by namespace: lines of `label: name name`."""
    found: dict[str, list[str]] = {}
    label = ""
    for line in PLANNED.read_text().splitlines() if PLANNED.exists() else ():
        if line.startswith("  "):
            found[label] += line.split()
        elif line:
            label = line.removesuffix(":")
            found[label] = []
    return found


def missing() -> dict[str, list[str]]:
    """By namespace, the names of torch that toolkit has not."""
    found = {}
    for space in NAMESPACES:
        found[label_of(space.path)] = [n for n in space.theirs() if not space.has(n)]
    return found


def counts() -> dict[str, tuple[int, int]]:
    """By namespace, how many public names torch has, and how many of them toolkit."""
    found = {}
    for space in NAMESPACES:
        names = space.theirs()
        found[label_of(space.path)] = (len(names), sum(map(space.has, names)))
    return found


def unexplained() -> dict[str, list[str]]:
    """Missing names that neither a group nor the plan gives a reason for."""
    groups, planned = read_groups(), read_planned()
    left = {
        label: [n for n in names if n not in planned.get(label, ())
                and not any(g.covers(label, n) for g in groups)]
        for label, names in missing().items()
    }  # fmt: skip
    return {label: names for label, names in left.items() if names}


def stale() -> list[str]:
    """Entries of the table that torch has no more, that toolkit has, or that a group covers."""
    gone, absent = [], missing()
    for group in read_groups():
        for label, patterns in group.patterns.items():
            for pattern in patterns:
                if label not in absent or not fnmatch.filter(absent[label], pattern):
                    gone.append(f"{group.title}: {label} {pattern}")
    groups = read_groups()
    for label, names in read_planned().items():
        covered = [n for n in names if any(g.covers(label, n) for g in groups)]
        for name in names:
            if name in covered or name not in absent.get(label, ()):
                gone.append(f"planned.txt: {label} {name}")
    return gone
