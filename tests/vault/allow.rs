//! Who may do what: the allow-list, principals, two operators, and people's secrets.

use crate::house::*;
use payvault::clock::DAY_MS;
use payvault::ids::{ActionId, PrincipalId};
use payvault::keys::Argon2Cost;
use payvault::policy::{Allowance, AllowanceKey, Denial, Field, Principal, Purpose, Role, Terms};
use payvault::secret::SecretText;
use payvault::store::memory::{MemoryDisk, MemoryStore};
use payvault::vault::command::{Admin, Caller, Done, Refusal, Work};
use payvault::vault::{Founding, create_in, open_in};
use std::sync::Arc;

fn admin(home: &Home, name: &str, admin: Admin) -> Result<Done, Refusal> {
    home.ask(name, Work::Admin(Box::new(admin)))
}

fn pending(answer: Result<Done, Refusal>) -> ActionId {
    match answer {
        Ok(Done::Pending(id)) => id,
        Ok(_) => panic!("done at once"),
        Err(refusal) => panic!("{refusal}"),
    }
}

fn done(answer: Result<Done, Refusal>) {
    match answer {
        Ok(Done::Noted { .. }) => {}
        Ok(_) => panic!("another answer"),
        Err(refusal) => panic!("{refusal}"),
    }
}

fn key(home: &Home, portal: &str, processor: &str) -> AllowanceKey {
    AllowanceKey {
        site: site("nl"),
        portal: home.id(portal),
        processor: home.id(processor),
    }
}

#[test]
fn a_portal_cant_put_into_terms_what_the_allow_list_does_not_cover() {
    let home = Home::new();
    let narrow = Allowance {
        purposes: 1 << (Purpose::Authorize as u8 - 1),
        uses_max: 2,
        release_ms_max: DAY_MS,
        releases_per_hour: 10,
    };
    let change = Admin::SetAllowance(key(&home, "shop", "crux"), Some(narrow));
    let id = pending(admin(&home, "ann", change));
    let crux = |uses: u8, purpose, release_ms| {
        let mut terms = home.terms();
        terms.parties = vec![payvault::policy::Party {
            principal: home.id("crux"),
            grants: vec![grant(purpose, &[Field::Number], uses)],
        }];
        terms.release_until = home.house.clock.now().plus_ms(release_ms);
        terms
    };
    let refused = |terms: Terms| {
        assert_eq!(
            denial(home.open_with("shop", terms)),
            Denial::TermsNotAllowed
        );
    };
    let good = || crux(2, Purpose::Authorize, DAY_MS);
    refused(good());
    done(admin(&home, "ben", Admin::Approve(id)));
    assert!(home.open_with("shop", good()).is_ok());
    refused(crux(3, Purpose::Authorize, DAY_MS));
    refused(crux(1, Purpose::Capture, DAY_MS));
    refused(crux(1, Purpose::Authorize, DAY_MS + 1));
    // One party that is not covered spoils the terms.
    let mut both = home.terms();
    both.release_until = home.house.clock.now().plus_ms(DAY_MS);
    both.parties.extend(crux(3, Purpose::Authorize, 1).parties);
    refused(both);
    // Nobody, and somebody who is no processor.
    for principal in [PrincipalId::random(), home.id("shop"), home.id("auditor")] {
        let mut terms = home.terms();
        terms.parties[0].principal = principal;
        refused(terms);
    }
    // The allowance is this portal's.
    let mut theirs = good();
    theirs.portal = home.id("other");
    assert_eq!(
        denial(home.open_with("other", theirs)),
        Denial::TermsNotAllowed
    );
}

#[test]
fn a_portal_acts_for_itself_and_on_its_sites() {
    let home = Home::new();
    let other = Terms {
        portal: home.id("other"),
        ..home.terms()
    };
    assert!(home.open_with("shop", other).is_err());
    for name in ["uk", "se"] {
        let terms = Terms {
            site: site(name),
            ..home.terms()
        };
        assert_eq!(
            denial(home.open_with("shop", terms)),
            Denial::SiteNotAllowed
        );
    }
    let terms = Terms {
        site: site("us"),
        ..home.terms()
    };
    assert!(home.open_with("shop", terms).is_ok());
    let now = home.house.clock.now();
    let terms = Terms {
        expires_at: now,
        ..home.terms()
    };
    assert!(home.open_with("shop", terms).is_err());
    let terms = Terms {
        release_until: now.plus_ms(181 * DAY_MS),
        ..home.terms()
    };
    assert_eq!(
        denial(home.open_with("shop", terms)),
        Denial::TermsNotAllowed
    );
}

#[test]
fn an_allowance_that_was_taken_away_ends_releases() {
    let home = Home::new();
    let (transaction, token) = home.card();
    let id = pending(admin(
        &home,
        "ann",
        Admin::SetAllowance(key(&home, "shop", "acme"), None),
    ));
    assert!(home.authorize(transaction, &token).is_ok(), "not yet");
    done(admin(&home, "ben", Admin::Approve(id)));
    assert_eq!(
        denial(home.authorize(transaction, &token)),
        Denial::TermsNotAllowed
    );
}

#[test]
fn a_disabled_principal_is_refused_at_its_next_call() {
    let mut home = Home::new();
    let (transaction, token) = home.card();
    let size = home.size();
    assert_eq!(
        denial(admin(&home, "ann", Admin::DisablePrincipal(home.id("ann")))),
        Denial::NotApplicable
    );
    assert_eq!(
        denial(admin(
            &home,
            "acme",
            Admin::DisablePrincipal(home.id("bolt"))
        )),
        Denial::RoleNotAllowed
    );
    assert_eq!(home.size(), size + 2);
    done(admin(
        &home,
        "ann",
        Admin::DisablePrincipal(home.id("acme")),
    ));
    for _ in 0..2 {
        assert_eq!(
            denial(home.authorize(transaction, &token)),
            Denial::PrincipalDisabled
        );
        assert_eq!(
            denial(home.open_with("shop", home.terms())),
            Denial::TermsNotAllowed,
            "nor can it be named"
        );
        home.restart();
    }
    let unknown = Admin::DisablePrincipal(PrincipalId::random());
    assert_eq!(
        denial(admin(&home, "ann", unknown)),
        Denial::UnknownPrincipal
    );
}

#[test]
fn people_without_an_agreement_in_force_are_refused() {
    let home = Home::new();
    let export = || {
        home.ask(
            "auditor",
            Work::Export {
                detail: vec![("why", "test".to_owned())],
            },
        )
    };
    assert!(export().is_ok());
    home.clock.pass_ms(60 * DAY_MS - 1);
    assert!(export().is_ok());
    home.clock.pass_ms(1);
    assert_eq!(denial(export()), Denial::AgreementNotInForce);
    // Machines carry none.
    home.open();
}

#[test]
fn whoever_is_idle_for_90_days_is_refused() {
    let home = Home::new();
    home.clock.pass_ms(90 * DAY_MS - 1);
    done(admin_seen(&home, "shop"));
    home.clock.pass_ms(1);
    home.open();
    assert_eq!(
        denial(home.open_with("other", home.terms_of("other"))),
        Denial::PrincipalDisabled
    );
}

fn admin_seen(home: &Home, name: &str) -> Result<Done, Refusal> {
    let work = Work::Admin(Box::new(Admin::Seen(home.id(name))));
    home.ask_as(Caller::vault(), work)
}

#[test]
fn a_second_operator_approves_and_nobody_else() {
    let home = Home::new();
    let newcomer = principal("delta", Role::Processor);
    let from = home.size();
    let id = pending(admin(
        &home,
        "ann",
        Admin::CreatePrincipal(newcomer.clone()),
    ));
    assert!(home.vault().registry().principal(newcomer.id).is_none());
    assert_eq!(
        denial(admin(&home, "ann", Admin::Approve(id))),
        Denial::SameOperator
    );
    for name in ["auditor", "acme", "shop"] {
        assert_eq!(
            denial(admin(&home, name, Admin::Approve(id))),
            Denial::RoleNotAllowed
        );
    }
    done(admin(&home, "ben", Admin::Approve(id)));
    assert!(home.vault().registry().principal(newcomer.id).is_some());
    assert_eq!(
        denial(admin(&home, "ben", Admin::Approve(id))),
        Denial::NotPending
    );
    let briefs = home.brief(from);
    assert_eq!(briefs[0], "action_requested");
    assert_eq!(briefs[5..7], ["action_approved", "principal_created"]);
    let lines = home.ledger();
    let created = &lines[from as usize + 6];
    assert_eq!(created.get("actor_name"), "ben");
    assert_eq!(created.detail("requested_by"), "ann");
    assert_eq!(created.detail("principal"), "delta");
}

#[test]
fn a_pending_action_lapses_after_24_hours_and_outlives_a_restart_till_then() {
    let mut home = Home::new();
    let ask = |home: &Home, name: &str| {
        pending(admin(
            home,
            "ann",
            Admin::CreatePrincipal(principal(name, Role::Processor)),
        ))
    };
    let lapsing = ask(&home, "one");
    let kept = ask(&home, "two");
    home.clock.pass_ms(DAY_MS - 1);
    home.kill();
    home.reopen().expect("opens");
    done(admin(&home, "ben", Admin::Approve(kept)));
    home.clock.pass_ms(1);
    assert_eq!(
        denial(admin(&home, "ben", Admin::Approve(lapsing))),
        Denial::NotPending
    );
    // The next one sweeps it away.
    ask(&home, "three");
    assert_eq!(home.vault().registry().pending().count(), 1);
    home.restart();
    assert_eq!(home.vault().registry().pending().count(), 1);
}

#[test]
fn what_a_disabled_operator_asked_for_is_not_approved() {
    let home = Home::new();
    let id = pending(admin(
        &home,
        "ann",
        Admin::CreatePrincipal(principal("delta", Role::Processor)),
    ));
    done(admin(&home, "ben", Admin::DisablePrincipal(home.id("ann"))));
    assert_eq!(
        denial(admin(&home, "ben", Admin::Approve(id))),
        Denial::NotPending
    );
}

#[test]
fn a_name_or_credential_is_taken_once() {
    let home = Home::new();
    let mut same_name = principal("acme", Role::Processor);
    same_name.certificate_uri = "spiffe://test/new".to_owned();
    assert_eq!(
        denial(admin(&home, "ann", Admin::CreatePrincipal(same_name))),
        Denial::NameTaken
    );
    let mut same_credential = principal("new", Role::Portal);
    same_credential.certificate_uri = "spiffe://test/acme".to_owned();
    assert_eq!(
        denial(admin(&home, "ann", Admin::CreatePrincipal(same_credential))),
        Denial::CredentialTaken
    );
    let mut same_id = principal("newer", Role::Portal);
    same_id.id = home.id("acme");
    assert!(admin(&home, "ann", Admin::CreatePrincipal(same_id)).is_err());
    assert_eq!(
        home.vault()
            .registry()
            .principal(home.id("acme"))
            .expect("acme")
            .role,
        Role::Processor
    );
    // Of two that wait for the same name, one is enrolled, and the other leaves no trace.
    let ids = [(); 2].map(|()| {
        pending(admin(
            &home,
            "ann",
            Admin::CreatePrincipal(principal("delta", Role::Processor)),
        ))
    });
    done(admin(&home, "ben", Admin::Approve(ids[0])));
    let from = home.size();
    assert_eq!(
        denial(admin(&home, "ben", Admin::Approve(ids[1]))),
        Denial::CredentialTaken
    );
    assert_eq!(
        home.brief(from),
        ["action_approved denied CREDENTIAL_TAKEN"]
    );
}

#[test]
fn an_unknown_caller_is_not_taken_for_the_vault_itself() {
    let home = Home::new();
    let nobody = || Caller {
        principal: None,
        origin: Arc::from("203.0.113.9:4"),
    };
    let works = [
        Admin::CreatePrincipal(principal("delta", Role::Portal)),
        Admin::CreatePrincipal(principal("delta", Role::Operator)),
        Admin::SetAllowance(key(&home, "shop", "crux"), Some(EVERYTHING)),
        Admin::DisablePrincipal(home.id("acme")),
        Admin::SetSecret(home.id("auditor"), String::new()),
        Admin::LoginTried(true),
    ];
    for work in works {
        let answer = home.ask_as(nobody(), Work::Admin(Box::new(work)));
        assert_eq!(denial(answer), Denial::RoleNotAllowed);
    }
}

#[test]
fn one_operator_alone_until_the_second_one_comes() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = payvault::clock::ManualClock::starting_at(start());
    let house = house_in(dir.path(), &clock);
    let disk = MemoryDisk::default();
    let ann = principal("ann", Role::Operator);
    let founding = Founding {
        principals: vec![ann.clone()],
        allowances: Vec::new(),
        unsealers: Vec::new(),
    };
    create_in(&house, &passphrase(), Argon2Cost::DEFAULT, founding, || {
        Ok(Box::new(MemoryStore::on(&disk)))
    })
    .expect("a vault");
    let vault =
        open_in(&house, &root_key(&house), Box::new(MemoryStore::on(&disk))).expect("opens");
    assert!(vault.head().single_operator);
    let enrol = |name: &str, role: Role| {
        let work = Work::Admin(Box::new(Admin::CreatePrincipal(principal(name, role))));
        RUNTIME.block_on(vault.ask(caller(Arc::new(ann.clone())), work, u64::MAX))
    };
    done(enrol("acme", Role::Processor));
    assert!(vault.head().single_operator);
    done(enrol("ben", Role::Operator));
    assert!(!vault.head().single_operator, "ended for good");
    pending(enrol("bolt", Role::Processor));
    pending(enrol("cleo", Role::Operator));
    // A vault is not made where there is one.
    let again = create_in(
        &house,
        &passphrase(),
        Argon2Cost::DEFAULT,
        founding_of_nobody(),
        || Ok(Box::new(MemoryStore::new())),
    );
    assert!(matches!(again, Err(payvault::vault::OpenError::Exists(_))));
    vault.close(
        payvault::vault::command::Note::Stopped,
        payvault::vault::command::Caller::vault(),
    );
}

fn founding_of_nobody() -> Founding {
    Founding {
        principals: Vec::new(),
        allowances: Vec::new(),
        unsealers: Vec::new(),
    }
}

fn login(home: &Home, secret: &str) -> Result<SecretText, Refusal> {
    let secret = SecretText::copy_from(secret);
    RUNTIME.block_on(home.vault().login(home.caller("auditor"), secret, u64::MAX))
}

#[test]
fn ten_bad_tries_lock_even_against_the_right_secret_and_over_a_restart() {
    let mut home = Home::new();
    let right = home.secret("auditor");
    assert!(login(&home, right.expose()).is_ok());
    // 32 at once: none slips past the count.
    let tries: Vec<_> = (0..32)
        .map(|_| {
            let vault = Arc::clone(home.vault());
            let caller = home.caller("auditor");
            let secret = SecretText::copy_from("wrong");
            RUNTIME.spawn(async move { vault.login(caller, secret, u64::MAX).await.map(|_| ()) })
        })
        .collect();
    let mut bad = 0;
    let mut locked = 0;
    for one in tries {
        match denial(RUNTIME.block_on(one).expect("no panic")) {
            Denial::BadSecret => bad += 1,
            Denial::Locked => locked += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!((bad, locked), (10, 22));
    assert_eq!(denial(login(&home, right.expose())), Denial::Locked);
    home.kill();
    home.reopen().expect("opens");
    home.clock.pass_ms(30 * MINUTE_MS - 1);
    assert_eq!(denial(login(&home, right.expose())), Denial::Locked);
    home.clock.pass_ms(1);
    assert!(login(&home, right.expose()).is_ok());
    // A good one clears the count.
    assert_eq!(denial(login(&home, "wrong")), Denial::BadSecret);
    assert!(login(&home, right.expose()).is_ok());
}

#[test]
fn a_new_secret_ends_the_old_one_and_lifts_the_lock() {
    let home = Home::new();
    let old = home.secret("auditor");
    for _ in 0..10 {
        assert_eq!(denial(login(&home, "wrong")), Denial::BadSecret);
    }
    let fresh = payvault::keys::password::generate();
    let hash = payvault::keys::password::hash(&fresh);
    let set = |id, hash: &str| admin(&home, "ann", Admin::SetSecret(id, hash.to_owned()));
    done(set(home.id("auditor"), &hash));
    assert_eq!(denial(login(&home, old.expose())), Denial::BadSecret);
    let session = login(&home, fresh.expose()).expect("a session");
    let now = home.house.clock.monotonic_ms();
    let sessions = &home.vault().sessions;
    assert!(
        sessions
            .touch(home.id("auditor"), session.expose(), now)
            .is_ok()
    );
    assert!(
        sessions
            .touch(home.id("ann"), session.expose(), now)
            .is_err()
    );
    assert_eq!(
        denial(set(home.id("acme"), &hash)),
        Denial::NotApplicable,
        "machines have no secret"
    );
    // The hash is nowhere in the ledger.
    assert!(!home.ledger().iter().any(|l| l.json.contains("argon2id")));
}

#[test]
fn nobody_logs_in_as_a_machine_or_a_stranger() {
    let home = Home::new();
    let secret = || SecretText::copy_from("whatever it is");
    let as_machine = RUNTIME.block_on(home.vault().login(home.caller("acme"), secret(), u64::MAX));
    assert!(as_machine.is_err());
    let mut unknown: Principal = principal("nobody", Role::Auditor);
    unknown.secret_hash = payvault::keys::password::hash(&secret());
    let stranger = caller(Arc::new(unknown));
    assert!(
        RUNTIME
            .block_on(home.vault().login(stranger, secret(), u64::MAX))
            .is_err()
    );
}
