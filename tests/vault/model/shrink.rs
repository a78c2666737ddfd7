//! Makes a failing list shorter: takes out as much as it can and keeps what still fails.

use super::ops::Op;
use super::play::{Setup, Violation, play};

/// A list with the places that its operations had in the first one; of a few calls that arrive
/// together, with the places of the calls that are left.
#[derive(Clone)]
pub struct Part {
    pub place: usize,
    pub calls: Option<Vec<usize>>,
}

/// The parts of a whole list.
pub fn whole(ops: &[Op]) -> Vec<Part> {
    (0..ops.len())
        .map(|place| Part { place, calls: None })
        .collect()
}

/// The operations of the parts.
pub fn taken(ops: &[Op], parts: &[Part]) -> Vec<Op> {
    parts
        .iter()
        .filter_map(|part| {
            let op = ops.get(part.place)?;
            Some(match (op, &part.calls) {
                (Op::Calls(calls, patience), Some(kept)) => Op::Calls(
                    kept.iter().filter_map(|k| calls.get(*k).cloned()).collect(),
                    *patience,
                ),
                (op, _) => op.clone(),
            })
        })
        .collect()
}

/// Parts as text: `3,17/0.2,20`.
pub fn write(parts: &[Part]) -> String {
    let text = |part: &Part| match &part.calls {
        None => part.place.to_string(),
        Some(calls) => {
            let calls: Vec<String> = calls.iter().map(usize::to_string).collect();
            format!("{}/{}", part.place, calls.join("."))
        }
    };
    parts.iter().map(text).collect::<Vec<_>>().join(",")
}

/// Parts from text.
pub fn read(text: &str) -> Option<Vec<Part>> {
    text.split(',')
        .map(|part| {
            let (place, calls) = match part.split_once('/') {
                None => (part, None),
                Some((place, calls)) => {
                    let calls: Result<Vec<usize>, _> = calls.split('.').map(str::parse).collect();
                    (place, Some(calls.ok()?))
                }
            };
            Some(Part {
                place: place.trim().parse().ok()?,
                calls,
            })
        })
        .collect()
}

/// The shortest failing list that is found by playing `plays` others, and how it fails. Counted and
/// not timed: it comes to the same on a slow machine.
pub fn shrink(
    ops: &[Op],
    mut parts: Vec<Part>,
    setup: Setup,
    mut violation: Violation,
    plays: u32,
) -> (Vec<Part>, Violation) {
    let mut left = plays;
    // What came after the failure has no part in it, or the failure is one that only the end shows.
    let head = parts[..parts.len().min(violation.at + 1)].to_vec();
    keep_if_it_fails(ops, &mut parts, head, setup, &mut violation);
    let mut size = parts.len().div_ceil(2);
    while size > 0 && left > 0 {
        let mut from = 0;
        let mut shorter = false;
        while from < parts.len() && left > 0 {
            left -= 1;
            let to = (from + size).min(parts.len());
            let rest: Vec<Part> = [&parts[..from], &parts[to..]].concat();
            if keep_if_it_fails(ops, &mut parts, rest, setup, &mut violation) {
                shorter = true;
            } else {
                from = to;
            }
        }
        if !(shorter && size == 1) {
            size /= 2;
        }
    }
    // Calls that arrive together, one by one.
    let mut place = 0;
    while place < parts.len() {
        let count = match taken(ops, &parts[place..=place]).first() {
            Some(Op::Calls(calls, _)) => calls.len(),
            _ => 0,
        };
        for at in (0..count).rev() {
            let mut fewer = parts.clone();
            let all = || (0..count).collect();
            let calls = fewer[place].calls.get_or_insert_with(all);
            if calls.len() < 2 || left == 0 || at >= calls.len() {
                continue;
            }
            calls.remove(at);
            left -= 1;
            keep_if_it_fails(ops, &mut parts, fewer, setup, &mut violation);
        }
        place += 1;
    }
    (parts, violation)
}

/// What is wrong without the numbers and names: another list must fail in the same way.
fn kind(what: &str) -> String {
    let mut depth = 0;
    let mut kind = String::new();
    for letter in what.chars() {
        match letter {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            '0'..='9' => {}
            letter if depth == 0 => kind.push(letter),
            _ => {}
        }
    }
    // The call that was answered wrongly may be another one.
    for call in [
        "Open", "Tokenize", "Redeem", "Report", "Describe", "Get", "Revoke", "Close",
    ] {
        kind = kind.replace(&format!("{call} "), "");
    }
    kind
}

fn keep_if_it_fails(
    ops: &[Op],
    parts: &mut Vec<Part>,
    shorter: Vec<Part>,
    setup: Setup,
    violation: &mut Violation,
) -> bool {
    match play(&taken(ops, &shorter), setup) {
        Err(found) if kind(&found.what) == kind(&violation.what) => {
            *parts = shorter;
            *violation = found;
            true
        }
        _ => false,
    }
}
