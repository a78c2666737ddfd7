//! The library's client against a serving vault: what goes in comes back to whom the terms name, in
//! types, and refusals have their reasons.

use crate::house::Serving;
use crate::wire_cutter::WireCutter;
use payvault::client::{
    Amount, Card, Client, ClientError, CodeStatus, Config, ConnectError, Details, DetailsKind,
    DkAccount, Expiry, ExpiryState, Field, FieldSet, Giro, Grant, Iban, Opened, Outcome, Party,
    Purpose, RequestId, Retries, SeAccount, Terms, Tokenized, UkAccount, UsAccount, UsAccountType,
};
use payvault::clock::DAY_MS;
use payvault::ids::{Site, TransactionId};
use payvault::secret::SecretText;
use std::time::Duration;

pub fn config(serving: &Serving, who: &str) -> Config {
    let own = &serving.people[who].credential;
    Config::new(
        serving.endpoint.clone(),
        serving.ca_pem.clone(),
        own.certificate_pem.clone(),
        own.key_pem.duplicate(),
    )
}

pub async fn client(serving: &Serving, who: &str) -> Client {
    let connected = Client::connect(config(serving, who)).await;
    connected.expect("a connection")
}

pub fn fields(fields: &[Field]) -> FieldSet {
    fields.iter().copied().collect()
}

/// All that there is of any kind: processor-a may have it for each purpose.
pub fn terms(serving: &Serving, uses_max: u8) -> Terms {
    let now = serving.gate.house().clock.now();
    let every = fields(&[
        Field::Number,
        Field::Expiry,
        Field::Holder,
        Field::LastFour,
        Field::Billing,
    ]);
    let grant = |purpose, fields| Grant {
        purpose,
        fields,
        uses_max,
    };
    let party = Party {
        principal: serving.people["processor-a"].id,
        grants: vec![
            grant(Purpose::Authorize, every.with(Field::SecurityCode)),
            grant(Purpose::Payout, every),
        ],
    };
    Terms {
        amount: Some(Amount {
            minor_units: 1_999,
            currency: *b"EUR",
        }),
        merchant: "m-1".to_owned(),
        reference: "order 7".to_owned(),
        ..Terms::new(
            Site::parse("nl").expect("a site"),
            vec![party],
            now.plus_ms(DAY_MS),
            now.plus_ms(7 * DAY_MS),
        )
    }
}

pub async fn opened(serving: &Serving, portal: &Client) -> Opened {
    let (request, terms) = (RequestId::random(), terms(serving, 2));
    let opened = portal.open_transaction(&request, &terms).await;
    opened.expect("opened")
}

pub async fn open(serving: &Serving, portal: &Client) -> TransactionId {
    opened(serving, portal).await.transaction
}

/// A new token.
async fn tokenize(portal: &Client, transaction: TransactionId, details: &Details) -> Tokenized {
    let request = RequestId::random();
    let made = portal.tokenize(&request, transaction, details, None).await;
    made.expect("a token")
}

pub fn card() -> Details {
    Details::Card(Card {
        number: "4242 4242 4242 4242".into(),
        expiry: Some(Expiry {
            year: 2030,
            month: 12,
        }),
        holder: "A. de Vries".into(),
        security_code: "123".into(),
        postal_code: "1012 AB".into(),
        address_line: "Dam 1".into(),
    })
}

/// Every kind, as it is kept.
pub fn every_kind() -> Vec<Details> {
    let holder = || SecretText::from("A. Bäcker");
    vec![
        card(),
        Details::Iban(Iban {
            iban: "NL91ABNA0417164300".into(),
            holder: holder(),
            bic: "ABNANL2A".into(),
        }),
        Details::UsAccount(UsAccount {
            routing_number: "021000021".into(),
            account_number: "123456789".into(),
            holder: holder(),
            account_type: Some(UsAccountType::Savings),
        }),
        Details::UkAccount(UkAccount {
            sort_code: "200000".into(),
            account_number: "55779911".into(),
            holder: holder(),
        }),
        Details::SeAccount(SeAccount {
            clearing_number: "8424".into(),
            account_number: "0009834231".into(),
            holder: holder(),
        }),
        Details::Bankgiro(Giro {
            number: "50501055".into(),
            holder: holder(),
        }),
        Details::Plusgiro(Giro {
            number: "2865434".into(),
            holder: holder(),
        }),
        Details::DkAccount(DkAccount {
            reg_number: "0040".into(),
            account_number: "0440116243".into(),
            holder: holder(),
        }),
    ]
}

/// What there is of them, in one order. Groups are for people.
pub fn flat(details: &Details) -> Vec<String> {
    let (mut all, texts): (Vec<String>, Vec<&SecretText>) = match details {
        Details::Card(card) => (
            vec!["card".to_owned(), format!("{:?}", card.expiry)],
            vec![
                &card.number,
                &card.holder,
                &card.security_code,
                &card.postal_code,
                &card.address_line,
            ],
        ),
        Details::Iban(one) => (vec!["iban".into()], vec![&one.iban, &one.holder, &one.bic]),
        Details::UsAccount(one) => (
            vec![format!("us {:?}", one.account_type)],
            vec![&one.routing_number, &one.account_number, &one.holder],
        ),
        Details::UkAccount(one) => (
            vec!["uk".into()],
            vec![&one.sort_code, &one.account_number, &one.holder],
        ),
        Details::SeAccount(one) => (
            vec!["se".into()],
            vec![&one.clearing_number, &one.account_number, &one.holder],
        ),
        Details::Bankgiro(one) => (vec!["bankgiro".into()], vec![&one.number, &one.holder]),
        Details::Plusgiro(one) => (vec!["plusgiro".into()], vec![&one.number, &one.holder]),
        Details::DkAccount(one) => (
            vec!["dk".into()],
            vec![&one.reg_number, &one.account_number, &one.holder],
        ),
    };
    all.extend(texts.iter().map(|text| text.expose().replace(' ', "")));
    all
}

pub fn reason<T>(answer: Result<T, ClientError>) -> String {
    let error = answer.err().expect("refused");
    error.reason().expect("the vault's own").to_owned()
}

#[tokio::test]
async fn what_a_portal_hands_in_a_named_processor_gets() {
    let serving = Serving::start().await;
    let portal = client(&serving, "portal").await;
    let processor = client(&serving, "processor-a").await;
    let all = fields(&Field::ALL);
    for given in every_kind() {
        let transaction = open(&serving, &portal).await;
        let made = tokenize(&portal, transaction, &given).await;
        assert!(!made.replayed && made.fingerprint.is_none());
        let is_card = made.details.kind == DetailsKind::Card;
        assert_eq!(made.details.expiry.is_some(), is_card);

        let (purpose, asked) = match is_card {
            true => (Purpose::Authorize, all),
            false => (Purpose::Payout, fields(&[Field::Number, Field::Holder])),
        };
        let request = RequestId::random();
        let redeemed = processor.redeem(&request, transaction, &made.token, purpose, asked);
        let redeemed = redeemed.await.expect("redeemed");
        assert_eq!(flat(&redeemed.details), flat(&given));
        assert_eq!(redeemed.uses_remaining, 1);
        let code = match is_card {
            true => CodeStatus::Released,
            false => CodeStatus::NotAsked,
        };
        assert_eq!(redeemed.security_code, code);
        assert!(redeemed.entry_index > made.entry_index);
    }
}

#[tokio::test]
async fn a_transaction_goes_its_way_in_types() {
    let serving = Serving::start().await;
    let portal = client(&serving, "portal").await;
    let processor = client(&serving, "processor-a").await;
    let transaction = open(&serving, &portal).await;
    let first = tokenize(&portal, transaction, &card()).await;
    assert_eq!(first.details.masked_number, "424242******4242");
    assert_eq!(first.details.brand, "visa");
    assert_eq!(first.details.expiry, Some(ExpiryState::Valid));

    // Another one in its place, and a second time with one request id.
    let request = RequestId::random();
    let mut made = Vec::new();
    for _ in 0..2 {
        let (card, old) = (card(), Some(&first.token));
        let again = portal.tokenize(&request, transaction, &card, old).await;
        made.push(again.expect("a token"));
    }
    assert!(!made[0].replayed && made[1].replayed);
    assert_eq!(
        made[0].token.to_text().expose(),
        made[1].token.to_text().expose()
    );
    let token = &made[0].token;

    let described = portal
        .describe(transaction, &first.token)
        .await
        .expect("described");
    assert!(described.revoked && !described.closed);
    assert_eq!(described.reference, first.reference);
    let described = processor
        .describe(transaction, token)
        .await
        .expect("described");
    assert!(!described.revoked);
    let left = [(Purpose::Authorize, 2), (Purpose::Payout, 2)];
    assert_eq!(described.uses_remaining, left);
    assert_eq!(described.release_until, terms(&serving, 2).release_until);

    // Only what was asked for.
    let asked = fields(&[Field::LastFour]);
    let request = RequestId::random();
    let redeemed = processor.redeem(&request, transaction, token, Purpose::Payout, asked);
    let redeemed = redeemed.await.expect("redeemed");
    assert_eq!(redeemed.last_four.expose(), "4242");
    let Details::Card(card) = &redeemed.details else {
        panic!("a card");
    };
    assert!(card.number.is_empty() && card.holder.is_empty() && card.expiry.is_none());

    let request = RequestId::random();
    let mut reported = Vec::new();
    for _ in 0..2 {
        let outcome = Outcome::Succeeded;
        let report = processor.report_outcome(&request, transaction, token, outcome, "auth-7");
        reported.push(report.await.expect("reported"));
    }
    assert_eq!(reported[0].entry_index, reported[1].entry_index);
    assert!(!reported[0].replayed && reported[1].replayed);

    let entry = portal.revoke(transaction, token).await.expect("revoked");
    let closed = portal.close(transaction).await.expect("closed");
    assert_eq!(closed.entry_index, entry + 1);
    assert!(closed.unreadable_after >= terms(&serving, 2).release_until);
    let described = portal
        .describe(transaction, token)
        .await
        .expect("described");
    assert!(described.revoked && described.closed);
}

#[tokio::test]
async fn a_refusal_has_its_reason() {
    let serving = Serving::start().await;
    let portal = client(&serving, "portal").await;
    let transaction = open(&serving, &portal).await;
    let token = tokenize(&portal, transaction, &card()).await.token;
    let asked = fields(&[Field::LastFour]);
    let redeem = |who: Client, purpose, asked| {
        let token = &token;
        async move {
            let request = RequestId::random();
            reason(
                who.redeem(&request, transaction, token, purpose, asked)
                    .await,
            )
        }
    };
    let processor = client(&serving, "processor-a").await;
    let stranger = client(&serving, "processor-b").await;
    assert_eq!(redeem(stranger, Purpose::Payout, asked).await, "NOT_TIED");
    assert_eq!(
        redeem(portal.clone(), Purpose::Payout, asked).await,
        "ROLE_NOT_ALLOWED"
    );
    let refused = redeem(processor.clone(), Purpose::Refund, asked).await;
    assert_eq!(refused, "PURPOSE_NOT_GRANTED");
    let code = fields(&[Field::SecurityCode]);
    assert_eq!(
        redeem(processor.clone(), Purpose::Payout, code).await,
        "FIELD_NOT_GRANTED"
    );
    for _ in 0..2 {
        let request = RequestId::random();
        let used = processor.redeem(&request, transaction, &token, Purpose::Payout, asked);
        used.await.expect("a use is left");
    }
    assert_eq!(redeem(processor, Purpose::Payout, asked).await, "USED_UP");

    let other = client(&serving, "portal-2").await;
    let request = RequestId::random();
    let foreign = other.tokenize(&request, transaction, &card(), None).await;
    assert_eq!(reason(foreign), "NOT_TIED");
    assert_eq!(reason(other.close(transaction).await), "NOT_TIED");

    let bad = Details::Iban(Iban {
        iban: "NL92ABNA0417164300".into(),
        ..Iban::default()
    });
    let request = RequestId::random();
    match portal.tokenize(&request, transaction, &bad, None).await {
        Err(ClientError::Refused(refused)) => {
            assert_eq!(refused.reason, "INVALID_REQUEST");
            let wrong: Vec<&str> = refused.violations.iter().map(|v| v.0.as_str()).collect();
            assert_eq!(wrong, ["details.iban.iban", "details.iban.holder"]);
            assert!(!refused.to_string().contains("NL92"));
        }
        _ => panic!("accepted"),
    }
    let request = RequestId::random();
    portal
        .tokenize(&request, transaction, &card(), None)
        .await
        .expect("a token");
    let other = &every_kind()[1];
    let reused = portal.tokenize(&request, transaction, other, None).await;
    assert_eq!(reason(reused), "REQUEST_ID_REUSED");
}

#[tokio::test]
async fn only_the_vault_that_the_ca_vouches_for_is_called_and_only_by_its_name() {
    let serving = Serving::start().await;
    let foreign = payvault::api::dev_ca::DevCa::new(serving.gate.house().clock.now());
    let mut elsewhere = config(&serving, "portal");
    elsewhere.ca_pem = foreign.expect("a CA").certificate_pem().to_owned();
    let refused = Client::connect(elsewhere).await.err().expect("refused");
    assert!(matches!(
        refused,
        ClientError::Connect(ConnectError::Transport(_))
    ));

    let mut misnamed = config(&serving, "portal");
    misnamed.server_name = Some("vault.example".to_owned());
    let refused = Client::connect(misnamed).await.err().expect("refused");
    assert!(matches!(
        refused,
        ClientError::Connect(ConnectError::Transport(_))
    ));
    let mut named = config(&serving, "portal");
    named.server_name = Some("localhost".to_owned());
    let portal = Client::connect(named).await.expect("its name");
    open(&serving, &portal).await;

    let mut unusable = config(&serving, "portal");
    unusable.server_name = Some("no host".to_owned());
    let refused = Client::connect(unusable).await.err().expect("refused");
    assert!(matches!(
        refused,
        ClientError::Connect(ConnectError::ServerName(_))
    ));
    let mut plain = config(&serving, "portal");
    plain.endpoint = plain.endpoint.replace("https", "http");
    let refused = Client::connect(plain).await.err().expect("refused");
    assert!(matches!(
        refused,
        ClientError::Connect(ConnectError::Address(_))
    ));
    let mut keyless = config(&serving, "portal");
    keyless.key_pem = "no key".into();
    let refused = Client::connect(keyless).await.err().expect("refused");
    assert!(matches!(refused, ClientError::Tls(_)));
    assert_eq!(refused.reason(), None);
}

/// A portal's call over a wire that loses the answer once the vault has done the work, which is told
/// by an entry after the one with the index `after`; what came of it.
pub async fn with_a_lost_answer<T, F>(
    serving: &Serving,
    after: u64,
    call: impl FnOnce(Client) -> F,
) -> Result<T, ClientError>
where
    F: Future<Output = Result<T, ClientError>>,
{
    let wire = WireCutter::to(&serving.endpoint).await;
    let mut config = config(serving, "portal");
    config.endpoint = wire.endpoint.clone();
    config.retries = Retries {
        pause: Duration::from_millis(1),
        ..Retries::default()
    };
    let portal = Client::connect(config).await.expect("a connection");
    wire.lose_answers();
    let lose = async {
        while serving.size() < after + 2 {
            tokio::task::yield_now().await;
        }
        wire.cut();
    };
    tokio::join!(call(portal), lose).0
}

#[tokio::test]
async fn a_lost_answer_is_fetched_by_the_same_request_and_the_work_done_once() {
    let serving = Serving::start().await;
    let portal = client(&serving, "portal").await;
    let opened = opened(&serving, &portal).await;
    let (transaction, after) = (opened.transaction, opened.entry_index);
    let made = with_a_lost_answer(&serving, after, |portal| async move {
        let request = RequestId::random();
        portal.tokenize(&request, transaction, &card(), None).await
    });
    let made = made.await.expect("a token");
    assert!(made.replayed, "the vault knew it");
    let described = portal.describe(transaction, &made.token).await;
    assert!(!described.expect("described").revoked);
    let transaction = pb_transaction(&serving, transaction).await;
    assert_eq!(transaction.tokens.len(), 1, "made once");
}

#[tokio::test]
async fn a_connection_that_falls_silent_is_given_up_for_another() {
    let serving = Serving::start().await;
    let wire = WireCutter::to(&serving.endpoint).await;
    let mut config = config(&serving, "portal");
    config.endpoint = wire.endpoint.clone();
    config.answer_within = Duration::from_millis(800);
    let portal = Client::connect(config).await.expect("a connection");
    let transaction = open(&serving, &portal).await;
    // Nobody says that it is broken, as when a firewall forgot it.
    wire.lose_answers();
    let request = RequestId::random();
    let made = portal.tokenize(&request, transaction, &card(), None).await;
    assert!(made.expect("a token").replayed);
    assert_eq!(wire.accepted(), 2);
}

/// What the vault says of a transaction.
async fn pb_transaction(
    serving: &Serving,
    transaction: TransactionId,
) -> payvault::api::proto::GetTransactionResponse {
    let request = payvault::api::proto::GetTransactionRequest {
        transaction: transaction.to_string(),
    };
    let told = serving.vault("portal").get_transaction(request).await;
    told.expect("its portal").into_inner()
}
