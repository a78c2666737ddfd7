"""Walks the whole road of payvault as a stranger would: with stubs generated from proto/ alone.

    python road.py DIR [--export FILE]

DIR holds dev.json, as `payvault dev --dir DIR` writes it. Nothing is started here. Each step is
asserted and printed; the first that fails ends the walk with exit code 1. The codes that belong to
the reasons are read from docs/errors.md, so a page that is wrong fails the walk too.
"""

import argparse
import concurrent.futures
import datetime
import hashlib
import json
import pathlib
import re
import secrets
import sys
import tempfile
import time

import grpc

import ledger
from client import DEADLINE_S, FORBIDDEN, Caller, Refusal
from client import channel, documented_codes, generate, read_refusal

LETTERS = "bcdfghjkmnpqrstv"

# What goes in, and must come out for those who are tied and nowhere else.
CARD_NUMBER = "4242424242424242"
CARD_HOLDER = "Wilhelmina Canarybird"
CARD_CODE = "737"
POSTAL_CODE = "1017 XJ"
ADDRESS_LINE = "Herengracht 4711"
IBAN = "NL91ABNA0417164300"
IBAN_HOLDER = "Stichting Canarypond"
ROUTING_NUMBER = "021000021"
ACCOUNT_NUMBER = "123456789"
ACCOUNT_HOLDER = "Canarywood Tools LLC"

FORBIDDEN += [CARD_NUMBER, CARD_HOLDER, POSTAL_CODE, ADDRESS_LINE, IBAN, IBAN_HOLDER]
# A routing number names a bank, and is public: the mask shows it.
FORBIDDEN += [ACCOUNT_NUMBER, ACCOUNT_HOLDER]


def request_id():
    return secrets.token_bytes(16)


def letters(data):
    return "".join(LETTERS[byte >> 4] + LETTERS[byte & 15] for byte in data)


def made_up_token():
    """A well-formed token that no vault ever gave out (docs/format.md section 1)."""
    body = secrets.token_bytes(32)
    check = hashlib.sha256(b"payvault token checksum v1" + b"a" + body).digest()[:4]
    return "pvt_a" + letters(body + check)


class Road:
    def __init__(self, directory, export):
        from payvault.v1 import admin_service_pb2, ledger_service_pb2, payment_pb2
        from payvault.v1 import session_service_pb2, transaction_pb2, vault_service_pb2

        self.v, self.t, self.p = vault_service_pb2, transaction_pb2, payment_pb2
        self.l, self.s, self.a = ledger_service_pb2, session_service_pb2, admin_service_pb2
        self.directory, self.export_path = directory, export
        self.dev = json.loads((directory / "dev.json").read_text(encoding="utf-8"))
        self.key = ledger.VerifierKey(self.dev["ledger_key"])
        self.codes = documented_codes()
        self.steps = 0
        # What was acknowledged, and must be found in the export: index -> (event, transaction).
        self.acknowledged = {}
        # What was refused to a tied caller: (principal id, reason).
        self.denied = []

    def done(self, what):
        self.steps += 1
        print("ok %2d  %s" % (self.steps, what), flush=True)

    # --- small pieces ---

    def acknowledge(self, reply, event, transaction):
        assert reply.entry_index not in self.acknowledged, "two acts share one ledger entry"
        self.acknowledged[reply.entry_index] = (event, transaction)

    def expect(self, refusal, reason, fields=None):
        wanted = self.codes[reason]
        assert refusal.reason == reason, "reason %r, not %r" % (refusal.reason, reason)
        assert refusal.code == wanted, "%s came as %s, not %s" % (reason, refusal.code, wanted)
        assert refusal.message, "%s has no message" % reason
        if fields is not None:
            names = [re.sub(r"\[\d+\]", "", field).rpartition(".")[2] for field in refusal.fields]
            assert set(names) & set(fields), "violations %s, not of %s" % (refusal.fields, fields)

    def refuse(self, caller, rpc, request, reason, what=None):
        self.expect(caller.refusal(rpc, request), reason)
        if rpc == "Redeem" and reason not in ("NOT_TIED", "INVALID_REQUEST"):
            self.denied.append((caller.id, reason))
        if what:
            self.done("refused, %s: %s" % (reason, what))

    def grant(self, purpose, fields, uses):
        return self.t.Grant(
            purpose=self.t.Purpose.Value("PURPOSE_" + purpose),
            fields=[self.t.Field.Value("FIELD_" + field) for field in fields],
            uses_max=uses,
        )

    def terms(self, site, parties, seconds=3600):
        terms = self.t.Terms(site=site, reference="order-2041", merchant="merchant-7")
        end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
        terms.expires_at.FromDatetime(end)
        terms.release_until.FromDatetime(end)
        terms.amount.minor_units, terms.amount.currency = 199_900, "EUR"
        for principal, grants in parties:
            terms.parties.add(principal=principal.id, grants=grants)
        return terms

    def open(self, portal, terms, **more):
        request = self.v.OpenTransactionRequest(request_id=request_id(), terms=terms, **more)
        reply = portal.call("OpenTransaction", request)
        assert re.fullmatch("txn_[%s]{32}" % LETTERS, reply.transaction), "not a transaction id"
        self.acknowledge(reply, "transaction_opened", reply.transaction)
        return request, reply

    def tokenize(self, portal, transaction, **details):
        more = {k: details.pop(k) for k in ("want_receipt", "replaces") if k in details}
        request = self.v.TokenizeRequest(
            request_id=request_id(),
            transaction=transaction,
            details=self.p.PaymentDetails(**details),
            **more,
        )
        reply = portal.call("Tokenize", request)
        assert re.fullmatch("pvt_a[%s]{72}" % LETTERS, reply.token), "not a token"
        assert re.fullmatch("tkr_[%s]{32}" % LETTERS, reply.reference), "not a token reference"
        assert not reply.replayed, "a first call can't be a repetition"
        FORBIDDEN.append(reply.token)
        self.acknowledge(reply, "tokenized", transaction)
        return request, reply

    def redemption(self, transaction, token, purpose, fields, **more):
        return self.v.RedeemRequest(
            request_id=more.pop("request_id", None) or request_id(),
            transaction=transaction,
            token=token,
            purpose=self.t.Purpose.Value("PURPOSE_" + purpose),
            fields=[self.t.Field.Value("FIELD_" + field) for field in fields],
            **more,
        )

    def redeem(self, caller, request):
        reply = caller.call("Redeem", request)
        if not reply.replayed:
            self.acknowledge(reply, "redeemed", request.transaction)
        return reply

    def card(self, **changes):
        year = datetime.datetime.now(datetime.timezone.utc).year + 2
        facts = dict(
            number=CARD_NUMBER,
            expiry_month=11,
            expiry_year=year,
            holder=CARD_HOLDER,
            security_code=CARD_CODE,
            billing=self.p.Billing(postal_code=POSTAL_CODE, address_line=ADDRESS_LINE),
        )
        facts.update(changes)
        return self.p.Card(**facts)

    # --- the road ---

    def walk(self):
        names = ["portal", "processor-a", "processor-b", "auditor", "operator"]
        callers = [Caller(self.directory, self.dev, name) for name in names]
        portal, first, second, auditor, operator = callers
        self.done("five principals are connected over mTLS")
        self.no_certificate()

        early = portal.call("GetCheckpoint", self.l.GetCheckpointRequest())
        assert early.verifier_key == self.dev["ledger_key"], "another ledger key than dev.json's"
        self.done("checkpoint of %d entries" % early.checkpoint.size)

        fields = ["NUMBER", "EXPIRY", "HOLDER", "SECURITY_CODE", "BILLING"]
        brief = self.open(
            portal, self.terms("nl", [(first, [self.grant("VERIFY", ["LAST_FOUR"], 3)])], 8)
        )[1].transaction
        brief_ends = time.monotonic() + 8.5
        brief_token = self.tokenize(portal, brief, card=self.card(security_code=""))[1].token

        shop = self.terms(
            "nl",
            [
                (
                    first,
                    [
                        self.grant("AUTHORIZE", fields, 3),
                        self.grant("VERIFY", ["NUMBER", "HOLDER"], 2),
                    ],
                ),
                (second, [self.grant("VERIFY", ["LAST_FOUR"], 1)]),
            ],
        )
        opening, opened = self.open(portal, shop, want_receipt=True)
        shop_id = opened.transaction
        self.receipt(opened, "transaction_opened", portal)
        self.done("portal opens %s for two processors, with a receipt" % shop_id)

        again = portal.call("OpenTransaction", opening)
        assert again.transaction == shop_id and again.entry_index == opened.entry_index
        opening.terms.reference = "order-2042"
        self.refuse(portal, "OpenTransaction", opening, "REQUEST_ID_REUSED")
        self.done("same request id: same transaction; with other terms it is refused")

        card_request, card = self.tokenize(portal, shop_id, card=self.card(), want_receipt=True)
        self.receipt(card, "tokenized", portal)
        self.masked(card.details, "DETAILS_KIND_CARD", CARD_NUMBER)
        assert card.details.brand == "visa", "brand %r" % card.details.brand
        self.done("a card becomes %s, masked %s" % (card.reference, card.details.masked_number))

        repeated = portal.call("Tokenize", card_request)
        assert repeated.replayed and repeated.token == card.token, "the retry gave another token"
        assert repeated.reference == card.reference
        card_request.details.card.expiry_month = 10
        self.refuse(portal, "Tokenize", card_request, "REQUEST_ID_REUSED")
        self.done("same request id: same token; with another body it is refused")

        _, iban = self.tokenize(
            portal,
            shop_id,
            iban=self.p.IbanAccount(iban="nl91 abna 0417 1643 00", holder=IBAN_HOLDER),
        )
        self.masked(iban.details, "DETAILS_KIND_IBAN", IBAN)
        assert iban.details.country == "NL", "country %r" % iban.details.country
        self.done("a Dutch IBAN becomes %s" % iban.reference)

        payout = self.terms("us", [(second, [self.grant("PAYOUT", ["NUMBER", "HOLDER"], 2)])])
        payout.amount.currency = "USD"
        _, payout_opened = self.open(portal, payout)
        payout_id = payout_opened.transaction
        _, account = self.tokenize(
            portal,
            payout_id,
            us_account=self.p.UsAccount(
                routing_number=ROUTING_NUMBER,
                account_number=ACCOUNT_NUMBER,
                holder=ACCOUNT_HOLDER,
                account_type=self.p.UsAccountType.Value("US_ACCOUNT_TYPE_CHECKING"),
            ),
        )
        number = ROUTING_NUMBER + ACCOUNT_NUMBER
        self.masked(account.details, "DETAILS_KIND_US_ACCOUNT", number)
        self.done("an American account becomes %s" % account.reference)

        self.redeem_card(first, shop_id, card.token, fields)
        self.redeem_accounts(first, second, shop_id, iban.token, payout_id, account.token)
        self.describe(portal, first, second, shop_id, shop, card, payout_id)
        self.strangers(first, shop_id, card.token, payout_id, account.token)
        self.roles(portal, auditor, operator, shop_id, card.token)
        self.tied_but_not_granted(first, second, shop_id, card.token, iban.token)
        self.last_use(second, shop_id, card.token)
        self.malformed(portal, first, shop_id, card.token)
        self.outcome(first, shop_id, card.token)
        self.endings(portal, first, shop_id, card, iban)

        time.sleep(max(0.0, brief_ends - time.monotonic()))
        request = self.redemption(brief, brief_token, "VERIFY", ["LAST_FOUR"])
        self.refuse(first, "Redeem", request, "EXPIRED", "after release_until")

        self.operate(operator, callers)
        self.audit(portal, auditor, operator, early.checkpoint)
        print("all %d steps passed" % self.steps)

    def no_certificate(self):
        """TLS without a client certificate ends in the handshake: no call is ever judged."""
        roots = (self.directory / self.dev["ca"]).read_bytes()
        from payvault.v1 import ledger_service_pb2_grpc as ledger_rpc

        with channel(self.dev, grpc.ssl_channel_credentials(root_certificates=roots)) as bare:
            try:
                ledger_rpc.LedgerServiceStub(bare).GetCheckpoint(
                    self.l.GetCheckpointRequest(), timeout=DEADLINE_S
                )
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.UNAVAILABLE, error.code()
            else:
                raise AssertionError("a caller without a certificate was served")
        self.done("no certificate, no connection")

    def receipt(self, reply, event, caller):
        entry = ledger.check_receipt(reply.receipt, self.key)
        assert int(entry["index"]) == reply.entry_index, "the receipt is for another entry"
        assert (entry["event"], entry["outcome"]) == (event, "ok"), "the receipt is for another act"
        assert entry["actor"] == caller.id, "the receipt names another caller"

    def masked(self, details, kind, number):
        assert details.kind == self.p.DetailsKind.Value(kind), "another kind of instrument"
        shown = re.sub("[^0-9A-Z]", "", details.masked_number)
        assert number[-4:-2] in shown or number[-4:] in shown, "the end is not shown"
        assert number not in shown and len(shown) <= len(number) - 4, "too much is shown"
        assert not details.expired

    def redeem_card(self, first, transaction, token, fields):
        card = self.card()
        request = self.redemption(transaction, token, "AUTHORIZE", fields, want_receipt=True)
        reply = self.redeem(first, request)
        assert reply.details.card == card, "what came out isn't what went in"
        released = self.v.SecurityCodeStatus.Value("SECURITY_CODE_STATUS_RELEASED")
        assert reply.security_code_status == released, "the security code wasn't released"
        assert reply.last_four == CARD_NUMBER[-4:] and reply.uses_remaining == 2
        self.receipt(reply, "redeemed", first)
        self.done("processor-a redeems the card: equal to what went in, with a receipt")

        repeated = self.redeem(first, request)
        assert repeated.replayed and repeated.uses_remaining == 2, "the retry burned a use"
        assert repeated.details.card == card, "the retry gave something else"
        self.done("same request id: the same card again, no use burned")

        request.fields.pop()
        self.refuse(first, "Redeem", request, "REQUEST_ID_REUSED")

        other = self.redeem(first, self.redemption(transaction, token, "AUTHORIZE", fields))
        gone = self.v.SecurityCodeStatus.Value("SECURITY_CODE_STATUS_ALREADY_RELEASED")
        assert other.security_code_status == gone and not other.details.card.security_code
        assert other.uses_remaining == 1
        self.done("a second redemption gets no security code: already released")

        third = self.redeem(first, self.redemption(transaction, token, "AUTHORIZE", ["EXPIRY"]))
        expected = self.p.Card(expiry_month=card.expiry_month, expiry_year=card.expiry_year)
        assert third.details.card == expected and not third.last_four, "more than was asked for"
        assert third.uses_remaining == 0
        self.done("asked for the expiry only, nothing else comes")

    def redeem_accounts(self, first, second, shop, iban, payout, account):
        reply = self.redeem(first, self.redemption(shop, iban, "VERIFY", ["NUMBER", "HOLDER"]))
        assert reply.details.iban == self.p.IbanAccount(iban=IBAN, holder=IBAN_HOLDER)
        assert reply.last_four == IBAN[-4:]
        self.done("processor-a redeems the IBAN: equal, in its normal form")
        reply = self.redeem(
            second, self.redemption(payout, account, "PAYOUT", ["NUMBER", "HOLDER"])
        )
        got = reply.details.us_account
        assert (got.routing_number, got.account_number) == (ROUTING_NUMBER, ACCOUNT_NUMBER)
        assert got.holder == ACCOUNT_HOLDER
        self.done("processor-b redeems the American account: equal")

    def describe(self, portal, first, second, shop, terms, card, payout):
        request = self.v.DescribeTokenRequest(transaction=shop, token=card.token)
        seen = portal.call("DescribeToken", request)
        assert seen.details == card.details and seen.reference == card.reference
        assert not seen.revoked and not seen.uses_remaining
        seen = first.call("DescribeToken", request)
        left = {self.t.Purpose.Name(u.purpose): u.count for u in seen.uses_remaining}
        assert left == {"PURPOSE_AUTHORIZE": 0, "PURPOSE_VERIFY": 2}, left
        self.done("portal and party see the token masked; the party sees what it has left")

        request = self.v.GetTransactionRequest(transaction=shop)
        whole = portal.call("GetTransaction", request)
        assert len(whole.terms.parties) == 2 and len(whole.tokens) == 2
        part = second.call("GetTransaction", request)
        assert [p.principal for p in part.terms.parties] == [second.id], "a party sees the others"
        assert part.terms.amount == terms.amount
        request = self.v.GetTransactionRequest(transaction=payout)
        self.refuse(first, "GetTransaction", request, "NOT_TIED")
        self.done("a party sees its own grants only, and no foreign transaction")

    def strangers(self, first, shop, token, payout, foreign):
        """Unknown, foreign, or in the wrong transaction: one answer, to the byte."""
        ask = lambda where, what: first.refusal(
            "Redeem", self.redemption(where, what, "PAYOUT", ["NUMBER"])
        )
        nowhere = "txn_" + letters(secrets.token_bytes(16))
        answers = {
            "a foreign token": ask(payout, foreign),
            "a made-up token": ask(payout, made_up_token()),
            "a made-up token in an own transaction": ask(shop, made_up_token()),
            "a foreign token in an own transaction": ask(shop, foreign),
            "an own token in a foreign transaction": ask(payout, token),
            "a foreign token in no transaction": ask(nowhere, foreign),
            "a made-up token in no transaction": ask(nowhere, made_up_token()),
        }
        one = answers["a foreign token"]
        self.expect(one, "NOT_TIED")
        for what, answer in answers.items():
            assert answer == one, "%s is told apart: %s" % (what, answer)
        # The ledger knows better than the caller.
        for reason in ("NOT_A_PARTY", "UNKNOWN_TOKEN", "UNKNOWN_TRANSACTION"):
            self.denied.append((first.id, reason))
        self.done("no party, no token, no transaction: one answer, to the byte")

    def roles(self, portal, auditor, operator, shop, token):
        redemption = self.redemption(shop, token, "AUTHORIZE", ["NUMBER"])
        self.refuse(portal, "Redeem", redemption, "ROLE_NOT_ALLOWED", "the portal redeems")

        export = self.l.ExportLogRequest(reason="yearly audit", ticket="AUD-2041")
        self.refuse(auditor, "ExportLog", export, "SESSION_REQUIRED")
        self.refuse(operator, "GetStatus", self.a.GetStatusRequest(), "SESSION_REQUIRED")
        self.done("refused, SESSION_REQUIRED: people without a session")

        wrong = self.s.LoginRequest(secret="Wrong" + secrets.token_hex(12))
        self.refuse(auditor, "Login", wrong, "BAD_SECRET")
        for human in (auditor, operator):
            reply = human.call("Login", self.s.LoginRequest(secret=human.secret))
            human.session = reply.session
            FORBIDDEN.append(reply.session)
        self.done("auditor and operator log in; a wrong secret is refused")

        own, operator.session = operator.session, auditor.session
        self.refuse(operator, "GetStatus", self.a.GetStatusRequest(), "SESSION_ENDED")
        operator.session = own
        self.done("a session is worth nothing with another certificate")

        self.refuse(auditor, "Redeem", redemption, "ROLE_NOT_ALLOWED", "the auditor redeems")
        self.refuse(operator, "Redeem", redemption, "ROLE_NOT_ALLOWED", "the operator redeems")
        describe = self.v.DescribeTokenRequest(transaction=shop, token=token)
        self.refuse(operator, "DescribeToken", describe, "ROLE_NOT_ALLOWED")
        self.refuse(portal, "ExportLog", export, "ROLE_NOT_ALLOWED")
        self.refuse(portal, "ListPrincipals", self.a.ListPrincipalsRequest(), "ROLE_NOT_ALLOWED")
        self.done("nor does another role's work: describing, exporting, administration")

    def tied_but_not_granted(self, first, second, shop, card, iban):
        ask = self.redemption
        request = ask(shop, card, "CAPTURE", ["NUMBER"])
        self.refuse(first, "Redeem", request, "PURPOSE_NOT_GRANTED", "another purpose")
        request = ask(shop, iban, "VERIFY", ["NUMBER", "EXPIRY"])
        self.refuse(first, "Redeem", request, "FIELD_NOT_GRANTED", "one field too many")
        request = ask(shop, card, "VERIFY", ["NUMBER"])
        self.refuse(second, "Redeem", request, "FIELD_NOT_GRANTED")
        request = ask(shop, card, "AUTHORIZE", ["NUMBER"])
        self.refuse(first, "Redeem", request, "USED_UP", "the fourth of three uses")

    def last_use(self, second, shop, token):
        def one(_):
            try:
                return self.redeem(second, self.redemption(shop, token, "VERIFY", ["LAST_FOUR"]))
            except grpc.RpcError as error:
                return read_refusal(error)

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            results = list(pool.map(one, range(16)))
        refusals = [r for r in results if isinstance(r, Refusal)]
        assert len(refusals) == 15, "%d of 16 had the last use" % (16 - len(refusals))
        for refusal in refusals:
            self.expect(refusal, "USED_UP")
        winner = next(r for r in results if not isinstance(r, Refusal))
        assert winner.last_four == CARD_NUMBER[-4:] and not winner.details.card.number
        self.denied.append((second.id, "USED_UP"))
        self.done("16 at once want the last use: one has it")

    def malformed(self, portal, first, shop, token):
        """Each is refused with the field named; no value comes back (`read_refusal` looks)."""
        details = self.p.PaymentDetails
        card = lambda **changes: details(card=self.card(**changes))
        last_year = datetime.datetime.now(datetime.timezone.utc).year - 1
        FORBIDDEN.extend(["4242424242424241", "NL91ABNA0417164301", "021000022", "4242 4242"])
        tokenizations = [
            (card(number="4242424242424241"), "number", "wrong check digit"),
            (card(number="4242 4242 424"), "number", "eleven digits"),
            (card(number="\uff14\uff12" * 8), "number", "digits that aren't ASCII"),
            (card(number=""), "number", "no number"),
            (card(expiry_year=last_year), "expiry", "expired card"),
            (card(expiry_month=13), "expiry_month", "thirteenth month"),
            (card(expiry_year=-2040), "expiry_year", "negative year"),
            (card(holder="A\nB"), "holder", "control character"),
            (card(holder="x" * 61), "holder", "long holder"),
            (card(security_code="73x"), "security_code", "letter in the security code"),
            (
                details(iban=self.p.IbanAccount(iban="NL91ABNA0417164301", holder="A")),
                "iban",
                "IBAN check digits",
            ),
            (details(iban=self.p.IbanAccount(iban=IBAN)), "holder", "no holder"),
            (
                details(
                    us_account=self.p.UsAccount(
                        routing_number="021000022",
                        account_number="1234",
                        holder="A",
                        account_type=1,
                    )
                ),
                "routing_number",
                "ABA check digit",
            ),
            (
                details(
                    us_account=self.p.UsAccount(
                        routing_number=ROUTING_NUMBER, account_number="1234", holder="A"
                    )
                ),
                "account_type",
                "no account type",
            ),
            (details(), "details", "no details"),
        ]
        for value, field, what in tokenizations:
            request = self.v.TokenizeRequest(
                request_id=request_id(), transaction=shop, details=value
            )
            fields = ["expiry", "expiry_month", "expiry_year"] if field == "expiry" else [field]
            if field == "details":
                fields.append("kind")
            self.named("Tokenize", portal, request, fields, what)

        good = self.redemption(shop, token, "AUTHORIZE", ["NUMBER"])
        redemptions = [
            (dict(request_id=b""), "request_id", "no request id"),
            (dict(request_id=b"x" * 15), "request_id", "short request id"),
            (dict(request_id=b"x" * 33), "request_id", "long request id"),
            (dict(transaction=""), "transaction", "no transaction"),
            (dict(transaction="txn_" + "a" * 32), "transaction", "letters that aren't ours"),
            (dict(token=CARD_NUMBER), "token", "a card number for a token"),
            (
                dict(token=token[:-1] + ("b" if token[-1] != "b" else "c")),
                "token",
                "mistyped token",
            ),
            (dict(purpose=0), "purpose", "no purpose"),
            (dict(purpose=99), "purpose", "unknown purpose"),
            (dict(fields=[]), "fields", "no fields"),
            (dict(fields=[1, 1]), "fields", "a field twice"),
            (dict(fields=[77]), "fields", "unknown field"),
        ]
        for changes, field, what in redemptions:
            request = self.v.RedeemRequest()
            request.CopyFrom(good)
            for name, value in changes.items():
                if name == "fields":
                    del request.fields[:]
                    request.fields.extend(value)
                else:
                    setattr(request, name, value)
            self.named("Redeem", first, request, [field], what)

        def opened(change):
            terms = self.terms("nl", [(first, [self.grant("VERIFY", ["LAST_FOUR"], 1)])])
            change(terms)
            return self.v.OpenTransactionRequest(request_id=request_id(), terms=terms)

        long_ago = datetime.datetime(2001, 1, 1)
        openings = [
            (
                lambda t: setattr(t, "reference", "order " + CARD_NUMBER),
                "reference",
                "a card number in a reference",
            ),
            (lambda t: setattr(t, "merchant", "m" * 65), "merchant", "long merchant"),
            (lambda t: setattr(t, "site", ""), "site", "no site"),
            (lambda t: t.ClearField("parties"), "parties", "no parties"),
            (lambda t: t.parties.add().CopyFrom(t.parties[0]), "parties", "a party twice"),
            (lambda t: t.ClearField("expires_at"), "expires_at", "no end"),
            (lambda t: t.expires_at.FromDatetime(long_ago), "expires_at", "an end in the past"),
            (lambda t: setattr(t.amount, "currency", "eur"), "currency", "lower-case currency"),
            (lambda t: setattr(t.amount, "minor_units", -1), "minor_units", "negative amount"),
            (lambda t: setattr(t.parties[0].grants[0], "uses_max", 0), "uses_max", "no uses"),
            (lambda t: setattr(t.parties[0].grants[0], "uses_max", 101), "uses_max", "101 uses"),
        ]
        for change, field, what in openings:
            # A repeated party may be reported at the party or at its principal.
            fields = [field, "principal"] if what == "a party twice" else [field]
            self.named("OpenTransaction", portal, opened(change), fields, what)
        count = len(tokenizations) + len(redemptions) + len(openings)
        self.done("%d malformed requests: refused, field named, value not repeated" % count)

        huge = self.v.TokenizeRequest(request_id=request_id(), transaction="x" * 70_000)
        refusal = portal.refusal("Tokenize", huge)
        assert refusal.code in ("RESOURCE_EXHAUSTED", "OUT_OF_RANGE", "INVALID_ARGUMENT"), refusal
        self.done("a message above 64 KiB is refused (%s)" % refusal.code)

    def named(self, rpc, caller, request, fields, what):
        try:
            self.expect(caller.refusal(rpc, request), "INVALID_REQUEST", fields)
        except AssertionError as error:
            raise AssertionError("%s, %s: %s" % (rpc, what, error)) from None

    def outcome(self, first, shop, token):
        request = self.v.ReportOutcomeRequest(
            request_id=request_id(),
            transaction=shop,
            token=token,
            outcome=self.t.Outcome.Value("OUTCOME_SUCCEEDED"),
            processor_reference="auth-88-17",
        )
        reply = first.call("ReportOutcome", request)
        self.acknowledge(reply, "outcome_reported", shop)
        repeated = first.call("ReportOutcome", request)
        assert repeated.replayed and repeated.entry_index == reply.entry_index
        request.request_id = request_id()
        request.processor_reference = CARD_NUMBER
        self.named("ReportOutcome", first, request, ["processor_reference"], "a card number")
        self.done("processor-a reports its outcome, once")

    def endings(self, portal, first, shop, card, iban):
        _, renewed = self.tokenize(
            portal, shop, card=self.card(expiry_month=12), replaces=card.token
        )
        request = self.redemption(shop, card.token, "AUTHORIZE", ["NUMBER"])
        self.refuse(first, "Redeem", request, "REVOKED", "a replaced token")
        reply = self.redeem(first, self.redemption(shop, renewed.token, "AUTHORIZE", ["EXPIRY"]))
        assert reply.details.card.expiry_month == 12

        revoke = self.v.RevokeTokenRequest(transaction=shop, token=iban.token)
        self.acknowledge(portal.call("RevokeToken", revoke), "token_revoked", shop)
        portal.call("RevokeToken", revoke)
        request = self.redemption(shop, iban.token, "VERIFY", ["NUMBER"])
        self.refuse(first, "Redeem", request, "REVOKED", "a revoked token")

        close = self.v.CloseTransactionRequest(transaction=shop)
        self.refuse(first, "CloseTransaction", close, "ROLE_NOT_ALLOWED")
        reply = portal.call("CloseTransaction", close)
        self.acknowledge(reply, "transaction_closed", shop)
        assert reply.unreadable_after.ToSeconds() > time.time(), "unreadable already"
        portal.call("CloseTransaction", close)
        request = self.redemption(shop, renewed.token, "AUTHORIZE", ["NUMBER"])
        self.refuse(first, "Redeem", request, "CLOSED", "a closed transaction")
        late = self.v.TokenizeRequest(
            request_id=request_id(),
            transaction=shop,
            details=self.p.PaymentDetails(card=self.card()),
        )
        self.refuse(portal, "Tokenize", late, "CLOSED", "tokenizing after the close")

    def operate(self, operator, callers):
        status = operator.call("GetStatus", self.a.GetStatusRequest())
        assert not status.sealed and status.vault_id.startswith("vlt_")
        assert status.ledger_size > max(self.acknowledged), "the status is behind"
        listed = operator.call("ListPrincipals", self.a.ListPrincipalsRequest()).principals
        assert {c.id for c in callers} <= {p.id for p in listed}, "a principal is missing"
        self.done("the operator sees the state and the principals")

    def audit(self, portal, auditor, operator, early):
        # A receipt waits for its checkpoint, so everything before it is covered by that one.
        _, last = self.open(
            portal,
            self.terms(
                "nl", [(Named(self.dev, "processor-a"), [self.grant("VERIFY", ["LAST_FOUR"], 1)])]
            ),
            want_receipt=True,
        )
        self.receipt(last, "transaction_opened", portal)
        stranger = self.l.GetReceiptRequest(index=last.entry_index)
        self.refuse(operator, "GetReceipt", stranger, "NOT_TIED")
        own = portal.call("GetReceipt", stranger)
        assert int(ledger.check_receipt(own.receipt, self.key)["index"]) == last.entry_index
        self.done("a receipt can be asked for later, by its own caller only")

        now = portal.call("GetCheckpoint", self.l.GetCheckpointRequest()).checkpoint
        ledger.Checkpoint(early.note, self.key)
        ledger.Checkpoint(now.note, self.key)
        assert now.size > last.entry_index, "the newest checkpoint is behind a receipt"
        proof = portal.call(
            "GetConsistencyProof",
            self.l.GetConsistencyProofRequest(from_size=early.size, to_size=now.size),
        )
        ledger.check_consistency(early.size, now.size, early.root, now.root, proof.path)
        self.done("the ledger of %d entries extends that of %d" % (now.size, early.size))

        request = self.l.ExportLogRequest(ticket="AUD-2041")
        self.named("ExportLog", auditor, request, ["reason"], "no reason")
        request.reason = "yearly audit"
        pieces = auditor.stream("ExportLog", request)
        assert all(len(piece.lines) <= 48 * 1024 for piece in pieces), "a piece is too long"
        assert all(piece.lines.endswith(b"\n") for piece in pieces), "a piece splits a line"
        export = b"".join(piece.lines for piece in pieces)
        self.export_path.write_bytes(export)
        text = export.decode("utf-8")
        for value in FORBIDDEN:
            assert value not in text, "the export holds account data or a secret"

        header, entries = ledger.check_whole_export(text, self.key)
        assert header["requested_by"] == auditor.id and header["reason"] == "yearly audit"
        assert header["ticket"] == "AUD-2041"
        self.done("the auditor exports %d entries; they make the signed root" % len(entries))

        by_index = {int(entry["index"]): entry for entry in entries}
        for index, (event, transaction) in self.acknowledged.items():
            entry = by_index[index]
            assert (entry["event"], entry["outcome"]) == (event, "ok"), "entry %d: %s" % (
                index,
                entry,
            )
            assert entry["transaction"] == transaction, "entry %d: another transaction" % index
        refused = {
            (e["actor"], e.get("reason"))
            for e in entries
            if e["event"] == "redeemed" and e["outcome"] == "denied"
        }
        missing = set(self.denied) - refused
        assert not missing, "denials that the ledger lacks: %s" % missing
        for entry in entries:
            for member in ("actor", "at", "event", "origin", "outcome", "site"):
                assert entry.get(member), "entry %s has no %s" % (entry["index"], member)
        self.done("everything acknowledged and every denial is in it, with its reason")

        auditor.call("Logout", self.s.LogoutRequest())
        self.refuse(auditor, "ExportLog", request, "SESSION_ENDED")
        self.done("after logout the session is worth nothing")


class Named:
    """A principal that takes no part, known by its id."""

    def __init__(self, dev, name):
        self.id = dev["principals"][name]["id"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=pathlib.Path, help="where dev.json lies")
    parser.add_argument("--export", type=pathlib.Path, help="write the auditor's export here")
    arguments = parser.parse_args()
    directory = arguments.directory.resolve()
    with tempfile.TemporaryDirectory(prefix="payvault-road-") as stubs:
        generate(stubs)
        export = arguments.export or pathlib.Path(stubs) / "export.jsonl"
        try:
            Road(directory, export).walk()
        except grpc.RpcError as error:
            print("FAILED: %s refused: %s" % (error.code(), error.details()), file=sys.stderr)
            raise
        except (AssertionError, ledger.Wrong) as error:
            print("FAILED: %s" % error, file=sys.stderr)
            raise


if __name__ == "__main__":
    main()
