//! Commands that wait, taken in turns: of each principal one, then of each another. One that sends
//! a thousand holds up itself; the others wait for the round that is under way and for their own.

use super::command::{Ask, Work};
use crate::ids::PrincipalId;
use std::collections::{HashMap, VecDeque};

/// Who waits together: a principal, or all callers that are none.
type Whose = Option<PrincipalId>;

/// Commands by principal. Each principal's own stay in order.
#[derive(Default)]
pub struct Fair {
    waiting: HashMap<Whose, VecDeque<Ask>>,
    /// Those who have some waiting, each once; the first is next.
    turns: VecDeque<Whose>,
    len: usize,
}

impl Fair {
    /// Lets one wait. Its caller's share of the queue bounds how many do.
    pub fn put(&mut self, ask: Ask) {
        self.put_of(ask.caller.id(), ask);
    }

    fn put_of(&mut self, whose: Whose, ask: Ask) {
        let own = self.waiting.entry(whose).or_default();
        if own.is_empty() {
            self.turns.push_back(whose);
        }
        own.push_back(ask);
        self.len += 1;
    }

    /// Takes up to `most`, in turns.
    pub fn take(&mut self, most: usize) -> Vec<Ask> {
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some(whose) = self.turns.pop_front()
        {
            let Some(own) = self.waiting.get_mut(&whose) else {
                continue;
            };
            let ask = own.pop_front();
            // A change of the register is a round of its own: the others go on after it.
            let alone = ask
                .as_ref()
                .is_some_and(|a| matches!(a.work, Work::Admin(_)));
            taken.extend(ask);
            if own.is_empty() {
                self.waiting.remove(&whose);
            } else {
                self.turns.push_back(whose);
            }
            if alone {
                break;
            }
        }
        self.len -= taken.len();
        taken
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::command::{Caller, Note, Work};

    fn ask(number: u64) -> Ask {
        Ask {
            caller: Caller::vault(),
            work: Work::Note(Note::Tick),
            deadline_ms: number,
            reply: tokio::sync::oneshot::channel().0,
            share: None,
        }
    }

    fn put(fair: &mut Fair, who: u8, number: u64) {
        fair.put_of(Some(PrincipalId([who; 16])), ask(number));
    }

    #[test]
    fn one_that_sends_a_thousand_holds_up_itself_only() {
        let mut fair = Fair::default();
        for number in 0..1_000 {
            put(&mut fair, 1, number);
        }
        put(&mut fair, 2, 2_000);
        fair.put(ask(3_000));
        put(&mut fair, 2, 2_001);
        let numbers =
            |taken: Vec<Ask>| -> Vec<u64> { taken.iter().map(|ask| ask.deadline_ms).collect() };
        assert_eq!(numbers(fair.take(4)), [0, 2_000, 3_000, 1]);
        assert_eq!(numbers(fair.take(3)), [2_001, 2, 3]);
        assert_eq!(fair.take(10_000).len(), 996, "each is taken once");
        assert!(fair.len() == 0 && fair.take(1).is_empty());
        assert!(fair.waiting.is_empty());
    }
}
