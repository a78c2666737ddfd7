"""Checks receipts and exports of the ledger with nothing but docs/format.md section 7.

This is a second reading of the specification, on purpose: it shares no code with the vault, so it
finds what the vault's own verifier would believe by mistake. It must never take a key from the
file that it checks.
"""

import base64
import hashlib
import json


class Wrong(Exception):
    """A receipt or export that doesn't hold, and where."""


def require(condition, what):
    if not condition:
        raise Wrong(what)


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def unbase64(text):
    return base64.b64decode(text, validate=True)


def sized(data):
    """`bytes` of docs/format.md: a u32 length and the bytes."""
    return len(data).to_bytes(4, "big") + data


# --- Ed25519 (RFC 8032 5.1), verification only. Public data: no need for constant time. ---

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


def recover(encoded):
    require(len(encoded) == 32, "a point has 32 bytes")
    y = int.from_bytes(encoded, "little")
    sign = y >> 255
    y &= (1 << 255) - 1
    require(y < P, "a point's y is too large")
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    require((x * x - square) % P == 0, "not a point of the curve")
    require(x or not sign, "not a point of the curve")
    if x & 1 != sign:
        x = P - x
    return (x, y, 1, x * y % P)


def add(p, q):
    a = (p[1] - p[0]) * (q[1] - q[0]) % P
    b = (p[1] + p[0]) * (q[1] + q[0]) % P
    c = 2 * p[3] * q[3] * D % P
    d = 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def multiply(scalar, point):
    total = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            total = add(total, point)
        point = add(point, point)
        scalar >>= 1
    return total


BASE = recover((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def signature_holds(public_key, message, signature):
    if len(signature) != 64:
        return False
    s = int.from_bytes(signature[32:], "little")
    if s >= L:
        return False
    r, a = recover(signature[:32]), recover(public_key)
    h = int.from_bytes(hashlib.sha512(signature[:32] + public_key + message).digest(), "little") % L
    left, right = multiply(s, BASE), add(r, multiply(h, a))
    return (left[0] * right[2] - right[0] * left[2]) % P == 0 and (
        left[1] * right[2] - right[1] * left[2]
    ) % P == 0


# --- checkpoints (7.2) ---


class VerifierKey:
    """`<name>+<hex key id>+<base64(0x01 || public key)>`."""

    def __init__(self, text):
        # The base64 part may hold a plus sign, the other two never do.
        self.name, key_id, key = text.strip().split("+", 2)
        key = unbase64(key)
        require(len(key) == 33 and key[0] == 1, "not an Ed25519 verifier key")
        self.public_key = key[1:]
        self.key_id = sha256(self.name.encode(), b"\n", key)[:4]
        require(self.key_id.hex() == key_id, "the verifier key's id doesn't match")


class Checkpoint:
    """A signed note; making one checks a signature by `key`."""

    def __init__(self, note, key):
        text, blank, signatures = note.rpartition("\n\n")
        require(blank, "the checkpoint has no blank line")
        text += "\n"
        lines = text.split("\n")
        require(len(lines) >= 4, "the checkpoint is too short")
        self.origin, size, root = lines[0], lines[1], lines[2]
        require(self.origin == key.name, "the checkpoint's origin isn't the key's name")
        require(size.isdigit() and str(int(size)) == size, "the checkpoint's size is no number")
        self.size, self.root = int(size), unbase64(root)
        require(len(self.root) == 32, "the checkpoint's root isn't 32 bytes")
        good = 0
        for line in signatures.splitlines():
            require(line.startswith("\u2014 "), "a signature line doesn't start with a dash")
            name, _, blob = line[2:].partition(" ")
            blob = unbase64(blob)
            if name == key.name and blob[:4] == key.key_id:
                require(
                    signature_holds(key.public_key, text.encode(), blob[4:]),
                    "the checkpoint's signature is wrong",
                )
                good += 1
        require(good, "no signature by the known key")


# --- entries and the tree (7.1) ---


def commitment(facet, salt, value):
    require(len(salt) == 32, "a salt has 32 bytes")
    return sha256(b"payvault facet v1", bytes([facet]), salt, sized(value.encode()))


def leaf_hash(epoch, bucket, commitments):
    require(len(commitments) == 3, "an entry has three commitments")
    facets = sha256(b"payvault facets v1", *commitments)
    return sha256(
        b"\x00payvault leaf v1", epoch.to_bytes(4, "big"), sized(bucket.encode()), facets
    )


def node_hash(left, right):
    return sha256(b"\x01", left, right)


def opened_entry(line):
    """The content of an open line, its index and its leaf hash, all recomputed."""
    require(line["type"] == "entry", "not an open entry")
    entry = json.loads(line["body"])
    canonical = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    require(canonical == line["body"], "the entry isn't canonical JSON")
    index = int(line["index"])
    require(int(entry["index"]) == index, "the entry's own index is another one")
    salts = [unbase64(salt) for salt in line["salts"]]
    require(len(salts) == 3, "an entry has three salts")
    values = [entry["site"], entry["event"], line["body"]]
    leaf = leaf_hash(
        int(entry["epoch"]),
        line["bucket"],
        [commitment(n + 1, salts[n], values[n]) for n in range(3)],
    )
    require(leaf == unbase64(line["leaf"]), "the leaf hash isn't that of the entry")
    return entry, index, leaf


def closed_leaf(line, epoch):
    """The leaf hash of a closed line; an opened facet must match its commitment."""
    commitments = [unbase64(c) for c in line["c"]]
    if "facet" in line:
        facet = {"site": 1, "kind": 2}[line["facet"]]
        shown = commitment(facet, unbase64(line["salt"]), line["value"])
        require(shown == commitments[facet - 1], "the shown facet isn't the committed one")
    leaf = leaf_hash(epoch, line["bucket"], commitments)
    require(leaf == unbase64(line["leaf"]), "the leaf hash isn't that of the closed entry")
    return leaf


def tree_root(leaves):
    """RFC 6962 2.1: split at the largest power of two below the size."""
    if not leaves:
        return sha256(b"")
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    return node_hash(tree_root(leaves[:split]), tree_root(leaves[split:]))


def check_inclusion(leaf, index, size, path, root):
    """RFC 9162 2.1.3.2."""
    require(0 <= index < size, "the index isn't below the checkpoint's size")
    fn, sn, r = index, size - 1, leaf
    for sibling in path:
        require(sn, "the inclusion path is too long")
        if fn & 1 or fn == sn:
            r = node_hash(sibling, r)
            while not fn & 1 and fn:
                fn >>= 1
                sn >>= 1
        else:
            r = node_hash(r, sibling)
        fn >>= 1
        sn >>= 1
    require(sn == 0, "the inclusion path is too short")
    require(r == root, "the inclusion path leads to another root")


def check_consistency(first, second, first_root, second_root, path):
    """RFC 9162 2.1.4.2."""
    require(0 < first <= second, "sizes out of order")
    if first == second:
        require(not path and first_root == second_root, "equal sizes, different roots")
        return
    path = list(path)
    if first & (first - 1) == 0:
        path.insert(0, first_root)
    require(path, "the consistency path is empty")
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn >>= 1
        sn >>= 1
    fr = sr = path[0]
    for c in path[1:]:
        require(sn, "the consistency path is too long")
        if fn & 1 or fn == sn:
            fr, sr = node_hash(c, fr), node_hash(c, sr)
            while not fn & 1 and fn:
                fn >>= 1
                sn >>= 1
        else:
            sr = node_hash(sr, c)
        fn >>= 1
        sn >>= 1
    require(sn == 0, "the consistency path is too short")
    require(fr == first_root, "the consistency path leads to another first root")
    require(sr == second_root, "the consistency path leads to another second root")


def check_receipt(receipt, key):
    """The receipt's entry, when it holds."""
    checkpoint = Checkpoint(receipt.checkpoint.note, key)
    require(checkpoint.size == receipt.checkpoint.size, "note and size differ")
    require(checkpoint.root == receipt.checkpoint.root, "note and root differ")
    entry, index, leaf = opened_entry(json.loads(receipt.entry))
    require(index == receipt.index, "receipt and entry name different indexes")
    check_inclusion(leaf, index, checkpoint.size, list(receipt.inclusion_path), checkpoint.root)
    return entry


def check_whole_export(text, key):
    """Header and open entries of an export of the whole ledger, when it holds."""
    lines = [json.loads(line) for line in text.splitlines()]
    header, end = lines[0], lines[-1]
    require(header["type"] == "header", "the first line is no header")
    require(end == {"type": "end", "lines": str(len(lines) - 1)}, "the last line is wrong")
    checkpoint = Checkpoint(header["checkpoint"], key)
    require(int(header["from"]) == 0, "not from the start")
    require(int(header["to"]) == checkpoint.size, "not up to the checkpoint")
    require(header["left"] == [] and header["right"] == [], "a whole export has no boundary")

    signature = header.pop("signature")
    signed = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    require(
        signature_holds(
            key.public_key,
            b"payvault export header v1\n" + signed.encode(),
            unbase64(signature),
        ),
        "the header's signature is wrong",
    )

    entries, leaves = [], []
    for position, line in enumerate(lines[1:-1]):
        require(int(line["index"]) == position, "line %d: wrong index" % (position + 2))
        if line["type"] == "entry":
            entry, _, leaf = opened_entry(line)
            entries.append(entry)
        else:
            require(line["type"] == "closed", "line %d: unexpected type" % (position + 2))
            leaf = closed_leaf(line, int(header["epoch"]))
        leaves.append(leaf)
    require(len(leaves) == checkpoint.size, "not as many entries as the checkpoint says")
    require(tree_root(leaves) == checkpoint.root, "the entries don't make the checkpoint's root")
    return header, entries
