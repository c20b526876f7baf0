#!/usr/bin/env python3
"""coverage.py BUILD: what the tests of a COV=1 build have reached.

Per source, the least covered first; then, for the parts that read what others wrote (journal, recovery, decoders), lines and
branches summed, held against BAR. Exit 1 when a part is below it. Rows go to BUILD/results/coverage.json.

A branch is a way out of a condition, as gcov counts them. Not counted are those of our own assertions: CHECK(), CHECK_SLOW()
and lock_assert_held() have a way out that no test can take and live, and a test of it would be a test of abort().
Nothing else is left out. coverage.py BUILD FILE... lists instead the lines of FILE whose branches were not all taken.
"""

import glob
import json
import os
import re
import subprocess
import sys

BAR = 90.0
PARTS = {
    "journal": ["daemon/journal/commit.c", "daemon/journal/checkpoint.c", "daemon/journal/handle.c",
                "daemon/journal/journal.c", "daemon/journal/revoke.c", "daemon/journal/super.c"],
    "recovery": ["daemon/journal/recovery.c", "daemon/journal/homes.c", "daemon/store/journal_find.c",
                 "daemon/store/orphan.c", "daemon/store/orphan_file.c"],
    "geometry": ["daemon/store/super.c", "daemon/store/features.c", "daemon/store/geometry.c", "daemon/store/group.c",
                 "daemon/store/zones.c"],
    "inodes": ["daemon/store/inode_disk.c", "daemon/store/inline.c", "daemon/store/symlink.c"],
    "directories": ["daemon/store/dir_block.c", "daemon/store/dir_iter.c", "daemon/store/dir_inline.c",
                    "daemon/store/dirhash.c", "daemon/store/htree.c"],
    "mappings": ["daemon/store/extent.c", "daemon/store/extent_verify.c", "daemon/store/indirect.c"],
    "attributes": ["daemon/store/xattr_region.c", "daemon/store/xattr_block.c", "daemon/store/xattr_ibody.c",
                   "daemon/store/acl.c"],
    "messages": ["daemon/proto/dispatch.c", "daemon/ctl/request.c", "daemon/base/frame.c"],
}
ASSERTION = re.compile(r"\b(CHECK|CHECK_SLOW|lock_assert_held)\(")


def assertion_lines(path):
    """Numbers of the lines that an assertion spans."""
    lines = set()
    depth = 0
    with open(path, encoding="utf-8") as source:
        for number, text in enumerate(source, 1):
            at = 0
            if not depth:
                found = ASSERTION.search(text)
                if not found:
                    continue
                at = found.end() - 1
            lines.add(number)
            for char in text[at:]:
                depth += (char == "(") - (char == ")")
                if not depth:
                    break
    return lines


def collect(build):
    """{file: {line: [count, [branch counts]]}} of our sources, summed over the objects that hold them."""
    files = {}
    for data in sorted(glob.glob(build + "/obj/**/*.gcda", recursive=True)):
        if data.startswith(build + "/obj/tests/"):
            continue
        out = subprocess.run(["gcov", "--json-format", "--stdout", "-b", data], check=True, capture_output=True).stdout
        for document in out.splitlines():
            for entry in json.loads(document)["files"]:
                path = entry["file"]
                if path.startswith("/") or not path.endswith(".c"):
                    continue
                lines = files.setdefault(path, {})
                for line in entry["lines"]:
                    branches = [b["count"] for b in line["branches"]]
                    have = lines.setdefault(line["line_number"], [0, []])
                    have[0] += line["count"]
                    have[1] += branches
    return files


def figures(path, lines):
    """(lines run, lines, branches taken, branches)"""
    skip = assertion_lines(path)
    branches = [count for number, (_, counts) in lines.items() if number not in skip for count in counts]
    return (sum(1 for count, _ in lines.values() if count), len(lines), sum(1 for count in branches if count),
            len(branches))


def percent(part, whole):
    return 100.0 * part / whole if whole else 100.0


def missing(path, lines):
    skip = assertion_lines(path)
    with open(path, encoding="utf-8") as source:
        text = source.read().splitlines()
    for number in sorted(lines):
        count, branches = lines[number]
        if number in skip or (count and all(branches)):
            continue
        print(f"{path}:{number}: {count} {'/'.join(map(str, branches))}\t{text[number - 1].strip()}")


def main():
    build = sys.argv[1]
    files = collect(build)
    if len(sys.argv) > 2:
        for path in sys.argv[2:]:
            missing(path, files[path])
        return 0
    found = {path: figures(path, lines) for path, lines in files.items()}
    for path in sorted(found, key=lambda p: percent(found[p][2], found[p][3])):
        run, count, taken, branches = found[path]
        print(f"{percent(run, count):6.1f}% of {count:4} lines {percent(taken, branches):6.1f}% of {branches:4} branches  {path}")
    rows, worst = [], 0
    print(f"\n{'part':12} {'lines':>7} {'branches':>9}   bar {BAR:.0f}% of branches")
    for part, paths in PARTS.items():
        sums = [sum(column) for column in zip(*(found.get(p, (0, 1, 0, 1)) for p in paths))]
        lines, branches = percent(sums[0], sums[1]), percent(sums[2], sums[3])
        ok = branches >= BAR
        worst |= not ok
        print(f"{part:12} {lines:6.1f}% {branches:8.1f}%   {'' if ok else 'BELOW: '}{sums[2]} of {sums[3]}")
        for what, value, bar in (("lines", lines, None), ("branches", branches, BAR)):
            rows.append({"row": f"{part} {what}", "value": round(value, 1), "unit": "%", "against": None, "ratio": None,
                         "bar": bar, "ok": bar is None or ok})
    os.makedirs(build + "/results", exist_ok=True)
    with open(build + "/results/coverage.json", "w", encoding="utf-8") as out:
        json.dump(rows, out, indent=1)
    return worst


sys.exit(main())
