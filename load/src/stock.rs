//! What calls need and use up: transactions that take details, tokens with uses left. Made ahead,
//! and used in turns, so that the same one comes again only after all others: that is how traffic
//! looks to a cache, and no two calls in flight meet in one transaction.

use payvault::limits;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A transaction that takes details.
struct Place {
    transaction: Arc<str>,
    left: u32,
}

/// A token and its transaction.
#[derive(Clone)]
pub struct Token {
    /// The transaction.
    pub transaction: Arc<str>,
    /// The token.
    pub token: Arc<str>,
    left: u32,
}

/// How often each is used.
#[derive(Debug, Clone, Copy)]
pub struct Uses {
    /// Tokens that each transaction gets.
    pub tokens_per_transaction: u32,
    /// Redemptions of each token.
    pub redeems_per_token: u32,
}

impl Uses {
    /// What is wrong with it, if anything: a transaction remembers a bounded number of requests,
    /// and takes no more of them within a day.
    pub fn problem(&self) -> Option<String> {
        let tokens = self.tokens_per_transaction;
        let requests = tokens * (1 + self.redeems_per_token);
        let tokens_max = limits::TOKENS_PER_TRANSACTION_MAX as u32;
        let requests_max = limits::REQUESTS_REMEMBERED_MAX as u32;
        (!(1..=tokens_max).contains(&tokens)
            || self.redeems_per_token == 0
            || requests > requests_max)
            .then(|| {
                format!(
                    "a transaction takes at most {tokens_max} tokens and {requests_max} requests \
                     a day; tokens × (1 + redemptions) would be {requests}"
                )
            })
    }
}

#[derive(Default)]
struct Shelves {
    places: VecDeque<Place>,
    tokens: VecDeque<Token>,
}

/// The stock. One for each server.
pub struct Stock {
    uses: Uses,
    shelves: Mutex<Shelves>,
}

impl Stock {
    /// An empty one.
    pub fn new(uses: Uses) -> Stock {
        Stock {
            uses,
            shelves: Mutex::default(),
        }
    }

    /// How often each is used.
    pub fn uses(&self) -> Uses {
        self.uses
    }

    /// A transaction to hand details in for; `None` when all are used up.
    pub fn place(&self) -> Option<Arc<str>> {
        let mut shelves = self.shelves();
        let mut place = shelves.places.pop_front()?;
        let transaction = Arc::clone(&place.transaction);
        place.left -= 1;
        if place.left > 0 {
            shelves.places.push_back(place);
        }
        Some(transaction)
    }

    /// A token to redeem; `None` when all are used up.
    pub fn token(&self) -> Option<Token> {
        let mut shelves = self.shelves();
        let mut token = shelves.tokens.pop_front()?;
        token.left -= 1;
        if token.left > 0 {
            shelves.tokens.push_back(token.clone());
        }
        Some(token)
    }

    /// A token to look at, which uses nothing up.
    pub fn shown(&self) -> Option<Token> {
        let mut shelves = self.shelves();
        let token = shelves.tokens.pop_front()?;
        shelves.tokens.push_back(token.clone());
        Some(token)
    }

    /// Puts in a transaction.
    pub fn add_place(&self, transaction: String) {
        self.shelves().places.push_back(Place {
            transaction: transaction.into(),
            left: self.uses.tokens_per_transaction,
        });
    }

    /// Puts in a token.
    pub fn add_token(&self, transaction: &Arc<str>, token: String) {
        self.shelves().tokens.push_back(Token {
            transaction: Arc::clone(transaction),
            token: token.into(),
            left: self.uses.redeems_per_token,
        });
    }

    /// Tokenizations that are left.
    pub fn places_left(&self) -> u64 {
        let shelves = self.shelves();
        shelves.places.iter().map(|p| u64::from(p.left)).sum()
    }

    /// Redemptions that are left.
    pub fn redeems_left(&self) -> u64 {
        let shelves = self.shelves();
        shelves.tokens.iter().map(|t| u64::from(t.left)).sum()
    }

    fn shelves(&self) -> MutexGuard<'_, Shelves> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_used_in_turn_and_no_more_than_it_may() {
        let stock = Stock::new(Uses {
            tokens_per_transaction: 2,
            redeems_per_token: 2,
        });
        for name in ["a", "b"] {
            stock.add_place(name.to_owned());
            stock.add_token(&name.into(), format!("token {name}"));
        }
        assert_eq!((stock.places_left(), stock.redeems_left()), (4, 4));
        let places: Vec<_> = std::iter::from_fn(|| stock.place()).collect();
        assert_eq!(places, ["a".into(), "b".into(), "a".into(), "b".into()]);
        assert!(stock.shown().is_some());
        let tokens: Vec<_> = std::iter::from_fn(|| stock.token())
            .map(|t| t.transaction)
            .collect();
        assert_eq!(tokens.len(), 4);
        assert_ne!(tokens[0], tokens[1]);
        assert!(stock.shown().is_none());
    }

    #[test]
    fn more_than_a_transaction_remembers_is_refused() {
        let uses = |tokens_per_transaction, redeems_per_token| Uses {
            tokens_per_transaction,
            redeems_per_token,
        };
        assert!(uses(1, 23).problem().is_none());
        assert!(uses(4, 5).problem().is_none());
        for (tokens, redeems) in [(1, 24), (4, 6), (5, 1), (0, 1), (1, 0)] {
            assert!(uses(tokens, redeems).problem().is_some());
        }
    }
}
