//! The stable codes of what can happen (`docs/format.md` §7). A code is never renamed or reused:
//! entries outlive the software that wrote them.

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// What an entry is about. A refused call has the event that it asked for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Event {
            $($(#[$doc])* $name,)*
        }

        impl Event {
            /// Every event, in the order of `docs/format.md` §7.
            pub const ALL: &'static [Event] = &[$(Event::$name,)*];

            /// Its code in entries, filters and exports.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Event::$name => $code,)*
                }
            }

            /// Reads a code; `None` when this version knows no such event.
            pub fn parse(code: &str) -> Option<Event> {
                match code {
                    $($code => Some(Event::$name),)*
                    _ => None,
                }
            }
        }
    };
}

events! {
    /// A vault was made.
    VaultCreated = "vault_created",
    /// The vault began to record.
    LoggingStarted = "logging_started",
    /// The vault stopped in good order.
    LoggingStopped = "logging_stopped",
    /// The root key was brought into memory.
    Unsealed = "unsealed",
    /// Somebody tried to unseal and failed.
    UnsealRefused = "unseal_refused",
    /// The root key was dropped from memory.
    Sealed = "sealed",
    /// A key was made; the detail `key` names it.
    KeyCreated = "key_created",
    /// A key was destroyed for good; the detail `key` names it. Attests the erasure of a bucket.
    KeyDestroyed = "key_destroyed",
    /// A principal was enrolled.
    PrincipalCreated = "principal_created",
    /// A principal was disabled.
    PrincipalDisabled = "principal_disabled",
    /// A principal's secret or credential was renewed.
    SecretRotated = "secret_rotated",
    /// A human principal opened a session.
    Login = "login",
    /// A session was ended.
    Logout = "logout",
    /// The allow-list was changed.
    AllowanceSet = "allowance_set",
    /// An action was proposed that a second operator has to approve.
    ActionRequested = "action_requested",
    /// A proposed action was approved.
    ActionApproved = "action_approved",
    /// A transaction was opened.
    TransactionOpened = "transaction_opened",
    /// A transaction was looked at.
    TransactionRead = "transaction_read",
    /// Payment details were swapped for a token.
    Tokenized = "tokenized",
    /// A token was redeemed.
    Redeemed = "redeemed",
    /// A redemption was repeated for the same request.
    RedeemReplayed = "redeem_replayed",
    /// A processor reported how it ended.
    OutcomeReported = "outcome_reported",
    /// A token's masked details were read.
    TokenDescribed = "token_described",
    /// A token was revoked.
    TokenRevoked = "token_revoked",
    /// A transaction was closed.
    TransactionClosed = "transaction_closed",
    /// The ledger was exported.
    LogExported = "log_exported",
    /// Denials past the rate, summed up.
    DenialsSummed = "denials_summed",
    /// Handshakes that failed, summed up.
    HandshakesRefused = "handshakes_refused",
    /// Stored data did not verify.
    Integrity = "integrity",
    /// The clock jumped.
    ClockStep = "clock_step",
    /// A restored vault opened a new epoch.
    EpochOpened = "epoch_opened",
    /// A backup was begun; on stable storage before its first byte.
    BackupBegun = "backup_begun",
    /// A backup was finished, or failed.
    BackupEnded = "backup_ended",
    /// Tokens from before a restore may be redeemed again.
    RestoreConfirmed = "restore_confirmed",
    /// A custodian showed that the share which was dealt to him is good.
    ShareAcknowledged = "share_acknowledged",
    /// The change of the seal was begun; on stable storage before it.
    ResealBegun = "reseal_begun",
    /// The seal was changed, or could not be.
    Resealed = "resealed",
    /// Somebody began to watch the ledger.
    LogTailed = "log_tailed",
    /// The vault noticed something that a person should look at; the detail `alarm` says what.
    AlarmRaised = "alarm_raised",
    /// A bucket has ended, and its key will be destroyed; the detail `key` names it, `due` says when.
    DestructionPending = "destruction_pending",
    /// Operators took what a clock shows for right, though it had jumped.
    ClockConfirmed = "clock_confirmed",
    /// The erasure of a transaction was asked for.
    ErasureRequested = "erasure_requested",
    /// A key's name got its next generation, which the detail `key` names; the earlier one opens
    /// only.
    KeyRotated = "key_rotated",
    /// What lies under earlier keys is to be sealed anew; the detail `key` names one.
    KeyRewrapStarted = "key_rewrap_started",
    /// No live row lies under the earlier key that the detail `key` names.
    KeyRewrapFinished = "key_rewrap_finished",
    /// A key was declared compromised; the detail `key` names it. It seals nothing any more.
    KeyCompromised = "key_compromised",
    /// An earlier key of a name was destroyed, under which no live row lay; the detail `key` names
    /// it. Attests no erasure: the rows live on under a later key.
    KeySupersededDestroyed = "key_superseded_destroyed",
    /// A legal hold was placed; the detail `hold` names it, `case` what for, `covers` what.
    HoldPlaced = "hold_placed",
    /// A legal hold was lifted.
    HoldLifted = "hold_lifted",
}

/// The member of an entry's `detail` in which [`Event::KeyCreated`] and [`Event::KeyDestroyed`]
/// name their key. The verifier of an export looks for it there.
pub const DETAIL_KEY: &str = "key";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_read_back_and_stands_once() {
        let mut codes = std::collections::BTreeSet::new();
        for event in Event::ALL {
            assert_eq!(Event::parse(event.as_str()), Some(*event));
            assert!(codes.insert(event.as_str()));
        }
        assert_eq!(codes.len(), 49);
        assert_eq!(Event::parse("Redeemed"), None);
        assert_eq!(Event::parse(""), None);
    }

    #[test]
    fn the_codes_are_those_of_the_specification() {
        let format = include_str!("../../docs/format.md");
        let line = format
            .lines()
            .find(|line| line.starts_with("**Events**"))
            .unwrap();
        let listed: Vec<&str> = line.split('`').skip(1).step_by(2).collect();
        let listed: Vec<&str> = listed
            .into_iter()
            .take_while(|code| *code != "denied")
            .collect();
        let known: Vec<&str> = Event::ALL.iter().map(|event| event.as_str()).collect();
        assert_eq!(listed, known);
    }
}
