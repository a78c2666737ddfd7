//! The policy matrix: one row a call. `Rpc` is generated from `proto/`, and the match below has no
//! catch-all, so an RPC without a row does not compile. `tests/policy` reads this table.

use super::judge::Phase;
use super::principal::Role;

include!(concat!(env!("OUT_DIR"), "/rpc.rs"));

/// How the caller must be tied to the transaction that a call names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// The call names no transaction.
    Nothing,
    /// The portal that opened it.
    Owner,
    /// A processor that its terms name.
    Party,
    /// Either of them.
    OwnerOrParty,
}

/// A row of the matrix.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Roles that may make the call at all.
    pub roles: &'static [Role],
    /// Tie to the transaction.
    pub needs: Needs,
    /// Phases of the transaction in which the call succeeds.
    pub phases: &'static [Phase],
    /// Whether the token, if the call names one, must be live (neither revoked nor replaced).
    pub live_token: bool,
    /// Whether a human caller needs a session.
    pub session: bool,
    /// Whether it names a purpose, which the party's grants must have.
    pub purpose: bool,
    /// Whether a vault with two operators keeps it pending until the second one approves.
    pub two_operators: bool,
}

const ANY: &[Phase] = &Phase::ALL;
const ENROLLED: &[Role] = &Role::ALL;
const OPERATOR: &[Role] = &[Role::Operator];
const OVERSIGHT: &[Role] = &[Role::Operator, Role::Auditor];
const HUMAN: &[Role] = &[Role::Auditor, Role::Operator, Role::Custodian];

/// A call that names no transaction and is made by people.
const fn human(roles: &'static [Role]) -> Rule {
    Rule {
        roles,
        needs: Needs::Nothing,
        phases: ANY,
        live_token: false,
        session: true,
        purpose: false,
        two_operators: false,
    }
}

/// A call on a transaction.
const fn tied(
    roles: &'static [Role],
    needs: Needs,
    phases: &'static [Phase],
    live_token: bool,
) -> Rule {
    Rule {
        roles,
        needs,
        phases,
        live_token,
        session: false,
        purpose: false,
        two_operators: false,
    }
}

/// The row of a call.
pub const fn rule(rpc: Rpc) -> Rule {
    use Role::{Portal, Processor};
    match rpc {
        Rpc::OpenTransaction => tied(&[Portal], Needs::Nothing, ANY, false),
        Rpc::GetTransaction => tied(&[Portal, Processor], Needs::OwnerOrParty, ANY, false),
        // A stream's items are the unary calls' requests.
        Rpc::Tokenize | Rpc::TokenizeStream => tied(&[Portal], Needs::Owner, &[Phase::Open], true),
        Rpc::Redeem | Rpc::RedeemStream => Rule {
            purpose: true,
            ..tied(
                &[Processor],
                Needs::Party,
                &[Phase::Open, Phase::DetailsEnded],
                true,
            )
        },
        // A result is worth recording whatever became of the transaction since.
        Rpc::ReportOutcome => tied(&[Processor], Needs::Party, ANY, false),
        Rpc::DescribeToken => tied(&[Portal, Processor], Needs::OwnerOrParty, ANY, false),
        Rpc::RevokeToken => tied(&[Portal], Needs::Owner, ANY, false),
        Rpc::CloseTransaction => tied(&[Portal], Needs::Owner, ANY, false),

        // Checkpoints and proofs say nothing about entries; machines need no session for them.
        // What is handed out is public, and no more than a public key.
        Rpc::GetCollectKey => tied(ENROLLED, Needs::Nothing, ANY, false),
        Rpc::GetCheckpoint | Rpc::GetConsistencyProof => tied(ENROLLED, Needs::Nothing, ANY, false),
        // A receipt opens an entry: people need both factors.
        Rpc::GetReceipt => human(ENROLLED),
        Rpc::ExportLog | Rpc::TailLog => human(&[Role::Auditor]),

        Rpc::Login => Rule {
            session: false,
            ..human(HUMAN)
        },
        Rpc::Logout => human(HUMAN),

        Rpc::GetStatus => human(HUMAN),
        // Judged by the seal file while sealed; sessions need an open vault.
        Rpc::Unseal => Rule {
            session: false,
            ..human(&[Role::Operator, Role::Custodian])
        },
        Rpc::Seal => human(OPERATOR),
        Rpc::ListPrincipals
        | Rpc::GetPrincipal
        | Rpc::ListAllowances
        | Rpc::ListKeys
        | Rpc::GetErasureReceipt
        | Rpc::ListHolds => human(OVERSIGHT),
        Rpc::DisablePrincipal
        | Rpc::RotateSecret
        | Rpc::ApproveAction
        | Rpc::TakeBackup
        | Rpc::EraseTransaction
        | Rpc::RotateKey
        | Rpc::RewrapKeys => human(OPERATOR),
        Rpc::CreatePrincipal
        | Rpc::SetAllowance
        | Rpc::ConfirmRestore
        | Rpc::ConfirmClock
        | Rpc::PlaceHold
        | Rpc::LiftHold
        | Rpc::CompromiseKey => Rule {
            two_operators: true,
            ..human(OPERATOR)
        },
    }
}
