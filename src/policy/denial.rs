//! Why a call is refused. The ledger always holds the true reason; the caller learns it only when
//! it is tied to the transaction.

/// A reason to refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{}", self.as_str())]
pub enum Denial {
    /// The transaction does not exist, or its key is gone.
    UnknownTransaction,
    /// The transaction has no such token.
    UnknownToken,
    /// The token's selector is known and its secret is wrong.
    WrongSecret,
    /// A processor that the terms do not name.
    NotAParty,
    /// A portal that did not open the transaction.
    NotOwner,
    /// A ledger entry that is not there, or another's.
    NotOwnEntry,

    /// A certificate that nobody is enrolled with.
    UnknownCaller,
    /// Fields of the request are invalid.
    InvalidRequest,
    /// The role may never make this call.
    RoleNotAllowed,
    /// The principal does not serve this site.
    SiteNotAllowed,
    /// The principal is disabled, or was idle for 90 days.
    PrincipalDisabled,
    /// The human's confidentiality agreement is not in force.
    AgreementNotInForce,
    /// A human call without a session.
    SessionRequired,
    /// A session that ended, or belongs to another certificate.
    SessionEnded,
    /// The secret is wrong.
    BadSecret,
    /// Locked after too many bad tries.
    Locked,

    /// The allow-list does not cover the terms.
    TermsNotAllowed,
    /// The terms do not grant this purpose to the party.
    PurposeNotGranted,
    /// The grant does not have one of the fields.
    FieldNotGranted,
    /// Past `expires_at` (details) or `release_until` (redemption).
    Expired,
    /// No use is left.
    UsedUp,
    /// The transaction is closed.
    Closed,
    /// The token is revoked or replaced.
    Revoked,
    /// More releases an hour than the allow-list permits.
    RateLimited,
    /// The transaction has as many tokens as it may.
    TooManyTokens,
    /// The transaction remembers as many requests as it can.
    TransactionFull,
    /// The request id came before with another body.
    RequestIdReused,
    /// The site takes details only when they were sealed before they left the browser.
    SealedOnly,
    /// Sealed details that are another transaction's, were used before, came after their time, or
    /// are damaged.
    SealedDetailsRefused,

    /// The certificate's identity belongs to another principal.
    CredentialTaken,
    /// The name belongs to another principal.
    NameTaken,
    /// No such principal.
    UnknownPrincipal,
    /// An act that makes no sense for this principal (a secret for a machine, disabling oneself).
    NotApplicable,
    /// The action is not, or no longer, pending.
    NotPending,
    /// No hold has this id.
    UnknownHold,
    /// The vault has no such key, or it was destroyed.
    UnknownKey,
    /// The key was not destroyed.
    NotErased,
    /// The operator who asked can't approve.
    SameOperator,
    /// The vault holds as many of these as it may.
    TooMany,
    /// The clock jumped: nothing is released until it is looked at.
    ClockSuspect,
    /// Something stored is not what was stored: nothing is released from it.
    Integrity,
    /// The vault was restored, and its operators have not confirmed tokens from before.
    RestoreUnconfirmed,
    /// The vault is not configured for this.
    NotConfigured,
    /// The key's kind or state does not allow it.
    KeyState,

    /// The vault's seal is of another kind, and is opened otherwise.
    WrongSeal,
    /// The security module's PIN is wrong.
    BadPin,
    /// The security module has locked the PIN.
    PinLocked,
    /// A share that is damaged or forged.
    ShareDamaged,
    /// Another vault's share.
    ShareForeign,
    /// A share of an earlier seal.
    ShareOutdated,
    /// A share that was given already.
    ShareRepeated,
    /// Another custodian's share.
    ShareNotYours,
    /// A good share with which too few others came.
    SharesMissing,
}

impl Denial {
    /// Its stable code: the ledger's `reason`, and, when the caller may know it, the reason in
    /// the reply.
    pub const fn as_str(self) -> &'static str {
        match self {
            Denial::UnknownTransaction => "UNKNOWN_TRANSACTION",
            Denial::UnknownToken => "UNKNOWN_TOKEN",
            Denial::WrongSecret => "WRONG_SECRET",
            Denial::NotAParty => "NOT_A_PARTY",
            Denial::NotOwner => "NOT_OWNER",
            Denial::NotOwnEntry => "NOT_OWN_ENTRY",
            Denial::UnknownCaller => "PRINCIPAL_UNKNOWN",
            Denial::InvalidRequest => "INVALID_REQUEST",
            Denial::RoleNotAllowed => "ROLE_NOT_ALLOWED",
            Denial::SiteNotAllowed => "SITE_NOT_ALLOWED",
            Denial::PrincipalDisabled => "PRINCIPAL_DISABLED",
            Denial::AgreementNotInForce => "AGREEMENT_NOT_IN_FORCE",
            Denial::SessionRequired => "SESSION_REQUIRED",
            Denial::SessionEnded => "SESSION_ENDED",
            Denial::BadSecret => "BAD_SECRET",
            Denial::Locked => "LOCKED",
            Denial::TermsNotAllowed => "TERMS_NOT_ALLOWED",
            Denial::PurposeNotGranted => "PURPOSE_NOT_GRANTED",
            Denial::FieldNotGranted => "FIELD_NOT_GRANTED",
            Denial::Expired => "EXPIRED",
            Denial::UsedUp => "USED_UP",
            Denial::Closed => "CLOSED",
            Denial::Revoked => "REVOKED",
            Denial::RateLimited => "RATE_LIMITED",
            Denial::TooManyTokens => "TOO_MANY_TOKENS",
            Denial::TransactionFull => "TRANSACTION_FULL",
            Denial::RequestIdReused => "REQUEST_ID_REUSED",
            Denial::SealedOnly => "SEALED_ONLY",
            Denial::SealedDetailsRefused => "SEALED_DETAILS_REFUSED",
            Denial::CredentialTaken => "CREDENTIAL_TAKEN",
            Denial::NameTaken => "NAME_TAKEN",
            Denial::UnknownPrincipal => "UNKNOWN_PRINCIPAL",
            Denial::NotApplicable => "NOT_APPLICABLE",
            Denial::UnknownHold => "UNKNOWN_HOLD",
            Denial::UnknownKey => "UNKNOWN_KEY",
            Denial::NotErased => "NOT_ERASED",
            Denial::NotPending => "NOT_PENDING",
            Denial::SameOperator => "SAME_OPERATOR",
            Denial::TooMany => "TOO_MANY",
            Denial::ClockSuspect => "CLOCK_SUSPECT",
            Denial::Integrity => "INTEGRITY",
            Denial::RestoreUnconfirmed => "RESTORE_UNCONFIRMED",
            Denial::NotConfigured => "NOT_CONFIGURED",
            Denial::KeyState => "KEY_STATE",
            Denial::WrongSeal => "WRONG_SEAL",
            Denial::BadPin => "BAD_PIN",
            Denial::PinLocked => "PIN_LOCKED",
            Denial::ShareDamaged => "SHARE_DAMAGED",
            Denial::ShareForeign => "SHARE_FOREIGN",
            Denial::ShareOutdated => "SHARE_OUTDATED",
            Denial::ShareRepeated => "SHARE_REPEATED",
            Denial::ShareNotYours => "SHARE_NOT_YOURS",
            Denial::SharesMissing => "SHARES_MISSING",
        }
    }

    /// Whether the caller is not tied to what it asked for. All of these get one answer.
    pub const fn is_not_tied(self) -> bool {
        matches!(
            self,
            Denial::UnknownTransaction
                | Denial::UnknownToken
                | Denial::WrongSecret
                | Denial::NotAParty
                | Denial::NotOwner
                | Denial::NotOwnEntry
        )
    }
}
