#!/usr/bin/env python3
"""Computes formats.json from docs/format.md alone: an independent second reading of it.

    pip install cryptography        # 44 or later, for Argon2id
    python3 make.py > formats.json

Every key and nonce is fixed, so the output never changes. When it would, a format changed, and
with it every value that lies in a store. Nothing here is secret, and none of it is ever used.
"""

import base64
import hashlib
import hmac
import json
import sys

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

LETTERS = "bcdfghjkmnpqrstv"


def uint(value, size):
    return value.to_bytes(size, "big")


def prefixed(value):
    return uint(len(value), 4) + value


def mac(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def hkdf(key, info):
    return HKDF(hashes.SHA256(), 32, salt=b"", info=info).derive(key)


def gcm(key, nonce, data, aad):
    """ciphertext and tag"""
    return AESGCM(key).encrypt(nonce, data, aad)


def fixed(label, size=32):
    """Bytes that stand for random ones."""
    return hashlib.shake_256(b"payvault test vector " + label.encode()).digest(size)


def site(name):
    return name.encode().ljust(16, b"\0")


def identifier(prefix, value):
    return prefix + "".join(LETTERS[b >> 4] + LETTERS[b & 15] for b in value)


# Inputs.
VAULT, TXN, PRINCIPAL = (fixed(x, 16) for x in ("vault", "transaction", "principal"))
ROOT, WRAPPING = fixed("root"), fixed("wrapping key")
NL = site("nl")
out = {"vault": VAULT.hex(), "transaction": TXN.hex(), "principal": PRINCIPAL.hex(), "root": ROOT.hex()}

# Section 8: wrap. Two slots of 4,096 bytes; the first in use, the second empty.
GENERATION = 7
header = b"PW" + bytes([1, 1]) + uint(5, 8)
nonce = fixed("wrap nonce", 12)
slot = header + nonce + gcm(hkdf(ROOT, b"payvault keyring wrap v1"), nonce, WRAPPING, header + VAULT)
out["wrap"] = {"generation": 5, "nonce": nonce.hex(), "key": WRAPPING.hex(), "slot": slot.hex()}

# Section 8: keyring.
CREATED = 1_795_459_455_007
keys = [  # id, name, generation, state
    (1, "vault", 1, 1),
    (2, "identity", 1, 1),
    (3, "ledger-signing/1", 1, 1),
    (4, "release/nl/20780", 1, 1),
    (5, "log/nl/2026-11", 1, 2),
    (6, "log/nl/2026-11", 2, 1),
    (7, "replay/20780", 1, 1),
    (8, "release/us/20779", 1, 4),
    (9, "fingerprint/nl", 1, 3),
    (11, "collect/20780", 1, 1),
]
secret = {number: fixed(f"key {number}") for number, *_ in keys}
content = uint(12, 4) + uint(len(keys), 4)
for number, name, generation, state in keys:
    content += uint(number, 4) + prefixed(name.encode()) + uint(generation, 4) + bytes([state])
    content += uint(CREATED, 8) + uint(CREATED + 1000 * number, 8) + uint(CREATED + 2000 * number, 8)
    content += prefixed(b"" if state == 4 else secret[number])
header = b"PK" + bytes([1, 1]) + uint(GENERATION, 8) + VAULT
nonce = fixed("keyring nonce", 12)
out["keyring"] = {
    "generation": GENERATION,
    "nonce": nonce.hex(),
    "content": content.hex(),
    "file": (header + nonce + gcm(WRAPPING, nonce, content, header)).hex(),
}


# Section 2: sealed values.
def sealed(key, key_id, nonce, plaintext, aad):
    return b"PV" + bytes([1, 1]) + uint(key_id, 4) + nonce + gcm(key, nonce, plaintext, aad)


def outer_aad(key_id, where, transaction, kind, row_key):
    fields = bytes([1, 1]) + uint(key_id, 4) + VAULT + where + transaction + bytes([kind])
    return b"payvault outer v1" + fields + prefixed(row_key)


rows = []
for key_id, where, transaction, kind, scope, row_key, plaintext in [
    (4, "nl", TXN, 2, TXN, b"X" + TXN + b"s", b"a transaction row"),
    (6, "nl", TXN, 3, uint(41, 8), b"E" + uint(41 << 20, 8), b"an entry of some length" * 9),
    (1, "-", None, 1, fixed("round id", 16), b"H", b""),
    (1, "nl", None, 5, b"A" + NL + PRINCIPAL * 2, b"A" + NL + PRINCIPAL * 2, b"an allowance"),
]:
    nonce = fixed(f"row nonce {kind}", 12)
    key = hkdf(secret[key_id], b"payvault row v1" + bytes([kind]) + scope)
    aad = outer_aad(key_id, site(where), transaction or bytes(16), kind, row_key)
    rows.append({
        "key": key_id, "site": where, "transaction": transaction is not None, "kind": kind,
        "scope": scope.hex(), "row_key": row_key.hex(), "nonce": nonce.hex(),
        "plaintext": plaintext.hex(), "sealed": sealed(key, key_id, nonce, plaintext, aad).hex(),
    })
out["rows"] = rows

# Section 3: the inner record.
selector, token_secret, terms = fixed("selector", 16), fixed("token secret", 16), fixed("terms")
aad = b"payvault inner v1" + bytes([1, 1]) + VAULT + NL + TXN + bytes([16]) + selector + terms
records = []
for size in (0, 1, 100, 124, 125, 300):
    details, nonce = fixed("details", size), fixed(f"record nonce {size}", 12)
    plaintext = prefixed(details)
    plaintext += bytes(-len(plaintext) % 128)
    key = hkdf(token_secret, b"payvault record v1" + selector)
    records.append({
        "nonce": nonce.hex(), "details": details.hex(),
        "sealed": sealed(key, 0, nonce, plaintext, aad).hex(),
    })
out["inner"] = {
    "selector": selector.hex(), "secret": token_secret.hex(), "terms_digest": terms.hex(),
    "records": records,
}

# Section 4.2 and section 1: requests and the transaction's id, under the replay key of day 20780.
request_id, rpc, replay = fixed("request id", 20), 3, secret[7]
full = mac(hkdf(replay, b"payvault request v1"), PRINCIPAL + bytes([rpc]) + request_id)
nonce, answer = fixed("answer nonce", 12), fixed("answer", 72)
key = hkdf(full, b"payvault answer v1")
out["request"] = {
    "day": 20780, "rpc": rpc, "request_id": request_id.hex(), "stored": full[:16].hex(),
    "transaction_id": mac(hkdf(replay, b"payvault transaction id v1"), PRINCIPAL + request_id)[:16].hex(),
    "nonce": nonce.hex(), "answer": answer.hex(),
    "sealed": sealed(key, 7, nonce, answer, outer_aad(7, NL, TXN, 17, full[:16])).hex(),
}

# Section 8: seal.json.
m, t, p, salt, nonce = 65536, 3, 4, fixed("salt", 16), fixed("root nonce", 12)
passphrase = "correct horse battery staple"
kek = Argon2id(salt=salt, length=32, iterations=t, lanes=p, memory_cost=m).derive(passphrase.encode())
wrapped = nonce + gcm(kek, nonce, ROOT, b"payvault root v1" + VAULT + uint(m, 4) + uint(t, 4) + uint(p, 4))


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def b64(value):
    return base64.b64encode(value).decode()


seal = {
    "v": 1, "vault": identifier("vlt_", VAULT), "kind": "passphrase",
    "argon2id": {"m_kib": m, "t": t, "p": p, "salt": b64(salt)}, "root": b64(wrapped),
    "unsealers": [{"uri": "spiffe://payvault.example/operator/ann", "issuer": fixed("issuer").hex()}],
}
seal["check"] = b64(mac(hkdf(ROOT, b"payvault seal file v1"), canonical(seal).encode()))
out["seal"] = {"passphrase": passphrase, "file": canonical(seal)}

# Section 8: seal.json of custodians, two of three, and their shares.


def times(a, b):
    """In GF(256) with the polynomial x^8 + x^4 + x^3 + x^2 + 1."""
    product = 0
    while b:
        product ^= a * (b & 1)
        a = (a << 1) ^ (0x11D if a & 0x80 else 0)
        b >>= 1
    return product


custodians_secret, slope, split = fixed("custodians secret"), fixed("coefficients"), fixed("set", 16)
names, threshold = ["ann", "bob", "cem"], 2
shares, custodians = [], []
for place, name in enumerate(names, 1):
    value = bytes(s ^ times(c, place) for s, c in zip(custodians_secret, slope))
    body = VAULT + split + bytes([place]) + value
    checksum = hashlib.sha256(b"payvault share checksum v1" + body).digest()[:4]
    shares.append(identifier("pvs_a", body + checksum))
    custodians.append({
        "name": name, "place": place, "issuer": fixed("issuer").hex(),
        "uri": f"spiffe://payvault.example/custodian/{name}",
        "commitment": b64(hashlib.sha256(b"payvault share commitment v1" + body).digest()),
    })
kek, nonce = hkdf(custodians_secret, b"payvault custodians kek v1"), fixed("custodians nonce", 12)
wrapped = nonce + gcm(
    kek, nonce, ROOT, b"payvault custodians root v1" + VAULT + split + bytes([threshold, len(names)])
)
seal = {
    "v": 1, "vault": identifier("vlt_", VAULT), "kind": "custodians", "root": b64(wrapped),
    "threshold": threshold, "set": b64(split), "custodians": custodians,
    "unsealers": [{"uri": c["uri"], "issuer": c["issuer"]} for c in custodians],
}
seal["check"] = b64(mac(hkdf(ROOT, b"payvault seal file v1"), canonical(seal).encode()))
# A share's file under a passphrase.
nonce, body = fixed("share nonce", 12), bytes(
    16 * LETTERS.index(a) + LETTERS.index(b) for a, b in zip(shares[0][5::2], shares[0][6::2])
)
kek = Argon2id(salt=salt, length=32, iterations=t, lanes=p, memory_cost=m).derive(passphrase.encode())
aad = b"payvault share v1" + uint(m, 4) + uint(t, 4) + uint(p, 4) + b"ann"
share_file = {
    "v": 1, "type": "payvault share", "custodian": "ann",
    "argon2id": {"m_kib": m, "t": t, "p": p, "salt": b64(salt)},
    "share": b64(nonce + gcm(kek, nonce, body, aad)),
}
out["custodians"] = {
    "file": canonical(seal), "shares": shares,
    "share_file": canonical(share_file), "share_passphrase": passphrase,
}

json.dump(out, sys.stdout, indent=1)
print()
