//! What to paste: each caller's main job against a running `payvault dev`.

use super::file::DevFile;
use std::path::Path;

/// Lines for a person who just started it.
pub fn text(file: &DevFile, path: &Path, continued: bool) -> String {
    let program = program();
    let dir = path.parent().unwrap_or(Path::new("."));
    let vault = if continued {
        "the vault of an earlier run"
    } else {
        "a new vault"
    };
    format!(
        r#"{vault} serves at {endpoint}; stop it with Ctrl-C
throw-away certificates, keys and secrets lie in {dir}: nothing real may rest on them

Paste into another terminal:

export PAYVAULT_DEV={path}
pv={program}
T=$("$pv" transaction open --as portal --site nl --grant processor-a:authorize:number,expiry,holder:2)
"$pv" tokenize "$T" --as portal --token-out /tmp/token.$$ <<'END'
{{"card": {{"number": "4242424242424242", "expiry_month": 11, "expiry_year": 2030, "holder": "A. Customer"}}}}
END
"$pv" describe "$T" --as portal --token-file /tmp/token.$$
"$pv" redeem "$T" --as processor-a --token-file /tmp/token.$$ --purpose authorize --fields number,expiry,holder
"$pv" redeem "$T" --as processor-b --token-file /tmp/token.$$ --purpose authorize --fields number
"$pv" status --as operator
"$pv" log export --as auditor --reason "a look" --ticket T-1 -o /tmp/audit.$$.jsonl
"$pv" log verify /tmp/audit.$$.jsonl --key '{key}'

Or in Python, from the repository, with stubs made from proto/ alone:

python3 -m pip install -r tests/clients/python/requirements.txt
python3 tests/clients/python/road.py {dir}
"#,
        endpoint = file.endpoint,
        dir = quoted(dir),
        path = quoted(path),
        program = quoted(&program),
        key = file.ledger_key,
    )
}

/// This program, as a shell can call it.
fn program() -> std::path::PathBuf {
    std::env::current_exe().unwrap_or_else(|_| "payvault".into())
}

/// A path as one word of a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use crate::cli::dev::file::testing;
    use clap::Parser;

    #[test]
    fn every_line_to_paste_is_understood() {
        let dir = tempfile::tempdir().unwrap();
        let path = testing::written(dir.path());
        let text = text(&DevFile::read(&path).unwrap(), &path, false);
        let mut seen = 0;
        for line in text.lines() {
            let Some((_, line)) = line.split_once("\"$pv\" ") else {
                continue;
            };
            let line = line.split(" <<").next().unwrap().trim_end_matches(')');
            let line = line.replace("\"a look\"", "look").replace(['"', '\''], "");
            let mut words = vec!["payvault"];
            words.extend(line.split_whitespace());
            // PAYVAULT_DEV is exported in the lines above.
            words.extend(["--dev", "d"].iter().filter(|_| line.contains("--as")));
            assert!(Cli::try_parse_from(&words).is_ok(), "{line}");
            seen += 1;
        }
        assert_eq!(seen, 8);
    }

    #[test]
    fn a_path_is_one_word() {
        assert_eq!(quoted(Path::new("/tmp/a-b/c.json")), "/tmp/a-b/c.json");
        assert_eq!(quoted(Path::new("/tmp/a b/it's")), r"'/tmp/a b/it'\''s'");
    }
}
