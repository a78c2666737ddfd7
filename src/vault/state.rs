//! The transaction row: everything that the vault keeps of one transaction, in one value
//! (`docs/format.md` §4). One row means one read and one write a call.

use crate::clock::Timestamp;
use crate::codec::{Malformed, Reader, Writer};
use crate::ids::{PrincipalId, Site};
use crate::keys::{Encapsulation, KeyName};
use crate::limits;
use crate::payment::{Assurance, DetailsKind, Expiry, Masked, Selector, Token};
use crate::policy::{Grant, Purpose, Standing, Terms};
use crate::secret::SecretBuffer;
use subtle::ConstantTimeEq;

/// What became of a token's security code, as far as the row knows. The code itself has no field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum CodeMark {
    /// None was handed in.
    None = 0,
    /// One was handed in.
    Given = 1,
    /// It was released.
    Released = 2,
}

/// Redemptions by one party for one purpose.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// Position of the party in the terms.
    pub party: u8,
    /// The purpose.
    pub purpose: Purpose,
    /// How many.
    pub count: u8,
}

/// A token as its transaction's row has it.
#[derive(Clone)]
pub struct TokenState {
    /// Finds the record.
    pub selector: [u8; 16],
    /// Digest of the token's secret half.
    pub secret_hash: [u8; 32],
    /// When it was made.
    pub created_at: Timestamp,
    /// Revoked or replaced.
    pub revoked: bool,
    /// What became of the security code.
    pub code: CodeMark,
    /// What the use of its sealed details is known by, when they came sealed.
    pub encapsulation: Option<Encapsulation>,
    /// What may be shown.
    pub masked: Masked,
    /// The inner record: opens only with the token.
    pub record: Vec<u8>,
    /// Redemptions so far.
    pub used: Vec<Used>,
}

impl TokenState {
    /// Redemptions by `party` for `purpose`.
    pub fn used(&self, party: usize, purpose: Purpose) -> u8 {
        self.used
            .iter()
            .find(|u| usize::from(u.party) == party && u.purpose == purpose)
            .map_or(0, |u| u.count)
    }

    /// Redemptions that `grant` leaves to `party`.
    pub fn uses_left(&self, party: usize, grant: &Grant) -> u8 {
        grant
            .uses_max
            .saturating_sub(self.used(party, grant.purpose))
    }

    /// Counts one redemption.
    pub fn count_use(&mut self, party: usize, purpose: Purpose) {
        let party = u8::try_from(party).expect("bounded by PARTIES_MAX");
        match self
            .used
            .iter_mut()
            .find(|u| u.party == party && u.purpose == purpose)
        {
            Some(used) => used.count += 1,
            None => self.used.push(Used {
                party,
                purpose,
                count: 1,
            }),
        }
    }
}

/// A successful request that a retry may find again (§4.2).
#[derive(Clone)]
pub struct Remembered {
    /// First half of the request's keyed hash.
    pub tag: [u8; 16],
    /// Which call, as the number in [`super::commands::call_code`].
    pub rpc: u8,
    /// Whose it is, as [`TransactionState::owner`] has it.
    pub owner: u8,
    /// When it succeeded.
    pub at: Timestamp,
    /// Day of the replay key.
    pub day: u32,
    /// The sealed answer.
    pub answer: Vec<u8>,
}

/// A transaction.
#[derive(Clone)]
pub struct TransactionState {
    /// When it was opened.
    pub opened_at: Timestamp,
    /// Index of the entry that says so.
    pub opened_entry: u64,
    /// Its terms.
    pub terms: Terms,
    /// Digest of the terms; derived, kept at hand.
    pub terms_digest: [u8; 32],
    /// Closed by the portal.
    pub closed: bool,
    /// Index of the entry that changed it last.
    pub last_entry: u64,
    /// Leaf hash of that entry.
    pub last_leaf: [u8; 32],
    /// Its tokens, in the order in which they were made.
    pub tokens: Vec<TokenState>,
    /// Requests that may be retried.
    pub requests: Vec<Remembered>,
    /// The key of the hold that keeps it, once its bucket has ended; the row's own key id says so.
    pub held: Option<KeyName>,
    /// Upper bound of the row's bytes, kept as the row grows.
    bytes: usize,
}

/// Bytes that a remembered request adds at the most.
pub const REQUEST_BYTES: usize = 160;
/// Bytes that a use of a new party and purpose adds.
pub const USE_BYTES: usize = 3;
/// Bytes that sealing adds.
const SEAL_BYTES: usize = 64;

impl TransactionState {
    /// A new transaction without tokens.
    pub fn new(terms: Terms, opened_at: Timestamp, opened_entry: u64) -> TransactionState {
        TransactionState {
            opened_at,
            opened_entry,
            terms_digest: terms.digest(),
            terms,
            closed: false,
            last_entry: 0,
            last_leaf: [0; 32],
            tokens: Vec::new(),
            requests: Vec::new(),
            held: None,
            // Terms are bounded by what the api lets in; this is above their largest encoding.
            bytes: 1_024,
        }
    }

    /// Makes room for `bytes` more; false, and no change, when the row would pass its bound.
    pub fn reserve(&mut self, bytes: usize) -> bool {
        let fits = self.bytes + bytes + SEAL_BYTES <= limits::VALUE_BYTES_MAX;
        if fits {
            self.bytes += bytes;
        }
        fits
    }

    /// The number of a tied caller in the row: 0 the portal, then the parties in the order of the
    /// terms.
    pub fn owner(&self, caller: PrincipalId) -> u8 {
        let party = self
            .terms
            .parties
            .iter()
            .position(|p| p.principal == caller);
        party.map_or(0, |p| u8::try_from(p + 1).expect("bounded by PARTIES_MAX"))
    }

    /// Whether another request of `owner` can be remembered. What is left belongs to who comes
    /// first, but for a few places for each other tied caller: nobody can take away another's
    /// means to call at all.
    pub fn has_room_for(&self, owner: u8) -> bool {
        let of = |who: u8| self.requests.iter().filter(|r| r.owner == who).count();
        let last = u8::try_from(self.terms.parties.len()).expect("bounded by PARTIES_MAX");
        let kept: usize = (0..=last)
            .filter(|who| *who != owner)
            .map(|who| limits::REQUESTS_PER_CALLER_MIN.saturating_sub(of(who)))
            .sum();
        self.requests.len() + kept < limits::REQUESTS_REMEMBERED_MAX
    }

    /// Its site.
    pub fn site(&self) -> Site {
        self.terms.site
    }

    /// What policy needs to know, for a call that names `token`.
    pub fn standing(&self, token: Option<usize>) -> Standing {
        Standing {
            closed: self.closed,
            token_revoked: token.is_some_and(|index| self.tokens[index].revoked),
        }
    }

    /// Position of a token whose selector **and** secret are right. Every token is looked at, and
    /// secrets are compared in constant time.
    pub fn find(&self, token: &Token) -> Option<usize> {
        let hash = token.secret_hash();
        let Selector(selector) = token.selector();
        let mut found = None;
        for (index, candidate) in self.tokens.iter().enumerate() {
            let same = candidate.selector.ct_eq(&selector) & candidate.secret_hash.ct_eq(&hash);
            if bool::from(same) {
                found = Some(index);
            }
        }
        found
    }

    /// Whether a token's selector is known, right secret or not: for the ledger's true reason.
    pub fn knows_selector(&self, token: &Token) -> bool {
        let Selector(selector) = token.selector();
        self.tokens.iter().any(|t| t.selector == selector)
    }

    /// Forgets requests that are older than a day.
    pub fn forget_old_requests(&mut self, now: Timestamp) {
        self.requests
            .retain(|r| now.since_ms(r.at) < limits::REQUEST_MEMORY_MS);
    }

    /// The row's plaintext.
    pub fn encode(&self) -> SecretBuffer {
        let mut w = Writer::with_capacity(self.bytes);
        w.u8(1).u64(self.opened_at.0).u64(self.opened_entry);
        self.terms.encode_into(&mut w);
        w.u8(if self.closed { 2 } else { 1 })
            .u64(self.last_entry)
            .raw(&self.last_leaf);
        w.u8(u8::try_from(self.tokens.len()).expect("bounded by TOKENS_PER_TRANSACTION_MAX"));
        for token in &self.tokens {
            let expiry = token.masked.expiry.unwrap_or(Expiry { year: 0, month: 0 });
            w.raw(&token.selector)
                .raw(&token.secret_hash)
                .u64(token.created_at.0)
                .u8(u8::from(token.revoked))
                .u8(token.code as u8)
                .raw(kind_and_more(&token.masked, token.encapsulation).as_slice())
                .str(&token.masked.number)
                .str(&token.masked.brand)
                .str(&token.masked.country)
                .u16(expiry.year)
                .u8(expiry.month)
                .bytes(&token.record);
            w.u8(u8::try_from(token.used.len()).expect("one a party and purpose"));
            for used in &token.used {
                w.u8(used.party).u8(used.purpose as u8).u8(used.count);
            }
        }
        w.u8(u8::try_from(self.requests.len()).expect("bounded by REQUESTS_REMEMBERED_MAX"));
        for request in &self.requests {
            w.raw(&request.tag)
                .u8(request.rpc)
                .u8(request.owner)
                .u64(request.at.0)
                .u32(request.day)
                .bytes(&request.answer);
        }
        w.finish()
    }

    /// Reads the row's plaintext.
    ///
    /// # Errors
    /// When it does not have the shape of §4.
    pub fn decode(bytes: &[u8]) -> Result<TransactionState, Malformed> {
        let mut r = Reader::new(bytes);
        if r.u8()? != 1 {
            return Err(Malformed::new("transaction: unknown version"));
        }
        let opened_at = Timestamp(r.u64()?);
        let opened_entry = r.u64()?;
        let terms = Terms::decode_from(&mut r)?;
        let closed = match r.u8()? {
            1 => false,
            2 => true,
            _ => return Err(Malformed::new("transaction: unknown state")),
        };
        let last_entry = r.u64()?;
        let last_leaf = r.array()?;
        let mut tokens = Vec::new();
        for _ in 0..r.u8()? {
            tokens.push(decode_token(&mut r)?);
        }
        let mut requests = Vec::new();
        for _ in 0..r.u8()? {
            requests.push(Remembered {
                tag: r.array()?,
                rpc: r.u8()?,
                owner: r.u8()?,
                at: Timestamp(r.u64()?),
                day: r.u32()?,
                answer: r.bytes()?.to_vec(),
            });
        }
        r.end()?;
        Ok(TransactionState {
            opened_at,
            opened_entry,
            terms_digest: terms.digest(),
            terms,
            closed,
            last_entry,
            last_leaf,
            tokens,
            requests,
            held: None,
            bytes: bytes.len(),
        })
    }
}

/// Added to the kind's byte when assurance and bank follow: where both are what they are for a
/// card, the bytes are as they were before there were others.
const MORE: u8 = 128;
/// Added when the encapsulation of sealed details follows.
const SEALED: u8 = 64;

fn kind_and_more(masked: &Masked, sealed: Option<Encapsulation>) -> Writer {
    let mut w = Writer::with_capacity(80);
    let more = masked.assurance != Assurance::Checked || !masked.bank.is_empty();
    let flags = if more { MORE } else { 0 } | sealed.map_or(0, |_| SEALED);
    w.u8(masked.kind.as_u8() | flags);
    if more {
        w.u8(masked.assurance.as_u8()).str(&masked.bank);
    }
    if let Some(Encapsulation(of)) = sealed {
        w.raw(&of);
    }
    w
}

fn decode_token(r: &mut Reader<'_>) -> Result<TokenState, Malformed> {
    let selector = r.array()?;
    let secret_hash = r.array()?;
    let created_at = Timestamp(r.u64()?);
    let revoked = r.bool()?;
    let code = match r.u8()? {
        0 => CodeMark::None,
        1 => CodeMark::Given,
        2 => CodeMark::Released,
        _ => return Err(Malformed::new("token: unknown code mark")),
    };
    let byte = r.u8()?;
    let kind = DetailsKind::from_u8(byte & !(MORE | SEALED))?;
    let (assurance, bank) = match byte & MORE {
        0 => (Assurance::Checked, String::new()),
        _ => (Assurance::from_u8(r.u8()?)?, r.str()?.to_owned()),
    };
    if byte & MORE != 0 && assurance == Assurance::Checked && bank.is_empty() {
        return Err(Malformed::new("token: nothing more to say, but said"));
    }
    let encapsulation = match byte & SEALED {
        0 => None,
        _ => Some(Encapsulation(r.array()?)),
    };
    let number = r.str()?.to_owned();
    let brand = r.str()?.to_owned();
    let country = r.str()?.to_owned();
    let expiry = match (r.u16()?, r.u8()?) {
        (0, 0) => None,
        (year @ 1.., month @ 1..=12) => Some(Expiry { year, month }),
        _ => return Err(Malformed::new("token: impossible expiry")),
    };
    let record = r.bytes()?.to_vec();
    let mut used = Vec::new();
    for _ in 0..r.u8()? {
        used.push(Used {
            party: r.u8()?,
            purpose: Purpose::from_code(r.u8()?).ok_or(Malformed::new("token: unknown purpose"))?,
            count: r.u8()?,
        });
    }
    Ok(TokenState {
        selector,
        secret_hash,
        created_at,
        revoked,
        code,
        encapsulation,
        masked: Masked {
            kind,
            number,
            brand,
            country,
            assurance,
            bank,
            expiry,
        },
        record,
        used,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A token's bytes as `docs/format.md` section 4.1 has them, with what stands for its kind.
    fn token(kind: &[u8]) -> Vec<u8> {
        let mut w = Writer::with_capacity(256);
        w.raw(&[1; 16]).raw(&[2; 32]).u64(3).u8(0).u8(0);
        w.raw(kind).str("990101 ****4958").str("").str("GB");
        w.u16(0).u8(0).bytes(b"record").u8(0);
        w.finish().to_vec()
    }

    fn read(kind: &[u8]) -> Option<(DetailsKind, Assurance, String)> {
        let bytes = token(kind);
        let mut r = Reader::new(&bytes);
        let token = decode_token(&mut r).ok()?;
        r.end().ok()?;
        let masked = token.masked;
        let again = kind_and_more(&masked, token.encapsulation);
        assert_eq!(again.as_slice(), kind, "one spelling");
        Some((masked.kind, masked.assurance, masked.bank))
    }

    #[test]
    fn a_token_from_before_banks_and_checks_were_kept_is_read() {
        for kind in [DetailsKind::Card, DetailsKind::Iban, DetailsKind::UsAccount] {
            let expected = Some((kind, Assurance::Checked, String::new()));
            assert_eq!(read(&[kind.as_u8()]), expected);
        }
    }

    #[test]
    fn an_encapsulation_is_read_where_the_kind_says_that_it_follows() {
        let encapsulation = |kind: &[u8]| {
            let bytes = token(kind);
            let mut r = Reader::new(&bytes);
            let token = decode_token(&mut r).ok()?;
            r.end().ok()?;
            let again = kind_and_more(&token.masked, token.encapsulation);
            assert_eq!(again.as_slice(), kind, "one spelling");
            token.encapsulation
        };
        assert_eq!(encapsulation(&[1]), None);
        let own = Some(Encapsulation([5; 16]));
        assert_eq!(encapsulation(&[&[65][..], &[5; 16]].concat()), own);
        let mut w = Writer::with_capacity(64);
        w.u8(196).u8(2).str("990101").raw(&[5; 16]);
        assert_eq!(encapsulation(w.as_slice()), own);
        assert_eq!(
            encapsulation(&[&[64][..], &[5; 16]].concat()),
            None,
            "no kind"
        );
    }

    #[test]
    fn bank_and_check_are_read_where_the_kind_says_that_they_follow() {
        let more = |kind: u8, assurance: u8, bank: &str| {
            let mut w = Writer::with_capacity(64);
            w.u8(kind).u8(assurance).str(bank);
            read(w.as_slice())
        };
        let uk = (
            DetailsKind::UkAccount,
            Assurance::PresumedValid,
            "990101".to_owned(),
        );
        assert_eq!(more(132, 2, "990101"), Some(uk));
        let giro = (DetailsKind::Bankgiro, Assurance::NotChecked, String::new());
        assert_eq!(more(134, 3, ""), Some(giro));
        assert_eq!(more(132, 1, ""), None, "nothing more, but said");
        assert_eq!(more(132, 0, "990101"), None);
        assert_eq!(more(132, 4, "990101"), None);
        assert_eq!(more(137, 1, "990101"), None, "no kind");
        assert_eq!(more(128, 1, "990101"), None, "no kind");
    }
}
