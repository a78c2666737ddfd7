"""Makes a large export of an invented ledger, as tests/vectors/ledger/make.py makes small ones.

    python sample.py COUNT FILE

Writes FILE and prints the key that verifies it. The same COUNT gives the same file. For looking at
the page that `payvault log report` makes, and for timing verifiers.
"""

import datetime
import importlib.util
import pathlib
import random
import sys

VECTORS = pathlib.Path(__file__).resolve().parents[2] / "vectors" / "ledger" / "make.py"
spec = importlib.util.spec_from_file_location("make", VECTORS)
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)

BEGIN = datetime.datetime(2026, 9, 1, tzinfo=datetime.timezone.utc)
REASONS = ["USED_UP", "EXPIRED", "PURPOSE_NOT_GRANTED", "NOT_A_PARTY", "UNKNOWN_TOKEN", "WRONG_SECRET"]
PURPOSES = ["AUTHORIZE", "CAPTURE", "REFUND", "PAYOUT"]
# Names come from people: whatever they hold has to stay text.
PROCESSORS = ["acme", "nordbank", "<b>bold</b> & \"co\"", "pay\u202elater", "Zahlung Ä"]


def text(at):
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + "%03dZ" % (at.microsecond // 1000)


def entries(count):
    chance = random.Random(4711)
    at = BEGIN
    for index in range(count):
        # Nights are quiet, and one weekend is dead.
        step = chance.expovariate(1 / 70.0) * (6 if at.hour < 6 else 1) * 100_000 / count
        at += datetime.timedelta(milliseconds=int(step * 1000))
        if index == count // 2:
            at += datetime.timedelta(hours=41)
        site = chance.choice(["nl", "nl", "us", "uk", "se", "dk"])
        processor = chance.randrange(len(PROCESSORS))
        portal = {"actor": make.ident("prn_", b"\x11" * 16), "actor_name": "shop-" + site,
                  "role": "portal", "origin": "192.0.2.7:%d" % chance.randrange(1024, 65535)}
        party = {"actor": make.ident("prn_", bytes([0x20 + processor]) * 16),
                 "actor_name": PROCESSORS[processor], "role": "processor",
                 "origin": "198.51.100.%d:4711" % processor}
        work = {"transaction": make.ident("txn_", index.to_bytes(16, "big"))}
        kind = chance.random()
        if index == 0 or index % 20_011 == 0:
            yield make.Entry(index, text(at), "logging_started", "-")
        elif index % 20_011 == 20_010 and index < 50_000:
            yield make.Entry(index, text(at), "logging_stopped", "-")
        elif index % 9_973 == 1:
            yield make.Entry(index, text(at), "key_created", "-",
                             detail={"key": "release/%s/%d" % (site, 20_700 + index // 9_973)})
        elif index % 33_331 == 2:
            yield make.Entry(index, text(at), "clock_step", "-", detail={"ms": "-412000"})
        elif index % 25_013 == 3:
            yield make.Entry(index, text(at), "integrity", site, outcome="failed", **work)
        elif kind < 0.30:
            yield make.Entry(index, text(at), "transaction_opened", site, **portal, **work)
        elif kind < 0.60:
            yield make.Entry(index, text(at), "tokenized", site, masked="411111******1111",
                             **portal, **work)
        elif kind < 0.90:
            yield make.Entry(index, text(at), "redeemed", site, purpose=chance.choice(PURPOSES),
                             fields=["NUMBER", "EXPIRY"], **party, **work)
        elif kind < 0.95:
            yield make.Entry(index, text(at), "redeemed", site, outcome="denied",
                             reason=chance.choice(REASONS), purpose=chance.choice(PURPOSES),
                             **party, **work)
        elif kind < 0.98:
            yield make.Entry(index, text(at), "outcome_reported", site, **party, **work)
        elif kind < 0.999:
            yield make.Entry(index, text(at), "token_described", site, **portal, **work)
        else:
            yield make.Entry(index, text(at), "login", "-", actor=make.AUDITOR, actor_name="vera",
                             role="auditor", origin="203.0.113.9:50412")


def main():
    count, file = int(sys.argv[1]), pathlib.Path(sys.argv[2])
    ledger = list(entries(count))
    lines = make.export(ledger, 0, count, {}, make.Entry.open, reason="quarterly review",
                        ticket="AUD-2041", at="2027-01-01T00:00:00.000Z")
    file.write_text(lines, encoding="utf-8", newline="\n")
    print(make.verifier_key(make.ORIGIN, make.KEY))


if __name__ == "__main__":
    main()
