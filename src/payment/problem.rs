//! What is wrong with payment details that came in: a field and a rule, both constants, so that no
//! value can slip into a reply or a log.

/// One field that breaks one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The field's name in the proto message, relative to it: "number", "billing.postal_code".
    pub field: &'static str,
    /// The rule, in words for the caller: "must be 12 to 19 digits".
    pub what: &'static str,
}

impl Problem {
    /// Names the field and its rule.
    pub const fn new(field: &'static str, what: &'static str) -> Problem {
        Problem { field, what }
    }
}

/// Keeps what was read, or writes down why not: a caller learns all problems at once.
pub(super) fn keep<T>(read: Result<T, Problem>, problems: &mut Vec<Problem>) -> Option<T> {
    read.map_err(|problem| problems.push(problem)).ok()
}
