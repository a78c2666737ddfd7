"""Bends a real export in ways that need no key, one file each, and names the line.

    python bend.py EXPORT DIR

Writes DIR/<line>-<what>.jsonl: <line> is where a verifier has to refuse it.
"""

import json
import pathlib
import sys


def main():
    lines = pathlib.Path(sys.argv[1]).read_bytes().splitlines(keepends=True)
    directory = pathlib.Path(sys.argv[2])
    middle, last = len(lines) // 2, len(lines) - 1

    def write(at, what, bent):
        assert bent != lines, what
        (directory / ("%d-%s.jsonl" % (at + 1, what))).write_bytes(b"".join(bent))

    def with_line(at, line):
        return lines[:at] + [line] + lines[at + 1 :]

    def with_member(at, member, change):
        line = json.loads(lines[at])
        line[member] = change(line[member])
        text = json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return with_line(at, text.encode() + b"\n")

    digit = next(place for place, byte in enumerate(lines[middle]) if byte == ord("2"))
    write(middle, "digit", with_line(middle, lines[middle][:digit] + b"3" + lines[middle][digit + 1 :]))
    write(middle, "dropped", lines[:middle] + lines[middle + 1 :])
    write(middle + 1, "doubled", lines[: middle + 1] + lines[middle:])
    write(middle, "reordered", lines[:middle] + [lines[middle + 1], lines[middle]] + lines[middle + 2 :])
    write(middle, "cut-in-a-line", lines[:middle] + [lines[middle][:40]])
    write(last, "cut-before-the-end", lines[:last])
    write(last + 1, "appended", lines + lines[1:2])
    write(middle, "salts-swapped", with_member(middle, "salts", lambda salts: salts[::-1]))
    write(middle, "body", with_member(middle, "body", lambda body: body.replace('"v":1', '"v":2')))
    write(0, "reason", with_member(0, "reason", lambda reason: reason + "!"))
    write(0, "range", with_member(0, "to", lambda to: str(int(to) - 1)))
    write(last, "miscounted", with_member(last, "lines", lambda count: str(int(count) + 1)))


if __name__ == "__main__":
    main()
