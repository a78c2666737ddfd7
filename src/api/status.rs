//! The only place where an error becomes a `Status`: what a caller may learn, and what it should
//! do next. The reasons and codes are `docs/errors.md`.

use super::violations::Violations;
use crate::policy::Denial;
use crate::vault::OpenError;
use crate::vault::command::Refusal;
use prost::Message;
use std::collections::HashMap;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

/// Domain of every `ErrorInfo`.
pub const DOMAIN: &str = "payvault";

/// An error with a stable reason.
pub fn status(code: Code, reason: &str, message: &str) -> Status {
    with_details(code, reason, message, None)
}

fn with_details(code: Code, reason: &str, message: &str, retry: Option<Duration>) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    if retry.is_some() {
        details.set_retry_info(retry);
    }
    Status::with_error_details(code, message, details)
}

/// A request that breaks rules of its own: the fields and the rules, never a value.
pub fn invalid(violations: Violations) -> Status {
    let mut details = ErrorDetails::with_error_info("INVALID_REQUEST", DOMAIN, HashMap::new());
    details.set_bad_request(
        violations
            .into_iter()
            .map(|(field, what)| FieldViolation::new(field, what))
            .collect::<Vec<_>>(),
    );
    Status::with_error_details(
        Code::InvalidArgument,
        "the request has invalid fields",
        details,
    )
}

/// Whoever is not tied gets this, whatever the reason was: built from constants only.
fn not_tied() -> Status {
    status(
        Code::NotFound,
        "NOT_TIED",
        "there is nothing here for this caller",
    )
}

/// What a refusal of the vault tells its caller.
pub fn of_refusal(refusal: &Refusal) -> Status {
    let soon = Some(Duration::from_millis(200));
    match refusal {
        Refusal::Denied(denial) => of_denial(*denial),
        Refusal::Unavailable(_) => with_details(
            Code::Unavailable,
            "LEDGER_UNAVAILABLE",
            "the ledger can't be written now; nothing was released; retry with the same request_id",
            soon,
        ),
        Refusal::StorageFull => with_details(
            Code::ResourceExhausted,
            "STORAGE_FULL",
            "the vault's disk is full; nothing was done; retry later",
            Some(Duration::from_secs(30)),
        ),
        Refusal::QueueFull => with_details(
            Code::ResourceExhausted,
            "QUEUE_FULL",
            "too many calls wait; nothing was done; retry",
            soon,
        ),
        Refusal::Sealed => with_details(
            Code::Unavailable,
            "SEALED",
            "the vault is sealed; an operator has to unseal it",
            Some(Duration::from_secs(5)),
        ),
        Refusal::Integrity => status(
            Code::DataLoss,
            "INTEGRITY",
            "a stored value failed its check; nothing was released; tell the operator",
        ),
        Refusal::TimedOut => status(
            Code::DeadlineExceeded,
            "TIMED_OUT",
            "the deadline passed before the call was run; retry with the same request_id",
        ),
    }
}

/// What a denial tells its caller.
pub fn of_denial(denial: Denial) -> Status {
    use Denial as D;
    if denial.is_not_tied() {
        return not_tied();
    }
    let reason = denial.as_str();
    let (code, message, retry) = match denial {
        D::UnknownTransaction
        | D::UnknownToken
        | D::WrongSecret
        | D::NotAParty
        | D::NotOwner
        | D::NotOwnEntry => return not_tied(),

        D::UnknownCaller => (
            Code::Unauthenticated,
            "nobody is enrolled with this certificate",
            None,
        ),
        D::PrincipalDisabled => (Code::Unauthenticated, "the principal is disabled", None),
        D::SessionRequired => (
            Code::Unauthenticated,
            "this call needs a session: call SessionService.Login, then send \"authorization: Bearer SESSION\"",
            None,
        ),
        D::SessionEnded => (
            Code::Unauthenticated,
            "the session has ended: log in again",
            None,
        ),
        D::BadSecret => (Code::Unauthenticated, "the secret is wrong", None),
        D::Locked => (
            Code::PermissionDenied,
            "locked after too many bad tries: wait 30 minutes",
            None,
        ),
        D::AgreementNotInForce => (
            Code::PermissionDenied,
            "no confidentiality agreement is in force",
            None,
        ),
        D::RoleNotAllowed => (
            Code::PermissionDenied,
            "this role may not make this call",
            None,
        ),
        D::SiteNotAllowed => (
            Code::PermissionDenied,
            "the principal does not serve this site",
            None,
        ),
        D::TermsNotAllowed => (
            Code::PermissionDenied,
            "the allow-list does not cover these terms",
            None,
        ),
        D::SameOperator => (
            Code::PermissionDenied,
            "another operator has to approve",
            None,
        ),

        D::PurposeNotGranted => (
            Code::FailedPrecondition,
            "the terms do not grant this purpose",
            None,
        ),
        D::FieldNotGranted => (
            Code::FailedPrecondition,
            "the terms do not grant one of these fields for this purpose",
            None,
        ),
        D::Expired => (Code::FailedPrecondition, "the time for this is over", None),
        D::UsedUp => (Code::FailedPrecondition, "no use is left", None),
        D::Closed => (Code::FailedPrecondition, "the transaction is closed", None),
        D::Revoked => (
            Code::FailedPrecondition,
            "the token is revoked or replaced",
            None,
        ),
        D::TooManyTokens => (
            Code::FailedPrecondition,
            "the transaction has as many tokens as it may",
            None,
        ),
        D::NotApplicable => (
            Code::FailedPrecondition,
            "this does not apply to that principal",
            None,
        ),
        D::NotPending => (
            Code::FailedPrecondition,
            "the action is not pending any more",
            None,
        ),

        D::SealedOnly => (
            Code::FailedPrecondition,
            "this site takes sealed_details only: seal them where they are typed",
            None,
        ),
        D::SealedDetailsRefused => (
            Code::FailedPrecondition,
            "the sealed details can't be used: fetch GetCollectKey's document anew and have them sealed again for this transaction",
            None,
        ),

        D::RequestIdReused => (
            Code::AlreadyExists,
            "this request_id was used with another body: make a new one for new work",
            None,
        ),
        D::CredentialTaken => (
            Code::AlreadyExists,
            "the certificate's identity belongs to another principal",
            None,
        ),
        D::NameTaken => (Code::AlreadyExists, "the name is taken", None),
        D::UnknownPrincipal => (Code::NotFound, "no such principal", None),

        D::RateLimited => (
            Code::ResourceExhausted,
            "too many; wait and retry",
            Some(Duration::from_secs(1)),
        ),
        D::TransactionFull => (
            Code::ResourceExhausted,
            "the transaction remembers as many requests as it can; retry a day later, or open another",
            Some(Duration::from_secs(24 * 60 * 60)),
        ),
        D::TooMany => (
            Code::ResourceExhausted,
            "the vault holds as many of these as it may",
            Some(Duration::from_secs(60)),
        ),
        D::ClockSuspect => (
            Code::Unavailable,
            "the vault's clock is suspect; nothing is released until it is put right",
            Some(Duration::from_secs(60)),
        ),
        D::RestoreUnconfirmed => (
            Code::FailedPrecondition,
            "the vault was restored from a backup, and this token is from before; its operators have to confirm: ask them, then retry",
            Some(Duration::from_secs(60)),
        ),
        D::UnknownHold => (
            Code::NotFound,
            "no hold has this id: payvault hold list has them all",
            None,
        ),
        D::UnknownKey => (
            Code::NotFound,
            "no key has this name: payvault keys list has them all",
            None,
        ),
        D::NotErased => (
            Code::FailedPrecondition,
            "the key was not destroyed yet",
            None,
        ),
        D::NotConfigured => (
            Code::FailedPrecondition,
            "the vault is not configured for this",
            None,
        ),
        D::KeyState => (
            Code::FailedPrecondition,
            "the key's kind, state or period does not allow it: ListKeys says what they are",
            None,
        ),
        D::WrongSeal => (
            Code::FailedPrecondition,
            "the vault's seal is of another kind: GetStatus says which",
            None,
        ),
        D::BadPin => (
            Code::Unauthenticated,
            "the PIN is wrong; the security module counts wrong ones, and may lock itself",
            None,
        ),
        D::PinLocked => (
            Code::PermissionDenied,
            "the security module has locked its PIN: its security officer unlocks it",
            None,
        ),
        D::ShareDamaged => (
            Code::Unauthenticated,
            "the share is damaged, or not the one that was dealt",
            None,
        ),
        D::ShareForeign => (
            Code::Unauthenticated,
            "the share belongs to another vault",
            None,
        ),
        D::ShareOutdated => (
            Code::Unauthenticated,
            "the share is of an earlier seal of this vault",
            None,
        ),
        D::ShareRepeated => (
            Code::AlreadyExists,
            "this share was given already: another custodian has to come",
            None,
        ),
        D::SharesMissing => (
            Code::FailedPrecondition,
            "more custodians have to come",
            None,
        ),
        D::ShareNotYours => (
            Code::PermissionDenied,
            "the share is another custodian's: each brings the own one",
            None,
        ),
        D::Integrity => (
            Code::DataLoss,
            "a stored value failed its check; tell the operator",
            None,
        ),
        D::InvalidRequest => (Code::InvalidArgument, "the request is invalid", None),
    };
    with_details(code, reason, message, retry)
}

/// Why the vault does not open, where what was given is not to blame: whoever may unseal learns what
/// of the outside is amiss, and nothing else.
pub fn of_closed(error: &OpenError) -> Status {
    use crate::keys::KeyError as K;
    let OpenError::Key(key) = error else {
        return cannot_open();
    };
    let (code, reason, message) = match key {
        K::HsmModuleUnknown | K::HsmModule { .. } => (
            Code::FailedPrecondition,
            "HSM_MODULE",
            "the PKCS#11 module is not configured, or can't be loaded; the vault's log says why",
        ),
        K::HsmTokenMissing(_) | K::HsmTokenAmbiguous(_) => (
            Code::FailedPrecondition,
            "HSM_TOKEN_MISSING",
            "the security module has no token of this label, or more than one",
        ),
        K::HsmKeyMissing => (
            Code::FailedPrecondition,
            "HSM_KEY_MISSING",
            "the PIN is right, but the token does not have the vault's key",
        ),
        K::HsmKeyForeign => (
            Code::FailedPrecondition,
            "HSM_KEY_FOREIGN",
            "the PIN is right, but the token's key is another one than the vault's",
        ),
        K::Hsm { .. } => (
            Code::Unavailable,
            "HSM_FAILED",
            "the security module failed; the vault's log says how",
        ),
        K::KmsUnreachable { .. } => (
            Code::Unavailable,
            "KMS_UNREACHABLE",
            "the key service can't be reached; the vault's log says why",
        ),
        K::KmsKeyRefused { .. } => (
            Code::FailedPrecondition,
            "KMS_KEY_REFUSED",
            "the key service does not let the vault use its key; the vault's log says why",
        ),
        K::KmsKeyForeign => (
            Code::FailedPrecondition,
            "KMS_KEY_FOREIGN",
            "the key service's key is another one than the vault's",
        ),
        K::KmsNotBuilt => (
            Code::Unimplemented,
            "KMS_NOT_BUILT",
            "the vault's binary was built without aws-kms",
        ),
        _ => return cannot_open(),
    };
    status(code, reason, message)
}

fn cannot_open() -> Status {
    status(
        Code::FailedPrecondition,
        "CANNOT_OPEN",
        "what was given is right, but the vault refuses to open; its log says why",
    )
}

/// What a refusal is inside of an answer: the same as it would be in its stead.
pub fn inside(status: &Status) -> tonic_types::Status {
    // The details are the whole of it, encoded.
    tonic_types::Status::decode(status.details()).unwrap_or_else(|_| tonic_types::Status {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: Vec::new(),
    })
}

/// A stream whose time is over, or that stood idle.
pub fn stream_ended() -> Status {
    with_details(
        Code::Unavailable,
        "STREAM_ENDED",
        "the stream had its time, or stood idle: open another and send again what has no result, or go on reading where it ended",
        Some(Duration::ZERO),
    )
}

/// A stream of a vault that is stopping.
pub fn draining() -> Status {
    with_details(
        Code::Unavailable,
        "DRAINING",
        "the vault is stopping: connect again and send again what has no result",
        Some(Duration::from_millis(200)),
    )
}

/// A call whose deadline passed before its answer began.
pub fn deadline_passed() -> Status {
    status(
        Code::DeadlineExceeded,
        "TIMED_OUT",
        "the call's deadline passed; whether it took effect is unknown: retry with the same request_id",
    )
}

/// A call whose `grpc-timeout` can't be read.
pub fn malformed_timeout() -> Status {
    let mut violations = Violations::new();
    violations.add(
        "grpc-timeout",
        "must be one to eight digits and a unit of HMSmun",
    );
    invalid(violations)
}

/// A certificate without the one identity that is needed, or one that is no longer trusted.
pub fn no_identity() -> Status {
    status(
        Code::Unauthenticated,
        "NO_CERTIFICATE_IDENTITY",
        "the client certificate is not, or no longer, trusted",
    )
}

/// Something that must not happen; the log has what, the reply has nothing.
pub fn internal(what: &str) -> Status {
    tracing::error!(alarm = "defect", what, "a call failed");
    status(
        Code::Internal,
        "INTERNAL",
        "an internal error; retry once, then tell the operator",
    )
}
