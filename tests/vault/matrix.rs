//! The policy matrix, exhaustively: what the code decides against a table written from the
//! contract's comments (`proto/payvault/v1`) and not from the code.

use crate::house::*;
use payvault::clock::{DAY_MS, Timestamp};
use payvault::ids::PrincipalId;
use payvault::policy::{
    Denial, Field, FieldSet, Party, Principal, Purpose, Relation, Role, Rpc, Standing, Terms,
    admit, judge, release,
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Tie {
    Owner,
    Party,
    Stranger,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum When {
    Open,
    DetailsEnded,
    ReleaseEnded,
    Closed,
}

/// Who may make each call, after the `Caller:` lines of the contract.
fn callers(rpc: Rpc) -> &'static str {
    match rpc {
        Rpc::OpenTransaction
        | Rpc::Tokenize
        | Rpc::TokenizeStream
        | Rpc::RevokeToken
        | Rpc::CloseTransaction => "o",
        Rpc::GetTransaction | Rpc::DescribeToken => "op",
        Rpc::Redeem | Rpc::RedeemStream | Rpc::ReportOutcome => "p",
        Rpc::GetCheckpoint | Rpc::GetReceipt | Rpc::GetConsistencyProof | Rpc::GetCollectKey => {
            "opAOC"
        }
        Rpc::ExportLog | Rpc::TailLog => "A",
        Rpc::Login | Rpc::Logout | Rpc::GetStatus => "AOC",
        Rpc::Unseal => "OC",
        Rpc::Seal
        | Rpc::CreatePrincipal
        | Rpc::DisablePrincipal
        | Rpc::RotateSecret
        | Rpc::SetAllowance
        | Rpc::ApproveAction
        | Rpc::TakeBackup
        | Rpc::ConfirmRestore
        | Rpc::ConfirmClock
        | Rpc::PlaceHold
        | Rpc::LiftHold
        | Rpc::EraseTransaction
        | Rpc::RotateKey
        | Rpc::RewrapKeys
        | Rpc::CompromiseKey => "O",
        Rpc::ListPrincipals
        | Rpc::GetPrincipal
        | Rpc::ListAllowances
        | Rpc::ListKeys
        | Rpc::GetErasureReceipt
        | Rpc::ListHolds => "AO",
    }
}

fn letter(role: Role) -> char {
    match role {
        Role::Portal => 'o',
        Role::Processor => 'p',
        Role::Auditor => 'A',
        Role::Operator => 'O',
        Role::Custodian => 'C',
    }
}

/// Whether a call names a transaction, and who must be tied to it.
fn ties(rpc: Rpc) -> Option<&'static [Tie]> {
    match rpc {
        Rpc::Tokenize | Rpc::TokenizeStream | Rpc::RevokeToken | Rpc::CloseTransaction => {
            Some(&[Tie::Owner])
        }
        Rpc::Redeem | Rpc::RedeemStream | Rpc::ReportOutcome => Some(&[Tie::Party]),
        Rpc::GetTransaction | Rpc::DescribeToken => Some(&[Tie::Owner, Tie::Party]),
        _ => None,
    }
}

/// In which phases a tied caller succeeds.
fn phases(rpc: Rpc) -> &'static [When] {
    match rpc {
        Rpc::Tokenize | Rpc::TokenizeStream => &[When::Open],
        Rpc::Redeem | Rpc::RedeemStream => &[When::Open, When::DetailsEnded],
        _ => &[
            When::Open,
            When::DetailsEnded,
            When::ReleaseEnded,
            When::Closed,
        ],
    }
}

fn moment(when: When) -> (Timestamp, bool) {
    let at = start();
    match when {
        When::Open => (at, false),
        When::DetailsEnded => (at.plus_ms(HOUR_MS), false),
        When::ReleaseEnded => (at.plus_ms(DAY_MS), false),
        When::Closed => (at, true),
    }
}

const GRANTED: [Field; 3] = [Field::Number, Field::Expiry, Field::SecurityCode];
const USES: u8 = 2;

fn terms(portal: PrincipalId, party: PrincipalId) -> Terms {
    Terms {
        site: site("nl"),
        portal,
        expires_at: start().plus_ms(HOUR_MS),
        release_until: start().plus_ms(DAY_MS),
        amount: None,
        merchant: String::new(),
        reference: String::new(),
        parties: vec![
            Party {
                principal: PrincipalId::random(),
                grants: vec![grant(Purpose::Refund, &Field::ALL, 100)],
            },
            Party {
                principal: party,
                grants: vec![
                    grant(Purpose::Authorize, &GRANTED, USES),
                    grant(Purpose::Capture, &GRANTED, USES),
                ],
            },
        ],
    }
}

/// Terms to which `who` has the tie.
fn tied(who: &Principal, tie: Tie) -> Terms {
    match tie {
        Tie::Owner => terms(who.id, PrincipalId::random()),
        Tie::Party => terms(PrincipalId::random(), who.id),
        Tie::Stranger => terms(PrincipalId::random(), PrincipalId::random()),
    }
}

fn person(role: Role) -> Principal {
    let mut own = principal("somebody", role);
    own.sites = vec![site("nl")];
    own
}

#[test]
fn admission_is_by_role_session_standing_and_agreement() {
    let mut cases = 0;
    for rpc in Rpc::ALL.iter().copied() {
        for role in Role::ALL {
            for session in [false, true] {
                for state in 0..5 {
                    let mut who = person(role);
                    let mut now = start();
                    match state {
                        1 => who.disabled = true,
                        2 => now = start().plus_ms(90 * DAY_MS),
                        3 => who.agreement = None,
                        4 => {
                            who.last_seen = start().plus_ms(61 * DAY_MS);
                            now = who.last_seen;
                        }
                        _ => {}
                    }
                    let human = !matches!(role, Role::Portal | Role::Processor);
                    let needs_session = human
                        && !matches!(
                            rpc,
                            Rpc::Login
                                | Rpc::Unseal
                                | Rpc::GetCheckpoint
                                | Rpc::GetCollectKey
                                | Rpc::GetConsistencyProof
                        );
                    let wanted = if state == 1 || state == 2 {
                        Err(Denial::PrincipalDisabled)
                    } else if human && state >= 3 {
                        Err(Denial::AgreementNotInForce)
                    } else if !callers(rpc).contains(letter(role)) {
                        Err(Denial::RoleNotAllowed)
                    } else if needs_session && !session {
                        Err(Denial::SessionRequired)
                    } else {
                        Ok(())
                    };
                    assert_eq!(
                        admit(rpc, &who, session, now),
                        wanted,
                        "{} {role:?} session {session} state {state}",
                        rpc.name()
                    );
                    cases += 1;
                }
            }
        }
    }
    assert_eq!(cases, Rpc::ALL.len() * 5 * 2 * 5);
}

#[test]
fn the_tie_comes_first_then_site_phase_and_token() {
    for rpc in Rpc::ALL.iter().copied() {
        let Some(allowed) = ties(rpc) else { continue };
        for role in Role::ALL {
            for tie in [Tie::Owner, Tie::Party, Tie::Stranger] {
                for when in [
                    When::Open,
                    When::DetailsEnded,
                    When::ReleaseEnded,
                    When::Closed,
                ] {
                    for token_revoked in [false, true] {
                        for serves in [false, true] {
                            let mut who = person(role);
                            if !serves {
                                who.sites = vec![site("us")];
                            }
                            let (now, closed) = moment(when);
                            let standing = Standing {
                                closed,
                                token_revoked,
                            };
                            let got = judge(rpc, &who, &tied(&who, tie), standing, now);
                            let what = format!(
                                "{} {role:?} {tie:?} {when:?} revoked {token_revoked} serves {serves}",
                                rpc.name()
                            );
                            if !allowed.contains(&tie) {
                                let denied = got.expect_err(&what);
                                assert!(denied.is_not_tied(), "{what}: {denied}");
                                continue;
                            }
                            let live = matches!(
                                rpc,
                                Rpc::Tokenize
                                    | Rpc::TokenizeStream
                                    | Rpc::Redeem
                                    | Rpc::RedeemStream
                            );
                            let wanted = if !serves {
                                Err(Denial::SiteNotAllowed)
                            } else if !phases(rpc).contains(&when) {
                                Err(match when {
                                    When::Closed => Denial::Closed,
                                    _ => Denial::Expired,
                                })
                            } else if live && token_revoked {
                                Err(Denial::Revoked)
                            } else {
                                Ok(match tie {
                                    Tie::Owner => Relation::Owner,
                                    _ => Relation::Party(1),
                                })
                            };
                            assert_eq!(got, wanted, "{what}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_release_needs_all_of_it() {
    let mut given = 0;
    for role in Role::ALL {
        for tie in [Tie::Owner, Tie::Party, Tie::Stranger] {
            for when in [
                When::Open,
                When::DetailsEnded,
                When::ReleaseEnded,
                When::Closed,
            ] {
                for token_revoked in [false, true] {
                    for purpose in Purpose::ALL {
                        for bits in 0..64u8 {
                            for used in [Some(0), Some(USES - 1), Some(USES), Some(255), None] {
                                let fields = FieldSet::from_bits(bits).expect("fields");
                                let who = person(role);
                                let (now, closed) = moment(when);
                                let standing = Standing {
                                    closed,
                                    token_revoked,
                                };
                                let got = release(
                                    &who,
                                    &tied(&who, tie),
                                    standing,
                                    purpose,
                                    fields,
                                    |_| used,
                                    now,
                                );
                                let ends = match when {
                                    When::Closed => Some(Denial::Closed),
                                    When::ReleaseEnded => Some(Denial::Expired),
                                    _ if token_revoked => Some(Denial::Revoked),
                                    _ => None,
                                };
                                let granted =
                                    matches!(purpose, Purpose::Authorize | Purpose::Capture);
                                let in_grant = bits != 0
                                    && fields.iter().all(|f| {
                                        GRANTED.contains(&f)
                                            && (f != Field::SecurityCode
                                                || purpose == Purpose::Authorize)
                                    });
                                match got {
                                    Err(denied) if tie != Tie::Party => {
                                        assert!(denied.is_not_tied());
                                    }
                                    Err(denied) => {
                                        let wanted = if let Some(end) = ends {
                                            end
                                        } else if !granted {
                                            Denial::PurposeNotGranted
                                        } else if !in_grant {
                                            Denial::FieldNotGranted
                                        } else {
                                            assert!(used.is_some_and(|u| u >= USES));
                                            Denial::UsedUp
                                        };
                                        assert_eq!(denied, wanted);
                                    }
                                    Ok(proof) => {
                                        assert!(tie == Tie::Party && ends.is_none());
                                        assert!(granted && in_grant);
                                        assert!(used.is_none_or(|u| u < USES));
                                        assert_eq!(proof.fields(), fields);
                                        assert_eq!(proof.purpose(), purpose);
                                        assert_eq!(proof.party(), 1);
                                        let left = used.map_or(0, |u| USES - u - 1);
                                        assert_eq!(proof.uses_left(), left);
                                        given += 1;
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    // Five roles, two phases, a live token; seven sets of fields for AUTHORIZE and three for
    // CAPTURE; three counts of uses that leave one.
    assert_eq!(given, 5 * 2 * (7 + 3) * 3);
}

#[test]
fn two_operators_are_needed_for_what_could_let_an_accomplice_in() {
    for rpc in Rpc::ALL.iter().copied() {
        let wanted = matches!(
            rpc,
            Rpc::CreatePrincipal
                | Rpc::SetAllowance
                | Rpc::ConfirmRestore
                | Rpc::ConfirmClock
                | Rpc::CompromiseKey
                | Rpc::PlaceHold
                | Rpc::LiftHold
        );
        assert_eq!(
            payvault::policy::rule(rpc).two_operators,
            wanted,
            "{}",
            rpc.name()
        );
    }
}
