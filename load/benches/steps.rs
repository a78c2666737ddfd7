//! What each step of a call costs by itself: `cargo bench -p load --bench steps`.

mod support;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use payvault::api::convert;
use payvault::api::details_json;
use payvault::api::proto as pb;
use payvault::api::violations::Violations;
use payvault::clock::{Clock, Timestamp};
use payvault::ids::{self, TransactionId, VaultId};
use payvault::keys::{
    Argon2Cost, Bound, KeyId, KeyName, Keyring, Kind, Place, SealFile, SealedDetails, Suite,
    open_record, seal_details, seal_record,
};
use payvault::ledger::{Checkpoint, Entry, Event, Leaf, Outcome, Tree, seal_content};
use payvault::payment::{CardInput, Details, Token, card};
use payvault::policy::{Purpose, Standing, release};
use payvault::secret::SecretText;
use prost::Message;
use std::sync::LazyLock;
use support::{Cast, cast, fields, site, terms};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

/// Keys and names that the steps need.
struct Bench {
    ring: Keyring,
    release: KeyId,
    log: KeyId,
    cast: Cast,
    now: Timestamp,
    transaction: TransactionId,
    token: Token,
    details: Vec<u8>,
    record: Vec<u8>,
}

static BENCH: LazyLock<Bench> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a directory");
    let now = Clock::system().now();
    let passphrase = SecretText::copy_from("correct horse battery staple");
    let vault = VaultId::random();
    let keys = dir.path().join("keys");
    let root = SealFile::create(&keys, vault, &passphrase, Argon2Cost::DEFAULT, Vec::new())
        .expect("a seal");
    let mut ring = Keyring::create(&keys, vault, &root, now).expect("a keyring");
    let (year, month) = now.year_month();
    let names = [
        KeyName::Collect { day: now.day() },
        KeyName::Release {
            site: site(),
            day: now.day() + 20,
        },
        KeyName::Log {
            site: site(),
            year,
            month,
        },
        KeyName::Replay { day: now.day() },
    ];
    ring.ensure(&names, now).expect("keys");
    let key = |name: &KeyName| ring.find(name, now).expect("a key");
    let (release, log) = (key(&names[0]), key(&names[1]));
    let input = CardInput {
        number: SecretText::copy_from("4242424242424242"),
        expiry_month: 11,
        expiry_year: 2030,
        holder: SecretText::copy_from("Saskia de Vries"),
        security_code: SecretText::copy_from(""),
        postal_code: SecretText::copy_from(""),
        address_line: SecretText::copy_from(""),
    };
    let Ok((card, _)) = card(input, now) else {
        panic!("a card")
    };
    let details = Details::Card(card).encode()[..].to_vec();
    let (transaction, token) = (TransactionId::random(), Token::random());
    let record = seal_record(
        vault,
        site(),
        transaction,
        &token.selector().0,
        &[3; 32],
        token.secret(),
        &details,
    )
    .expect("a record");
    Bench {
        release,
        log,
        ring,
        cast: cast(now),
        now,
        transaction,
        token,
        details,
        record,
    }
});

/// Bytes of a transaction's row with one token and a few remembered requests.
const ROW_BYTES: usize = 1_000;

fn row_place<'a>(transaction: &'a TransactionId, key: &'a [u8]) -> Place<'a> {
    Place {
        site: site(),
        transaction: Some(*transaction),
        kind: Kind::Transaction,
        scope: &transaction.0,
        row_key: key,
    }
}

#[divan::bench]
fn parse_tokenize(bencher: Bencher) {
    let b = &*BENCH;
    let message = pb::TokenizeRequest {
        request_id: ids::random::<16>().to_vec(),
        transaction: b.transaction.to_string(),
        details: Some(pb::PaymentDetails {
            kind: Some(pb::payment_details::Kind::Card(pb::Card {
                number: "4242424242424242".to_owned(),
                expiry_month: 11,
                expiry_year: 2030,
                holder: "Saskia de Vries".to_owned(),
                security_code: String::new(),
                billing: None,
            })),
        }),
        ..pb::TokenizeRequest::default()
    };
    let bytes = message.encode_to_vec();
    bencher.bench_local(|| {
        let asked = pb::TokenizeRequest::decode(black_box(&bytes[..])).expect("a message");
        let mut violations = Violations::new();
        let id = convert::request_id(asked.request_id, &mut violations);
        let transaction = convert::transaction(&asked.transaction, &mut violations);
        let tables = payvault::payment::ModulusTables::default();
        let details = convert::details("details", asked.details, b.now, &tables, &mut violations);
        assert!(violations.is_empty());
        (id.is_some(), transaction.is_some(), details.is_some())
    });
}

/// Sealed details: taken apart, opened, and read as details in clear are.
#[divan::bench(args = ["x25519", "x-wing"])]
fn open_sealed(bencher: Bencher, suite: &str) {
    let b = &*BENCH;
    let suite = Suite::of_name(suite).expect("a suite");
    let bound = Bound {
        vault: b.ring.vault(),
        site: site(),
        transaction: b.transaction,
    };
    let keys = b.ring.collect_keys();
    let key = keys.first().expect("a collect key");
    let json = br#"{"card":{"number":"4242424242424242","expiry_month":11,"expiry_year":2030,"holder":"Saskia de Vries"}}"#;
    let text = seal_details(suite, key.id(), key.public(suite), &bound, json).expect("sealed");
    bencher.bench_local(|| {
        let sealed = SealedDetails::parse(black_box(&text)).expect("a text");
        let opened = key.open(&sealed, &bound).expect("it opens");
        let given = details_json::parse(&opened).expect("details");
        let mut violations = Violations::new();
        let tables = payvault::payment::ModulusTables::default();
        let details = convert::details("x", Some(given), b.now, &tables, &mut violations);
        assert!(violations.is_empty());
        (sealed.encapsulation(), details.is_some())
    });
}

#[divan::bench]
fn parse_redeem(bencher: Bencher) {
    let b = &*BENCH;
    let message = pb::RedeemRequest {
        request_id: ids::random::<16>().to_vec(),
        transaction: b.transaction.to_string(),
        token: b.token.to_text().expose().to_owned(),
        purpose: pb::Purpose::Authorize.into(),
        fields: [pb::Field::Number, pb::Field::Expiry, pb::Field::Holder]
            .map(i32::from)
            .to_vec(),
        want_receipt: false,
    };
    let bytes = message.encode_to_vec();
    bencher.bench_local(|| {
        let asked = pb::RedeemRequest::decode(black_box(&bytes[..])).expect("a message");
        let mut violations = Violations::new();
        let id = convert::request_id(asked.request_id, &mut violations);
        let transaction = convert::transaction(&asked.transaction, &mut violations);
        let token = convert::token("token", asked.token, &mut violations);
        let purpose = convert::purpose("purpose", asked.purpose, &mut violations);
        let fields = convert::fields("fields", &asked.fields, &mut violations);
        assert!(violations.is_empty());
        (id.is_some(), transaction, token.is_some(), purpose, fields)
    });
}

#[divan::bench]
fn policy_release(bencher: Bencher) {
    let b = &*BENCH;
    let terms = terms(&b.cast, b.now);
    bencher.bench_local(|| {
        let standing = Standing {
            closed: false,
            token_revoked: false,
        };
        release(
            black_box(&b.cast.processor),
            black_box(&terms),
            standing,
            Purpose::Authorize,
            fields(),
            |_| Some(3),
            b.now,
        )
        .is_ok()
    });
}

#[divan::bench]
fn request_tag(bencher: Bencher) {
    let b = &*BENCH;
    let id = ids::random::<16>();
    bencher.bench_local(|| {
        let tag = b
            .ring
            .request_tag(b.now.day(), b.cast.processor.id, 2, black_box(&id));
        tag.is_ok()
    });
}

#[divan::bench]
fn seal_row(bencher: Bencher) {
    let b = &*BENCH;
    let key = [b'X'; 18];
    let plain = [5; ROW_BYTES];
    bencher.bench_local(|| {
        let place = row_place(&b.transaction, &key);
        b.ring
            .seal(b.release, &place, black_box(&plain))
            .expect("sealed")
    });
}

#[divan::bench]
fn open_row(bencher: Bencher) {
    let b = &*BENCH;
    let key = [b'X'; 18];
    let place = row_place(&b.transaction, &key);
    let sealed = b
        .ring
        .seal(b.release, &place, &[5; ROW_BYTES])
        .expect("sealed");
    bencher.bench_local(|| {
        let place = row_place(&b.transaction, &key);
        b.ring.open(&place, black_box(&sealed)).is_ok()
    });
}

#[divan::bench]
fn seal_inner_record(bencher: Bencher) {
    let b = &*BENCH;
    bencher.bench_local(|| {
        seal_record(
            b.ring.vault(),
            site(),
            b.transaction,
            &b.token.selector().0,
            &[3; 32],
            b.token.secret(),
            black_box(&b.details),
        )
        .expect("sealed")
    });
}

#[divan::bench]
fn open_inner_record(bencher: Bencher) {
    let b = &*BENCH;
    bencher.bench_local(|| {
        open_record(
            b.ring.vault(),
            site(),
            b.transaction,
            &b.token.selector().0,
            &[3; 32],
            b.token.secret(),
            black_box(&b.record),
        )
        .is_ok()
    });
}

fn redeemed_entry(b: &Bench) -> Entry {
    let mut entry = Entry::new(Event::Redeemed, Outcome::Ok, site(), b.now);
    entry.actor = Some(b.cast.processor.id);
    entry.actor_name = "processor".to_owned();
    entry.role = "processor";
    entry.epoch = 1;
    entry.index = 1_000_000;
    entry.origin = "192.0.2.7:40312".to_owned();
    entry.prev = Some(999_000);
    entry.purpose = "authorize";
    entry.transaction = Some(b.transaction);
    entry.token = Some(b.token.selector().reference());
    entry.masked = "424242******4242".to_owned();
    entry.fields = vec!["number", "expiry", "holder"];
    entry
}

#[divan::bench]
fn entry_to_json(bencher: Bencher) {
    let entry = redeemed_entry(&BENCH);
    bencher.bench_local(|| black_box(&entry).to_canonical_json());
}

/// JSON, salts, leaf, content, seal: all that an entry costs but its place in the tree.
#[divan::bench]
fn entry_whole(bencher: Bencher) {
    let b = &*BENCH;
    let entry = redeemed_entry(b);
    let bucket = entry.bucket_text();
    let key = [b'E'; 13];
    bencher.bench_local(|| {
        let json = black_box(&entry).to_canonical_json();
        let seed = ids::random::<32>();
        let leaf = Leaf::of(1, &bucket, site(), Event::Redeemed, &json, &seed);
        let place = Place {
            site: site(),
            transaction: None,
            kind: Kind::Entry,
            scope: &[0; 8],
            row_key: &key,
        };
        let content = seal_content(&seed, &json);
        (leaf.hash, b.ring.seal(b.log, &place, &content).is_ok())
    });
}

/// One round's leaves on a tree of some size, the new root, and the tree taken over.
#[divan::bench(args = [1, 16, 64, 256])]
fn tree_append(bencher: Bencher, batch: usize) {
    let mut tree = Tree::empty();
    let mut grown = tree.stage();
    for leaf in 0..100_003u32 {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&leaf.to_be_bytes());
        grown.append(hash);
    }
    tree.apply(grown).expect("a tree");
    bencher.counter(ItemsCount::new(batch)).bench_local(|| {
        let mut staged = tree.stage();
        for _ in 0..batch {
            staged.append(black_box([9; 32]));
        }
        (staged.root(), tree.rows(&staged).is_ok())
    });
}

/// Once in 100 ms at most, and not in a call's way.
#[divan::bench]
fn note_sign(bencher: Bencher) {
    let b = &*BENCH;
    let key = b.ring.ledger_signing(1).expect("a signing key");
    bencher.bench_local(|| {
        let checkpoint = Checkpoint::new(b.ring.vault(), 1, 1_000_000, black_box([9; 32]));
        checkpoint.sign(&key).is_ok()
    });
}
