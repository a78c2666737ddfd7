//! Whether what concurrent callers saw of one counter of uses can be put in an order: each at one
//! moment between its call and its answer, and each seeing all before it (linearizability). Uses
//! only count up and an answer says the count, so there is little to search.

use super::world::Wrong;

/// When something was asked and answered, by one count over all threads.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub from: u64,
    pub to: u64,
}

/// A redemption that was answered with its count.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    pub span: Span,
    /// Its number among the uses, from 1.
    pub value: u8,
}

/// A redemption that happened unseen: a retry said so, or nobody knows.
#[derive(Clone, Copy, Debug)]
pub struct Unseen {
    pub span: Span,
    pub certain: bool,
}

/// What was seen of one counter.
#[derive(Default, Debug)]
pub struct History {
    pub max: u8,
    pub counted: Vec<Counted>,
    pub unseen: Vec<Unseen>,
    /// Refusals because no use was left.
    pub used_up: Vec<Span>,
    /// Answers that told a count without adding to it.
    pub reads: Vec<(Span, u8)>,
    /// The count in the end.
    pub last: u8,
}

/// Looks for an order.
pub fn check(history: &History) -> Result<(), Wrong> {
    let mut counted = history.counted.clone();
    counted.sort_by_key(|c| c.value);
    for pair in counted.windows(2) {
        if pair[0].value == pair[1].value {
            return Err(format!("use {} was given twice", pair[0].value));
        }
    }
    for (place, one) in counted.iter().enumerate() {
        if one.value == 0 || one.value > history.max || one.value > history.last {
            return Err(format!(
                "use {} of {}",
                one.value,
                history.last.min(history.max)
            ));
        }
        // Whatever has a greater number must not have ended before this one began.
        for later in &counted[place + 1..] {
            if later.span.to < one.span.from {
                return Err(format!(
                    "use {} was answered before use {} was asked for",
                    later.value, one.value
                ));
            }
        }
    }
    // Numbers that nobody was told belong to those that happened unseen. When each number can have
    // one, and each that is certain can have a number, both hold at once (Mendelsohn and Dulmage).
    let untold: Vec<u8> = (1..=history.last)
        .filter(|value| counted.iter().all(|c| c.value != *value))
        .collect();
    let fits = |value: u8, unseen: &Unseen| {
        let greater = counted.iter().filter(|c| c.value > value);
        let smaller = counted.iter().filter(|c| c.value < value);
        let before = greater.map(|c| c.span.to).min().unwrap_or(u64::MAX);
        let after = smaller.map(|c| c.span.from).max().unwrap_or(0);
        unseen.span.from < before && unseen.span.to > after
    };
    if let Some(value) = unmatched(&untold, &history.unseen, |value, u| fits(*value, u)) {
        return Err(format!("use {value} was burned by nobody"));
    }
    let certain: Vec<Unseen> = history
        .unseen
        .iter()
        .filter(|u| u.certain)
        .copied()
        .collect();
    if let Some(lost) = unmatched(&certain, &untold, |u, value| fits(*value, u)) {
        return Err(format!(
            "a use that a retry confirmed was not counted: {lost:?}"
        ));
    }
    for span in &history.used_up {
        if history.last < history.max {
            return Err(format!(
                "refused as used up at {} of {}",
                history.last, history.max
            ));
        }
        if counted.iter().any(|c| c.span.from > span.to) {
            return Err("a use was given after it was refused as used up".to_owned());
        }
    }
    for (span, value) in &history.reads {
        let early = counted
            .iter()
            .any(|c| c.value <= *value && c.span.from > span.to);
        let late = counted
            .iter()
            .any(|c| c.value > *value && c.span.to < span.from);
        if early || late || *value > history.last {
            return Err(format!(
                "{value} uses were seen when there were more or fewer"
            ));
        }
    }
    Ok(())
}

/// One of `these` that gets none of `those` for itself, however they are given out; `None` when each
/// gets one (augmenting paths).
fn unmatched<'a, A, B>(
    these: &'a [A],
    those: &[B],
    fits: impl Fn(&A, &B) -> bool,
) -> Option<&'a A> {
    /// Finds one for `this`, moving others on if need be.
    fn find(
        this: usize,
        fits: &dyn Fn(usize, usize) -> bool,
        tried: &mut [bool],
        owner: &mut [Option<usize>],
    ) -> bool {
        for that in 0..owner.len() {
            if tried[that] || !fits(this, that) {
                continue;
            }
            tried[that] = true;
            if owner[that].is_none_or(|other| find(other, fits, tried, owner)) {
                owner[that] = Some(this);
                return true;
            }
        }
        false
    }
    let mut owner = vec![None; those.len()];
    let fits = |this: usize, that: usize| fits(&these[this], &those[that]);
    (0..these.len())
        .find(|this| !find(*this, &fits, &mut vec![false; those.len()], &mut owner))
        .map(|this| &these[this])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(from: u64, to: u64, value: u8) -> Counted {
        Counted {
            span: Span { from, to },
            value,
        }
    }

    fn unseen(from: u64, to: u64, certain: bool) -> Unseen {
        Unseen {
            span: Span { from, to },
            certain,
        }
    }

    fn history(counted: Vec<Counted>, unseen: Vec<Unseen>, last: u8) -> History {
        History {
            max: 3,
            counted,
            unseen,
            last,
            ..History::default()
        }
    }

    #[test]
    fn what_has_an_order_is_accepted() {
        let overlapping = vec![counted(1, 9, 2), counted(2, 8, 1)];
        check(&history(overlapping, vec![], 2)).unwrap();
        let with_unseen = vec![counted(1, 2, 1), counted(7, 8, 3)];
        check(&history(with_unseen, vec![unseen(3, 5, true)], 3)).unwrap();
        check(&history(vec![], vec![unseen(1, u64::MAX, false)], 0)).unwrap();
        let mut full = history(
            vec![counted(1, 2, 1), counted(1, 3, 2), counted(4, 5, 3)],
            vec![],
            3,
        );
        full.used_up.push(Span { from: 3, to: 9 });
        full.reads.push((Span { from: 3, to: 4 }, 2));
        check(&full).unwrap();
    }

    /// One that is certain isn't robbed of its number by one that perhaps never happened.
    #[test]
    fn a_certain_use_comes_before_one_that_nobody_knows() {
        let told = vec![counted(1, 4, 1), counted(5, 9, 2)];
        let two = vec![unseen(7, 8, false), unseen(6, 10, true)];
        check(&history(told.clone(), two, 3)).unwrap();
        // But each number has one only.
        let three = vec![unseen(7, 8, true), unseen(6, 10, true)];
        assert!(
            check(&history(told, three, 3))
                .unwrap_err()
                .contains("not counted")
        );
    }

    #[test]
    fn what_has_none_is_not() {
        let wrong = |history: History| check(&history).unwrap_err();
        assert!(
            wrong(history(vec![counted(1, 2, 1), counted(3, 4, 1)], vec![], 1)).contains("twice")
        );
        let reversed = vec![counted(1, 2, 2), counted(3, 4, 1)];
        assert!(wrong(history(reversed, vec![], 2)).contains("before"));
        assert!(wrong(history(vec![counted(1, 2, 2)], vec![], 2)).contains("nobody"));
        // It was over before the first one began, so it can't be the second.
        let early = history(vec![counted(5, 6, 1)], vec![unseen(1, 2, true)], 2);
        assert!(wrong(early).contains("nobody"));
        let lost = history(vec![counted(1, 2, 1)], vec![unseen(3, 4, true)], 1);
        assert!(wrong(lost).contains("not counted"));
        let mut refused = history(vec![counted(1, 2, 1)], vec![], 1);
        refused.used_up.push(Span { from: 3, to: 4 });
        assert!(wrong(refused).contains("used up"));
        let mut stale = history(vec![counted(1, 2, 1)], vec![], 1);
        stale.reads.push((Span { from: 3, to: 4 }, 0));
        assert!(wrong(stale).contains("seen"));
    }
}
