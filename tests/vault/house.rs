//! A house to test in: two portals, three processors, an auditor and two operators, on a store in
//! memory whose disk outlives the vault, and a clock that stands still until it is moved.

use crate::ledger::{Line, Rows, read};
use payvault::clock::{Clock, DAY_MS, ManualClock, Timestamp};
use payvault::ids::{PrincipalId, Site, TransactionId};
use payvault::keys::{Argon2Cost, Keyring, RootKey, SealFile};
use payvault::payment::{CardInput, Details, Masked, SecurityCode, Token, card, iban, us_account};
use payvault::policy::{
    Agreement, Allowance, AllowanceKey, Denial, Field, FieldSet, Grant, Party, Principal, Purpose,
    Role, Terms,
};
use payvault::secret::SecretText;
use payvault::store::memory::{Faults, MemoryDisk, MemoryStore};
use payvault::store::{EngineKind, Store};
use payvault::vault::command::{Caller, Done, Note, Redeemed, Refusal, RequestId, Work};
use payvault::vault::{Founding, House, OpenError, Settings, Vault, create_in, open_in};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, LazyLock};

/// Every test begins at this moment.
pub const START: &str = "2026-11-23T12:00:00Z";
pub const MINUTE_MS: u64 = 60_000;
pub const HOUR_MS: u64 = 60 * MINUTE_MS;
const PASSPHRASE: &str = "correct horse battery staple";

/// What asks are run on.
pub static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
});

/// A vault that was just made. Deriving its key takes time, so it is made once a process and
/// copied by each test.
struct Template {
    _dir: tempfile::TempDir,
    house: House,
    rows: Rows,
    principals: HashMap<&'static str, Arc<Principal>>,
    secrets: HashMap<&'static str, SecretText>,
    root: RootKey,
}

static TEMPLATE: LazyLock<Template> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = ManualClock::starting_at(start());
    let house = house_in(dir.path(), &clock);
    let disk = MemoryDisk::default();
    let (founding, principals, secrets) = founding();
    let store = disk.clone();
    create_in(
        &house,
        &SecretText::copy_from(PASSPHRASE),
        Argon2Cost::DEFAULT,
        founding,
        || Ok(Box::new(MemoryStore::on(&store))),
    )
    .expect("a vault");
    let root = root_key(&house);
    Template {
        _dir: dir,
        rows: disk.durable(),
        house,
        principals,
        secrets,
        root,
    }
});

/// The root key of the vault in `house`.
pub fn root_key(house: &House) -> RootKey {
    SealFile::read(&house.keys_dir)
        .and_then(|seal| seal.open(&SecretText::copy_from(PASSPHRASE)))
        .expect("the root key")
}

/// The root key that the homes share: deriving it takes a while on purpose.
pub fn shared_root() -> &'static RootKey {
    &TEMPLATE.root
}

/// The passphrase of each vault.
pub fn passphrase() -> SecretText {
    SecretText::copy_from(PASSPHRASE)
}

pub fn start() -> Timestamp {
    Timestamp::parse(START).expect("a time")
}

pub fn site(text: &str) -> Site {
    Site::parse(text).expect("a site")
}

pub fn house_in(dir: &Path, clock: &Arc<ManualClock>) -> House {
    let sites = ["nl", "us"].map(|s| (site(s), 180 * DAY_MS));
    House {
        data_dir: dir.join("data"),
        keys_dir: dir.join("keys"),
        mark_dir: dir.join("mark"),
        checkpoint_sink: None,
        checkpoint_command: None,
        witnesses: Default::default(),
        settings: Settings {
            sites: BTreeMap::from(sites),
            fingerprints: std::collections::BTreeSet::new(),
            sealed_only: std::collections::BTreeSet::new(),
            denials_per_minute: 100,
            retention: payvault::api::sites::retention(),
            key_backup_days: 30,
        },
        engine: EngineKind::default(),
        cache_bytes: 16 << 20,
        clock: Clock::Manual(Arc::clone(clock)),
    }
}

/// A principal that nobody has enrolled yet.
pub fn principal(name: &str, role: Role) -> Principal {
    Principal {
        id: PrincipalId::random(),
        name: name.to_owned(),
        role,
        sites: if role.is_human() {
            Vec::new()
        } else {
            vec![site("nl"), site("us")]
        },
        certificate_uri: format!("spiffe://test/{name}"),
        issuer_key: [7; 32],
        agreement: role.is_human().then(|| Agreement {
            reference: "NDA 12".to_owned(),
            valid_from: Timestamp(0),
            valid_until: start().plus_ms(60 * DAY_MS),
        }),
        secret_hash: String::new(),
        disabled: false,
        created_at: start(),
        last_seen: start(),
        bad_tries: 0,
        locked_until: Timestamp(0),
    }
}

pub const EVERYTHING: Allowance = Allowance {
    purposes: 0b11_1111,
    uses_max: 100,
    release_ms_max: 100 * DAY_MS,
    releases_per_hour: 1_000_000,
};

pub type Cast = HashMap<&'static str, Arc<Principal>>;

/// Portals `shop` and `other`; processors `acme`, `bolt` and `crux`; `auditor`; `ann` and `ben`,
/// who are operators. `shop` may name `acme` and `bolt`; `other` may name `acme`, and `bolt` for
/// three releases an hour; nobody may name `crux`, but it is enrolled.
pub fn founding() -> (Founding, Cast, HashMap<&'static str, SecretText>) {
    let roles = [
        ("shop", Role::Portal),
        ("other", Role::Portal),
        ("acme", Role::Processor),
        ("bolt", Role::Processor),
        ("crux", Role::Processor),
        ("auditor", Role::Auditor),
        ("ann", Role::Operator),
        ("ben", Role::Operator),
    ];
    let mut secrets = HashMap::new();
    let mut principals: Vec<Principal> = Vec::new();
    for (name, role) in roles {
        let mut own = principal(name, role);
        if name == "auditor" {
            let secret = payvault::keys::password::generate();
            own.secret_hash = payvault::keys::password::hash(&secret);
            secrets.insert(name, secret);
        }
        principals.push(own);
    }
    let cast: Cast = roles
        .iter()
        .zip(&principals)
        .map(|((name, _), p)| (*name, Arc::new(p.clone())))
        .collect();
    let mut allowances = Vec::new();
    for on in ["nl", "us"] {
        for (portal, processor, allowance) in [
            ("shop", "acme", EVERYTHING),
            ("shop", "bolt", EVERYTHING),
            ("other", "acme", EVERYTHING),
            (
                "other",
                "bolt",
                Allowance {
                    releases_per_hour: 3,
                    ..EVERYTHING
                },
            ),
        ] {
            let key = AllowanceKey {
                site: site(on),
                portal: cast[portal].id,
                processor: cast[processor].id,
            };
            allowances.push((key, allowance));
        }
    }
    let founding = Founding {
        principals,
        allowances,
        unsealers: Vec::new(),
    };
    (founding, cast, secrets)
}

/// A vault and all that lies around it.
pub struct Home {
    _dir: tempfile::TempDir,
    pub house: House,
    pub clock: Arc<ManualClock>,
    pub disk: MemoryDisk,
    vault: Option<Arc<Vault>>,
    requests: std::sync::atomic::AtomicU64,
}

impl Home {
    /// An open vault.
    pub fn new() -> Home {
        Home::with(|_| {})
    }

    /// An open vault of a house that was changed first.
    pub fn with(change: impl FnOnce(&mut House)) -> Home {
        let mut home = Home::closed();
        change(&mut home.house);
        home.reopen().expect("the vault opens");
        home
    }

    /// A vault that was made and not opened.
    pub fn closed() -> Home {
        let template = &*TEMPLATE;
        let dir = tempfile::tempdir().expect("a directory");
        let clock = ManualClock::starting_at(start());
        let house = house_in(dir.path(), &clock);
        std::fs::create_dir_all(&house.data_dir).expect("a directory");
        copy_dir(&template.house.keys_dir, &house.keys_dir);
        copy_dir(&template.house.mark_dir, &house.mark_dir);
        let disk = MemoryDisk::default();
        disk.tamper(|rows| rows.clone_from(&template.rows));
        Home {
            _dir: dir,
            house,
            clock,
            disk,
            vault: None,
            requests: std::sync::atomic::AtomicU64::new(1),
        }
    }

    /// The open vault.
    pub fn vault(&self) -> &Arc<Vault> {
        self.vault.as_ref().expect("an open vault")
    }

    /// Opens what lies on disk.
    pub fn reopen(&mut self) -> Result<(), OpenError> {
        let store = Box::new(MemoryStore::on(&self.disk));
        self.reopen_over(store)
    }

    /// Opens over another store.
    pub fn reopen_over(&mut self, store: Box<dyn Store>) -> Result<(), OpenError> {
        assert!(self.vault.is_none(), "close it first");
        let vault = open_in(&self.house, &TEMPLATE.root, store)?;
        self.vault = Some(Arc::new(vault));
        Ok(())
    }

    /// Takes over a vault that was opened elsewhere.
    pub fn adopt(&mut self, vault: Vault) {
        assert!(self.vault.is_none(), "close it first");
        self.vault = Some(Arc::new(vault));
    }

    /// Stop and start of a vault whose rows lie in its data directory.
    pub fn restart_on_disk(&mut self) {
        self.close();
        let root = root_key(&self.house);
        let vault = payvault::vault::open(&self.house, &root).expect("the vault opens again");
        self.vault = Some(Arc::new(vault));
    }

    /// An orderly stop.
    pub fn close(&mut self) {
        if let Some(vault) = self.vault.take() {
            vault.close(Note::Stopped, Caller::vault());
        }
    }

    /// Stop and start.
    pub fn restart(&mut self) {
        self.close();
        self.reopen().expect("the vault opens again");
    }

    /// The process dies: what isn't durable is gone, and no last word is written.
    pub fn kill(&mut self) {
        self.disk.order(Faults::none().and_reopenings(u32::MAX));
        self.disk.crash();
        self.close();
        self.disk.order(Faults::none());
    }

    /// The keyring as it lies on disk, beside a vault that may be open.
    pub fn ring(&self) -> Keyring {
        let seal = SealFile::read(&self.house.keys_dir).expect("a seal");
        Keyring::look(&self.house.keys_dir, seal.vault(), &TEMPLATE.root).expect("a keyring")
    }

    /// The keyring of a vault that is closed, to change it.
    pub fn own_ring(&self) -> Keyring {
        assert!(self.vault.is_none(), "close it first");
        let seal = SealFile::read(&self.house.keys_dir).expect("a seal");
        Keyring::load(&self.house.keys_dir, seal.vault(), &TEMPLATE.root).expect("a keyring")
    }

    /// Every entry on disk, checked to the root.
    pub fn ledger(&self) -> Vec<Line> {
        let (lines, root) = read(&self.disk.durable(), &self.ring());
        if let Some(vault) = &self.vault {
            let head = vault.head();
            assert_eq!(head.size, lines.len() as u64, "the head counts its entries");
            assert_eq!(head.root, root, "the head's root is not its entries'");
        }
        lines
    }

    /// Entries from index `from` on, in brief.
    pub fn brief(&self, from: u64) -> Vec<String> {
        let lines = self.ledger();
        lines[from as usize..].iter().map(Line::brief).collect()
    }

    /// How many entries there are.
    pub fn size(&self) -> u64 {
        self.vault().head().size
    }

    pub fn id(&self, name: &str) -> PrincipalId {
        TEMPLATE.principals[name].id
    }

    pub fn principal(&self, name: &str) -> Arc<Principal> {
        Arc::clone(&TEMPLATE.principals[name])
    }

    /// The secret of a human.
    pub fn secret(&self, name: &str) -> SecretText {
        TEMPLATE.secrets[name].duplicate()
    }

    pub fn caller(&self, name: &str) -> Caller {
        caller(self.principal(name))
    }

    /// A request id that was not used before.
    pub fn request(&self) -> RequestId {
        let number = self
            .requests
            .fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        request(number)
    }

    pub fn ask(&self, name: &str, work: Work) -> Result<Done, Refusal> {
        self.ask_as(self.caller(name), work)
    }

    pub fn ask_as(&self, caller: Caller, work: Work) -> Result<Done, Refusal> {
        RUNTIME.block_on(self.vault().ask(caller, work, u64::MAX))
    }

    /// Terms that suit most tests: `acme` may authorize twice with everything and capture three
    /// times, `bolt` may pay out once; details for an hour, release for a week.
    pub fn terms(&self) -> Terms {
        self.terms_of("shop")
    }

    pub fn terms_of(&self, portal: &str) -> Terms {
        let now = self.house.clock.now();
        let mut parties = vec![
            Party {
                principal: self.id("acme"),
                grants: vec![
                    grant(Purpose::Authorize, &Field::ALL, 2),
                    grant(Purpose::Capture, &[Field::Number, Field::Expiry], 3),
                ],
            },
            Party {
                principal: self.id("bolt"),
                grants: vec![grant(Purpose::Payout, &[Field::Number, Field::Holder], 1)],
            },
        ];
        parties.sort_by_key(|p| p.principal);
        Terms {
            site: site("nl"),
            portal: self.id(portal),
            expires_at: now.plus_ms(HOUR_MS),
            release_until: now.plus_ms(7 * DAY_MS),
            amount: None,
            merchant: String::new(),
            reference: "order 7".to_owned(),
            parties,
        }
    }

    pub fn open_with(&self, name: &str, terms: Terms) -> Result<TransactionId, Refusal> {
        let work = Work::Open {
            request: self.request(),
            terms: Box::new(terms),
        };
        match self.ask(name, work)? {
            Done::Opened { transaction, .. } => Ok(transaction),
            _ => panic!("another answer"),
        }
    }

    /// A transaction of `shop` under [`Home::terms`].
    pub fn open(&self) -> TransactionId {
        self.open_with("shop", self.terms()).expect("opened")
    }

    pub fn tokenize(&self, transaction: TransactionId, details: Details) -> Token {
        self.tokenize_with(transaction, details, None)
            .expect("a token")
            .0
    }

    pub fn tokenize_with(
        &self,
        transaction: TransactionId,
        details: Details,
        code: Option<&str>,
    ) -> Result<(Token, Masked), Refusal> {
        let work = Work::Tokenize {
            request: self.request(),
            transaction,
            details: Box::new(details),
            code: code.map(security_code),
            replaces: None,
        };
        match self.ask("shop", work)? {
            Done::Tokenized { token, masked, .. } => Ok((token, masked)),
            _ => panic!("another answer"),
        }
    }

    /// A transaction with a card.
    pub fn card(&self) -> (TransactionId, Token) {
        let transaction = self.open();
        (transaction, self.tokenize(transaction, visa()))
    }

    pub fn redeem(
        &self,
        name: &str,
        transaction: TransactionId,
        token: &Token,
        purpose: Purpose,
        fields: &[Field],
    ) -> Result<Box<Redeemed>, Refusal> {
        self.redeem_as(self.request(), name, transaction, token, purpose, fields)
    }

    pub fn redeem_as(
        &self,
        request: RequestId,
        name: &str,
        transaction: TransactionId,
        token: &Token,
        purpose: Purpose,
        fields: &[Field],
    ) -> Result<Box<Redeemed>, Refusal> {
        let work = redemption(request, transaction, token, purpose, fields);
        match self.ask(name, work)? {
            Done::Redeemed(redeemed) => Ok(redeemed),
            _ => panic!("another answer"),
        }
    }

    /// `acme` authorizes with the number.
    pub fn authorize(
        &self,
        transaction: TransactionId,
        token: &Token,
    ) -> Result<Box<Redeemed>, Refusal> {
        self.redeem(
            "acme",
            transaction,
            token,
            Purpose::Authorize,
            &[Field::Number],
        )
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.close();
    }
}

pub fn redemption(
    request: RequestId,
    transaction: TransactionId,
    token: &Token,
    purpose: Purpose,
    fields: &[Field],
) -> Work {
    Work::Redeem {
        request,
        transaction,
        token: again(token),
        purpose,
        fields: fields.iter().copied().collect(),
    }
}

pub fn caller(principal: Arc<Principal>) -> Caller {
    Caller {
        principal: Some(principal),
        origin: Arc::from("192.0.2.1:1"),
    }
}

/// The request id with a number.
pub fn request(number: u64) -> RequestId {
    let mut bytes = b"a test's id: ".to_vec();
    bytes.extend_from_slice(&number.to_be_bytes());
    RequestId::new(bytes)
}

/// The same token once more: tokens can't be cloned.
pub fn again(token: &Token) -> Token {
    Token::from_parts(&token.parts())
}

pub fn grant(purpose: Purpose, fields: &[Field], uses_max: u8) -> Grant {
    Grant {
        purpose,
        fields: fields.iter().copied().collect::<FieldSet>(),
        uses_max,
    }
}

pub fn security_code(text: &str) -> SecurityCode {
    match SecurityCode::parse(SecretText::copy_from(text)) {
        Ok(code) => code,
        Err(problem) => panic!("{problem:?}"),
    }
}

pub const VISA: &str = "4111111111111111";

pub fn visa() -> Details {
    card_details(VISA)
}

pub fn card_details(number: &str) -> Details {
    let text = SecretText::copy_from;
    let input = CardInput {
        number: text(number),
        expiry_month: 12,
        expiry_year: 2031,
        holder: text("A. Jansen"),
        security_code: text(""),
        postal_code: text("XX AB"),
        address_line: text("Dam"),
    };
    let Ok((card, _)) = card(input, start()) else {
        panic!("the card is good");
    };
    Details::Card(card)
}

pub fn dutch_iban() -> Details {
    let text = SecretText::copy_from;
    let Ok(account) = iban(
        text("NL91 ABNA 0417 1643 00"),
        text("J. de Vries"),
        text(""),
    ) else {
        panic!("the IBAN is good");
    };
    Details::Iban(account)
}

pub fn checking_account() -> Details {
    let text = SecretText::copy_from;
    let Ok(account) = us_account(text("021000021"), text("123456789"), text("Pat Doe"), 1) else {
        panic!("the account is good");
    };
    Details::UsAccount(account)
}

/// The number in details.
pub fn number_of(details: &Details) -> String {
    match details.number() {
        (number, None) => number.expose().to_owned(),
        (bank, Some(account)) => format!("{} {}", bank.expose(), account.expose()),
    }
}

/// The reason of a denial.
pub fn denial<T>(answer: Result<T, Refusal>) -> Denial {
    match answer {
        Err(Refusal::Denied(denial)) => denial,
        Err(other) => panic!("refused otherwise: {other}"),
        Ok(_) => panic!("not refused"),
    }
}

/// Any refusal.
pub fn refusal<T>(answer: Result<T, Refusal>) -> Refusal {
    match answer {
        Err(refusal) => refusal,
        Ok(_) => panic!("not refused"),
    }
}

pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}
