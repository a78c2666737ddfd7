//! What the one door takes in and gives out. Every change and every release is an [`Ask`].

use super::collect::Amiss;
use super::epochs::ClosedEpoch;
use super::erase::{Erasure, ErasureRequest};
use super::hold::HoldRequest;
use crate::clock::Timestamp;
use crate::ids::{ActionId, HoldId, PrincipalId, Site, TransactionId};
use crate::keys::{Encapsulation, Fingerprint, KeyId, KeyName, Tries};
use crate::payment::{Details, Masked, SecurityCode, Token};
use crate::policy::{Allowance, AllowanceKey, Denial, FieldSet, Principal, Purpose, Rpc, Terms};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Who calls, as the api established it.
#[derive(Clone)]
pub struct Caller {
    /// The principal; none for the vault itself and for unknown callers.
    pub principal: Option<Arc<Principal>>,
    /// Network address, or "-" for the vault itself.
    pub origin: Arc<str>,
}

impl Caller {
    /// The vault itself.
    pub fn vault() -> Caller {
        Caller {
            principal: None,
            origin: Arc::from("-"),
        }
    }

    /// Whether it is the vault itself: an unknown caller has an address.
    pub fn is_vault(&self) -> bool {
        self.principal.is_none() && *self.origin == *"-"
    }

    /// The principal's id.
    pub fn id(&self) -> Option<PrincipalId> {
        self.principal.as_ref().map(|p| p.id)
    }
}

/// A client's random request id. No `Debug`: whoever has it and the keyring opens the answer.
#[derive(Clone)]
pub struct RequestId(zeroize::Zeroizing<Vec<u8>>);

impl RequestId {
    /// Takes the bytes over; their number was checked by the api.
    pub fn new(bytes: Vec<u8>) -> RequestId {
        RequestId(zeroize::Zeroizing::new(bytes))
    }

    /// The bytes, for the keyed hash.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// How a processor's work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum WorkResult {
    /// Done.
    Succeeded = 1,
    /// Refused by issuer or bank.
    Declined = 2,
    /// Failed for a technical reason.
    Failed = 3,
}

impl WorkResult {
    /// Its name in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            WorkResult::Succeeded => "succeeded",
            WorkResult::Declined => "declined",
            WorkResult::Failed => "failed",
        }
    }
}

/// Details in clear that nobody has read yet: the committer has them read once it knows who asks, and
/// that the site takes such.
pub trait Unread: Send + Sync {
    /// Reads them. What is wrong with them is kept for who asked.
    fn read(&self) -> Option<(Details, Option<SecurityCode>)>;
}

/// What a portal hands in that isn't known to be details.
pub enum SealedIn {
    /// It opened.
    Opened(OpenedIn),
    /// It gives nothing.
    Amiss {
        /// Digest of the text, by which a retry is recognised all the same.
        text: [u8; 32],
        /// Why.
        why: Amiss,
    },
    /// Details in clear, of a portal with sites that take sealed ones only.
    Unread(Box<dyn Unread>),
}

/// Sealed details, opened.
pub struct OpenedIn {
    /// Digest of the text.
    pub text: [u8; 32],
    /// The site that they were sealed for.
    pub site: Site,
    /// What their use is known by.
    pub encapsulation: Encapsulation,
    /// From then on they are not taken.
    pub not_after: Timestamp,
    /// What was inside; nothing when it isn't valid, which only who opened the transaction is told.
    pub details: Option<(Details, Option<SecurityCode>)>,
}

impl SealedIn {
    /// Digest of the text; none of what is in clear.
    pub(super) fn text(&self) -> Option<&[u8; 32]> {
        match self {
            SealedIn::Opened(OpenedIn { text, .. }) | SealedIn::Amiss { text, .. } => Some(text),
            SealedIn::Unread(_) => None,
        }
    }
}

/// A command.
pub enum Work {
    /// `OpenTransaction`.
    Open {
        /// For retries.
        request: RequestId,
        /// The terms.
        terms: Box<Terms>,
    },
    /// `GetTransaction`.
    Get {
        /// The transaction.
        transaction: TransactionId,
    },
    /// `Tokenize`.
    Tokenize {
        /// For retries.
        request: RequestId,
        /// The transaction.
        transaction: TransactionId,
        /// The details.
        details: Box<Details>,
        /// The security code, if any.
        code: Option<SecurityCode>,
        /// The token that is replaced, if any.
        replaces: Option<Token>,
    },
    /// `Tokenize` of details that came sealed, or that nobody has read yet.
    TokenizeSealed {
        /// For retries.
        request: RequestId,
        /// The transaction.
        transaction: TransactionId,
        /// What came.
        sealed: Box<SealedIn>,
        /// The token that is replaced, if any.
        replaces: Option<Token>,
    },
    /// `Redeem`.
    Redeem {
        /// For retries.
        request: RequestId,
        /// The transaction.
        transaction: TransactionId,
        /// The token.
        token: Token,
        /// Why.
        purpose: Purpose,
        /// What.
        fields: FieldSet,
    },
    /// `ReportOutcome`.
    Report {
        /// For retries.
        request: RequestId,
        /// The transaction.
        transaction: TransactionId,
        /// The token.
        token: Token,
        /// How it ended.
        result: WorkResult,
        /// The processor's reference.
        reference: String,
    },
    /// `DescribeToken`.
    Describe {
        /// The transaction.
        transaction: TransactionId,
        /// The token.
        token: Token,
    },
    /// `RevokeToken`.
    Revoke {
        /// The transaction.
        transaction: TransactionId,
        /// The token.
        token: Token,
    },
    /// `CloseTransaction`.
    Close {
        /// The transaction.
        transaction: TransactionId,
    },
    /// A call that the door refused before anything was read: an entry.
    Refused {
        /// The call.
        rpc: Rpc,
        /// Why.
        denial: Denial,
        /// The transaction that it named, when that could be read.
        transaction: Option<TransactionId>,
    },
    /// `EraseTransaction`.
    Erase(Box<ErasureRequest>),
    /// `ExportLog` begins: an entry before the first byte.
    Export {
        /// Reason, ticket, range and filter, in words.
        detail: Vec<(&'static str, String)>,
    },
    /// `TailLog` begins: an entry before the first message.
    Tail {
        /// Reason, ticket, beginning and filter, in words.
        detail: Vec<(&'static str, String)>,
    },
    /// `TakeBackup` begins: an entry before the first byte.
    Backup {
        /// Its id and file.
        detail: Vec<(&'static str, String)>,
    },
    /// A change of principals, allow-list or secrets. Runs in a round of its own.
    Admin(Box<Admin>),
    /// A step of sealing rows anew under newer keys. The vault's own.
    Rewrap(Rewrap),
    /// Something that the vault itself notes.
    Note(Note),
}

/// A step of a re-wrap.
pub enum Rewrap {
    /// A pass over the rows under these keys begins.
    Begun(Vec<KeyId>),
    /// Seals of these what is under an earlier key, as it is in this round.
    Rows(StaleRows),
    /// A pass found nothing under these keys that it could not seal anew.
    Ended {
        /// The keys.
        keys: Vec<KeyId>,
        /// How many rows it sealed.
        rows: u64,
    },
}

/// Rows that were seen under an earlier key: at most [`crate::limits::REWRAP_ROWS_MAX`].
#[derive(Default)]
pub struct StaleRows {
    /// Transactions.
    pub transactions: Vec<TransactionId>,
    /// Keys of other rows: the vault's own, and pages of entries.
    pub others: Vec<Vec<u8>>,
}

/// A change by operators, or to a human's credentials.
pub enum Admin {
    /// `CreatePrincipal`, its credential already extracted from the certificate.
    CreatePrincipal(Principal),
    /// `DisablePrincipal`.
    DisablePrincipal(PrincipalId),
    /// `RotateSecret`, with the new secret's hash.
    SetSecret(PrincipalId, String),
    /// `SetAllowance`; `None` takes it away.
    SetAllowance(AllowanceKey, Option<Allowance>),
    /// `ApproveAction`.
    Approve(ActionId),
    /// `Login`: whether the secret was right.
    LoginTried(bool),
    /// `Logout`.
    LoggedOut,
    /// `ConfirmRestore`.
    ConfirmRestore,
    /// `ConfirmClock`.
    ConfirmClock,
    /// `RotateKey`: the next generation of this name, or of every name under which rows lie.
    RotateKey(Option<KeyName>),
    /// `RewrapKeys`.
    RewrapKeys,
    /// `CompromiseKey`.
    CompromiseKey(KeyId),
    /// `PlaceHold`.
    PlaceHold(HoldRequest),
    /// `LiftHold`.
    LiftHold(HoldId),
    /// A custodian, by this name, showed that his share is good.
    ShareAcknowledged(String),
    /// The first call of a day by a principal: for the 90-day rule.
    Seen(PrincipalId),
}

/// What the vault notes without being asked.
pub enum Note {
    /// Once a second: housekeeping.
    Tick,
    /// A portal asks for the day's collect key, which isn't there yet.
    CollectKey,
    /// Rows of erased transactions are taken away.
    Sweep(Vec<TransactionId>),
    /// Pages out of which the ciphertext of erased entries is taken: their rows' keys.
    Prune(Vec<Vec<u8>>),
    /// Held transactions, and the keys that they go under.
    MoveHeld(Vec<(TransactionId, KeyName)>),
    /// The vault was made.
    Created,
    /// The log starts (the vault serves).
    Started {
        /// What happened while nobody wrote: keys made without an entry, a repaired row.
        findings: Vec<String>,
    },
    /// The log ends (orderly stop).
    Stopped,
    /// The vault was unsealed.
    Unsealed {
        /// The kind of seal.
        seal: &'static str,
        /// Whose shares opened it, by name, separated by spaces; empty when it takes none.
        custodians: String,
    },
    /// Failed tries to unseal since the vault was open last.
    UnsealRefused(Tries),
    /// The seal is about to be changed.
    ResealBegun {
        /// The kind that it had.
        from: &'static str,
        /// The kind that it gets.
        to: &'static str,
    },
    /// The seal was changed, or could not be.
    Resealed {
        /// Its kind from now on, whose shares open it, and who may unseal when that was replaced; or
        /// why it stayed as it was.
        result: Result<Vec<(&'static str, String)>, String>,
    },
    /// The vault is being sealed.
    Sealed,
    /// A backup was finished, or failed.
    BackupEnded {
        /// Whether there is a file.
        done: bool,
        /// Its id, and what there is to say of it.
        detail: Vec<(&'static str, String)>,
    },
    /// A restored vault opened a new epoch: its first entry.
    EpochOpened(Box<EpochOpened>),
    /// Refused handshakes since the last such entry, by origin and reason.
    Handshakes(Vec<(String, u64)>),
}

/// What the first entry of an epoch says, and the epoch that it leaves behind.
pub struct EpochOpened {
    /// The backup's id, in letters.
    pub backup: String,
    /// How many entries were known beyond the backup; none when nobody knows.
    pub missing: Option<u64>,
    /// Epoch, size and root of the last checkpoint that was known: the mark's, if there was one.
    pub known: Option<(u32, u64, [u8; 32])>,
    /// How many findings of the check were accepted.
    pub findings: u64,
    /// Where the old epoch ended.
    pub closed: ClosedEpoch,
}

/// What a command did.
pub enum Done {
    /// The transaction.
    Opened {
        /// Its id.
        transaction: TransactionId,
        /// Index of the entry.
        entry: u64,
    },
    /// The transaction's standing.
    Got(Box<Standing>),
    /// The token.
    Tokenized {
        /// The token.
        token: Token,
        /// What may be shown.
        masked: Masked,
        /// Its number's fingerprint, where the site has it on.
        fingerprint: Option<Fingerprint>,
        /// Index of the entry.
        entry: u64,
        /// Whether this repeats an earlier success.
        replayed: bool,
    },
    /// Plaintext.
    Redeemed(Box<Redeemed>),
    /// The result is recorded.
    Reported {
        /// Index of the entry.
        entry: u64,
        /// Whether this repeats an earlier success.
        replayed: bool,
    },
    /// What stands behind a token.
    Described(Box<Described>),
    /// An entry was written; nothing else to say.
    Noted {
        /// Index of the entry.
        entry: u64,
    },
    /// The transaction is closed.
    Closed {
        /// Index of the entry.
        entry: u64,
        /// When its release bucket's key ends at the latest.
        unreadable_after: Timestamp,
    },
    /// How an erasure stands.
    Erasure(Box<Erasure>),
    /// The change waits for another operator.
    Pending(ActionId),
    /// Keys were made, or are to be followed: their labels.
    Keys {
        /// Which.
        keys: Vec<String>,
        /// Index of the entry of the first one; of the next entry when there is none.
        entry: u64,
    },
    /// Rows were sealed anew.
    Rewrapped {
        /// So many.
        rows: u64,
        /// So many don't open.
        failed: u64,
    },
}

/// A transaction's standing.
pub struct Standing {
    /// The terms; a party's own grants only, for a party.
    pub terms: Terms,
    /// Whether it is closed.
    pub closed: bool,
    /// Its tokens: reference, masked, revoked, created.
    pub tokens: Vec<TokenSummary>,
}

/// A token without what makes it redeemable.
pub struct TokenSummary {
    /// Its reference.
    pub reference: crate::ids::TokenReference,
    /// What may be shown.
    pub masked: Masked,
    /// Whether it is revoked.
    pub revoked: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What a redemption gives.
pub struct Redeemed {
    /// The details, of which the api sends `fields` only.
    pub details: Details,
    /// The granted fields, without those that could not be given.
    pub fields: FieldSet,
    /// The security code, when it is released.
    pub code: Option<SecurityCode>,
    /// What became of the security code.
    pub code_status: CodeStatus,
    /// Uses left.
    pub uses_left: u8,
    /// Index of the entry.
    pub entry: u64,
    /// Whether this repeats an earlier success.
    pub replayed: bool,
}

/// What became of a security code that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeStatus {
    /// Not asked for.
    NotAsked,
    /// In this reply.
    Released,
    /// Released before.
    AlreadyReleased,
    /// Kept its time and gone.
    Expired,
    /// Never handed in.
    NotProvided,
    /// Not in this process's memory.
    NotOnThisNode,
}

/// What `DescribeToken` says.
pub struct Described {
    /// What may be shown.
    pub summary: TokenSummary,
    /// Whether the transaction is closed.
    pub closed: bool,
    /// End of redemption.
    pub release_until: Timestamp,
    /// A party's uses left.
    pub uses_left: Vec<(Purpose, u8)>,
    /// The number's fingerprint, for the portal and where the site has it on.
    pub fingerprint: Option<Fingerprint>,
}

/// Why a command did nothing. Floor 4's one error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Policy said no; the ledger has the true reason.
    #[error("denied: {0}")]
    Denied(Denial),
    /// The ledger can't be written now. Nothing was released.
    #[error("the ledger can't be written: {0}")]
    Unavailable(&'static str),
    /// Too little space is left on disk.
    #[error("the disk is full")]
    StorageFull,
    /// Too many commands wait.
    #[error("too many commands wait")]
    QueueFull,
    /// The vault is sealed, or is being sealed or stopped.
    #[error("the vault is sealed")]
    Sealed,
    /// Something stored is not what was stored.
    #[error("a stored value failed its check")]
    Integrity,
    /// The caller's deadline passed before the command ran.
    #[error("the deadline passed before the command ran")]
    TimedOut,
}

/// A command on its way through the door.
pub struct Ask {
    /// Who asks.
    pub caller: Caller,
    /// What for.
    pub work: Work,
    /// Monotonic milliseconds after which nobody waits any more.
    pub deadline_ms: u64,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Result<Done, Refusal>>,
    /// Its caller's place in the queue; none for the vault's own.
    pub share: Option<super::Share>,
}
