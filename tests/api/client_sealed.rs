//! Sealed collection by the library's client: what an app seals comes back to a named processor; and
//! nothing is sealed to a stranger, or to a key whose time is over.

use crate::client::{
    card, client, config, every_kind, fields, flat, open, opened, reason, terms, with_a_lost_answer,
};
use crate::house::{Serving, Storing, passphrase, site};
use payvault::client::{
    Client, ClientError, CollectDocument, CollectNote, Details, DetailsKind, DocumentError, Field,
    Giro, Purpose, RequestId, Retries, Suite, VerifierKey, seal, seal_at,
};
use payvault::clock::{Clock, DAY_MS};
use payvault::keys::{Keyring, SealFile};
use payvault::ledger::NoteFault;
use payvault::vault::identity_name;
use std::sync::Arc;
use std::time::Duration;

const HOUR_MS: u64 = 60 * 60 * 1000;

/// The identity's verifier key as an operator passes it on: from the keyring, not over the wire.
fn identity(serving: &Serving) -> VerifierKey {
    let keys = &serving.gate.house().keys_dir;
    let seal = SealFile::read(keys).expect("a seal");
    let root = seal.open(&passphrase()).expect("the root key");
    let ring = Keyring::look(keys, seal.vault(), &root).expect("a keyring");
    let key = ring.identity().expect("an identity").verifying_key();
    VerifierKey::new(&identity_name(seal.vault()), key).expect("a name")
}

/// A portal that knows the vault's identity and has its time from the vault's clock.
async fn portal_with(serving: &Serving, identities: Vec<VerifierKey>) -> Client {
    let mut config = config(serving, "portal");
    config.identities = identities;
    config.clock = Clock::Manual(Arc::clone(&serving.clock));
    config.retries = Retries {
        pause: Duration::from_millis(1),
        ..Retries::default()
    };
    Client::connect(config).await.expect("a connection")
}

async fn portal(serving: &Serving) -> Client {
    portal_with(serving, vec![identity(serving)]).await
}

async fn collect_key(portal: &Client) -> Arc<CollectNote> {
    portal.collect_key().await.expect("today's")
}

#[tokio::test]
async fn every_kind_that_was_sealed_comes_back_by_either_suite() {
    let serving = Serving::start().await;
    let portal = portal(&serving).await;
    let processor = client(&serving, "processor-a").await;
    let note = collect_key(&portal).await;
    let all = fields(&Field::ALL);
    for suite in Suite::ALL {
        for given in every_kind() {
            let transaction = open(&serving, &portal).await;
            let sealed = seal(&note.document, site("nl"), transaction, &given, suite);
            let sealed = sealed.expect("sealed");
            let begin = format!("pvc1.{}.{}.nl.", suite.name(), note.document.key());
            assert!(sealed.starts_with(&begin), "{sealed:.80}");
            let request = RequestId::random();
            let made = portal.tokenize_sealed(&request, transaction, &sealed, None);
            let made = made.await.expect("a token");
            let (purpose, asked) = match made.details.kind {
                DetailsKind::Card => (Purpose::Authorize, all),
                _ => (Purpose::Payout, fields(&[Field::Number, Field::Holder])),
            };
            let request = RequestId::random();
            let redeemed = processor.redeem(&request, transaction, &made.token, purpose, asked);
            let redeemed = redeemed.await.expect("redeemed");
            assert_eq!(flat(&redeemed.details), flat(&given));
        }
    }
}

#[tokio::test]
async fn a_lost_answer_to_sealed_details_is_fetched_and_another_request_is_refused() {
    let serving = Serving::start().await;
    let portal = portal(&serving).await;
    let note = collect_key(&portal).await;
    let opened = opened(&serving, &portal).await;
    let transaction = opened.transaction;
    let sealed = seal(
        &note.document,
        site("nl"),
        transaction,
        &card(),
        Suite::XWing,
    );
    let sealed = sealed.expect("sealed");
    let request = RequestId::random();
    let made = with_a_lost_answer(&serving, opened.entry_index, |portal| {
        let (request, sealed) = (&request, &sealed);
        async move {
            portal
                .tokenize_sealed(request, transaction, sealed, None)
                .await
        }
    });
    let made = made.await.expect("a token");
    assert!(made.replayed, "the vault knew it");

    // The same an hour later, by whoever kept the request id.
    let kept = RequestId::from_bytes(request.as_bytes()).expect("kept");
    let again = portal.tokenize_sealed(&kept, transaction, &sealed, None);
    let again = again.await.expect("a token");
    assert_eq!(
        again.token.to_text().expose(),
        made.token.to_text().expose()
    );
    let other = RequestId::random();
    let replayed = portal.tokenize_sealed(&other, transaction, &sealed, None);
    assert_eq!(reason(replayed.await), "SEALED_DETAILS_REFUSED");
    let elsewhere = open(&serving, &portal).await;
    let moved = portal.tokenize_sealed(&other, elsewhere, &sealed, None);
    assert_eq!(reason(moved.await), "SEALED_DETAILS_REFUSED");
}

#[tokio::test]
async fn nothing_is_taken_from_a_vault_that_is_not_the_pinned_one() {
    let serving = Serving::start().await;
    let own = identity(&serving);
    let other = Serving::start().await;
    // Another vault's key, another key of the same name, and none.
    let impostor = ed25519_dalek::SigningKey::from_bytes(&[7; 32]).verifying_key();
    let impostor = VerifierKey::new(own.name(), impostor).expect("a name");
    for pinned in [
        vec![identity(&other)],
        vec![impostor.clone()],
        vec![identity(&other), impostor.clone()],
    ] {
        let portal = portal_with(&serving, pinned).await;
        let refused = portal.collect_key().await.expect_err("not its vault");
        match refused {
            ClientError::Document(error) => {
                let unknown = DocumentError::Note(NoteFault::NoKnownSignature);
                assert_eq!(error, unknown);
            }
            other => panic!("{other}"),
        }
    }
    let portal = portal_with(&serving, Vec::new()).await;
    let refused = portal.collect_key().await.expect_err("unknown");
    assert!(matches!(refused, ClientError::NoIdentity));

    // While the vault's identity changes, two are pinned.
    let portal = portal_with(&serving, vec![impostor, own.clone()]).await;
    collect_key(&portal).await;

    // An app that gets the text from the portal finds a changed one out.
    let portal = self::portal(&serving).await;
    let note = collect_key(&portal).await;
    let now = Clock::system().now();
    assert!(CollectDocument::open(&note.text, &own, now).is_ok());
    let bent = note.text.replacen("x25519", "x25518", 1);
    assert!(CollectDocument::open(&bent, &own, now).is_err());
}

#[tokio::test]
async fn with_an_old_document_nothing_is_sealed() {
    let serving = Serving::start().await;
    let portal = portal(&serving).await;
    let document = collect_key(&portal).await.document.clone();
    let mut terms = terms(&serving, 2);
    terms.expires_at = terms.release_until;
    let request = RequestId::random();
    let opened = portal.open_transaction(&request, &terms).await;
    let transaction = opened.expect("opened").transaction;
    let end = document.not_after();
    let sealing = |now| {
        let (at, suite) = (site("nl"), Suite::X25519);
        seal_at(&document, at, transaction, &card(), suite, now)
    };
    let last = payvault::clock::Timestamp(end.0 - 1);
    let sealed = sealing(last).expect("its last moment");
    for late in [end, end.plus_ms(DAY_MS)] {
        match sealing(late) {
            Err(ClientError::Document(error)) => {
                assert!(matches!(error, DocumentError::NotInTime { until, .. } if until == end));
            }
            _ => panic!("sealed at {late}"),
        }
    }
    // A client whose clock is past the end takes no such document from a vault either.
    let mut ahead = config(&serving, "portal");
    ahead.identities = vec![identity(&serving)];
    ahead.clock = Clock::Manual(payvault::clock::ManualClock::starting_at(end));
    let ahead = Client::connect(ahead).await.expect("a connection");
    let refused = ahead.collect_key().await.expect_err("old");
    assert!(matches!(
        refused,
        ClientError::Document(DocumentError::NotInTime { .. })
    ));

    // What was sealed in time and came late, the vault refuses.
    let now = serving.gate.house().clock.now();
    serving.clock.pass_ms(end.since_ms(now));
    let request = RequestId::random();
    let late = portal.tokenize_sealed(&request, transaction, &sealed, None);
    assert_eq!(reason(late.await), "SEALED_DETAILS_REFUSED");

    let long = Details::Bankgiro(Giro {
        number: "1".repeat(2_100).as_str().into(),
        holder: "A. Ek".into(),
    });
    let refused = seal_at(
        &document,
        site("nl"),
        transaction,
        &long,
        Suite::XWing,
        last,
    );
    assert!(matches!(
        refused,
        Err(ClientError::Document(DocumentError::Seal(_)))
    ));
}

#[tokio::test]
async fn a_document_is_kept_for_an_hour_or_to_the_days_end_and_longer_when_nobody_answers() {
    let mut serving = Serving::start().await;
    let portal = portal(&serving).await;
    let first = collect_key(&portal).await;
    assert!(Arc::ptr_eq(&first, &collect_key(&portal).await), "kept");
    serving.clock.pass_ms(HOUR_MS);
    let second = collect_key(&portal).await;
    assert!(!Arc::ptr_eq(&first, &second), "an hour old");

    // The next day begins: another key, at once.
    let now = serving.gate.house().clock.now();
    serving.clock.pass_ms(DAY_MS - now.0 % DAY_MS);
    let third = collect_key(&portal).await;
    assert_ne!(third.document.key(), second.document.key());

    serving.stop().await;
    serving.clock.pass_ms(HOUR_MS);
    let kept = collect_key(&portal).await;
    assert!(Arc::ptr_eq(&third, &kept), "still good");
    serving.clock.pass_ms(2 * DAY_MS);
    let refused = portal.collect_key().await.expect_err("nobody there");
    assert!(matches!(refused, ClientError::Unanswered(_)), "{refused}");
}

#[tokio::test]
async fn what_is_wrong_inside_is_told_and_a_site_can_refuse_what_is_in_clear() {
    let only = |settings: &mut payvault::vault::Settings| {
        settings.sealed_only = [site("nl")].into();
    };
    let serving = Serving::start_in(Storing::Memory, |_| {}, only).await;
    let portal = portal(&serving).await;
    let note = collect_key(&portal).await;
    let transaction = open(&serving, &portal).await;
    let request = RequestId::random();
    let card = card();
    let clear = portal.tokenize(&request, transaction, &card, None);
    assert_eq!(reason(clear.await), "SEALED_ONLY");
    let hand_in = async |details: &Details| {
        let sealed = seal(
            &note.document,
            site("nl"),
            transaction,
            details,
            Suite::X25519,
        );
        let (request, sealed) = (RequestId::random(), sealed.expect("sealed"));
        portal
            .tokenize_sealed(&request, transaction, &sealed, None)
            .await
    };
    let bad = Details::Bankgiro(Giro {
        number: "50501056".into(),
        holder: "A. Ek".into(),
    });
    match hand_in(&bad).await {
        Err(ClientError::Refused(refused)) => {
            assert_eq!(refused.reason, "INVALID_REQUEST");
            assert_eq!(refused.violations[0].0, "sealed_details.bankgiro.number");
        }
        _ => panic!("taken"),
    }
    hand_in(&card).await.expect("a token");
}
