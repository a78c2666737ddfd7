#!/usr/bin/env python3
"""Makes the frozen vectors of payvault's ledger formats from docs/format.md alone (§5.3, §7).

It shares no code with the crate. Run it to check: it writes nothing unless called with --write, and
ends with 1 when a file differs. Needs the `cryptography` package for Ed25519.
"""
import base64
import hashlib
import hmac
import json
import pathlib
import struct
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

HERE = pathlib.Path(__file__).parent


def h(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def b64(data):
    return base64.b64encode(data).decode()


def canon(value):
    """RFC 8785 for values of strings, lists, objects with ASCII names, and small integers."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def lengthed(data):
    return struct.pack(">I", len(data)) + data


# --- identifiers (§1), keys (§7.2)

LETTERS = "bcdfghjkmnpqrstv"


def ident(prefix, data):
    return prefix + "".join(LETTERS[b >> 4] + LETTERS[b & 15] for b in data)


VAULT = ident("vlt_", bytes(range(16)))
EPOCH = 1
ORIGIN = f"payvault/{VAULT}/{EPOCH}"
KEY = Ed25519PrivateKey.from_private_bytes(bytes([0x42]) * 32)
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes([0x43]) * 32)


def public(key):
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def key_id(name, key):
    return h(name.encode(), b"\n\x01", public(key))[:4]


def verifier_key(name, key):
    return f"{name}+{key_id(name, key).hex()}+{b64(bytes([1]) + public(key))}"


def note(text, name, key):
    return f"{text}\n— {name} {b64(key_id(name, key) + key.sign(text.encode()))}\n"


def checkpoint(size, root, key=KEY, origin=ORIGIN):
    return note(f"{origin}\n{size}\n{b64(root)}\n", origin, key)


# --- entries and leaves (§7, §7.1)

FACETS = ("site", "kind", "body")


class Entry:
    def __init__(self, index, at, event, site, **members):
        self.index, self.at, self.event, self.site = index, at, event, site
        self.bucket = f"log/{site}/{at[:7]}"
        self.seed = h(b"vector seed", struct.pack(">Q", index))
        body = {
            "actor": "-",
            "at": at,
            "epoch": str(EPOCH),
            "event": event,
            "index": str(index),
            "origin": "-",
            "outcome": "ok",
            "site": site,
            "v": 1,
        }
        self.body = canon(body | members)
        self.seal()

    def seal(self, **committed):
        """Commits to what the entry says, or, to try a liar, to something else."""
        said = {"site": self.site, "kind": self.event, "body": self.body} | committed
        self.salts = [
            hmac.new(self.seed, b"payvault salt v1" + bytes([i + 1]), "sha256").digest()
            for i in range(3)
        ]
        self.commitments = [
            h(b"payvault facet v1", bytes([i + 1]), self.salts[i], lengthed(said[f].encode()))
            for i, f in enumerate(FACETS)
        ]
        self.facets = h(b"payvault facets v1", *self.commitments)
        data = b"payvault leaf v1" + struct.pack(">I", EPOCH) + lengthed(self.bucket.encode())
        self.leaf = h(b"\x00", data, self.facets)

    def open(self):
        return canon({
            "type": "entry",
            "index": str(self.index),
            "bucket": self.bucket,
            "body": self.body,
            "salts": [b64(s) for s in self.salts],
            "leaf": b64(self.leaf),
        })

    def closed(self, facet=None):
        line = {
            "type": "closed",
            "index": str(self.index),
            "bucket": self.bucket,
            "c": [b64(c) for c in self.commitments],
            "leaf": b64(self.leaf),
        }
        if facet:
            place = FACETS.index(facet)
            value = {"site": self.site, "kind": self.event, "body": self.body}[facet]
            line |= {"facet": facet, "value": value, "salt": b64(self.salts[place])}
        return canon(line)

    def erased(self):
        return canon({
            "type": "erased",
            "index": str(self.index),
            "bucket": self.bucket,
            "facets": b64(self.facets),
            "leaf": b64(self.leaf),
        })


NL_OLD, US_OLD = "2019-10-05T08:00:00.000Z", "2019-10-06T09:00:00.001Z"
PORTAL, PROCESSOR = ident("prn_", b"\x11" * 16), ident("prn_", b"\x12" * 16)
AUDITOR = ident("prn_", b"\x13" * 16)
TXN, TOKEN = ident("txn_", b"\x22" * 16), ident("tkr_", b"\x33" * 16)


def ledger():
    who = {"actor": PORTAL, "actor_name": "portal-nl", "role": "portal", "origin": "192.0.2.7:4711"}
    by = {"actor": PROCESSOR, "actor_name": 'Zahlung "Ä" \\ \u0001\u007f€😀', "role": "processor",
          "origin": "[2001:db8::7]:4711"}
    return [
        Entry(0, "2019-10-01T00:00:00.000Z", "vault_created", "-"),
        Entry(1, NL_OLD, "transaction_opened", "nl", transaction=TXN, **who),
        Entry(2, US_OLD, "transaction_opened", "us", transaction=TXN, **who),
        Entry(3, US_OLD, "tokenized", "nl", transaction=TXN, prev="1", **who),
        Entry(4, "2026-11-02T10:00:00.000Z", "transaction_opened", "nl", transaction=TXN,
              amount="-1999", currency="EUR", **who),
        Entry(5, "2026-11-02T10:00:00.250Z", "tokenized", "nl", transaction=TXN, token=TOKEN,
              masked="411111******1111", prev="4", **who),
        Entry(6, "2026-11-03T11:30:00.000Z", "tokenized", "us", transaction=TXN, **who),
        Entry(7, "2026-11-03T11:30:00.000Z", "redeemed", "nl", transaction=TXN, token=TOKEN,
              purpose="AUTHORIZE", fields=["NUMBER", "EXPIRY"], prev="5", **by),
        Entry(8, "2026-11-04T00:00:00.000Z", "redeemed", "nl", outcome="denied",
              reason="USES_EXHAUSTED", transaction=TXN, token=TOKEN, **by),
        Entry(9, "2026-11-05T00:00:00.000Z", "key_destroyed", "-",
              detail={"case": "period ended", "key": "log/nl/2019-10"}),
        Entry(10, "2026-12-01T00:00:00.000Z", "login", "us", **who),
        Entry(11, "2026-12-01T00:00:01.000Z", "redeemed", "nl", transaction=TXN, **by),
        Entry(12, "2026-12-01T00:00:02.000Z", "log_exported", "-", **who),
    ]


# --- the tree (RFC 6962 2.1), literally

def root(leaves):
    if not leaves:
        return h()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return h(b"\x01", root(leaves[:k]), root(leaves[k:]))


def path(m, leaves):
    if len(leaves) <= 1:
        return []
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    if m < k:
        return path(m, leaves[:k]) + [root(leaves[k:])]
    return path(m - k, leaves[k:]) + [root(leaves[:k])]


def left_of(leaves, start):
    hashes, at = [], 0
    while at < start:
        width = 1 << ((start - at).bit_length() - 1)
        hashes.append(root(leaves[at:at + width]))
        at += width
    return hashes


def right_of(leaves, end):
    hashes, at = [], end
    while at < len(leaves):
        width = 1
        while at % (2 * width) == 0 and at + 2 * width <= len(leaves):
            width *= 2
        hashes.append(root(leaves[at:at + width]))
        at += width
    return hashes


# --- exports (§7.3)

def export(entries, start, end, filter, show, key=KEY, checkpoint_key=KEY, **changed):
    """`show` gives the line of an entry; `changed` replaces members of the header."""
    leaves = [e.leaf for e in entries]
    header = {
        "type": "header",
        "v": 1,
        "vault": VAULT,
        "epoch": str(EPOCH),
        "from": str(start),
        "to": str(end),
        "filter": filter,
        "requested_by": AUDITOR,
        "requested_by_name": "auditor \"one\"",
        "reason": "yearly review",
        "ticket": "T-1",
        "at": "2026-12-02T00:00:00.000Z",
        "checkpoint": checkpoint(len(leaves), root(leaves), checkpoint_key),
        "left": [b64(x) for x in left_of(leaves, start)],
        "right": [b64(x) for x in right_of(leaves, end)],
        "unproven": [name for name in ("from_time", "to_time") if name in filter],
    } | changed
    header["signature"] = b64(
        key.sign(b"payvault export header v1\n" + canon(header).encode()))
    lines = [canon(header)] + [show(e) for e in entries[start:end]]
    lines.append(canon({"type": "end", "lines": str(len(lines))}))
    return "".join(line + "\n" for line in lines)


def whole(e):
    return e.erased() if e.bucket == "log/nl/2019-10" else e.open()


def nl(e):
    """For the filter sites = nl."""
    if e.bucket == "log/nl/2019-10":
        return e.erased()
    return e.open() if e.site == "nl" or e.event == "key_destroyed" else e.closed("site")


NARROW = {"sites": "nl", "kinds": "redeemed,tokenized",
          "from_time": "2026-11-02T10:00:00.100Z", "to_time": "2026-12-01T00:00:00.500Z"}


def narrow(e):
    if e.bucket == "log/nl/2019-10":
        return e.erased()
    if e.event == "key_destroyed":
        return e.open()
    if e.site != "nl":
        return e.closed("site")
    if e.event not in ("redeemed", "tokenized"):
        return e.closed("kind")
    if not NARROW["from_time"] <= e.at < NARROW["to_time"]:
        return e.closed()
    return e.open()


def at(index, line, show):
    return lambda e: line(e) if e.index == index else show(e)


def exports(files, faults):
    es = ledger()
    files["ok_export_all.jsonl"] = export(es, 0, 13, {}, whole)
    files["ok_export_sites.jsonl"] = export(es, 2, 11, {"sites": "nl"}, nl)
    files["ok_export_narrow.jsonl"] = export(es, 3, 13, NARROW, narrow)
    files["ok_export_empty.jsonl"] = export(es, 5, 5, {}, whole)

    def fail(name, line, fault, text):
        files[f"fail_export_{name}.jsonl"] = text
        faults[f"fail_export_{name}.jsonl"] = {"line": line, "fault": fault}

    sites = {"sites": "nl"}
    fail("withheld_by_site", 8, "Withheld",
         export(es, 2, 11, sites, at(8, lambda e: e.closed("site"), nl)))
    fail("withheld_by_kind", 8, "Withheld",
         export(es, 2, 11, sites, at(8, lambda e: e.closed("kind"), nl)))
    fail("withheld_by_body", 8, "NotCanonical",
         export(es, 2, 11, sites, at(8, lambda e: e.closed("body"), nl)))
    fail("closed_without_reason", 8, "ClosedWithoutReason",
         export(es, 2, 11, sites, at(8, Entry.closed, nl)))
    fail("disclosed", 6, "Disclosed", export(es, 2, 11, sites, at(6, Entry.open, nl)))
    # Entries 7 and 8 lie inside the window; 8 is hidden, in the window's first month.
    fail("withheld_by_time", 7, "Withheld", export(es, 3, 13, NARROW, at(8, Entry.closed, narrow)))
    november = {"to_time": "2026-11-30T00:00:00.000Z"}
    short = lambda e: Entry.closed(e) if e.at >= november["to_time"] else whole(e)
    fail("hidden_by_time", 10, "HiddenByTime",
         export(es, 0, 13, november, at(7, Entry.closed, short)))
    fail("unproven_not_named", 1, "Header", export(es, 0, 13, november, short, unproven=[]))
    # The key's destruction lies past the range.
    fail("unattested_erasure", 3, "UnattestedErasure", export(es, 0, 9, {}, whole))
    # Another bucket's destruction attests nothing for this one.
    fail("erasure_of_another_bucket", 4, "UnattestedErasure",
         export(es, 0, 13, {}, at(2, Entry.erased, whole)))
    refused = ledger()
    refused[9] = Entry(9, es[9].at, "key_destroyed", "-", outcome="failed",
                       detail={"key": "log/nl/2019-10"})
    fail("erasure_that_failed", 3, "UnattestedErasure", export(refused, 0, 13, {}, whole))
    early = ledger()
    early[9] = Entry(9, es[9].at, "key_destroyed", "-", detail={"key": "log/nl/2026-12"})
    fail("erased_after_destruction", 9, "ErasedAfterDestruction",
         export(early, 4, 13, {}, at(11, Entry.erased, whole)))
    # The leaf proves the bucket: a destroyed one can't be named for an entry of another.
    def renamed(e):
        return e.erased().replace("log/nl/2026-11", "log/nl/2019-10")
    fail("erased_under_another_bucket", 9, "Leaf", export(es, 0, 13, {}, at(7, renamed, whole)))
    liar = ledger()
    liar[8].seal(site="us")
    fail("site_facet_lies", 10, "Leaf", export(liar, 0, 13, {}, whole))

    def as_us(e):
        line = json.loads(e.closed("site"))
        return canon(line | {"value": "us"})
    fail("closed_as_another_site", 8, "Bucket", export(liar, 2, 11, sites, at(8, as_us, nl)))
    fail("facet_does_not_open", 6, "Commitment", export(
        es, 2, 11, {"kinds": "redeemed"},
        lambda e: canon(json.loads(e.closed("kind")) | {"value": "login"}) if e.index == 6
        else (e.closed("kind") if e.bucket != "log/nl/2019-10"
              and e.event not in ("redeemed", "key_destroyed") else whole(e))))
    back = ledger()
    back[8] = Entry(8, "2026-11-03T11:29:59.999Z", "redeemed", "nl")
    fail("time_runs_back", 10, "TimeRunsBack", export(back, 0, 13, {}, whole))
    back = ledger()
    back[6] = Entry(6, "2026-10-31T23:59:59.999Z", "tokenized", "us")
    fail("month_runs_back", 6, "TimeRunsBack", export(back, 2, 11, sites, nl))
    wrong = ledger()
    wrong[7].bucket = "log/nl/2026-12"
    wrong[7].seal()
    fail("wrong_bucket", 9, "Bucket", export(wrong, 0, 13, {}, whole))
    copied = ledger()
    copied[7].body = copied[5].body
    copied[7].event = copied[5].event
    copied[7].seal()
    fail("body_of_another_index", 9, "BodyElsewhere", export(copied, 0, 13, {}, whole))
    # Everything is right but the signed root: an entry that the log never held.
    other = ledger()
    other[7] = Entry(7, es[7].at, "redeemed", "nl", transaction=TXN)
    held = [e.leaf for e in es]
    fail("other_root", 15, "Root",
         export(other, 0, 13, {}, whole, checkpoint=checkpoint(13, root(held))))
    right = [b64(x) for x in right_of(held, 11)]
    fail("right_too_short", 11, "Root", export(es, 2, 11, sites, nl, right=right[:-1]))
    fail("right_too_long", 11, "Root", export(es, 2, 11, sites, nl, right=right + right[-1:]))
    fail("left_too_short", 1, "Header", export(es, 2, 11, sites, nl, left=[]))
    fail("another_key", 1, "Checkpoint",
         export(es, 0, 13, {}, whole, key=OTHER_KEY, checkpoint_key=OTHER_KEY))
    fail("header_by_another_key", 1, "HeaderSignature", export(es, 0, 13, {}, whole, key=OTHER_KEY))
    fail("another_epoch", 1, "Header", export(es, 0, 13, {}, whole, epoch="2"))
    fail("range_past_checkpoint", 1, "Header", export(es, 0, 13, {}, whole, to="14"))
    fail("version_2", 1, "Version", export(es, 0, 13, {}, whole, v=2))
    fail("sites_out_of_order", 1, "Header", export(es, 2, 11, {"sites": "us,nl"}, nl))
    ok = files["ok_export_all.jsonl"]
    fail("no_end", 15, "Stops", "".join(ok.splitlines(True)[:-1]))
    fail("after_end", 16, "AfterEnd", ok + "\n")
    fail("carriage_returns", 1, "NotCanonical", ok.replace("\n", "\r\n"))
    fail("member_twice", 2, "NotCanonical",
         ok.replace('"leaf":', '"leaf":"","leaf":', 1))
    fail("unknown_member", 2, "NotCanonical", ok.replace('"type":"entry"}', '"type":"entry","x":""}', 1))
    fail("spaces", 2, "NotCanonical", ok.replace('{"body"', '{ "body"', 1))
    fail("line_too_long", 2, "LineTooLong", ok.replace('{"body"', " " * 65537 + '{"body"', 1))
    fail("not_text", 2, "NotCanonical", ok.replace("vault_created", "vault_\udcffcreated", 1))


def main():
    files, faults = {}, {}
    es = ledger()
    leaves = [e.leaf for e in es]
    files["leaf.json"] = [
        {
            "body": e.body,
            "bucket": e.bucket,
            "commitments": [c.hex() for c in e.commitments],
            "epoch": EPOCH,
            "facets": e.facets.hex(),
            "kind": e.event,
            "leaf": e.leaf.hex(),
            "salts": [s.hex() for s in e.salts],
            "sealed_content": (e.seed + lengthed(e.body.encode())).hex(),
            "seed": e.seed.hex(),
            "site": e.site,
        }
        for e in es
    ]
    sealed = [bytes([i]) * (i * 40) for i in range(4)]
    page = b"PE\x01" + struct.pack(">QH", 2**32 + 5, len(sealed))
    for e, value in zip(es, sealed):
        page += e.leaf + e.facets + lengthed(value)
    files["page.json"] = {
        "entries": [
            {"leaf": e.leaf.hex(), "facets": e.facets.hex(), "sealed": value.hex()}
            for e, value in zip(es, sealed)
        ],
        "first": str(2**32 + 5),
        "row": page.hex(),
    }
    files["checkpoint.json"] = {
        "epoch": EPOCH,
        "note": checkpoint(13, root(leaves)),
        "origin": ORIGIN,
        "root": root(leaves).hex(),
        "signing_key": "42" * 32,
        "size": "13",
        "vault": VAULT,
        "verifier_key": verifier_key(ORIGIN, KEY),
    }
    receipt = {
        "type": "receipt",
        "v": 1,
        "entry": es[7].open(),
        "path": [b64(x) for x in path(7, leaves)],
        "checkpoint": checkpoint(13, root(leaves)),
    }
    files["ok_receipt.json"] = canon(receipt) + "\n"

    def fail(name, fault, **changed):
        files[f"fail_receipt_{name}.json"] = canon(receipt | changed) + "\n"
        faults[f"fail_receipt_{name}.json"] = {"line": 1, "fault": fault}

    fail("other_entry", "Path", entry=es[8].open())
    fail("other_path", "Path", path=[b64(x) for x in path(6, leaves)])
    fail("longer_path", "Path", path=receipt["path"] + receipt["path"][:1])
    fail("no_path", "Path", path=[])
    fail("closed_line", "NotCanonical", entry=es[7].closed("kind"))
    fail("other_key", "Checkpoint", checkpoint=checkpoint(13, root(leaves), OTHER_KEY))
    fail("other_root", "Path", checkpoint=checkpoint(13, root(leaves[:12])))
    fail("other_size", "Path", checkpoint=checkpoint(7, root(leaves)))
    fail("version_2", "Receipt", v=2)
    exports(files, faults)
    files["faults.json"] = faults

    differ = 0
    for name, content in files.items():
        if not isinstance(content, str):
            content = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        data = content.encode("utf-8", "surrogateescape")
        file = HERE / name
        if "--write" in sys.argv:
            file.write_bytes(data)
        elif not file.exists() or file.read_bytes() != data:
            print(f"{name} differs")
            differ = 1
    sys.exit(differ)


if __name__ == "__main__":
    main()
