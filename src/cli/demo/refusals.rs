//! What must not go well: nine refusals. Whoever isn't tied gets one answer; the wrong roles are
//! told so; a named party gets the true reason.

use super::callers::{Caller, Callers};
use super::check;
use super::instruments;
use super::narrator::Narrator;
use super::road::{Road, asks, grant, open, redemption, terms, tokenize};
use crate::api::proto;
use crate::cli::error::CliError;
use crate::cli::refused::{Refused, code_name};
use crate::clock::{Clock, Timestamp};
use crate::payment::Token;
use prost::Message;
use proto::{Field, Purpose};
use std::time::Duration;
use tonic::{Code, Status};

/// Provokes all of them; gives how many there were.
pub async fn walk(
    callers: &mut Callers,
    road: &Road,
    narrator: &Narrator,
) -> Result<u32, CliError> {
    narrator.chapter("Nine refusals: no plaintext for any of these");
    // Opened first, so that its time passes while the others are refused.
    let brief = Brief::open(callers, narrator).await?;
    let mut count = Count::default();
    strangers(callers, road, &mut count, narrator).await?;
    roles(callers, road, &mut count, narrator).await?;
    parties(callers, road, &mut count, narrator).await?;
    brief.expired(callers, &mut count, narrator).await?;
    closed(callers, road, &mut count, narrator).await?;
    check(count.0 == 9, format!("{} refusals, not nine", count.0))?;
    Ok(count.0)
}

/// Numbers the refusals.
#[derive(Default)]
struct Count(u32);

impl Count {
    fn next(&mut self, narrator: &Narrator, title: &str) {
        self.0 += 1;
        narrator.line(&format!("({}) {title}", self.0));
    }
}

/// A request that must be refused with this code and reason.
async fn refused(
    by: &mut Caller,
    request: proto::RedeemRequest,
    code: Code,
    reason: &str,
    narrator: &Narrator,
) -> Result<Status, CliError> {
    narrator.sent(&by.name, "Redeem", &asks(&request), request.encoded_len());
    let status = match by.client.vault.redeem(request).await {
        Ok(_) => return Err(CliError::Deviation(format!("{} was not refused", by.name))),
        Err(status) => status,
    };
    let refused = Refused::from(&status);
    narrator.answered(&format!(
        "{} {}: {}",
        code_name(refused.code),
        refused.reason,
        refused.message
    ));
    check(
        refused.code == code && refused.reason == reason,
        format!(
            "{} got {} {}, not {} {reason}",
            by.name,
            code_name(refused.code),
            refused.reason,
            code_name(code)
        ),
    )?;
    Ok(status)
}

async fn strangers(
    callers: &mut Callers,
    road: &Road,
    count: &mut Count,
    narrator: &Narrator,
) -> Result<(), CliError> {
    let account = &road.tokens[4];
    let transaction = &road.transactions[2];
    count.next(
        narrator,
        "a processor that is no party, with the real token",
    );
    let request = redemption(
        transaction,
        &account.token,
        Purpose::Payout,
        &[Field::Number],
    );
    let first = &mut callers.first;
    let foreign = refused(first, request, Code::NotFound, "NOT_TIED", narrator).await?;

    count.next(narrator, "a made-up token that is well formed");
    let invented = Token::random().to_text();
    let own = &road.transactions[0];
    let request = redemption(own, invented.expose(), Purpose::Authorize, &[Field::Number]);
    let unknown = refused(first, request, Code::NotFound, "NOT_TIED", narrator).await?;

    let same = foreign.code() == unknown.code()
        && foreign.message() == unknown.message()
        && foreign.details() == unknown.details();
    check(same, "the answers to (1) and (2) differ")?;
    narrator.line(&format!(
        "code, message and {} bytes of details of (1) and (2) are the same, to the byte",
        foreign.details().len()
    ));
    Ok(())
}

async fn roles(
    callers: &mut Callers,
    road: &Road,
    count: &mut Count,
    narrator: &Narrator,
) -> Result<(), CliError> {
    let wrong = [
        (&mut callers.portal, "the portal, which entered the card"),
        (&mut callers.auditor, "the auditor, logged in"),
        (&mut callers.operator, "the operator, logged in"),
    ];
    for (caller, who) in wrong {
        count.next(narrator, who);
        let token = &road.tokens[0].token;
        let request = redemption(
            &road.transactions[0],
            token,
            Purpose::Authorize,
            &[Field::Number],
        );
        let code = Code::PermissionDenied;
        refused(caller, request, code, "ROLE_NOT_ALLOWED", narrator).await?;
    }
    Ok(())
}

async fn parties(
    callers: &mut Callers,
    road: &Road,
    count: &mut Count,
    narrator: &Narrator,
) -> Result<(), CliError> {
    let transaction = &road.transactions[0];
    let token = &road.tokens[0].token;
    let first = &mut callers.first;
    let code = Code::FailedPrecondition;
    count.next(
        narrator,
        "a named party, for a purpose and for a field that it was not named for",
    );
    let request = redemption(transaction, token, Purpose::Payout, &[Field::Number]);
    refused(first, request, code, "PURPOSE_NOT_GRANTED", narrator).await?;
    let request = redemption(transaction, token, Purpose::Refund, &[Field::Holder]);
    refused(first, request, code, "FIELD_NOT_GRANTED", narrator).await?;

    count.next(narrator, "a named party, once more than the terms say");
    let request = redemption(transaction, token, Purpose::Authorize, &[Field::Number]);
    refused(first, request, code, "USED_UP", narrator).await?;
    Ok(())
}

async fn closed(
    callers: &mut Callers,
    road: &Road,
    count: &mut Count,
    narrator: &Narrator,
) -> Result<(), CliError> {
    count.next(
        narrator,
        "a named party, after the portal closed the transaction",
    );
    let transaction = &road.transactions[1];
    let request = proto::CloseTransactionRequest {
        transaction: transaction.clone(),
    };
    callers
        .portal
        .client
        .vault
        .close_transaction(request)
        .await?;
    let request = redemption(
        transaction,
        &road.tokens[3].token,
        Purpose::Verify,
        &[Field::Number],
    );
    let code = Code::FailedPrecondition;
    refused(&mut callers.second, request, code, "CLOSED", narrator).await?;
    Ok(())
}

/// A transaction whose tokens can be redeemed for a moment only.
struct Brief {
    transaction: String,
    token: String,
    until: Timestamp,
}

/// How long the moment is; longer ones for a machine that is busy.
const MOMENTS_MS: [u64; 3] = [2_000, 8_000, 20_000];

impl Brief {
    async fn open(callers: &mut Callers, narrator: &Narrator) -> Result<Brief, CliError> {
        for moment_ms in MOMENTS_MS {
            let party = proto::Party {
                principal: callers.first.id.clone(),
                grants: vec![grant(Purpose::Verify, &[Field::LastFour], 1)],
            };
            let terms = terms("se", vec![party], (49_900, "SEK"), moment_ms);
            let until = Clock::system().now().plus_ms(moment_ms);
            narrator.line(&format!(
                "for (8), a transaction that can be redeemed for {} seconds:",
                moment_ms / 1000
            ));
            let transaction = open(&mut callers.portal, terms, narrator).await?;
            let (year, _) = Clock::system().now().year_month();
            let [mut card, ..] = instruments::all(i32::from(year) + 2);
            card.name = "the Visa card again";
            match tokenize(&mut callers.portal, &transaction, card, narrator).await {
                Ok(made) => {
                    return Ok(Brief {
                        transaction,
                        token: made.token,
                        until,
                    });
                }
                Err(CliError::Refused(refused)) if refused.reason == "EXPIRED" => {}
                Err(error) => return Err(error),
            }
        }
        Err(CliError::Deviation(
            "this machine is too slow to hand in a card within 20 seconds".into(),
        ))
    }

    /// Waits until its time is over, no longer, and redeems.
    async fn expired(
        self,
        callers: &mut Callers,
        count: &mut Count,
        narrator: &Narrator,
    ) -> Result<(), CliError> {
        count.next(narrator, "a named party, after the time of release");
        let clock = Clock::system();
        let left_ms = self.until.plus_ms(50).since_ms(clock.now());
        if left_ms > 0 {
            narrator.line(&format!("(waiting for {left_ms} ms)"));
            tokio::time::sleep(Duration::from_millis(left_ms)).await;
        }
        let request = redemption(
            &self.transaction,
            &self.token,
            Purpose::Verify,
            &[Field::LastFour],
        );
        let code = Code::FailedPrecondition;
        refused(&mut callers.first, request, code, "EXPIRED", narrator).await?;
        Ok(())
    }
}
