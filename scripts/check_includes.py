#!/usr/bin/env python3
"""Compares who includes whom with the table of rooms, and the CMake link lines too.

Each room may use the rooms named beside it and no other; rooms that users extend are free of
tensors. Prints every line that breaks a rule and ends with exit code 1 if there is one.
"""
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# room: (its directory, the rooms that it may use). A file belongs to the longest directory above it.
ROOMS = {
    "base": ("src/base", ""),
    "text": ("src/text", "base"),
    "kernels": ("src/kernels", ""),
    "model": ("src/model", "base kernels"),
    "scheduling": ("src/engine/scheduling", "base"),
    "engine": ("src/engine", "base text kernels model scheduling rollouts"),
    "train": ("src/train", "base text kernels model scheduling engine rollouts rewards data"),
    "cli": ("src/cli", "base text kernels model scheduling engine rollouts rewards data train"),
    "rollouts": ("rollouts", "base text"),
    "rewards": ("rewards", "base"),
    "data": ("data", "base text"),
}
# Headers from outside that have a home: (what it is, pattern of the include, who may).
OUTSIDE = [
    ("torch", r"(torch|ATen|c10)/", ("model", "engine", "train", "cli")),
    ("CUDA", r"(cuda|cublas|nccl|cooperative_groups|cub/)", ("kernels", "model", "engine", "train")),
    ("sentencepiece", r"sentencepiece", ("text",)),
    ("spdlog", r"spdlog/", ("base",)),
    ("yaml-cpp", r"yaml-cpp/", ("base", "train")),
    ("CLI11", r"CLI/", ("cli",)),
]
# Single headers that a room may use of another that is closed to it otherwise.
EXCEPTIONS = {("kernels", "base/rng.h")}  # plain arithmetic: one Philox for samplers and data
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def room_of(path: str) -> str | None:
    """The room of a file, given by its path from the root or, as includes are, from src/."""
    inside = [(len(directory), name) for name, (directory, _) in ROOMS.items()
              for start in (directory, directory.removeprefix("src/"))
              if path.startswith(start + "/")]
    return max(inside)[1] if inside else None


def check_sources() -> tuple[int, list[str]]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--",
         "*.h", "*.cpp", "*.cu", "*.cuh"],
        cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    count, broken = 0, []
    for path in listed:
        room = room_of(path) if path and not path.startswith("tests/") else None
        if not room or not (ROOT / path).exists():
            continue
        count += 1
        for number, line in enumerate((ROOT / path).read_text().splitlines(), 1):
            if match := INCLUDE.match(line):
                broken += [f"{path}:{number}: {why}"
                           for why in broken_rules(room, match[1] == '"', match[2])]
    return count, broken


def broken_rules(room: str, ours: bool, header: str) -> list[str]:
    if ours:
        other = room_of(header)
        allowed = ROOMS[room][1].split()
        if other and other != room and other not in allowed and (room, header) not in EXCEPTIONS:
            return [f'"{header}": {room} may use {", ".join(allowed) or "no other room"}']
        return []
    return [f"<{header}>: {what} is for {', '.join(who)}"
            for what, pattern, who in OUTSIDE if re.match(pattern, header) and room not in who]


def check_links() -> list[str]:
    """Every room that CMakeLists.txt links into another must be one that it may use."""
    broken = []
    text = re.sub(r"#.*", "", (ROOT / "CMakeLists.txt").read_text())
    rooms = re.findall(r"hone_room\((\w+)\s+SOURCES.*?LINK(.*?)\)", text, re.S)
    for missing in sorted(set(ROOMS) - {"cli"} - {name for name, _ in rooms}):
        broken.append(f"CMakeLists.txt: the room {missing} has no target hone_{missing}")
    for room, links in rooms:
        for other in re.findall(r"\bhone_(\w+)", links):
            allowed = other in ROOMS[room][1].split()
            if other == "torch":
                allowed = room in OUTSIDE[0][2]
            if not allowed:
                broken.append(f"CMakeLists.txt: hone_{room} links hone_{other}")
    return broken


def main() -> int:
    count, broken = check_sources()
    broken += check_links()
    for line in broken:
        print(line, file=sys.stderr)
    if not count:
        broken.append("no sources")
    print(f"rooms: {count} files, {len(broken)} includes or links outside the table of rooms")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
