//! What goes well: three transactions, five tokens, five redemptions, each compared with what was
//! entered.

use super::callers::{Caller, Callers};
use super::check;
use super::instruments::{self, Instrument};
use super::narrator::Narrator;
use crate::api::proto;
use crate::cli::client::request_id;
use crate::cli::error::CliError;
use crate::cli::output::shortened;
use crate::cli::{details, moment, words};
use crate::clock::{Clock, DAY_MS};
use prost::Message;

/// What came of it.
pub struct Road {
    /// The transactions' ids.
    pub transactions: Vec<String>,
    /// The tokens.
    pub tokens: Vec<Tokenized>,
}

/// An instrument and its token. No `Debug`: it holds both.
pub struct Tokenized {
    /// What was entered.
    pub instrument: Instrument,
    /// Its token.
    pub token: String,
    /// What may be shown of it.
    pub shown: String,
}

/// Walks it.
pub async fn walk(callers: &mut Callers, narrator: &Narrator) -> Result<Road, CliError> {
    narrator.chapter("The portal opens three transactions for two processors");
    let mut transactions = Vec::new();
    for terms in three_terms(callers) {
        transactions.push(open(&mut callers.portal, terms, narrator).await?);
    }

    narrator.chapter("It swaps five instruments for tokens; the vault keeps no token");
    let (year, _) = Clock::system().now().year_month();
    let mut tokens = Vec::new();
    for instrument in instruments::all(i32::from(year) + 2) {
        let transaction = &transactions[instrument.transaction];
        tokens.push(tokenize(&mut callers.portal, transaction, instrument, narrator).await?);
    }

    narrator.chapter("The processors redeem them; each answer is compared with what was entered");
    for one in &tokens {
        let by = if one.instrument.by_first {
            &mut callers.first
        } else {
            &mut callers.second
        };
        redeem(by, &transactions[one.instrument.transaction], one, narrator).await?;
    }
    Ok(Road {
        transactions,
        tokens,
    })
}

/// Cards go to the first processor, IBANs to the second; the third transaction is the second's
/// alone.
fn three_terms(callers: &Callers) -> [proto::Terms; 3] {
    let card = [
        proto::Field::Number,
        proto::Field::Expiry,
        proto::Field::Holder,
        proto::Field::SecurityCode,
        proto::Field::Billing,
    ];
    let account = [proto::Field::Number, proto::Field::Holder];
    let party = |caller: &Caller, grants| proto::Party {
        principal: caller.id.clone(),
        grants,
    };
    let shop = || {
        vec![
            party(
                &callers.first,
                vec![
                    grant(proto::Purpose::Authorize, &card, 1),
                    grant(proto::Purpose::Refund, &[proto::Field::Number], 3),
                ],
            ),
            party(
                &callers.second,
                vec![grant(proto::Purpose::Verify, &account, 2)],
            ),
        ]
    };
    let payout = vec![party(
        &callers.second,
        vec![grant(proto::Purpose::Payout, &account, 2)],
    )];
    [
        terms("nl", shop(), (129_900, "EUR"), 30 * DAY_MS),
        terms("uk", shop(), (84_500, "GBP"), 30 * DAY_MS),
        terms("us", payout, (250_000, "USD"), 7 * DAY_MS),
    ]
}

/// One purpose of one party.
pub fn grant(purpose: proto::Purpose, fields: &[proto::Field], uses_max: u32) -> proto::Grant {
    proto::Grant {
        purpose: purpose.into(),
        fields: fields.iter().map(|field| i32::from(*field)).collect(),
        uses_max,
    }
}

/// Terms that run for `release_ms` from now.
pub fn terms(
    site: &str,
    parties: Vec<proto::Party>,
    amount: (i64, &str),
    release_ms: u64,
) -> proto::Terms {
    let now = Clock::system().now();
    proto::Terms {
        site: site.to_owned(),
        parties,
        expires_at: Some(moment::to_proto(now.plus_ms(release_ms.min(DAY_MS)))),
        release_until: Some(moment::to_proto(now.plus_ms(release_ms))),
        amount: Some(proto::Amount {
            minor_units: amount.0,
            currency: amount.1.to_owned(),
        }),
        merchant: String::new(),
        reference: "demo-order".to_owned(),
    }
}

/// Opens a transaction.
pub async fn open(
    portal: &mut Caller,
    terms: proto::Terms,
    narrator: &Narrator,
) -> Result<String, CliError> {
    let parties = terms.parties.len();
    let what = format!(
        "site {}, {parties} part{}, {}",
        terms.site,
        if parties == 1 { "y" } else { "ies" },
        terms
            .amount
            .as_ref()
            .map(|a| format!(
                "{} {}.{:02}",
                a.currency,
                a.minor_units / 100,
                a.minor_units % 100
            ))
            .unwrap_or_default(),
    );
    let request = proto::OpenTransactionRequest {
        request_id: request_id(),
        terms: Some(terms),
        want_receipt: false,
    };
    narrator.sent(
        &portal.name,
        "OpenTransaction",
        &what,
        request.encoded_len(),
    );
    let answer = portal
        .client
        .vault
        .open_transaction(request)
        .await?
        .into_inner();
    narrator.answered(&format!(
        "{}, ledger entry {}",
        short_id(&answer.transaction),
        answer.entry_index
    ));
    Ok(answer.transaction)
}

/// Swaps an instrument for a token.
pub async fn tokenize(
    portal: &mut Caller,
    transaction: &str,
    instrument: Instrument,
    narrator: &Narrator,
) -> Result<Tokenized, CliError> {
    let request = proto::TokenizeRequest {
        request_id: request_id(),
        transaction: transaction.to_owned(),
        details: Some(instrument.details.clone()),
        replaces: String::new(),
        want_receipt: false,
        sealed_details: String::new(),
    };
    let what = format!("{} for {}", instrument.name, short_id(transaction));
    let bytes = request.encoded_len();
    let answer = portal.client.vault.tokenize(request).await?.into_inner();
    let shown = details::masked_words(&answer.details.clone().unwrap_or_default());
    for number in instruments::numbers(&instrument.details) {
        check(!shown.contains(number), "a masked number shows all of it")?;
    }
    // Said afterwards: the mask is the vault's work.
    narrator.sent(&portal.name, "Tokenize", &what, bytes);
    narrator.answered(&format!(
        "token {}, to show: {shown}",
        shortened(&answer.token)
    ));
    Ok(Tokenized {
        instrument,
        token: answer.token,
        shown,
    })
}

async fn redeem(
    by: &mut Caller,
    transaction: &str,
    one: &Tokenized,
    narrator: &Narrator,
) -> Result<(), CliError> {
    let instrument = &one.instrument;
    let request = redemption(
        transaction,
        &one.token,
        instrument.purpose,
        instrument.fields,
    );
    narrator.sent(&by.name, "Redeem", &asks(&request), request.encoded_len());
    let answer = by.client.vault.redeem(request).await?.into_inner();
    check(
        answer.details.as_ref() == Some(&instrument.details),
        format!("{} came back as something else", instrument.name),
    )?;
    check(
        !answer.replayed,
        "a first redemption was called a repetition",
    )?;
    narrator.answered(&format!(
        "all {} fields, equal to what was entered ({}); uses left {}, ledger entry {}",
        instrument.fields.len(),
        one.shown,
        answer.uses_remaining,
        answer.entry_index
    ));
    Ok(())
}

/// A request for plaintext.
pub fn redemption(
    transaction: &str,
    token: &str,
    purpose: proto::Purpose,
    fields: &[proto::Field],
) -> proto::RedeemRequest {
    proto::RedeemRequest {
        request_id: request_id(),
        transaction: transaction.to_owned(),
        token: token.to_owned(),
        purpose: purpose.into(),
        fields: fields.iter().map(|field| i32::from(*field)).collect(),
        want_receipt: false,
    }
}

/// What a redemption asks, in words that may be shown.
pub fn asks(request: &proto::RedeemRequest) -> String {
    let fields: Vec<_> = request
        .fields
        .iter()
        .map(|code| words::field_name(*code))
        .collect();
    format!(
        "{} of {}, {}: {}",
        shortened(&request.token),
        short_id(&request.transaction),
        words::purpose_name(request.purpose),
        fields.join(" ")
    )
}

/// An id that fits into a line. Ids are no secret.
pub fn short_id(id: &str) -> String {
    id.get(..12)
        .map_or_else(|| id.to_owned(), |head| format!("{head}…"))
}
