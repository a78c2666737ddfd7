//! One fuzzer for every target: `PAYVAULT_FUZZ` names the function of `tests/fuzz` that it runs.
//! See `fuzz/README.md`.

#![no_main]

#[path = "../../tests/fuzz/mod.rs"]
mod harness;

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static HARNESS: LazyLock<harness::Harness> = LazyLock::new(|| {
    let wanted = std::env::var("PAYVAULT_FUZZ").unwrap_or_default();
    let found = harness::TARGETS.iter().find(|(name, _)| *name == wanted);
    found.expect("PAYVAULT_FUZZ names a target").1
});

fuzz_target!(|data: &[u8]| (*HARNESS)(data));
