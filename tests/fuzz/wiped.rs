//! Payment details that turn out to be malformed leave nothing of what was read before that.

use super::meter::freed_unwiped;
use payvault::api::details_json;
use std::hint::black_box;

/// Of a length that nothing else here has.
const SECRET: &str = "a card's number or its holder, with sixty-odd characters in all";

#[test]
fn details_that_are_malformed_leave_no_string_unwiped() {
    // The search itself finds what a plain string leaves.
    let plain = || drop(black_box(String::from(SECRET)));
    assert_eq!(freed_unwiped(SECRET, plain), 1);
    for (start, end) in [
        ("{\"card\":{\"number\":\"", "\",\"expiry_month\":\"x\"}}"),
        ("{\"card\":{\"number\":\"", "\"}}"),
        ("{\"card\":{\"holder\":\"", "\",\"holder\":\"\"}}"),
        ("{\"card\":{\"number\":\"", "\",\"more\":1}}"),
        ("{\"card\":{\"security_code\":\"", "\"}"),
        (
            "{\"card\":{\"billing\":{\"address_line\":\"",
            "\",\"x\":1}}}",
        ),
        ("{\"iban\":{\"iban\":\"", "\"}}"),
        (
            "{\"us_account\":{\"account_number\":\"",
            "\",\"account_type\":\"x\"}}",
        ),
        ("{\"uk_account\":{\"account_number\":\"", "\"}}"),
        ("{\"se_account\":{\"account_number\":\"", "\"}}"),
        ("{\"bankgiro\":{\"number\":\"", "\"}}"),
        ("{\"plusgiro\":{\"holder\":\"", "\"}}"),
        ("{\"dk_account\":{\"account_number\":\"", "\"}}"),
        // Whole, and then something else.
        ("{\"bankgiro\":{\"holder\":\"\",\"number\":\"", "\"}} x"),
    ] {
        let text = format!("{start}{SECRET}{end}");
        let unwiped = freed_unwiped(SECRET, || {
            assert!(details_json::parse(text.as_bytes()).is_err(), "{text}");
        });
        assert_eq!(unwiped, 0, "{text}");
    }
}
