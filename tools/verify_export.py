#!/usr/bin/env python3
"""Verifies an export of a payvault ledger, offline, with nothing of payvault.

    verify_export.py FILE --key KEY [--key KEY ...]      FILE may be - for stdin

Written from docs/format.md alone (sections 1 and 7), for auditors who want to read what they rely
on. Needs Python 3.9 and the package `cryptography`. KEY is the ledger's public key as you got it
when the vault was made, never from the file. Memory stays flat. Ends with 0 when the export
verifies, and with 6 and the first wrong line when it does not."""
import argparse, base64, datetime, hashlib, json, re, sys
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

LINE_BYTES_MAX, BUCKETS_MAX = 65_536, 16_384
SITE = "(-|[a-z][a-z0-9-]{0,15})"
BUCKET = f"(?=.{{1,64}}$)log/{SITE}/([0-9]{{4}}-(?:0[1-9]|1[0-2]))(/[a-z]+)?(#([2-9]|[1-9][0-9]+))?"
# What lines, filters and entries hold; members with ? may be absent. All are texts but these.
OTHERS = {**dict.fromkeys(["c", "fields", "left", "right", "salts", "unproven"], list),
          "detail": dict, "filter": dict, "v": int}
MEMBERS = {
    "header": "at checkpoint epoch filter from left reason requested_by requested_by_name right "
              "signature ticket to type unproven v vault",
    "entry": "body bucket index leaf salts type",
    "closed": "bucket c facet? index leaf salt? type value?",
    "erased": "bucket facets index leaf type", "end": "lines type",
    "filter": "from_time? kinds? sites? to_time?",
    "body": "actor actor_name? amount? at currency? detail? epoch event fields? index masked? "
            "origin outcome prev? purpose? reason? role? site token? transaction? v",
}
# Raised by Python when a member is of another type or shape than it must be.
MALFORMED = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
class Wrong(Exception):
    """Why the export is refused; and at which line, if not at the one that was read last."""
def require(condition, why, *line):
    if not condition:
        raise Wrong(why, *line)

# --- how things are spelled: each in one way only ---
def unbase64(text, length=32):
    data = base64.b64decode(text, validate=True)
    good = base64.b64encode(data).decode() == text and len(data) == (length or len(data))
    require(good, "a hash, salt, key or signature is spelled in another way, or of another length")
    return data
def number(text, bits=64):
    require(str(int(text)) == text and 0 <= int(text) < 1 << bits, "a number is none")
    return int(text)
def time(text):
    """Times, and their months, are in order when their texts are: so they stay texts."""
    again = datetime.datetime.fromisoformat(text[:-1]).isoformat(timespec="milliseconds") + "Z"
    require(again == text >= "1970", "a time is none, or spelled in another way")
    return text
def canonical(value):
    """RFC 8785 for texts, lists, objects and small whole numbers."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
def parse(data, kind=None):
    value = json.loads(data)
    require(canonical(value) == data, "the line is not canonical JSON")
    members = MEMBERS[kind or value["type"]].split()
    needed, known = {m for m in members if m[-1] != "?"}, {m.rstrip("?") for m in members}
    typed = all(type(item) is OTHERS.get(member, str) for member, item in value.items())
    require(typed and needed <= value.keys() <= known, "a member is none that stands here")
    return value

# --- signatures (7.2) and leaves (7.1) ---
def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()
def sized(text):
    return len(text.encode()).to_bytes(4, "big") + text.encode()
def commitment(facet, salt, value):
    return sha(b"payvault facet v1", bytes([facet]), unbase64(salt), sized(value))

class Key:
    def __init__(self, text):
        (self.name, hexadecimal, data), self.text = text.split("+", 2), text
        data = unbase64(data, 33)
        self.id = sha(self.name.encode(), b"\n", data)[:4]
        require(data[0] == 1 and self.id.hex() == hexadecimal, "the key is mistyped")
        self.key = Ed25519PublicKey.from_public_bytes(data[1:])
    def signed(self, message, signature):
        try:
            return self.key.verify(signature, message) is None
        except InvalidSignature:
            return False

def open_checkpoint(note, keys):
    """Origin, size, root and signer. Signatures by keys that were not given are ignored."""
    text, _, signatures = note.rpartition("\n\n")
    said, lines, signers = text.split("\n"), signatures.split("\n"), []
    require(lines.pop() == "" and len(said) == 3, "the checkpoint is no note of three lines")
    for line in lines:
        match = re.fullmatch("\u2014 ([^ +]+) ([^ ]+)", line)
        require(match, "the checkpoint has a line that is no signature")
        data = unbase64(match[2], None)
        named = [key for key in keys if (key.name, key.id) == (match[1], data[:4])]
        by = [key for key in named if key.signed(f"{text}\n".encode(), data[4:])]
        require(by or not named, "the checkpoint's signature is wrong")
        signers += [key for key in by if key.name == said[0]]
    require(signers, "the checkpoint is not signed by a key that was given")
    return said[0], number(said[1]), unbase64(said[2]), signers[0]

# --- the export (7.3) ---
class Export:
    def __init__(self, header, keys):
        require(header["type"] == "header" and header["v"] == 1, "no header of version 1")
        origin, self.to_size, self.root, self.key = open_checkpoint(header["checkpoint"], keys)
        signature, self.header = unbase64(header.pop("signature"), 64), header
        signed = b"payvault export header v1\n" + canonical(header)
        by_ledger = any(key.name == origin and key.signed(signed, signature) for key in keys)
        require(by_ledger, "the header is not signed by a key that was given")
        require(origin == f"payvault/{header['vault']}/{header['epoch']}", "another checkpoint")
        self.epoch, self.to = number(header["epoch"], 32).to_bytes(4, "big"), number(header["to"])
        # The tree so far: its size, and the roots of its complete subtrees, largest first.
        self.size, self.peaks = number(header["from"]), [unbase64(h) for h in header["left"]]
        self.right = [unbase64(h) for h in header["right"]]
        require(self.size <= self.to <= self.to_size, "no range, or one past the checkpoint")
        require(len(self.peaks) == bin(self.size).count("1"), "left does not complete the range")
        self.filter = parse(canonical(header["filter"]), "filter")
        for part, pattern in (("sites", SITE), ("kinds", "[a-z_]+")):
            names = self.filter.get(part, "a").split(",")
            good = sorted({name for name in names if re.fullmatch(pattern, name)})
            require(names == good, f"the filter's {part} are none, or out of order")
        times = [m for m in self.filter if m.endswith("_time") and time(self.filter[m])]
        require(header["unproven"] == times and time(header["at"]), "unproven has not the times")
        self.since, self.until = self.filter.get("from_time", ""), self.filter.get("to_time", "~")
        # Month, time and place in the time window so far; of buckets their first erased line, or 0
        # when an entry destroyed the key.
        self.month, self.at, self.place, self.buckets = "", "", "before", {}
        self.counts = dict.fromkeys(["entry", "closed", "erased", "by time"], 0)
    def push(self, root, level=0):
        at = level  # A binary counter: each complete pair of subtrees becomes one.
        while self.size >> at & 1:
            root, at = sha(b"\x01", self.peaks.pop(), root), at + 1
        self.peaks.append(root)
        self.size += 1 << level
    def misses(self, part, value):
        return part in self.filter and value not in self.filter[part].split(",")

    def take(self, line, place):
        """One line between header and end: proven, held to the filter, put into the tree."""
        kind, bucket = line["type"], re.fullmatch(BUCKET, line.get("bucket", ""))
        comes = kind in ("entry", "closed", "erased") and line["index"] == str(self.size)
        require(comes, f"entry {self.size} has to come here")
        require(bucket and bucket[2] >= self.month, "the bucket is none, or older than before")
        self.month = bucket[2]
        facets = getattr(self, kind)(line, bucket[1], place)
        leaf = sha(b"\0payvault leaf v1", self.epoch, sized(bucket[0]), facets)
        require(leaf == unbase64(line["leaf"]), "the line does not hash to its leaf")
        require(len(self.buckets) <= BUCKETS_MAX, "more erased buckets than are kept in mind")
        self.push(leaf)
        self.counts[kind] += 1

    def entry(self, line, site, _):
        body, before = parse(line["body"].encode(), "body"), self.at
        texts = [*body.get("fields", []), *body.get("detail", {}).values()]
        good = body["v"] == 1 and all(body.values()) and all(type(text) is str for text in texts)
        require(good, "the body is of another version, or has a member that is empty or no text")
        said = [body["index"], body["epoch"], body["site"], body["at"][:7]]
        own = said == [line["index"], self.header["epoch"], site, self.month]
        require(own, "the body belongs to another index, epoch, site or month")
        self.at, kind, key = time(body["at"]), body["event"], body.get("detail", {}).get("key", "")
        require(self.at >= before, "the entry is older than the one before it")
        attests = kind == "key_destroyed" and body["outcome"] == "ok" and re.fullmatch(BUCKET, key)
        self.buckets.update({key: 0} if attests else {})
        outside = self.misses("sites", site) or self.misses("kinds", kind)
        if outside or not self.since <= self.at < self.until:
            require(attests, "the entry is outside of the filter and came open")
        else:
            require(self.place != "after", "entries inside the time window came closed before")
            self.place = "inside"
        require(len(line["salts"]) == 3, "an entry has three salts")
        shown = zip((1, 2, 3), line["salts"], (site, kind, line["body"]))
        return sha(b"payvault facets v1", *(commitment(*facet) for facet in shown))

    def closed(self, line, site, _):
        commitments, facet = [unbase64(c) for c in line["c"]], line.get("facet")
        require(len(commitments) == 3, "an entry has three commitments")
        if facet or "value" in line or "salt" in line:
            n, value = ("site", "kind").index(facet), line["value"]
            opens = commitment(n + 1, line["salt"], value) == commitments[n]
            require(opens, f"the {facet} shown does not open its commitment")
            require(n or value == site, "the site shown is not that of the bucket")
            require(self.misses(facet + "s", value), "it matches the filter and came closed")
        elif self.place != "before" or f"{self.month}-01T00:00:00.000Z" >= self.since:
            require(self.month >= self.until[:7], "it matches the filter and came closed")
            self.place = "after"
        self.counts["by time"] += not facet
        return sha(b"payvault facets v1", *commitments)
    def erased(self, line, _, place):
        require(self.buckets.setdefault(line["bucket"], place), "it is younger than the erasure")
        return unbase64(line["facets"])
    def finish(self, end, lines):
        require(end["type"] == "end" and end["lines"] == str(lines), "not the end, or it miscounts")
        for root in self.right:
            require(self.size < self.to_size, "right has more hashes than complete the tree")
            fits, aligned = self.to_size - self.size, self.size & -self.size or 1 << 64
            self.push(root, min(fits.bit_length(), aligned.bit_length()) - 1)
        root = self.peaks.pop() if self.peaks else sha()
        while self.peaks:
            root = sha(b"\x01", self.peaks.pop(), root)
        require((self.size, root) == (self.to_size, self.root), "the lines do not hash to the root")

def verify(file, keys):
    """The export, when it verifies; else a Wrong with its line."""
    place = 1
    def read():
        line = file.readline(LINE_BYTES_MAX + 1)
        stops = "is too long" if len(line) > LINE_BYTES_MAX else "is not complete: the file stops"
        require(line[-1:] == b"\n", "the line " + stops)
        return parse(line[:-1])
    try:
        export = Export(read(), keys)
        for place in range(2, export.to - export.size + 2):
            export.take(read(), place)
        place += 1
        export.finish(read(), place - 1)
        place += 1
        require(not file.read(1), "something follows the end line")
        for bucket, line in sorted(export.buckets.items(), key=lambda item: item[1]):
            require(not line, f"no entry destroyed the key of {bucket}: unattested", line)
    except Wrong as wrong:
        raise Wrong(f"line {(*wrong.args[1:], place)[0]}: {wrong.args[0]}") from None
    except MALFORMED:
        raise Wrong(f"line {place}: not a line of an export in canonical JSON") from None
    return export

WORDS = """verified with {key}
- The header is signed by that key: asked for by {requested_by_name} ({requested_by}) at {at},
  for {reason!r}, ticket {ticket!r}; filter {filter}.
- Entries {from} up to {to}: {entry} open, {closed} closed, {erased} erased. None was added,
  dropped, changed or moved: each line hashes to its leaf, and the leaves to the checkpoint's root.
- What is closed misses the filter, as its leaf proves, but for {by time} closed by time alone.
- What is erased is so by an entry of this export that destroyed the key.
- Checkpoint: {size} entries, root {root}. Compare it with one that you kept."""

def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", help="the export, or - for stdin")
    parser.add_argument("--key", action="append", required=True, help="as it was given to you")
    given = parser.parse_args()
    try:
        keys = [Key(text.strip()) for text in given.key]
        export = verify(open(0 if given.file == "-" else given.file, "rb"), keys)
    except (Wrong, ValueError) as wrong:
        sys.exit(print("refused:", wrong, file=sys.stderr) or 6)
    said = {name: ascii(v)[1:-1] if type(v) is str else v for name, v in export.header.items()}
    print(WORDS.format(**{**said, **export.counts, "key": export.key.text, "size": export.to_size,
                          "root": base64.b64encode(export.root).decode()}))

if __name__ == "__main__":
    main()
