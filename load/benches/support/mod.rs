//! A vault to measure: one portal, one processor, an operator, on a store of the bench's.

#![allow(dead_code)] // each bench uses a part

use payvault::clock::{Clock, DAY_MS, Timestamp};
use payvault::ids::{PrincipalId, Site};
use payvault::keys::{Argon2Cost, RootKey, SealFile};
use payvault::policy::{
    Agreement, Allowance, AllowanceKey, Field, FieldSet, Grant, Party, Principal, Purpose, Role,
    Terms,
};
use payvault::secret::SecretText;
use payvault::store::EngineKind;
use payvault::store::{Store, StoreError};
use payvault::vault::{Founding, House, Settings, create_in};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// The site of everything.
pub fn site() -> Site {
    Site::parse("nl").expect("a site")
}

/// Who is there.
#[derive(Clone)]
pub struct Cast {
    /// Opens transactions and hands details in.
    pub portal: Arc<Principal>,
    /// Redeems.
    pub processor: Arc<Principal>,
}

/// Somebody.
pub fn principal(name: &str, role: Role, now: Timestamp) -> Principal {
    Principal {
        id: PrincipalId::random(),
        name: name.to_owned(),
        role,
        sites: match role.is_human() {
            true => Vec::new(),
            false => vec![site()],
        },
        certificate_uri: format!("spiffe://bench/{name}"),
        issuer_key: [7; 32],
        agreement: role.is_human().then(|| Agreement {
            reference: "bench".to_owned(),
            valid_from: Timestamp(0),
            valid_until: now.plus_ms(60 * DAY_MS),
        }),
        secret_hash: String::new(),
        disabled: false,
        created_at: now,
        last_seen: now,
        bad_tries: 0,
        locked_until: Timestamp(0),
    }
}

/// The cast at `now`.
pub fn cast(now: Timestamp) -> Cast {
    Cast {
        portal: Arc::new(principal("portal", Role::Portal, now)),
        processor: Arc::new(principal("processor", Role::Processor, now)),
    }
}

/// Number, expiry and holder.
pub fn fields() -> FieldSet {
    [Field::Number, Field::Expiry, Field::Holder]
        .into_iter()
        .collect()
}

/// Terms as a portal names them: one processor, authorize and capture.
pub fn terms(cast: &Cast, now: Timestamp) -> Terms {
    let grant = |purpose| Grant {
        purpose,
        fields: fields(),
        uses_max: 100,
    };
    Terms {
        site: site(),
        portal: cast.portal.id,
        expires_at: now.plus_ms(DAY_MS),
        release_until: now.plus_ms(20 * DAY_MS),
        amount: None,
        merchant: "m-100441".to_owned(),
        reference: "order-2026-118".to_owned(),
        parties: vec![Party {
            principal: cast.processor.id,
            grants: vec![grant(Purpose::Authorize), grant(Purpose::Capture)],
        }],
    }
}

/// A house in `dir`.
pub fn house(dir: &Path) -> House {
    House {
        data_dir: dir.join("data"),
        keys_dir: dir.join("keys"),
        mark_dir: dir.join("mark"),
        checkpoint_sink: None,
        checkpoint_command: None,
        witnesses: Default::default(),
        settings: Settings {
            sites: BTreeMap::from([(site(), 180 * DAY_MS)]),
            fingerprints: BTreeSet::new(),
            sealed_only: BTreeSet::new(),
            denials_per_minute: 100,
            retention: payvault::api::sites::retention(),
            key_backup_days: 30,
        },
        engine: EngineKind::default(),
        cache_bytes: 64 << 20,
        clock: Clock::system(),
    }
}

/// Makes a vault in `house` over `store`, and gives its root key.
pub fn found(
    house: &House,
    cast: &Cast,
    store: impl FnOnce() -> Result<Box<dyn Store>, StoreError>,
) -> RootKey {
    let passphrase = SecretText::copy_from("correct horse battery staple");
    let now = house.clock.now();
    let key = AllowanceKey {
        site: site(),
        portal: cast.portal.id,
        processor: cast.processor.id,
    };
    let allowance = Allowance {
        purposes: 0b11_1111,
        uses_max: 100,
        release_ms_max: 100 * DAY_MS,
        releases_per_hour: 10_000_000,
    };
    let founding = Founding {
        principals: vec![
            (*cast.portal).clone(),
            (*cast.processor).clone(),
            principal("operator", Role::Operator, now),
        ],
        allowances: vec![(key, allowance)],
        unsealers: Vec::new(),
    };
    create_in(house, &passphrase, Argon2Cost::DEFAULT, founding, store).expect("a vault");
    SealFile::read(&house.keys_dir)
        .and_then(|seal| seal.open(&passphrase))
        .expect("the root key")
}
