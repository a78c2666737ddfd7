//! What is wrong with a request: fields by path, rules by constant. There is no way to put a value
//! in.

use crate::payment::Problem;

/// Fields and the rules that they break, in the order in which they were found.
#[derive(Default)]
pub struct Violations {
    found: Vec<(String, &'static str)>,
}

impl Violations {
    /// None yet.
    pub fn new() -> Violations {
        Violations::default()
    }

    /// One field that breaks one rule.
    pub fn add(&mut self, field: impl Into<String>, what: &'static str) {
        self.found.push((field.into(), what));
    }

    /// Problems of payment details, whose fields lie under `prefix`.
    pub fn add_problems(&mut self, prefix: &str, problems: Vec<Problem>) {
        for problem in problems {
            self.add(format!("{prefix}.{}", problem.field), problem.what);
        }
    }

    /// Keeps what was read, or notes why not.
    pub fn keep<T>(&mut self, field: &str, read: Result<T, &'static str>) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(what) => {
                self.add(field, what);
                None
            }
        }
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }
}

impl IntoIterator for Violations {
    type Item = (String, &'static str);
    type IntoIter = std::vec::IntoIter<(String, &'static str)>;

    fn into_iter(self) -> Self::IntoIter {
        self.found.into_iter()
    }
}
