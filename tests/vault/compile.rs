//! What does not compile: a proof that can't be made outside, a lock that can't be opened without
//! one, plaintext that is no stored value, a security code that can be neither printed nor written.
//!
//! Each case is a line that is wrong in one way; beside them stands one that is right, so that a
//! case that fails for another reason is noticed.

use std::path::PathBuf;
use std::process::Command;

/// The library that this test was built with.
fn library() -> (PathBuf, PathBuf) {
    let own = std::env::current_exe().expect("a path");
    let deps = own.parent().expect("a directory").to_path_buf();
    let newest = std::fs::read_dir(&deps)
        .expect("a directory")
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("libpayvault-") && name.ends_with(".rlib")
        })
        .max_by_key(|path| path.metadata().and_then(|m| m.modified()).ok())
        .expect("the library");
    (deps, newest)
}

/// The errors' codes and texts; empty when it compiles.
fn compile(body: &str) -> String {
    let (deps, library) = library();
    let dir = tempfile::tempdir().expect("a directory");
    let source = dir.path().join("case.rs");
    let code = format!("#![allow(unused)]\nextern crate payvault;\npub fn case() {{\n{body}\n}}\n");
    std::fs::write(&source, code).expect("written");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let out = Command::new(rustc)
        .args(["--edition=2024", "--crate-type=lib", "--emit=metadata"])
        .arg("--out-dir")
        .arg(dir.path())
        .arg("-L")
        .arg(format!("dependency={}", deps.display()))
        .arg("--extern")
        .arg(format!("payvault={}", library.display()))
        .arg(&source)
        .output()
        .expect("rustc runs");
    if out.status.success() {
        String::new()
    } else {
        String::from_utf8_lossy(&out.stderr).into_owned()
    }
}

/// `good` compiles, `bad` does not, and for the reason that holds `why`.
fn only(good: &str, bad: &str, why: &str) {
    let errors = compile(good);
    assert!(errors.is_empty(), "{good}\n{errors}");
    let errors = compile(bad);
    assert!(errors.contains(why), "{bad}\n{errors}");
    assert_eq!(errors.matches("error[").count(), 1, "{bad}\n{errors}");
}

#[test]
fn what_must_not_compile_does_not() {
    // A grant is made by policy's judgement alone.
    only(
        "let f: fn(&payvault::policy::Granted) -> usize = |g| g.party();",
        "let f = |p| payvault::policy::Granted { party: 0, purpose: p, fields: Default::default(), uses_left: 0 };",
        "E0451",
    );
    // What is sealed is made by keys; raw bytes are stored in public spaces only, and named so.
    only(
        "let v = payvault::store::StoredValue::Public(vec![1]);",
        "let v = payvault::store::StoredValue::Sealed(vec![1]);",
        "E0308",
    );
    only(
        "let s = payvault::keys::Sealed::from_stored(vec![1]);",
        "let s = payvault::keys::Sealed(vec![1]);",
        "E0423",
    );
    // A security code has no encoding and is never shown.
    let code = "let c = payvault::payment::SecurityCode::parse(payvault::secret::SecretText::copy_from(\"123\"));";
    only(code, &format!("{code} println!(\"{{c:?}}\");"), "E0277");
    let taken = "fn f(c: &payvault::payment::SecurityCode) -> payvault::payment::SecurityCode { c.duplicate() }";
    only(
        taken,
        "fn f(c: &payvault::payment::SecurityCode) -> payvault::secret::SecretBuffer { c.encode() }",
        "E0599",
    );
    only(
        taken,
        "fn f(c: &payvault::payment::SecurityCode) -> String { c.to_string() }",
        "E0599",
    );
    // Requests and tokens are shown to nobody either.
    only(
        "fn f(t: &payvault::payment::Token) -> payvault::payment::Selector { t.selector() }",
        "fn f(t: &payvault::payment::Token) -> String { format!(\"{t:?}\") }",
        "E0277",
    );
    // Withheld plaintext and the proof of durability are not to be had outside the vault's room.
    only(
        "type V = payvault::vault::Vault;",
        "type W = payvault::vault::withheld::Durable;",
        "E0603",
    );
}
