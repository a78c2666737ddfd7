"""A card is sealed to the vault before it goes anywhere, swapped for a token, and redeemed.

    python seal.py DEV.JSON VERIFIER_KEY

VERIFIER_KEY is what `payvault keys identity` prints: whoever seals has it from the vault's operators,
not from the vault's answer. `seal` is what an app does; it needs a document and nothing of the vault's
keys. Stubs are made from proto/ as README.md says. Prints masked numbers only.
"""

import base64
import json
import os
import sys
import time
from datetime import datetime, timezone

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pyhpke import AEADId, CipherSuite, KDFId, KEMId

from google.rpc import error_details_pb2, status_pb2
from payvault.v1 import transaction_pb2 as tx
from payvault.v1 import vault_service_pb2 as api
from payvault.v1 import vault_service_pb2_grpc as rpc

SUITE = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.AES256_GCM)
CARD = {"number": "4242424242424242", "expiry_month": 11, "expiry_year": 2035, "holder": "A. de Vries"}


def verified(note, verifier_key):
    """The text of a signed note (C2SP), once its signature by this key was checked."""
    name, key_id, key = verifier_key.split("+", 2)
    text, _, signatures = note.rpartition("\n\n")
    text += "\n"
    for line in signatures.splitlines():
        signer, signature = line.removeprefix("\u2014 ").rsplit(" ", 1)
        signature = base64.b64decode(signature)
        if signer == name and signature[:4].hex() == key_id:
            public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key)[1:])
            public.verify(signature[4:], text.encode())
            return text
    raise ValueError("the document isn't signed by the vault")


def read(note, verifier_key):
    """A collect document (docs/format.md, 10.2), of the vault whose key this is and in its time."""
    document = json.loads(verified(note, verifier_key))
    vault = verifier_key.split("/")[1]
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if (document["type"], document["v"], document["vault"]) != ("payvault collect key", 1, vault):
        raise ValueError("not a collect document of this vault")
    if document["not_after"] <= now:
        raise ValueError("the collect document is out of date")
    return document


def seal(document, site, transaction, details):
    """Sealed details (docs/format.md, 10.3): for this transaction, to be opened once."""
    suite = next(suite for suite in document["suites"] if suite["suite"] == "x25519")
    public = SUITE.kem.deserialize_public_key(base64.b64decode(suite["public"]))
    bound = ["payvault collect v1", document["vault"], site, transaction, document["key"], "x25519", ""]
    aad = "pvc1.x25519.%s.%s" % (document["key"], site)
    plain = json.dumps(details).encode() + b"\x80"
    plain += bytes(-len(plain) % 512)
    enc, sender = SUITE.create_sender_context(public, info="\n".join(bound).encode())
    parts = [enc, sender.seal(plain, aad=aad.encode())]
    return ".".join([aad] + [base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts])


def connect(dev, who):
    """TLS with a client certificate: that is who we are."""
    me = dev["principals"][who]
    read = lambda path: open(path, "rb").read()
    credentials = grpc.ssl_channel_credentials(read(dev["ca"]), read(me["key"]), read(me["cert"]))
    channel = grpc.secure_channel(dev["endpoint"].removeprefix("https://"), credentials)
    return rpc.VaultServiceStub(channel)


def open_transaction(portal, processor):
    fields = [tx.FIELD_NUMBER, tx.FIELD_EXPIRY, tx.FIELD_HOLDER]
    grant = tx.Grant(purpose=tx.PURPOSE_AUTHORIZE, fields=fields, uses_max=1)
    terms = tx.Terms(site="nl", parties=[tx.Party(principal=processor, grants=[grant])])
    terms.expires_at.FromSeconds(int(time.time()) + 3600)
    terms.release_until.FromSeconds(int(time.time()) + 86400)
    asked = api.OpenTransactionRequest(request_id=os.urandom(16), terms=terms)
    return portal.OpenTransaction(asked).transaction


def reason(error):
    """The stable reason (docs/errors.md) in the trailer."""
    trailer = dict(error.trailing_metadata())["grpc-status-details-bin"]
    info = error_details_pb2.ErrorInfo()
    status_pb2.Status.FromString(trailer).details[0].Unpack(info)
    return info.reason


def main():
    dev = json.load(open(sys.argv[1], encoding="utf-8"))
    portal, processor = connect(dev, "portal"), connect(dev, "processor-a")
    document = read(portal.GetCollectKey(api.GetCollectKeyRequest()).document, sys.argv[2])
    transaction = open_transaction(portal, dev["principals"]["processor-a"]["id"])

    # In an app or a browser: the portal sees this text and no number.
    sealed = seal(document, "nl", transaction, {"card": CARD})

    swap = api.TokenizeRequest(
        request_id=os.urandom(16), transaction=transaction, sealed_details=sealed
    )
    made = portal.Tokenize(swap)
    print("sealed: %s" % made.details.masked_number)
    # Sent again as it was, for instance because the answer was lost: the same token.
    print("again: %s" % ("the same token" if portal.Tokenize(swap).token == made.token else "another"))
    swap.request_id = os.urandom(16)
    try:
        portal.Tokenize(swap)
        print("replayed: accepted")
    except grpc.RpcError as error:
        print("replayed: %s" % reason(error))

    asked = api.RedeemRequest(
        request_id=os.urandom(16),
        transaction=transaction,
        token=made.token,
        purpose=tx.PURPOSE_AUTHORIZE,
        fields=[tx.FIELD_NUMBER, tx.FIELD_EXPIRY, tx.FIELD_HOLDER],
    )
    card = processor.Redeem(asked).details.card
    same = all(getattr(card, name) == value for name, value in CARD.items())
    print("redeemed: %s" % ("what was sealed" if same else "something else"))


if __name__ == "__main__":
    main()
