//! How long the fault tests go on: `PAYVAULT_SIZE` is `short` (a minute for all of them together,
//! the default), `long` (ten minutes each) or `hours` (two each).

use crate::number;
use std::time::{Duration, Instant};

/// The rounds of one test.
pub struct Rounds {
    least: u64,
    until: Instant,
    done: u64,
    random: u64,
}

impl Rounds {
    /// At least `least`, from a seed that is printed and accepted (`PAYVAULT_SEED`).
    pub fn of(what: &str, least: u64) -> Rounds {
        let seed =
            number("PAYVAULT_SEED").unwrap_or_else(|| u64::from_be_bytes(payvault::ids::random()));
        let size = std::env::var("PAYVAULT_SIZE").unwrap_or_else(|_| "short".to_owned());
        println!("{what}: PAYVAULT_SEED={seed} PAYVAULT_SIZE={size}");
        let seconds = match size.as_str() {
            "short" => 0,
            "long" => 600,
            "hours" => 7_200,
            other => panic!("PAYVAULT_SIZE is short, long or hours, not {other}"),
        };
        Rounds {
            least,
            until: Instant::now() + Duration::from_secs(seconds),
            done: 0,
            random: seed,
        }
    }

    /// The number of the next round, while there is to be one.
    pub fn next(&mut self) -> Option<u64> {
        let round = self.done;
        self.done += 1;
        (round < self.least || Instant::now() < self.until).then_some(round)
    }

    /// A number from `from` up to and including `to` (splitmix64).
    pub fn chance(&mut self, from: u64, to: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        from + (z ^ (z >> 31)) % (to - from + 1)
    }
}

/// Waits for a condition by asking again and again, for at most a minute.
pub async fn until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(began.elapsed() < Duration::from_secs(90), "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
