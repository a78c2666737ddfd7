//! Terms: what the parties of a transaction may get. Immutable; their digest is part of what the
//! record's tag covers, so that edited terms open nothing.

use crate::clock::Timestamp;
use crate::codec::{Malformed, Reader, Writer};
use crate::ids::{PrincipalId, Site};
use crate::limits;
use crate::payment::luhn::contains_card_number;
use sha2::{Digest, Sha256};

/// Why a processor asks for plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Purpose {
    /// Ask the issuer to authorize; alone carries the security code.
    Authorize = 1,
    /// Capture an authorized amount.
    Capture = 2,
    /// Give money back.
    Refund = 3,
    /// Pay out to the account.
    Payout = 4,
    /// Verify the account.
    Verify = 5,
    /// Answer a dispute.
    Dispute = 6,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Purpose; 6] = [
        Purpose::Authorize,
        Purpose::Capture,
        Purpose::Refund,
        Purpose::Payout,
        Purpose::Verify,
        Purpose::Dispute,
    ];

    /// Its code in rows and in the contract.
    pub fn from_code(code: u8) -> Option<Purpose> {
        Purpose::ALL.into_iter().find(|p| *p as u8 == code)
    }

    /// Its name in the ledger and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Purpose::Authorize => "authorize",
            Purpose::Capture => "capture",
            Purpose::Refund => "refund",
            Purpose::Payout => "payout",
            Purpose::Verify => "verify",
            Purpose::Dispute => "dispute",
        }
    }
}

/// A field that can be granted and asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Field {
    /// PAN, IBAN, or routing and account number.
    Number = 1,
    /// A card's expiry.
    Expiry = 2,
    /// The holder's name.
    Holder = 3,
    /// The last four characters of the number.
    LastFour = 4,
    /// The card security code.
    SecurityCode = 5,
    /// Billing postcode and address.
    Billing = 6,
}

impl Field {
    /// Every field.
    pub const ALL: [Field; 6] = [
        Field::Number,
        Field::Expiry,
        Field::Holder,
        Field::LastFour,
        Field::SecurityCode,
        Field::Billing,
    ];

    /// Its code in rows and in the contract.
    pub fn from_code(code: u8) -> Option<Field> {
        Field::ALL.into_iter().find(|f| *f as u8 == code)
    }

    /// Its name in the ledger and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Field::Number => "number",
            Field::Expiry => "expiry",
            Field::Holder => "holder",
            Field::LastFour => "last_four",
            Field::SecurityCode => "security_code",
            Field::Billing => "billing",
        }
    }
}

/// A set of fields: bit *n*−1 stands for the field with code *n*.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct FieldSet(u8);

impl FieldSet {
    /// Reads the bits.
    pub fn from_bits(bits: u8) -> Option<FieldSet> {
        (bits & !0b11_1111 == 0).then_some(FieldSet(bits))
    }

    /// The bits.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// This set and one more field.
    #[must_use]
    pub fn with(self, field: Field) -> FieldSet {
        FieldSet(self.0 | 1 << (field as u8 - 1))
    }

    /// This set without a field.
    #[must_use]
    pub fn without(self, field: Field) -> FieldSet {
        FieldSet(self.0 & !(1 << (field as u8 - 1)))
    }

    /// Whether `field` is in it.
    pub fn contains(self, field: Field) -> bool {
        self.0 & (1 << (field as u8 - 1)) != 0
    }

    /// Whether all of it is in `other`.
    pub fn is_within(self, other: FieldSet) -> bool {
        self.0 & !other.0 == 0
    }

    /// Whether it has no field.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its fields in the order of their codes.
    pub fn iter(self) -> impl Iterator<Item = Field> {
        Field::ALL.into_iter().filter(move |f| self.contains(*f))
    }
}

impl FromIterator<Field> for FieldSet {
    fn from_iter<I: IntoIterator<Item = Field>>(fields: I) -> FieldSet {
        fields.into_iter().fold(FieldSet::default(), FieldSet::with)
    }
}

/// What a party may do for one purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// The purpose.
    pub purpose: Purpose,
    /// The fields; never empty; the security code with [`Purpose::Authorize`] only.
    pub fields: FieldSet,
    /// Redemptions of each token: 1 to [`limits::USES_MAX`].
    pub uses_max: u8,
}

/// A processor that takes part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    /// Who.
    pub principal: PrincipalId,
    /// One grant a purpose, sorted by purpose.
    pub grants: Vec<Grant>,
}

/// Money, exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amount {
    /// Minor units, not negative.
    pub minor_units: i64,
    /// ISO 4217 code.
    pub currency: [u8; 3],
}

/// Immutable terms. Built by the api from a valid request; parties are sorted by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The site.
    pub site: Site,
    /// The portal that opened the transaction.
    pub portal: PrincipalId,
    /// Details are taken until then.
    pub expires_at: Timestamp,
    /// Plaintext is released until then.
    pub release_until: Timestamp,
    /// What is to be paid.
    pub amount: Option<Amount>,
    /// Merchant id; empty when none.
    pub merchant: String,
    /// The portal's reference; empty when none.
    pub reference: String,
    /// The parties: 1 to [`limits::PARTIES_MAX`].
    pub parties: Vec<Party>,
}

impl Terms {
    /// Writes the terms (`docs/format.md` §3).
    pub fn encode_into(&self, w: &mut Writer) {
        w.raw(self.site.as_bytes())
            .raw(&self.portal.0)
            .u64(self.expires_at.0)
            .u64(self.release_until.0);
        match self.amount {
            None => {
                w.u8(0);
            }
            Some(amount) => {
                w.u8(1).i64(amount.minor_units).raw(&amount.currency);
            }
        }
        w.str(&self.merchant).str(&self.reference);
        w.u8(u8::try_from(self.parties.len()).expect("bounded by PARTIES_MAX"));
        for party in &self.parties {
            w.raw(&party.principal.0);
            w.u8(u8::try_from(party.grants.len()).expect("one grant a purpose"));
            for grant in &party.grants {
                w.u8(grant.purpose as u8)
                    .u8(grant.fields.bits())
                    .u8(grant.uses_max);
            }
        }
    }

    /// Reads the terms.
    ///
    /// # Errors
    /// When they do not have the shape of §3.
    pub fn decode_from(r: &mut Reader<'_>) -> Result<Terms, Malformed> {
        let site = Site::from_bytes(r.array()?)?;
        let portal = PrincipalId(r.array()?);
        let expires_at = Timestamp(r.u64()?);
        let release_until = Timestamp(r.u64()?);
        let amount = if r.bool()? {
            Some(Amount {
                minor_units: r.i64()?,
                currency: r.array()?,
            })
        } else {
            None
        };
        let merchant = r.str()?.to_owned();
        let reference = r.str()?.to_owned();
        let mut parties = Vec::new();
        for _ in 0..r.u8()? {
            let principal = PrincipalId(r.array()?);
            let mut grants = Vec::new();
            for _ in 0..r.u8()? {
                grants.push(Grant {
                    purpose: Purpose::from_code(r.u8()?)
                        .ok_or(Malformed::new("terms: unknown purpose"))?,
                    fields: FieldSet::from_bits(r.u8()?)
                        .ok_or(Malformed::new("terms: unknown field"))?,
                    uses_max: r.u8()?,
                });
            }
            parties.push(Party { principal, grants });
        }
        Ok(Terms {
            site,
            portal,
            expires_at,
            release_until,
            amount,
            merchant,
            reference,
            parties,
        })
    }

    /// The digest that the inner record's tag covers.
    pub fn digest(&self) -> [u8; 32] {
        let mut w = Writer::with_capacity(512);
        w.raw(b"payvault terms v1");
        self.encode_into(&mut w);
        Sha256::digest(w.as_slice()).into()
    }
}

/// Checks a caller's reference (merchant, reference, ticket, agreement): printable ASCII, bounded,
/// and no run of digits that could be a card number, since references stand in the ledger.
///
/// # Errors
/// What is wrong with it; never the value.
pub fn capped_reference(text: &str, chars_max: usize) -> Result<(), &'static str> {
    debug_assert!(chars_max <= limits::REASON_CHARS_MAX);
    if text.len() > chars_max {
        return Err("too long");
    }
    if !text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return Err("only printable ASCII characters are allowed");
    }
    if contains_card_number(text) {
        return Err("contains digits that could be a card number");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms() -> Terms {
        Terms {
            site: Site::parse("nl").unwrap(),
            portal: PrincipalId([1; 16]),
            expires_at: Timestamp(1_000),
            release_until: Timestamp(2_000),
            amount: Some(Amount {
                minor_units: 1_999,
                currency: *b"EUR",
            }),
            merchant: "m-1".into(),
            reference: "order 7".into(),
            parties: vec![Party {
                principal: PrincipalId([2; 16]),
                grants: vec![Grant {
                    purpose: Purpose::Authorize,
                    fields: FieldSet::default().with(Field::Number).with(Field::Expiry),
                    uses_max: 1,
                }],
            }],
        }
    }

    #[test]
    fn terms_are_read_back() {
        let mut w = Writer::default();
        terms().encode_into(&mut w);
        let bytes = w.finish();
        let mut r = Reader::new(&bytes);
        assert_eq!(Terms::decode_from(&mut r), Ok(terms()));
        assert_eq!(r.end(), Ok(()));
    }

    #[test]
    fn every_edit_changes_the_digest() {
        type Edit = fn(&mut Terms);
        let edits: [Edit; 9] = [
            |t| t.site = Site::parse("us").unwrap(),
            |t| t.portal = PrincipalId([9; 16]),
            |t| t.expires_at = Timestamp(1_001),
            |t| t.release_until = Timestamp(2_001),
            |t| t.amount = None,
            |t| t.merchant = "m-2".into(),
            |t| t.reference = "order 8".into(),
            |t| t.parties[0].principal = PrincipalId([3; 16]),
            |t| t.parties[0].grants[0].uses_max = 2,
        ];
        for (number, edit) in edits.iter().enumerate() {
            let mut edited = terms();
            edit(&mut edited);
            assert_ne!(edited.digest(), terms().digest(), "edit {number}");
        }
    }

    #[test]
    fn a_reference_that_could_be_a_card_is_refused() {
        assert!(capped_reference("order 20261123-7", 64).is_ok());
        assert!(capped_reference("4111 1111 1111 1111", 64).is_err());
        assert!(capped_reference("x4111111111111111y", 64).is_err());
        assert!(capped_reference("naïve", 64).is_err());
        assert!(capped_reference("a\nb", 64).is_err());
        assert!(capped_reference(&"a".repeat(65), 64).is_err());
    }
}
