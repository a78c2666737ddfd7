//! The terms that a portal asks for.

use crate::api::convert;
use crate::api::proto as pb;
use crate::clock::Timestamp;
use crate::ids::Site;
use crate::policy::{Amount, Party};

/// Who may get what of a transaction, for which purpose, how often and until when. Fixed when it is
/// opened; whoever opens it is its portal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Site of the portal, such as "nl".
    pub site: Site,
    /// The processors that take part: 1 to 4, each named once.
    pub parties: Vec<Party>,
    /// Details are taken until then.
    pub expires_at: Timestamp,
    /// The last redemption is possible until then.
    pub release_until: Timestamp,
    /// What is to be paid.
    pub amount: Option<Amount>,
    /// Merchant id: up to 64 printable ASCII characters; empty when there is none.
    pub merchant: String,
    /// The portal's own reference, same bounds.
    pub reference: String,
}

impl Terms {
    /// Terms without an amount and references.
    pub fn new(
        site: Site,
        parties: Vec<Party>,
        expires_at: Timestamp,
        release_until: Timestamp,
    ) -> Terms {
        Terms {
            site,
            parties,
            expires_at,
            release_until,
            amount: None,
            merchant: String::new(),
            reference: String::new(),
        }
    }

    pub(super) fn message(&self) -> pb::Terms {
        pb::Terms {
            site: self.site.to_string(),
            parties: self.parties.iter().map(convert::party_message).collect(),
            expires_at: Some(convert::time(self.expires_at)),
            release_until: Some(convert::time(self.release_until)),
            amount: self.amount.map(convert::amount_message),
            merchant: self.merchant.clone(),
            reference: self.reference.clone(),
        }
    }
}
