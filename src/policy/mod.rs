//! Who may do what: pure functions from (principal, call, transaction) to a proof or a reason.
//!
//! Nothing here reads a clock, a row or a socket, so every decision can be run again and tested
//! exhaustively. A positive answer is a value ([`Granted`]) that only this module makes: whoever
//! releases plaintext must hold one. The absence of an error proves nothing.

mod allowance;
mod denial;
mod judge;
mod principal;
mod table;
mod terms;

pub use allowance::{Allowance, AllowanceKey};
pub use denial::Denial;
pub use judge::{
    Granted, Phase, Recognised, Relation, Standing, admit, judge, recognise, relation, release,
};
pub use principal::{Agreement, Principal, Role};
pub use table::{Needs, Rpc, Rule, rule};
pub use terms::{Amount, Field, FieldSet, Grant, Party, Purpose, Terms, capped_reference};
