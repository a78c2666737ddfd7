//! Whether time tells what an answer doesn't, after dudect (Reparaz, Balasch, Verbauwhede 2017): two
//! classes of input, drawn at random and interleaved, through the real code; Welch's t of their
//! times, whole and with the slow tail cropped at fixed percentiles of both together.
//!
//! In CI a few samples are taken, to see that the harness works and finds a planted leak; a busy
//! machine proves nothing else. On demand each class has 100,000 samples and |t| must stay below
//! 4.5 (minutes; a quiet machine; one test at a time):
//!
//! `PAYVAULT_LONG=1 cargo test --locked --test vault timing -- --nocapture --test-threads=1`

use crate::house::*;
use payvault::ids::{ALPHABET, TransactionId};
use payvault::keys::password;
use payvault::payment::Token;
use payvault::policy::{Field, Purpose};
use payvault::secret::{SecretBytes, SecretText};
use payvault::vault::command::{Refusal, Work};
use std::hint::black_box;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use subtle::ConstantTimeEq;

/// Past this, the classes can be told apart.
const T_MAX: f64 = 4.5;
/// Percentiles of both classes' times above which samples are left out.
const CROPS: [f64; 6] = [0.5, 0.75, 0.9, 0.95, 0.99, 1.0];
/// Samples that a crop must leave of each class.
const LEFT_MIN: f64 = 20.0;
/// Calls under way at once, where each waits for its beat.
const AT_ONCE: usize = 128;

fn long() -> bool {
    std::env::var_os("PAYVAULT_LONG").is_some()
}

/// Samples of a class.
fn samples(short: usize, long_form: usize) -> usize {
    if long() { long_form } else { short }
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn new() -> Dice {
        let seed = std::env::var("PAYVAULT_SEED").ok();
        let seed = seed
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(|| u64::from_be_bytes(payvault::ids::random()));
        println!("PAYVAULT_SEED={seed}");
        Dice(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// Mean and variance of a class, as samples come in (Welford).
#[derive(Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let off = value - self.mean;
        self.mean += off / self.count;
        self.squares += off * (value - self.mean);
    }

    fn error(&self) -> f64 {
        self.squares / (self.count - 1.0) / self.count
    }
}

/// Welch's t with the greatest size of all crops, and the classes' means there.
fn t_of(times: &[(usize, u64)], one: usize, other: usize) -> (f64, f64, f64) {
    let both = || {
        times
            .iter()
            .filter(|(class, _)| *class == one || *class == other)
    };
    let mut sorted: Vec<u64> = both().map(|(_, ns)| *ns).collect();
    sorted.sort_unstable();
    let mut greatest = (0.0, 0.0, 0.0);
    for crop in CROPS {
        let last = ((sorted.len() as f64 * crop) as usize).clamp(1, sorted.len()) - 1;
        let (mut a, mut b) = (Moments::default(), Moments::default());
        for (class, ns) in both().filter(|(_, ns)| *ns <= sorted[last]) {
            let moments = if *class == one { &mut a } else { &mut b };
            moments.add(*ns as f64);
        }
        // A crop that leaves next to nothing of a class shows nothing that the others don't.
        if a.count < LEFT_MIN || b.count < LEFT_MIN {
            continue;
        }
        let error = (a.error() + b.error()).sqrt();
        let t = match a.mean == b.mean {
            true => 0.0,
            false => (a.mean - b.mean) / error,
        };
        if t.abs() >= f64::abs(greatest.0) {
            greatest = (t, a.mean, b.mean);
        }
    }
    greatest
}

/// Times `call` for classes drawn at random; `count` samples of each on average. The first tenth
/// warms up and isn't counted.
fn timed(
    dice: &mut Dice,
    classes: usize,
    count: usize,
    mut call: impl FnMut(&mut Dice, usize) -> u64,
) -> Vec<(usize, u64)> {
    let all = classes * count;
    let mut times = Vec::with_capacity(all);
    for number in 0..all + all / 10 {
        let class = dice.below(classes);
        let ns = call(dice, class);
        if number >= all / 10 {
            times.push((class, ns));
        }
    }
    times
}

/// Prints t of each class against the first one. On demand, none may be told apart.
fn judge(what: &str, names: &[&str], times: &[(usize, u64)]) {
    for class in 1..names.len() {
        let (t, first, other) = t_of(times, 0, class);
        let count = times.iter().filter(|(c, _)| *c == class).count();
        println!(
            "timing: {what}: {} | {}: t = {t:+.2}, {:.3} and {:.3} µs, {count} samples a class",
            names[0],
            names[class],
            first / 1_000.0,
            other / 1_000.0,
        );
        assert!(!t.is_nan(), "{what}");
        if long() {
            let told = "can be told apart by time";
            assert!(
                t.abs() < T_MAX,
                "{what}: {} and {} {told}",
                names[0],
                names[class]
            );
        }
    }
}

fn nanoseconds(call: impl FnOnce()) -> u64 {
    let began = Instant::now();
    call();
    began.elapsed().as_nanos() as u64
}

/// How often a comparison of some nanoseconds is repeated within one sample.
const REPEATS: usize = 32;

/// `own` with one byte changed: the first, or the last.
fn differing<const N: usize>(own: &[u8; N], class: usize) -> [u8; N] {
    let mut other = *own;
    other[if class == 0 { 0 } else { N - 1 }] ^= 1;
    other
}

#[test]
fn a_comparison_that_ends_early_is_found() {
    let mut dice = Dice::new();
    let own: [u8; 64] = payvault::ids::random();
    let early = |a: &[u8], b: &[u8]| {
        for (x, y) in a.iter().zip(b) {
            if black_box(*x) != black_box(*y) {
                return false;
            }
        }
        true
    };
    let times = timed(&mut dice, 2, samples(3_000, 102_000), |_, class| {
        let other = differing(&own, class);
        nanoseconds(|| {
            for _ in 0..REPEATS {
                black_box(early(black_box(&own), black_box(&other)));
            }
        })
    });
    let (t, _, _) = t_of(&times, 0, 1);
    println!("timing: planted: t = {t:+.2}");
    assert!(t < -T_MAX, "the planted leak was not found: t = {t}");
    // One class against itself: nothing to find, however it is cut in two.
    let same: Vec<(usize, u64)> = times
        .iter()
        .filter(|(class, _)| *class == 0)
        .enumerate()
        .map(|(number, (_, ns))| (number % 2, *ns))
        .collect();
    let (t, _, _) = t_of(&same, 0, 1);
    println!("timing: nothing planted: t = {t:+.2}");
    assert!(t.is_finite());
}

#[test]
fn secrets_are_compared_in_the_same_time_wherever_they_differ() {
    let mut dice = Dice::new();
    let count = samples(2_000, 102_000);
    let bytes: [u8; 16] = payvault::ids::random();
    let own = SecretBytes::<16>::build(|to| *to = bytes);
    let times = timed(&mut dice, 2, count, |_, class| {
        let other = differing(&bytes, class);
        let other = SecretBytes::<16>::build(|to| *to = other);
        nanoseconds(|| {
            for _ in 0..REPEATS {
                black_box(black_box(&own).ct_eq(black_box(&other)));
            }
        })
    });
    judge("secret of a token", &["first byte", "last byte"], &times);

    let word = payvault::ids::letters(&bytes);
    let own = SecretText::copy_from(&word);
    let times = timed(&mut dice, 2, count, |_, class| {
        let mut other = word.clone().into_bytes();
        let at = if class == 0 { 0 } else { other.len() - 1 };
        other[at] = b'x';
        let other = SecretText::new(String::from_utf8(other).expect("letters"));
        nanoseconds(|| {
            for _ in 0..REPEATS {
                black_box(black_box(&own).ct_eq(black_box(&other)));
            }
        })
    });
    judge("secret text", &["first letter", "last letter"], &times);
}

#[test]
fn tokens_are_read_in_the_same_time_wherever_they_are_wrong() {
    let mut dice = Dice::new();
    let text = Token::random().to_text().expose().to_owned();
    let times = timed(&mut dice, 3, samples(1_000, 102_000), |dice, class| {
        let mut wrong = text.clone().into_bytes();
        // Another letter of the alphabet: the checksum is what doesn't fit. Its own first and last.
        let at = [5 + dice.below(64), text.len() - 8, text.len() - 1][class];
        let place = ALPHABET.iter().position(|letter| *letter == wrong[at]);
        wrong[at] = ALPHABET[(place.expect("a letter") + 1 + dice.below(15)) % 16];
        let wrong = String::from_utf8(wrong).expect("letters");
        nanoseconds(|| {
            for _ in 0..4 {
                black_box(Token::parse(black_box(&wrong)).is_ok());
            }
        })
    });
    let names = ["anywhere", "the checksum's first letter", "its last letter"];
    judge("a malformed token", &names, &times);
}

#[test]
fn a_right_secret_is_judged_in_the_time_of_a_wrong_one() {
    let mut dice = Dice::new();
    let right = password::generate();
    // Of the least cost, since Argon2's own time would hide what is looked for.
    let phc = payvault::keys::reread::cheap_hash(&right);
    assert!(password::verify(&right, &phc));
    let times = timed(&mut dice, 2, samples(100, 102_000), |_, class| {
        // Both are made for either class, in the same way: what was done just before shows in the
        // caches.
        let made = [password::generate(), right.duplicate()].map(|s| s.expose().to_owned());
        let given = SecretText::copy_from(&made[class]);
        nanoseconds(|| {
            black_box(password::verify(black_box(&given), &phc));
        })
    });
    judge("a person's secret", &["wrong", "right"], &times);
}

/// A wrong secret for a person who has one, and for one who has none; at the real cost, so with
/// fewer samples.
#[test]
fn a_login_takes_the_same_time_whether_there_is_a_secret_or_not() {
    let mut dice = Dice::new();
    let home = Home::new();
    let mut tries = 0;
    let times = timed(&mut dice, 2, samples(2, 60), |_, class| {
        let name = ["auditor", "ann"][class];
        tries += 1;
        if tries % 5 == 0 {
            // Never ten bad tries in a row: locks are told openly, and at once.
            home.clock.pass_ms(payvault::limits::LOCK_MS);
        }
        let given = password::generate();
        let caller = home.caller(name);
        nanoseconds(|| {
            let answer = RUNTIME.block_on(home.vault().login(caller, given, u64::MAX));
            assert!(answer.is_err());
        })
    });
    judge("login", &["a person with a secret", "one without"], &times);
}

/// What a stranger may ask for. It must not learn which one it was.
const CLASSES: [&str; 6] = [
    "a token of its transaction",
    "a random token",
    "a right selector and a wrong secret",
    "a token of another transaction",
    "an unknown transaction",
    "a transaction of four tokens",
];

/// Transactions that `crux` is no party of: small ones, large ones, and their tokens.
struct Known {
    small: Vec<(TransactionId, Token)>,
    large: Vec<(TransactionId, Token)>,
}

impl Known {
    fn of(home: &Home) -> Known {
        Known {
            small: (0..8).map(|_| home.card()).collect(),
            large: (0..8)
                .map(|_| {
                    let (transaction, token) = home.card();
                    for _ in 0..3 {
                        home.tokenize(transaction, dutch_iban());
                    }
                    (transaction, token)
                })
                .collect(),
        }
    }

    fn work(&self, home: &Home, dice: &mut Dice, class: usize) -> Work {
        let at = dice.below(8);
        let (small, own) = &self.small[at];
        let (large, large_own) = &self.large[at];
        let mut wrong = *own.parts();
        wrong[16 + dice.below(16)] ^= 1;
        // Every kind of token is made for every class: what is measured begins after this.
        let made = [
            again(own),
            Token::random(),
            Token::from_parts(&wrong),
            again(&self.small[(at + 1) % 8].1),
            again(own),
            again(large_own),
        ];
        let unknown = TransactionId::random();
        let transaction = match class {
            4 => unknown,
            5 => *large,
            _ => *small,
        };
        redemption(
            home.request(),
            transaction,
            &made[class],
            Purpose::Authorize,
            &[Field::Number],
        )
    }
}

/// A stranger's calls past its first hundred, which write no entry: nothing durable hides the time.
#[test]
fn a_stranger_cant_tell_tokens_apart_by_time() {
    let home = Arc::new(Home::new());
    let known = Arc::new(Known::of(&home));
    let dice = Arc::new(Mutex::new(Dice::new()));
    let count = samples(100, 102_000) * CLASSES.len();
    let times = Arc::new(Mutex::new(Vec::with_capacity(count)));
    RUNTIME.block_on(async {
        let mut callers = Vec::new();
        for caller in 0..AT_ONCE {
            let (home, known) = (Arc::clone(&home), Arc::clone(&known));
            let (dice, times) = (Arc::clone(&dice), Arc::clone(&times));
            callers.push(tokio::spawn(async move {
                let own = count / AT_ONCE + usize::from(caller < count % AT_ONCE);
                // A few more to warm up.
                for number in 0..own + 2 {
                    let (class, work) = {
                        let mut dice = dice.lock().expect("not poisoned");
                        let class = dice.below(CLASSES.len());
                        (class, known.work(&home, &mut dice, class))
                    };
                    let who = home.caller("crux");
                    let began = Instant::now();
                    let answer = home.vault().ask(who, work, u64::MAX).await;
                    let ns = began.elapsed().as_nanos() as u64;
                    assert!(matches!(&answer, Err(Refusal::Denied(d)) if d.is_not_tied()));
                    if number >= 2 {
                        times.lock().expect("not poisoned").push((class, ns));
                    }
                }
            }));
        }
        for caller in callers {
            caller.await.expect("it ends");
        }
    });
    let times = times.lock().expect("not poisoned");
    judge("a stranger's redemption", &CLASSES, &times);
}

/// The beat is what hides it: without it an unknown transaction is answered sooner.
#[test]
fn without_the_beat_an_unknown_transaction_is_told_apart() {
    let mut dice = Dice::new();
    let home = Home::new();
    let known = Known::of(&home);
    let count = samples(300, 20_000);
    let times = timed(&mut dice, CLASSES.len(), count, |dice, class| {
        let work = known.work(&home, dice, class);
        let who = home.caller("crux");
        RUNTIME.block_on(async {
            let began = Instant::now();
            let answer = home.vault().ask_without_beat(who, work).await;
            let ns = began.elapsed().as_nanos() as u64;
            assert!(matches!(answer, Err(Refusal::Denied(_))));
            ns
        })
    });
    for (class, name) in CLASSES.iter().enumerate().skip(1) {
        let (t, first, other) = t_of(&times, 0, class);
        println!(
            "timing: without the beat: {} | {}: t = {t:+.2}, {:.3} and {:.3} µs",
            CLASSES[0],
            name,
            first / 1_000.0,
            other / 1_000.0,
        );
    }
    if long() {
        let (t, _, _) = t_of(&times, 0, 4);
        assert!(t.abs() > T_MAX, "the harness finds nothing at all: t = {t}");
    }
}
