//! Facts about commands that the round needs before it judges them.

use super::command::{Admin, Ask, Note, Rewrap, Work};
use super::hold::HoldScope;
use crate::clock::Timestamp;
use crate::ids::{Site, TransactionId};
use crate::keys::{KeyName, Keyring};
use crate::ledger::Event;
use crate::policy::Rpc;
use std::collections::BTreeMap;

/// The event that a command's entry has, refused or not.
pub(super) fn event_of(work: &Work) -> Event {
    match work {
        Work::Open { .. } => Event::TransactionOpened,
        Work::Get { .. } => Event::TransactionRead,
        Work::Tokenize { .. } | Work::TokenizeSealed { .. } => Event::Tokenized,
        Work::Redeem { .. } => Event::Redeemed,
        Work::Report { .. } => Event::OutcomeReported,
        Work::Describe { .. } => Event::TokenDescribed,
        Work::Revoke { .. } => Event::TokenRevoked,
        Work::Close { .. } => Event::TransactionClosed,
        Work::Erase(_) => Event::ErasureRequested,
        Work::Refused { rpc, .. } => event_of_rpc(*rpc),
        Work::Export { .. } => Event::LogExported,
        Work::Tail { .. } => Event::LogTailed,
        Work::Backup { .. } => Event::BackupBegun,
        Work::Admin(admin) => match **admin {
            Admin::CreatePrincipal(_) => Event::PrincipalCreated,
            Admin::DisablePrincipal(_) => Event::PrincipalDisabled,
            Admin::SetSecret(..) => Event::SecretRotated,
            Admin::SetAllowance(..) => Event::AllowanceSet,
            Admin::Approve(_) => Event::ActionApproved,
            Admin::LoginTried(_) => Event::Login,
            Admin::LoggedOut => Event::Logout,
            Admin::ConfirmRestore => Event::RestoreConfirmed,
            Admin::ConfirmClock => Event::ClockConfirmed,
            Admin::PlaceHold(_) => Event::HoldPlaced,
            Admin::LiftHold(_) => Event::HoldLifted,
            Admin::ShareAcknowledged(_) => Event::ShareAcknowledged,
            Admin::RotateKey(_) => Event::KeyRotated,
            Admin::RewrapKeys => Event::KeyRewrapStarted,
            Admin::CompromiseKey(_) => Event::KeyCompromised,
            // No entry of its own.
            Admin::Seen(_) => Event::Login,
        },
        Work::Rewrap(Rewrap::Begun(_) | Rewrap::Rows(_)) => Event::KeyRewrapStarted,
        Work::Rewrap(Rewrap::Ended { .. }) => Event::KeyRewrapFinished,
        Work::Note(note) => match note {
            Note::Created => Event::VaultCreated,
            Note::Started { .. } => Event::LoggingStarted,
            Note::Stopped => Event::LoggingStopped,
            Note::Unsealed { .. } => Event::Unsealed,
            Note::ResealBegun { .. } => Event::ResealBegun,
            Note::Resealed { .. } => Event::Resealed,
            Note::UnsealRefused(_) => Event::UnsealRefused,
            Note::Sealed => Event::Sealed,
            Note::BackupEnded { .. } => Event::BackupEnded,
            Note::EpochOpened(_) => Event::EpochOpened,
            Note::Handshakes(_) => Event::HandshakesRefused,
            Note::Tick | Note::CollectKey | Note::Sweep(_) | Note::Prune(_) | Note::MoveHeld(_) => {
                Event::DenialsSummed
            }
        },
    }
}

/// The event of a call that was refused at the door.
const fn event_of_rpc(rpc: Rpc) -> Event {
    match rpc {
        Rpc::OpenTransaction => Event::TransactionOpened,
        Rpc::GetTransaction => Event::TransactionRead,
        Rpc::Tokenize | Rpc::TokenizeStream | Rpc::GetCollectKey => Event::Tokenized,
        Rpc::Redeem | Rpc::RedeemStream => Event::Redeemed,
        Rpc::ReportOutcome => Event::OutcomeReported,
        Rpc::DescribeToken => Event::TokenDescribed,
        Rpc::RevokeToken => Event::TokenRevoked,
        Rpc::CloseTransaction => Event::TransactionClosed,
        Rpc::GetCheckpoint | Rpc::GetConsistencyProof | Rpc::GetReceipt | Rpc::ExportLog => {
            Event::LogExported
        }
        Rpc::TailLog => Event::LogTailed,
        Rpc::Login => Event::Login,
        Rpc::Logout => Event::Logout,
        Rpc::GetStatus
        | Rpc::ListPrincipals
        | Rpc::GetPrincipal
        | Rpc::ListAllowances
        | Rpc::ListKeys
        | Rpc::GetErasureReceipt
        | Rpc::ListHolds => Event::LogExported,
        Rpc::Unseal => Event::UnsealRefused,
        Rpc::Seal => Event::Sealed,
        Rpc::CreatePrincipal => Event::PrincipalCreated,
        Rpc::DisablePrincipal => Event::PrincipalDisabled,
        Rpc::RotateSecret => Event::SecretRotated,
        Rpc::SetAllowance => Event::AllowanceSet,
        Rpc::ApproveAction => Event::ActionApproved,
        Rpc::TakeBackup => Event::BackupBegun,
        Rpc::ConfirmRestore => Event::RestoreConfirmed,
        Rpc::ConfirmClock => Event::ClockConfirmed,
        Rpc::PlaceHold => Event::HoldPlaced,
        Rpc::LiftHold => Event::HoldLifted,
        Rpc::EraseTransaction => Event::ErasureRequested,
        Rpc::RotateKey => Event::KeyRotated,
        Rpc::RewrapKeys => Event::KeyRewrapStarted,
        Rpc::CompromiseKey => Event::KeyCompromised,
    }
}

/// The transactions whose rows a command looks at.
pub(super) fn transactions_of(ask: &Ask, ring: &Keyring, now: Timestamp) -> Vec<TransactionId> {
    match &ask.work {
        Work::Open { request, .. } => {
            super::open_transaction::transaction_ids(ring, now, &ask.caller, request)
        }
        Work::Get { transaction }
        | Work::Tokenize { transaction, .. }
        | Work::TokenizeSealed { transaction, .. }
        | Work::Redeem { transaction, .. }
        | Work::Report { transaction, .. }
        | Work::Describe { transaction, .. }
        | Work::Revoke { transaction, .. }
        | Work::Close { transaction } => vec![*transaction],
        Work::Erase(asked) => vec![asked.transaction],
        Work::Rewrap(Rewrap::Rows(stale)) => stale.transactions.clone(),
        Work::Note(Note::MoveHeld(moves)) => moves.iter().map(|(id, _)| *id).collect(),
        Work::Admin(admin) => match &**admin {
            Admin::PlaceHold(asked) => match asked.scope {
                HoldScope::Transaction(id) => vec![id],
                HoldScope::Range { .. } => Vec::new(),
            },
            _ => Vec::new(),
        },
        Work::Refused { .. }
        | Work::Export { .. }
        | Work::Tail { .. }
        | Work::Backup { .. }
        | Work::Rewrap(_)
        | Work::Note(_) => Vec::new(),
    }
}

/// The key that a command needs beside those of every round, if any: the release bucket that it
/// begins, or the key of backups. No bucket is made for terms that will be
/// refused: a refusal changes nothing, and nobody fills the keyring.
pub(super) fn bucket_of(
    ask: &Ask,
    sites: &BTreeMap<Site, u64>,
    registry: &super::registry::Registry,
    now: Timestamp,
) -> Option<KeyName> {
    let terms = match &ask.work {
        Work::Open { terms, .. } => terms,
        Work::Backup { .. } => return Some(KeyName::Backup),
        Work::Note(Note::CollectKey) => return Some(KeyName::Collect { day: now.day() }),
        _ => return None,
    };
    let principal = registry.principal(ask.caller.id()?)?;
    let reach_max = *sites.get(&terms.site)?;
    let plausible = terms.release_until > now
        && terms.release_until.since_ms(now) <= reach_max
        && principal.serves(terms.site)
        && registry.covers(terms, now).is_ok();
    plausible.then(|| KeyName::Release {
        site: terms.site,
        day: terms.release_until.day(),
    })
}
