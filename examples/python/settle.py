"""A processor settles a batch: redeems the tokens of many orders through RedeemStream.

    python settle.py DEV.JSON TOKENS.JSONL

Stubs are made from proto/ as README.md says. Prints masked numbers only.
"""

import json
import os
import sys
import time

import grpc

from google.rpc import status_pb2  # noqa: F401 (results hold it)
from payvault.v1 import transaction_pb2 as tx
from payvault.v1 import vault_service_pb2 as api
from payvault.v1 import vault_service_pb2_grpc as rpc

ITEMS_A_MESSAGE = 64
AGAIN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
AGAIN_CODES = [code.value[0] for code in AGAIN]


def connect(dev):
    """TLS with a client certificate: that is who we are."""
    me = dev["principals"]["processor-a"]
    read = lambda path: open(path, "rb").read()
    credentials = grpc.ssl_channel_credentials(read(dev["ca"]), read(me["key"]), read(me["cert"]))
    return grpc.secure_channel(dev["endpoint"].removeprefix("https://"), credentials)


def redemption(order):
    """One request an order. Its request_id goes with it: sent again, it burns no further use."""
    return api.RedeemRequest(
        request_id=os.urandom(16),
        transaction=order["transaction"],
        token=order["token"],
        purpose=tx.PURPOSE_CAPTURE,
        fields=[tx.FIELD_NUMBER, tx.FIELD_EXPIRY],
    )


def redeem(vault, requests):
    """A result a request, in order. What has none when a stream breaks is sent again as it was."""
    results = [None] * len(requests)
    for wait in (0, 0.2, 1, 5):
        time.sleep(wait)
        open_ = [at for at, result in enumerate(results) if result is None]
        groups = [open_[i : i + ITEMS_A_MESSAGE] for i in range(0, len(open_), ITEMS_A_MESSAGE)]
        if not groups:
            break
        messages = (api.RedeemStreamRequest(items=[requests[at] for at in group]) for group in groups)
        try:
            # One message in, one message out, in order.
            for group, answer in zip(groups, vault.RedeemStream(messages, timeout=600)):
                for at, result in zip(group, answer.results):
                    if result.error.code not in AGAIN_CODES:
                        results[at] = result
        except grpc.RpcError as error:
            if error.code() not in AGAIN:
                raise
    return results


def main():
    dev = json.load(open(sys.argv[1], encoding="utf-8"))
    orders = [json.loads(line) for line in open(sys.argv[2], encoding="utf-8")]
    with connect(dev) as channel:
        results = redeem(rpc.VaultServiceStub(channel), [redemption(order) for order in orders])
    failed = 0
    for order, result in zip(orders, results):
        if result is not None and result.WhichOneof("outcome") == "redeemed":
            details = result.redeemed.details
            number = details.card.number or details.iban.iban
            # Here the processor would capture with the number; it is shown to nobody.
            print("%s: captured, ****%s" % (order["reference"], number[-4:]))
        else:
            failed += 1
            print("%s: %s" % (order["reference"], result.error.message if result else "no answer"))
    print("%d of %d settled" % (len(orders) - failed, len(orders)))


if __name__ == "__main__":
    main()
