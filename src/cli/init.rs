//! `payvault init`: makes a vault, offline, and enrols its first operators and custodians.

use super::error::CliError;
use super::new_seal::{self, NewSealArgs};
use super::output::Output;
use super::settings::{SettingsArgs, house};
use super::{input, moment};
use crate::api::config::Config;
use crate::api::identity::{ClientCas, PeerIdentity, identity_of_pem};
use crate::api::tls::read_client_cas;
use crate::clock::{Clock, Timestamp};
use crate::ids::PrincipalId;
use crate::keys::{DealtShare, NewSeal, Opening, SealFile, SealKind, Unsealer, password};
use crate::policy::{Agreement, Principal, Role};
use crate::secret::SecretText;
use crate::vault::command::{Caller, Note};
use crate::vault::{self, Founding, OpenError};
use clap::Args;
use std::path::{Path, PathBuf};

/// Makes a vault in empty directories.
#[derive(Args, Debug)]
pub struct InitArgs {
    /// An operator: name and certificate, such as ann=ann.pem; give two or more
    #[arg(long = "operator", value_name = "NAME=CERT.pem", required = true, value_parser = named_file)]
    operators: Vec<(String, PathBuf)>,
    /// One operator can do everything alone, until a second one is enrolled
    #[arg(long)]
    single_operator: bool,
    /// Where the operators' confidentiality agreement is filed
    #[arg(long, value_name = "REFERENCE")]
    agreement: String,
    /// The agreement is in force until then, exclusive
    #[arg(long, value_name = "DATE", value_parser = moment::parse)]
    agreement_until: Timestamp,
    /// Write each operator's secret to DIR/NAME.secret (mode 0600) and don't show it
    #[arg(long, value_name = "DIR")]
    secret_dir: Option<PathBuf>,
    /// What opens the vault [default: what the other flags speak of, or a passphrase]
    #[arg(long, value_name = "KIND", value_parser = new_seal::kind())]
    seal: Option<SealKind>,
    #[command(flatten)]
    new_seal: NewSealArgs,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Reads a name and a file: `ann=ann.pem`.
pub(super) fn named_file(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text
        .split_once('=')
        .filter(|(_, path)| !path.is_empty())
        .ok_or("give NAME=CERT.pem")?;
    if !is_name(name) {
        return Err("a name has 1 to 64 of a-z 0-9 . - _".to_owned());
    }
    Ok((name.to_owned(), PathBuf::from(path)))
}

/// Whether principals may have this name.
fn is_name(name: &str) -> bool {
    (1..=crate::limits::NAME_CHARS_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-_".contains(&b))
}

/// An operator on the way in. No `Debug`: it holds the secret.
struct Enrolled {
    principal: Principal,
    secret: SecretText,
    secret_file: Option<PathBuf>,
}

/// Makes the vault.
///
/// # Errors
/// When something asked for can't be, or the directories hold a vault already.
pub fn run(args: InitArgs, output: Output) -> Result<(), CliError> {
    let single = args.operators.len() == 1;
    if single && !args.single_operator {
        return Err(CliError::Usage(
            "one operator alone could do everything: name a second one with --operator, or say \
             --single-operator"
                .into(),
        ));
    }
    if !single && args.single_operator {
        return Err(CliError::Usage(
            "--single-operator is for one operator; leave it out".into(),
        ));
    }
    let config = args.settings.clone().load()?;
    let clock = Clock::system();
    let operators = enrol(&args, &config, clock.now())?;
    let seal = seal(&args, &config, clock.now(), output)?;
    let house = house(&config, clock);
    let is = |one: &&Enrolled, role| one.principal.role == role;
    let unsealers = operators.iter().filter(|one| is(one, Role::Operator));
    let founding = Founding {
        principals: operators.iter().map(|o| o.principal.clone()).collect(),
        allowances: Vec::new(),
        unsealers: unsealers.map(|o| unsealer(&o.principal)).collect(),
    };
    // Before the vault: one whose operators' secrets could not be kept would be of no use.
    keep_secrets(&operators)?;
    let mut delivered = false;
    let mut deliver = |dealt: &[DealtShare]| {
        args.new_seal.custodians.hand_out(dealt)?;
        delivered = true;
        Ok(())
    };
    let (id, root) = match vault::create_as(&house, &seal, founding, &mut deliver) {
        Ok(made) => made,
        Err(error) => {
            forget_secrets(&operators);
            if delivered {
                args.new_seal.custodians.take_back();
            }
            return Err(CliError::Make(error));
        }
    };
    // Opened once: what can't be opened now must not be found out later.
    let opened = SealFile::read(&house.keys_dir).and_then(|file| match &seal {
        NewSeal::Passphrase { passphrase, .. } => file.open(passphrase).map(drop),
        NewSeal::Custodians { .. } => Ok(()),
        NewSeal::Pkcs11 { pin, module, .. } => {
            let (pin, module) = (pin.duplicate(), Some(module.clone()));
            file.open_by(&Opening::Pin { pin, module }).map(drop)
        }
        NewSeal::AwsKms { .. } => file.open_by(&Opening::Service).map(drop),
    });
    opened.map_err(|error| CliError::Start(OpenError::Key(error)))?;
    let vault = vault::open(&house, &root).map_err(CliError::Start)?;
    let key = vault.verifier().to_string();
    vault.close(Note::Stopped, Caller::vault());
    show(
        output,
        &id.to_string(),
        &key,
        &operators,
        single,
        (seal.kind(), &args.new_seal),
    )
}

/// The seal that is asked for.
fn seal(
    args: &InitArgs,
    config: &Config,
    now: Timestamp,
    output: Output,
) -> Result<NewSeal, CliError> {
    let kind = args.seal.unwrap_or_else(|| args.new_seal.implied());
    let passphrase = || match &config.passphrase_file {
        Some(file) => input::secret_file(file),
        None if input::at_a_terminal() => input::typed_twice("passphrase (12 characters or more)"),
        None => Err(CliError::Usage(
            "a passphrase is needed: give --passphrase-file FILE, or run this at a terminal".into(),
        )),
    };
    args.new_seal
        .new_seal(kind, config, now, output, passphrase)
}

fn keep_secrets(operators: &[Enrolled]) -> Result<(), CliError> {
    for one in operators {
        if let Some(path) = &one.secret_file {
            input::write_secret_file(path, one.secret.expose())?;
        }
    }
    Ok(())
}

/// Takes the secrets of a vault away that was not made, so that the next try finds none.
fn forget_secrets(operators: &[Enrolled]) {
    for path in operators.iter().filter_map(|one| one.secret_file.as_ref()) {
        let _ = std::fs::remove_file(path);
    }
}

/// What the seal file keeps of a principal that may unseal.
pub fn unsealer(principal: &Principal) -> Unsealer {
    Unsealer {
        uri: principal.certificate_uri.clone(),
        issuer: principal.issuer_key,
    }
}

/// Reads whose certificate it is that may unseal.
pub fn unsealer_in(path: &Path, cas: &ClientCas, now: Timestamp) -> Result<Unsealer, CliError> {
    let identity = identity_in(path, cas, now)?;
    Ok(Unsealer {
        uri: identity.uri,
        issuer: identity.issuer_key,
    })
}

fn identity_in(path: &Path, cas: &ClientCas, now: Timestamp) -> Result<PeerIdentity, CliError> {
    let pem = std::fs::read_to_string(path).map_err(CliError::file(path))?;
    identity_of_pem(&pem, cas, now)
        .map_err(|error| CliError::Usage(format!("{}: {error}", path.display())))
}

fn enrol(args: &InitArgs, config: &Config, now: Timestamp) -> Result<Vec<Enrolled>, CliError> {
    if args.agreement_until <= now {
        return Err(CliError::Usage("--agreement-until is past".into()));
    }
    let references = 1..=crate::limits::REFERENCE_CHARS_MAX;
    if !references.contains(&args.agreement.len())
        || !args.agreement.bytes().all(|b| (0x20..0x7f).contains(&b))
    {
        return Err(CliError::Usage(
            "--agreement takes 1 to 64 printable ASCII characters".into(),
        ));
    }
    let cas = read_client_cas(&config.tls.client_ca, &config.tls.crl)?;
    let mut enrolled: Vec<Enrolled> = Vec::new();
    let operators = args.operators.iter().map(|one| (one, Role::Operator));
    let custodians = &args.new_seal.custodians.custodians;
    let custodians = custodians.iter().map(|one| (one, Role::Custodian));
    for ((name, path), role) in operators.chain(custodians) {
        let identity = identity_in(path, &cas, now)?;
        // An operator may be a custodian, and is one principal then.
        let same = |one: &Enrolled| {
            let one = &one.principal;
            one.role == Role::Operator
                && one.name == *name
                && one.certificate_uri == identity.uri
                && one.issuer_key == identity.issuer_key
        };
        if role == Role::Custodian && enrolled.iter().any(same) {
            continue;
        }
        for other in &enrolled {
            let other = &other.principal;
            if other.name == *name
                || (other.certificate_uri == identity.uri
                    && other.issuer_key == identity.issuer_key)
            {
                return Err(CliError::Usage(format!(
                    "{name}: somebody else has the same name or the same certificate"
                )));
            }
        }
        let secret = password::generate();
        let principal = Principal {
            id: PrincipalId::random(),
            name: name.clone(),
            role,
            sites: Vec::new(),
            certificate_uri: identity.uri,
            issuer_key: identity.issuer_key,
            agreement: Some(Agreement {
                reference: args.agreement.clone(),
                valid_from: now,
                valid_until: args.agreement_until,
            }),
            secret_hash: password::hash(&secret),
            disabled: false,
            created_at: now,
            last_seen: now,
            bad_tries: 0,
            locked_until: Timestamp(0),
        };
        let secret_file = args
            .secret_dir
            .as_ref()
            .map(|dir| dir.join(format!("{name}.secret")));
        if let Some(path) = secret_file.as_ref().filter(|path| path.exists()) {
            return Err(CliError::Usage(format!("{} exists", path.display())));
        }
        enrolled.push(Enrolled {
            principal,
            secret,
            secret_file,
        });
    }
    if let Some(dir) = &args.secret_dir {
        std::fs::create_dir_all(dir).map_err(CliError::file(dir))?;
    }
    Ok(enrolled)
}

fn show(
    output: Output,
    vault: &str,
    key: &str,
    enrolled: &[Enrolled],
    single: bool,
    (kind, new_seal): (SealKind, &NewSealArgs),
) -> Result<(), CliError> {
    let listed = |role: Role| -> Vec<_> {
        let of_role = enrolled.iter().filter(|one| one.principal.role == role);
        of_role
            .map(|one| {
                let mut json = serde_json::json!({
                    "id": one.principal.id.to_string(),
                    "name": one.principal.name,
                });
                match &one.secret_file {
                    Some(path) => json["secret_file"] = serde_json::json!(path),
                    None => json["secret"] = serde_json::json!(one.secret.expose()),
                }
                json
            })
            .collect()
    };
    let mut document = serde_json::json!({
        "vault": vault,
        "ledger_key": key,
        "seal": kind.as_str(),
        "single_operator": single,
        "operators": listed(Role::Operator),
    });
    if kind == SealKind::Custodians {
        document["custodians"] = serde_json::json!(listed(Role::Custodian));
        document["shares"] = new_seal.custodians.document();
    }
    output.result(&document, |out| {
        for one in enrolled {
            let role = one.principal.role.as_str();
            match &one.secret_file {
                Some(path) => writeln!(
                    out,
                    "{role} {}: secret in {}",
                    one.principal.name,
                    path.display()
                )?,
                None => writeln!(
                    out,
                    "{role} {}: secret {} (shown this once)",
                    one.principal.name,
                    one.secret.expose()
                )?,
            }
        }
        if single {
            writeln!(
                out,
                "One operator can do everything alone, until a second one is enrolled."
            )?;
        }
        new_seal.words(kind, out)?;
        writeln!(
            out,
            "Write these down, and give the key to the auditors now:"
        )?;
        writeln!(out, "  vault      {vault}")?;
        writeln!(out, "  ledger key {key}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_has_a_name_and_a_certificate() {
        assert_eq!(
            named_file("ann=certs/ann.pem"),
            Ok(("ann".to_owned(), PathBuf::from("certs/ann.pem")))
        );
        for bad in ["ann", "ann=", "=ann.pem", "Ann=a.pem", "a b=a.pem"] {
            assert!(named_file(bad).is_err(), "{bad}");
        }
    }
}
