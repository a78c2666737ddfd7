//! The judgement: the table applied to a caller, a transaction and a token.

use super::denial::Denial;
use super::principal::{Principal, Role};
use super::table::{Needs, Rpc, rule};
use super::terms::{Field, FieldSet, Purpose, Terms};
use crate::clock::Timestamp;
use crate::ids::PrincipalId;

/// Where a transaction stands at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Takes details and redemptions.
    Open,
    /// Past `expires_at`: redemptions only.
    DetailsEnded,
    /// Past `release_until`: nothing.
    ReleaseEnded,
    /// Closed by the portal: nothing.
    Closed,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Phase; 4] = [
        Phase::Open,
        Phase::DetailsEnded,
        Phase::ReleaseEnded,
        Phase::Closed,
    ];
}

/// What policy needs to know of a transaction's state.
#[derive(Debug, Clone, Copy)]
pub struct Standing {
    /// Closed by the portal.
    pub closed: bool,
    /// Revoked or replaced, when the call names a token.
    pub token_revoked: bool,
}

/// How a principal is tied to a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// The portal that opened it.
    Owner,
    /// A processor that the terms name, at this position.
    Party(usize),
    /// Not tied.
    Stranger,
}

/// Proof that a release was judged: made by [`release`] alone, needed to take plaintext out of a
/// record.
pub struct Granted {
    party: usize,
    purpose: Purpose,
    fields: FieldSet,
    uses_left: u8,
}

impl Granted {
    /// Position of the party in the terms.
    pub fn party(&self) -> usize {
        self.party
    }
    /// The purpose.
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }
    /// The fields that may leave, and no other.
    pub fn fields(&self) -> FieldSet {
        self.fields
    }
    /// Uses that are left once this one is counted.
    pub fn uses_left(&self) -> u8 {
        self.uses_left
    }
}

/// Proof that what stands behind a token may be opened for its fingerprint, and for nothing else:
/// made by [`recognise`] alone.
pub struct Recognised(());

/// Whether the principal may make the call at all: enabled, agreement, role, session.
///
/// # Errors
/// The first reason against it, in that order.
pub fn admit(
    rpc: Rpc,
    principal: &Principal,
    has_session: bool,
    now: Timestamp,
) -> Result<(), Denial> {
    if principal.disabled || principal.is_idle(now) {
        return Err(Denial::PrincipalDisabled);
    }
    if principal.role.is_human() {
        let in_force = principal
            .agreement
            .as_ref()
            .is_some_and(|a| a.valid_from <= now && now < a.valid_until);
        if !in_force {
            return Err(Denial::AgreementNotInForce);
        }
    }
    let rule = rule(rpc);
    if !rule.roles.contains(&principal.role) {
        return Err(Denial::RoleNotAllowed);
    }
    if rule.session && principal.role.is_human() && !has_session {
        return Err(Denial::SessionRequired);
    }
    Ok(())
}

/// How `principal` is tied to a transaction under `terms`.
pub fn relation(principal: PrincipalId, terms: &Terms) -> Relation {
    if terms.portal == principal {
        return Relation::Owner;
    }
    match terms.parties.iter().position(|p| p.principal == principal) {
        Some(index) => Relation::Party(index),
        None => Relation::Stranger,
    }
}

/// The phase of a transaction at `now`.
pub fn phase(terms: &Terms, closed: bool, now: Timestamp) -> Phase {
    if closed {
        Phase::Closed
    } else if now >= terms.release_until {
        Phase::ReleaseEnded
    } else if now >= terms.expires_at {
        Phase::DetailsEnded
    } else {
        Phase::Open
    }
}

/// Whether the tie, the phase and the token's standing permit the call.
///
/// # Errors
/// To strangers a reason that [`Denial::is_not_tied`]; to the tied the true one.
pub fn judge(
    rpc: Rpc,
    principal: &Principal,
    terms: &Terms,
    standing: Standing,
    now: Timestamp,
) -> Result<Relation, Denial> {
    let rule = rule(rpc);
    let relation = relation(principal.id, terms);
    let tied = match (rule.needs, relation) {
        (Needs::Nothing, _) => true,
        (Needs::Owner, Relation::Owner) => true,
        (Needs::Party, Relation::Party(_)) => true,
        (Needs::OwnerOrParty, Relation::Owner | Relation::Party(_)) => true,
        (Needs::Owner | Needs::Party | Needs::OwnerOrParty, _) => false,
    };
    if !tied {
        return Err(match principal.role {
            Role::Portal => Denial::NotOwner,
            _ => Denial::NotAParty,
        });
    }
    if !principal.serves(terms.site) {
        return Err(Denial::SiteNotAllowed);
    }
    let phase = phase(terms, standing.closed, now);
    if !rule.phases.contains(&phase) {
        return Err(match phase {
            Phase::Closed => Denial::Closed,
            Phase::Open | Phase::DetailsEnded | Phase::ReleaseEnded => Denial::Expired,
        });
    }
    if rule.live_token && standing.token_revoked {
        return Err(Denial::Revoked);
    }
    Ok(relation)
}

/// Whether plaintext may be released: everything of [`judge`], and purpose, fields and uses.
/// `used` is how often this party redeemed this token for this purpose; `None` leaves the count
/// out, for the repetition of a success.
///
/// # Errors
/// The true reason; to strangers one that [`Denial::is_not_tied`].
pub fn release(
    principal: &Principal,
    terms: &Terms,
    standing: Standing,
    purpose: Purpose,
    fields: FieldSet,
    used: impl FnOnce(usize) -> Option<u8>,
    now: Timestamp,
) -> Result<Granted, Denial> {
    let Relation::Party(party) = judge(Rpc::Redeem, principal, terms, standing, now)? else {
        return Err(Denial::NotAParty);
    };
    let grant = terms.parties[party]
        .grants
        .iter()
        .find(|grant| grant.purpose == purpose)
        .ok_or(Denial::PurposeNotGranted)?;
    let only_authorize = fields.contains(Field::SecurityCode) && purpose != Purpose::Authorize;
    if fields.is_empty() || !fields.is_within(grant.fields) || only_authorize {
        return Err(Denial::FieldNotGranted);
    }
    let uses_left = match used(party) {
        None => 0,
        Some(used) if used >= grant.uses_max => return Err(Denial::UsedUp),
        Some(used) => grant.uses_max - used - 1,
    };
    Ok(Granted {
        party,
        purpose,
        fields,
        uses_left,
    })
}

/// Whether the portal that brings a token may get the fingerprint of what stands behind it: the one
/// that opened the transaction, as long as the token still gives anything to anybody. Whether the
/// site has fingerprints at all is the caller's to know.
pub fn recognise(
    principal: &Principal,
    terms: &Terms,
    standing: Standing,
    now: Timestamp,
) -> Option<Recognised> {
    let own = relation(principal.id, terms) == Relation::Owner && principal.serves(terms.site);
    let live = match phase(terms, standing.closed, now) {
        Phase::Open | Phase::DetailsEnded => !standing.token_revoked,
        Phase::ReleaseEnded | Phase::Closed => false,
    };
    (own && live).then_some(Recognised(()))
}
