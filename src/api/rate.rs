//! Calls a second and principal: a bucket that fills at the rate and holds one second's worth.

use crate::clock::Clock;
use crate::ids::PrincipalId;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

struct Bucket {
    /// Thousandths of a call.
    milli: u64,
    filled_ms: u64,
}

/// The buckets.
pub struct Rates {
    per_second: u64,
    clock: Clock,
    buckets: Mutex<HashMap<PrincipalId, Bucket>>,
}

impl Rates {
    /// `per_second` calls for each principal. Principals are enrolled, so their number is bounded.
    pub fn new(per_second: u32, clock: Clock) -> Rates {
        Rates {
            per_second: u64::from(per_second),
            clock,
            buckets: Mutex::default(),
        }
    }

    /// Takes one call; false when there is none left.
    pub fn take(&self, principal: PrincipalId) -> bool {
        self.take_some(principal, 1) == 1
    }

    /// Takes up to `wanted` calls, and says how many there were.
    pub fn take_some(&self, principal: PrincipalId, wanted: usize) -> usize {
        let now_ms = self.clock.monotonic_ms();
        let full = self.per_second * 1_000;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry(principal).or_insert(Bucket {
            milli: full,
            filled_ms: now_ms,
        });
        let gained = now_ms.saturating_sub(bucket.filled_ms) * self.per_second;
        bucket.milli = (bucket.milli + gained).min(full);
        bucket.filled_ms = now_ms;
        let taken = (bucket.milli / 1_000).min(wanted as u64);
        bucket.milli -= taken * 1_000;
        taken as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, Timestamp};

    #[test]
    fn a_principal_gets_its_rate_and_no_more() {
        let clock = ManualClock::starting_at(Timestamp(0));
        let rates = Rates::new(10, Clock::Manual(clock.clone()));
        let (one, two) = (PrincipalId([1; 16]), PrincipalId([2; 16]));
        assert_eq!((0..50).filter(|_| rates.take(one)).count(), 10);
        assert!(rates.take(two), "another principal has its own");
        clock.pass_ms(100);
        assert_eq!((0..50).filter(|_| rates.take(one)).count(), 1);
        clock.pass_ms(60_000);
        assert_eq!((0..50).filter(|_| rates.take(one)).count(), 10);
        clock.pass_ms(400);
        let some = [3, 3, 3].map(|wanted| rates.take_some(one, wanted));
        assert_eq!(some, [3, 1, 0], "as many as there are");
    }
}
