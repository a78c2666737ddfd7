//! What the vault answered instead of doing what it was asked, with an exit code and a word on what to
//! do.

pub use crate::api::refused::{Refused, code_name};
use tonic::Code;

impl Refused {
    /// The exit code: 4 for whoever isn't let in, 5 where a later try may help, 3 for a policy
    /// reason, 1 for a defect.
    pub fn exit_code(&self) -> u8 {
        match (self.code, self.reason.as_str()) {
            (Code::Unauthenticated, _) | (_, "LOCKED" | "AGREEMENT_NOT_IN_FORCE") => 4,
            (Code::Unavailable | Code::DeadlineExceeded, _) => 5,
            (Code::Internal | Code::Unknown | Code::DataLoss | Code::Unimplemented, _) => 1,
            _ => 3,
        }
    }

    /// What a program reads.
    pub fn to_json(&self) -> serde_json::Value {
        let violations: Vec<_> = self
            .violations
            .iter()
            .map(|(field, problem)| serde_json::json!({"field": field, "problem": problem}))
            .collect();
        serde_json::json!({
            "code": code_name(self.code),
            "reason": self.reason,
            "message": self.message,
            "violations": violations,
            "retry_after_ms": self.retry_after.map(|delay| delay.as_millis() as u64),
            "advice": self.advice(),
        })
    }

    /// What a person reads: all of it, and what to do about it.
    pub fn in_words(&self) -> String {
        let advice = self.advice();
        if advice.is_empty() {
            return self.to_string();
        }
        format!("{self}\n{advice}")
    }

    /// What to do about it, in a sentence (`docs/errors.md` has more).
    pub fn advice(&self) -> &'static str {
        match self.reason.as_str() {
            "" if self.code == Code::Unavailable => {
                "No answer of the vault's own: is it running, is the address right, and is the \
                 certificate one that it trusts?"
            }
            "" if self.code == Code::Unimplemented => "Client and vault differ in version.",
            "" => "",
            "NO_CERTIFICATE_IDENTITY" => "Use a certificate that has exactly one URI.",
            "PRINCIPAL_UNKNOWN" => "Nobody enrolled this certificate: ask an operator.",
            "PRINCIPAL_DISABLED" => "Ask an operator to enrol a new principal.",
            "AGREEMENT_NOT_IN_FORCE" => "Sign a new agreement and be enrolled anew.",
            "SESSION_REQUIRED" => "Give your secret: --secret-file FILE.",
            "SESSION_ENDED" => "Try again: a new session is begun.",
            "BAD_SECRET" => "Give the right secret: ten bad tries lock for 30 minutes.",
            "LOCKED" => "Wait for 30 minutes, or ask an operator for a new secret.",
            "ROLE_NOT_ALLOWED" => "This role never makes this call: use another certificate.",
            "SITE_NOT_ALLOWED" => "This principal does not serve the site.",
            "TERMS_NOT_ALLOWED" => {
                "The allow-list does not cover these terms: an operator looks with `payvault \
                 allow list`."
            }
            "SAME_OPERATOR" => "Another operator has to approve.",
            "INVALID_REQUEST" => "Mend what is named.",
            "CREDENTIAL_TAKEN" => "Issue a certificate with another URI.",
            "NAME_TAKEN" => "Choose another name.",
            "UNKNOWN_PRINCIPAL" => "`payvault principal list` shows who is enrolled.",
            "UNKNOWN_KEY" | "KEY_STATE" => "`payvault keys list` shows each key and its state.",
            "NOT_PENDING" => "`payvault status` lists what waits.",
            "NOT_TIED" => "Check transaction and token, and that the terms name this caller.",
            "PURPOSE_NOT_GRANTED" | "FIELD_NOT_GRANTED" => {
                "Terms never change: the portal opens a new transaction with other terms."
            }
            "EXPIRED" | "CLOSED" => "Over: the portal opens a new transaction.",
            "USED_UP" => "No use is left for this token, party and purpose.",
            "REVOKED" => "Ask the portal for the token that replaces it.",
            "RATE_LIMITED" | "QUEUE_FULL" | "TRANSACTION_FULL" => "Wait, then try again.",
            "STORAGE_FULL" => "An operator has to make space.",
            "WRONG_SEAL" => "`payvault status` says what opens the vault.",
            "BAD_PIN" => "Ask who keeps the token how many tries are left, before another one.",
            "PIN_LOCKED" => "The token's security officer sets a new PIN.",
            "HSM_MODULE" => "An operator sets pkcs11.module; the vault's log says what is amiss.",
            "HSM_TOKEN_MISSING" | "HSM_FAILED" => {
                "Look whether the security module is there; the vault's log says more."
            }
            "HSM_KEY_MISSING" | "HSM_KEY_FOREIGN" => {
                "Look for the right token, or restore the token's own backup."
            }
            "KMS_UNREACHABLE" | "KMS_KEY_REFUSED" | "KMS_KEY_FOREIGN" | "KMS_NOT_BUILT" => {
                "An operator looks at the vault's log, and at the key's policy."
            }
            "SHARE_DAMAGED" => "Decrypt your share again; it begins with pvs_a.",
            "SHARE_FOREIGN" | "SHARE_OUTDATED" => {
                "Look for your share of this vault's present seal."
            }
            "SHARE_REPEATED" => "Yours is there. Another custodian has to come.",
            "SHARES_MISSING" => "Give the share again when the other custodians come.",
            "SHARE_NOT_YOURS" => "Each custodian brings the own share by the own certificate.",
            "SEALED" => "An operator unseals: `payvault unseal`.",
            "DRAINING" => "The vault is stopping: try again later.",
            "STREAM_ENDED" => "Open another stream, and go on with what has no result.",
            "LEDGER_UNAVAILABLE" | "CLOCK_SUSPECT" => {
                "Nothing was released. An operator looks at the vault's log; try again later."
            }
            "INTEGRITY" => "Tell an operator at once, and don't try again.",
            _ => "See docs/errors.md.",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::time::Duration;
    use tonic::Status;
    use tonic_types::{ErrorDetails, StatusExt};

    #[test]
    fn reason_violations_and_delay_are_read_and_shown() {
        let mut details = ErrorDetails::with_error_info("USED_UP", "payvault", HashMap::new());
        details.add_bad_request_violation("details.card.number", "wrong check digit");
        details.set_retry_info(Some(Duration::from_millis(250)));
        let status =
            Status::with_error_details(Code::FailedPrecondition, "no use is left", details);
        let refused = Refused::from(&status);
        let shown = refused.in_words();
        for part in [
            "USED_UP",
            "no use is left",
            "details.card.number: wrong check digit",
            "250 ms",
            refused.advice(),
        ] {
            assert!(shown.contains(part), "{part} is missing in: {shown}");
        }
        assert_eq!(refused.exit_code(), 3);
        assert_eq!(refused.to_json()["retry_after_ms"], 250);
    }

    #[test]
    fn every_documented_reason_has_advice_of_its_own_or_the_page() {
        let page = include_str!("../../docs/errors.md");
        let reasons = page
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let mut seen = 0;
        for reason in reasons.filter(|r| r.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')) {
            let refused = Refused {
                code: Code::FailedPrecondition,
                reason: reason.to_owned(),
                message: String::new(),
                violations: Vec::new(),
                retry_after: None,
                unknown: false,
            };
            assert!(!refused.advice().is_empty(), "{reason}");
            seen += 1;
        }
        assert!(seen > 25, "the page has no table of reasons");
    }
}
