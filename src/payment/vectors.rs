//! Reads the test vectors under `tests/vectors/payment/`: a row a line, columns parted by tabs,
//! `#` starts a comment line. For tests only.

/// The rows of one file; the first column is the vector's name, `ok_` or `fail_` and what it shows.
pub(super) fn rows<const COLUMNS: usize>(
    text: &'static str,
) -> impl Iterator<Item = [&'static str; COLUMNS]> {
    text.lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            let name = columns[0];
            assert!(
                name.starts_with("ok_") || name.starts_with("fail_"),
                "{name}"
            );
            columns
                .try_into()
                .unwrap_or_else(|_| panic!("{name} has another number of columns"))
        })
}

/// Bytes from hex.
pub(super) fn hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2));
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex"))
        .collect()
}
