//! A child's work on the whole vault below the network: committer, keyring, mark and store, all in
//! the watched directory. Callers are told of tokens and redemptions; what they were told is noted
//! outside of that directory, as a caller would, and asked for again by the next life.

use crate::bare_store::Chance;
use crate::children::{Orders, Verdict, acknowledged};
use payvault::clock::{Clock, DAY_MS, Timestamp};
use payvault::ids::{PrincipalId, Site, TransactionId, random};
use payvault::keys::{Argon2Cost, SealFile};
use payvault::payment::{CardInput, Details, Token, card, luhn};
use payvault::policy::{
    Agreement, Allowance, AllowanceKey, Field, FieldSet, Grant, Party, Principal, Purpose, Role,
    Terms,
};
use payvault::secret::SecretText;
use payvault::vault::command::{Caller, Done, Note, Refusal, RequestId, Work};
use payvault::vault::{self, Founding, House, OpenError, Settings, Vault};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

const PASSPHRASE: &str = "a passphrase of the tests";
/// Redemptions asked for at once when what is left is looked at.
const ASKED_AT_ONCE: usize = 256;

/// Callers at once in the life of this seed: a lone one, some, and more than one group commit takes
/// (`limits::ROUND_COMMANDS_MAX`).
pub fn clients(seed: u64) -> u64 {
    [1, 8, 60, 400][((seed >> 32) % 4) as usize]
}

/// Lives: makes the vault when there is none, then takes in and gives out until it is cut or done.
pub fn live(orders: &Orders) {
    let house = house(orders);
    if !orders.data.join("keys").exists() {
        make(&house);
    }
    let vault = Arc::new(open(&house).expect("the vault opens"));
    let told = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(told(&orders.data))
        .expect("a file outside of the watched directory");
    let told = Arc::new(Mutex::new((told, 0u64)));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let at_once = clients(orders.seed);
    runtime.block_on(async {
        let mut clients = tokio::task::JoinSet::new();
        for client in 0..at_once {
            let (vault, told) = (Arc::clone(&vault), Arc::clone(&told));
            let seed = orders.seed ^ client.wrapping_mul(0x9e37_79b9);
            let rounds = orders.rounds.div_ceil(at_once);
            clients.spawn(async move {
                let mut chance = seed;
                for _ in 0..rounds {
                    step(&vault, &told, Chance::step(&mut chance)).await;
                }
            });
        }
        while let Some(ended) = clients.join_next().await {
            ended.expect("a client ends well");
        }
    });
    vault.close(Note::Stopped, Caller::vault());
}

/// Opens what is left, and asks for everything that was told.
pub fn check(orders: &Orders) -> Verdict {
    let vault = match open(&house(orders)) {
        Ok(vault) => Arc::new(vault),
        Err(error) => return Verdict::Unopenable(error.to_string()),
    };
    let lines = std::fs::read_to_string(told(&orders.data)).unwrap_or_default();
    let told: Vec<Told> = lines.lines().filter_map(Told::read).collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let result = runtime.block_on(async {
        for some in told.chunks(ASKED_AT_ONCE) {
            let mut asked = tokio::task::JoinSet::new();
            for told in some {
                let (vault, told) = (Arc::clone(&vault), told.clone());
                asked.spawn(async move { told.holds(&vault).await });
            }
            while let Some(answer) = asked.join_next().await {
                answer.expect("a caller ends well")?;
            }
        }
        Ok(told.len() as u64)
    });
    vault.close(Note::Stopped, Caller::vault());
    match result {
        Ok(count) => Verdict::Holds(count),
        Err(what) => Verdict::Broken(what),
    }
}

/// What a caller was told of one token.
#[derive(Clone)]
struct Told {
    transaction: TransactionId,
    token: String,
    number: String,
}

impl Told {
    /// As noted; none for half a line, whose caller was cut as well.
    fn read(line: &str) -> Option<Told> {
        let (transaction, rest) = line.split_once(' ')?;
        let (token, number) = rest.split_once(' ')?;
        Some(Told {
            transaction: TransactionId::parse(transaction).ok()?,
            token: token.to_owned(),
            number: number.to_owned(),
        })
    }

    /// Whether it still redeems to the number that was handed in.
    async fn holds(&self, vault: &Vault) -> Result<(), String> {
        let token = Token::parse(&self.token).map_err(|e| e.to_string())?;
        match redeem(vault, self.transaction, token).await {
            Ok(card) if card == self.number => Ok(()),
            Ok(_) => Err("another number came back".to_owned()),
            Err(refusal) => Err(format!("{}: {refusal}", self.transaction)),
        }
    }
}

async fn step(vault: &Vault, told: &Mutex<(std::fs::File, u64)>, chance: u64) {
    let now = vault.clock().now();
    let terms = Terms {
        site: nl(),
        portal: PORTAL,
        expires_at: now.plus_ms(3_600_000),
        // Many days, so that new buckets' keys are made under the cut as well.
        release_until: now.plus_ms(DAY_MS + chance % 90 * DAY_MS),
        amount: None,
        merchant: String::new(),
        reference: String::new(),
        parties: vec![Party {
            principal: PROCESSOR,
            grants: vec![Grant {
                purpose: Purpose::Capture,
                fields: FieldSet::default().with(Field::Number),
                uses_max: 100,
            }],
        }],
    };
    let work = Work::Open {
        request: request(),
        terms: Box::new(terms),
    };
    let Ok(Done::Opened { transaction, .. }) = ask(vault, PORTAL, work).await else {
        panic!("a transaction does not open");
    };
    let number = card_number(chance);
    let work = Work::Tokenize {
        request: request(),
        transaction,
        details: Box::new(details(&number, now)),
        code: None,
        replaces: None,
    };
    let Ok(Done::Tokenized { token, .. }) = ask(vault, PORTAL, work).await else {
        panic!("a card is not taken");
    };
    let line = format!("{transaction} {} {number}\n", token.to_text().expose());
    {
        let mut told = told.lock().expect("told");
        told.0.write_all(line.as_bytes()).expect("noted");
        told.1 += 1;
        acknowledged(told.1);
    }
    let given = redeem(vault, transaction, token).await;
    assert_eq!(given.as_deref(), Ok(number.as_str()));
}

async fn redeem(
    vault: &Vault,
    transaction: TransactionId,
    token: Token,
) -> Result<String, Refusal> {
    let work = Work::Redeem {
        request: request(),
        transaction,
        token,
        purpose: Purpose::Capture,
        fields: FieldSet::default().with(Field::Number),
    };
    match ask(vault, PROCESSOR, work).await? {
        Done::Redeemed(redeemed) => match redeemed.details {
            Details::Card(card) => Ok(card.number.expose().to_owned()),
            _ => Err(Refusal::Integrity),
        },
        _ => Err(Refusal::Integrity),
    }
}

async fn ask(vault: &Vault, who: PrincipalId, work: Work) -> Result<Done, Refusal> {
    let caller = Caller {
        principal: vault.registry().principal(who).cloned(),
        origin: Arc::from("127.0.0.1:1"),
    };
    vault.ask(caller, work, u64::MAX).await
}

const PORTAL: PrincipalId = PrincipalId([1; 16]);
const PROCESSOR: PrincipalId = PrincipalId([2; 16]);

fn make(house: &House) {
    let principal = |id, name: &str, role: Role| Principal {
        id,
        name: name.to_owned(),
        role,
        sites: if role.is_human() {
            Vec::new()
        } else {
            vec![nl()]
        },
        certificate_uri: format!("spiffe://test/{name}"),
        issuer_key: [0; 32],
        agreement: role.is_human().then(|| Agreement {
            reference: "NDA".to_owned(),
            valid_from: Timestamp(0),
            valid_until: payvault::clock::TIMESTAMP_MAX,
        }),
        secret_hash: String::new(),
        disabled: false,
        created_at: house.clock.now(),
        last_seen: house.clock.now(),
        bad_tries: 0,
        locked_until: Timestamp(0),
    };
    let founding = Founding {
        principals: vec![
            principal(PORTAL, "portal", Role::Portal),
            principal(PROCESSOR, "processor", Role::Processor),
            principal(PrincipalId([3; 16]), "operator", Role::Operator),
        ],
        allowances: vec![(
            AllowanceKey {
                site: nl(),
                portal: PORTAL,
                processor: PROCESSOR,
            },
            Allowance {
                purposes: 0b11_1111,
                uses_max: 100,
                release_ms_max: 100 * DAY_MS,
                releases_per_hour: 10_000_000,
            },
        )],
        unsealers: Vec::new(),
    };
    let passphrase = SecretText::copy_from(PASSPHRASE);
    vault::create(house, &passphrase, Argon2Cost::for_tests(), founding).expect("a vault is made");
}

fn open(house: &House) -> Result<Vault, OpenError> {
    let root = SealFile::read(&house.keys_dir)?.open(&SecretText::copy_from(PASSPHRASE))?;
    vault::open(house, &root)
}

fn house(orders: &Orders) -> House {
    let data = &orders.data;
    House {
        data_dir: data.join("data"),
        keys_dir: data.join("keys"),
        mark_dir: data.join("mark"),
        // Watched too: opening refuses a vault that doesn't extend what was published.
        checkpoint_sink: Some(data.join("checkpoint")),
        checkpoint_command: None,
        witnesses: Default::default(),
        settings: Settings {
            sites: [(nl(), 180 * DAY_MS)].into(),
            fingerprints: std::collections::BTreeSet::new(),
            sealed_only: std::collections::BTreeSet::new(),
            denials_per_minute: 100,
            retention: payvault::api::sites::retention(),
            key_backup_days: 30,
        },
        engine: orders.engine,
        cache_bytes: 1 << 20,
        clock: Clock::system(),
    }
}

/// Where callers keep what they were told: beside the watched directory.
fn told(data: &Path) -> PathBuf {
    data.with_file_name("told")
}

fn nl() -> Site {
    Site::parse("nl").expect("a site")
}

fn request() -> RequestId {
    RequestId::new(random::<16>().to_vec())
}

fn details(number: &str, now: Timestamp) -> Details {
    let none = || SecretText::new(String::new());
    let input = CardInput {
        number: SecretText::copy_from(number),
        expiry_month: 12,
        expiry_year: 2035,
        holder: none(),
        security_code: none(),
        postal_code: none(),
        address_line: none(),
    };
    match card(input, now) {
        Ok((card, _)) => Details::Card(card),
        Err(problems) => panic!("{problems:?}"),
    }
}

fn card_number(chance: u64) -> String {
    let body = format!("400000{:09}", chance % 1_000_000_000);
    (0..10)
        .map(|digit| format!("{body}{digit}"))
        .find(|candidate| luhn::passes(candidate.as_bytes()))
        .expect("one of ten digits passes")
}
