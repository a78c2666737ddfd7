"""What a caller of payvault needs: stubs made from proto/, a connection, and errors read whole."""

import collections
import pathlib
import re
import subprocess
import sys
import urllib.parse

import grpc

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
DEADLINE_S = 20

# Values that no error may repeat: what is sent, secrets, tokens as they are made.
FORBIDDEN = []


def generate(into):
    """Makes the stubs in a directory that is thrown away afterwards."""
    import grpc_tools

    well_known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    protos = sorted(str(p) for p in (ROOT / "proto").rglob("*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc"]
    command += ["-I%s" % (ROOT / "proto"), "-I%s" % HERE, "-I%s" % well_known]
    command += ["--python_out=%s" % into, "--grpc_python_out=%s" % into]
    subprocess.run(command + protos + [str(HERE / "error_details.proto")], check=True)
    sys.path.insert(0, into)


def documented_codes():
    """Reason -> gRPC code, from the tables of docs/errors.md."""
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([A-Z_]+)` \| `([A-Z_]+)` \|", page, re.MULTILINE)
    assert len(rows) > 20, "docs/errors.md has no table of reasons"
    return dict(rows)


Refusal = collections.namedtuple("Refusal", "code reason message fields raw")


def read_refusal(error):
    """What a caller can learn from an error, all of it."""
    import error_details_pb2 as details

    raw = b""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            raw = value
    status = details.Status.FromString(raw)
    reason, fields = "", []
    for packed in status.details:
        if packed.Is(details.ErrorInfo.DESCRIPTOR):
            info = details.ErrorInfo()
            packed.Unpack(info)
            assert info.domain == "payvault", "ErrorInfo has domain %r" % info.domain
            reason = info.reason
        elif packed.Is(details.BadRequest.DESCRIPTOR):
            bad = details.BadRequest()
            packed.Unpack(bad)
            fields = [v.field for v in bad.field_violations]
    everything = (error.details() or "").encode() + raw
    for value in FORBIDDEN:
        assert value.encode() not in everything, "an error repeats what was sent"
    return Refusal(error.code().name, reason, error.details(), fields, raw)


class Caller:
    """One principal of dev.json, over its own mTLS connection."""

    def __init__(self, directory, dev, name):
        from payvault.v1 import admin_service_pb2_grpc as admin
        from payvault.v1 import ledger_service_pb2_grpc as ledger_rpc
        from payvault.v1 import session_service_pb2_grpc as session
        from payvault.v1 import vault_service_pb2_grpc as vault

        facts = dev["principals"][name]
        self.name, self.id = name, facts["id"]
        self.secret = None
        if facts.get("secret_file"):
            self.secret = (directory / facts["secret_file"]).read_text(encoding="utf-8").strip()
            FORBIDDEN.append(self.secret)
        self.channel = channel(
            dev,
            grpc.ssl_channel_credentials(
                root_certificates=(directory / dev["ca"]).read_bytes(),
                private_key=(directory / facts["key"]).read_bytes(),
                certificate_chain=(directory / facts["cert"]).read_bytes(),
            ),
        )
        grpc.channel_ready_future(self.channel).result(timeout=DEADLINE_S)
        self.session = None
        self.stubs = [
            vault.VaultServiceStub(self.channel),
            ledger_rpc.LedgerServiceStub(self.channel),
            session.SessionServiceStub(self.channel),
            admin.AdminServiceStub(self.channel),
        ]

    def method(self, rpc):
        return next(getattr(stub, rpc) for stub in self.stubs if hasattr(stub, rpc))

    def metadata(self):
        return [("authorization", "Bearer " + self.session)] if self.session else []

    def call(self, rpc, request):
        return self.method(rpc)(request, timeout=DEADLINE_S, metadata=self.metadata())

    def stream(self, rpc, request):
        return list(self.method(rpc)(request, timeout=DEADLINE_S, metadata=self.metadata()))

    def refusal(self, rpc, request):
        """The refusal of a call that must be refused."""
        try:
            answer = self.call(rpc, request)
            if rpc == "ExportLog":
                list(answer)
        except grpc.RpcError as error:
            return read_refusal(error)
        raise AssertionError("%s by %s was not refused" % (rpc, self.name))


def channel(dev, credentials):
    endpoint = urllib.parse.urlsplit(dev["endpoint"])
    assert endpoint.scheme == "https", "the endpoint is no https address"
    return grpc.secure_channel(endpoint.netloc, credentials, [("grpc.enable_retries", 0)])
