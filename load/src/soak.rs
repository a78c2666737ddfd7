//! `load soak`: a great many items through both streams, some of them bad. Every answer is checked
//! against what was sent, and both ends' memory is watched: neither may grow with the number.

use crate::caller::{Caller, Target};
use crate::children;
use crate::failure::LoadError;
use crate::lane::{self, Outcome, Redeeming, Stream, Tokenizing};
use crate::machine::number_of;
use crate::prepare::bar;
use crate::requests;
use crate::run::{PlaceArgs, vault_target};
use crate::stock::Uses;
use clap::Args;
use payvault::api::proto as pb;
use payvault::limits;
use payvault::payment::Token;
use pb::payment_details::Kind;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tonic::{Code, Status};

/// Items that are tokenized and then redeemed before the next ones: what this process keeps.
const BLOCK: u64 = 8_192;
/// Each so manieth block goes through unary calls instead.
const UNARY_EACH: u64 = 8;
/// Unary calls at once.
const UNARY_CALLERS: usize = 64;
/// Messages of a stream under way.
const LANES: usize = 8;
/// Memory counts once this part of the items is done: caches fill first.
const SETTLED: f64 = 0.3;
/// How far the middle of a stretch of the run may be from the whole's.
const FLAT: f64 = 0.1;
/// How many stretches the settled part of a run has.
const STRETCHES: usize = 10;

/// Sends many items through TokenizeStream and RedeemStream and checks every answer
#[derive(Args, Debug)]
pub struct SoakArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// How many items go through each stream
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000)]
    items: u64,
    /// One of so many is bad
    #[arg(long, value_name = "COUNT", default_value_t = 100,
          value_parser = clap::value_parser!(u64).range(1..))]
    bad_each: u64,
}

/// What is wrong with an item, if anything.
#[derive(Clone, Copy, PartialEq)]
enum Wrong {
    Nothing,
    /// A field: INVALID_ARGUMENT.
    Field,
    /// A transaction or token that isn't there: NOT_FOUND, at a beat.
    NotThere,
    /// What the terms don't grant, or a request id that was used: refused to a tied party.
    NotGranted,
}

impl Wrong {
    fn of(item: u64, each: u64) -> Wrong {
        match item % each {
            0 => match item / each % 3 {
                0 => Wrong::Field,
                1 => Wrong::NotThere,
                _ => Wrong::NotGranted,
            },
            _ => Wrong::Nothing,
        }
    }
}

/// Each item has a card of its own.
fn number(item: u64) -> String {
    let mut digits = format!("4{:014}", item % 100_000_000_000_000);
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(at, digit)| {
            let digit = u32::from(digit - b'0');
            match at % 2 {
                0 if digit > 4 => digit * 2 - 9,
                0 => digit * 2,
                _ => digit,
            }
        })
        .sum();
    digits.push_str(&((10 - sum % 10) % 10).to_string());
    digits
}

fn tokenization(item: u64, transaction: &str, wrong: Wrong) -> pb::TokenizeRequest {
    let mut request = requests::tokenize(transaction);
    if let Some(Kind::Card(card)) = request.details.as_mut().and_then(|d| d.kind.as_mut()) {
        card.number = number(item);
        if wrong == Wrong::Field {
            let last = card.number.pop().map_or(0, |digit| digit as u8 - b'0');
            card.number.push_str(&((last + 1) % 10).to_string());
        }
    }
    if wrong == Wrong::NotThere {
        request.transaction = requests::made_up().0;
    }
    if wrong == Wrong::NotGranted {
        // A token that isn't of this transaction: not tied either, since nothing else of a portal's
        // own is refused for sure.
        request.replaces = Token::random().to_text().expose().to_owned();
    }
    request
}

fn redemption(of: &Made, wrong: Wrong) -> pb::RedeemRequest {
    let mut request = requests::redeem(&of.transaction, &of.token);
    match wrong {
        Wrong::Nothing => {}
        Wrong::Field => request.fields.clear(),
        Wrong::NotThere => request.token = Token::random().to_text().expose().to_owned(),
        Wrong::NotGranted => request.purpose = pb::Purpose::Payout.into(),
    }
    request
}

/// A token that was made, and for which item.
struct Made {
    item: u64,
    transaction: Arc<str>,
    token: String,
}

fn wrong_answer(what: &str, item: u64, said: &str) -> LoadError {
    LoadError::Server(format!("{what}, item {item}: {said}"))
}

/// Judges what a tokenization gave: the token, or nothing where nothing was due.
fn judge_token(
    item: u64,
    wrong: Wrong,
    outcome: Outcome<pb::TokenizeResponse>,
) -> Result<Option<String>, LoadError> {
    let expected = match wrong {
        Wrong::Nothing => Code::Ok,
        Wrong::Field => Code::InvalidArgument,
        Wrong::NotThere | Wrong::NotGranted => Code::NotFound,
    };
    let bad = |said: &str| Err(wrong_answer("tokenize", item, said));
    match outcome {
        Ok(done) if expected == Code::Ok => {
            let number = number(item);
            let masked = done.details.map(|d| d.masked_number).unwrap_or_default();
            let ends = masked.starts_with(&number[..6]) && masked.ends_with(&number[12..]);
            match ends && !done.replayed {
                true => Ok(Some(done.token)),
                false => bad("another's answer"),
            }
        }
        Ok(_) => bad("done"),
        Err(status) if status.code() == expected => Ok(None),
        Err(status) => bad(&status.to_string()),
    }
}

/// Judges what a redemption gave.
fn judge_release(
    of: &Made,
    wrong: Wrong,
    outcome: Outcome<pb::RedeemResponse>,
) -> Result<(), LoadError> {
    let expected = match wrong {
        Wrong::Nothing => Code::Ok,
        Wrong::Field => Code::InvalidArgument,
        Wrong::NotThere => Code::NotFound,
        Wrong::NotGranted => Code::FailedPrecondition,
    };
    let bad = |said: &str| Err(wrong_answer("redeem", of.item, said));
    match outcome {
        Ok(done) if expected == Code::Ok => {
            let Some(Kind::Card(card)) = done.details.and_then(|d| d.kind) else {
                return bad("no card");
            };
            match card.number == number(of.item) {
                true => Ok(()),
                false => bad("another's number"),
            }
        }
        Ok(_) => bad("released"),
        Err(status) if status.code() == expected => Ok(()),
        Err(status) => bad(&status.to_string()),
    }
}

/// Runs `each` over `parts`, `at_once` at a time, and gives what they gave, in order.
async fn in_order<P, T, F>(
    parts: Vec<P>,
    at_once: usize,
    each: impl Fn(P) -> F,
) -> Result<Vec<T>, LoadError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Status>> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    let mut done: Vec<Option<T>> = parts.iter().map(|_| None).collect();
    let mut parts = parts.into_iter().enumerate();
    loop {
        while tasks.len() < at_once
            && let Some((at, part)) = parts.next()
        {
            let work = each(part);
            tasks.spawn(async move { (at, work.await) });
        }
        match tasks.join_next().await {
            None => return Ok(done.into_iter().flatten().collect()),
            Some(Ok((at, Ok(gave)))) => done[at] = Some(gave),
            Some(Ok((_, Err(status)))) => return Err(LoadError::refused("a message")(status)),
            Some(Err(error)) => return Err(LoadError::Server(error.to_string())),
        }
    }
}

/// Time and items of one way.
#[derive(Default)]
struct Pace {
    items: u64,
    took: Duration,
}

impl Pace {
    fn add(&mut self, items: usize, since: Instant) {
        self.items += items as u64;
        self.took += since.elapsed();
    }

    fn per_second(&self) -> f64 {
        self.items as f64 / self.took.as_secs_f64().max(1e-9)
    }
}

/// The lines of the ends.
struct Ends {
    tokenizing: Arc<Stream<Tokenizing>>,
    redeeming: Arc<Stream<Redeeming>>,
    callers: Vec<Caller>,
}

impl Ends {
    async fn open(target: &Target) -> Result<Ends, LoadError> {
        let one = |mut clients: Vec<crate::wire::Client>| clients.remove(0);
        let refused = || LoadError::refused("a stream");
        let portal = one(target.portal.clients(1).await?);
        let processor = one(target.processor.clients(1).await?);
        Ok(Ends {
            tokenizing: Arc::new(Stream::begin(portal, LANES).await.map_err(refused())?),
            redeeming: Arc::new(Stream::begin(processor, LANES).await.map_err(refused())?),
            callers: target.callers(UNARY_CALLERS, 4).await?,
        })
    }

    /// Transactions for a block.
    async fn transactions(&self, count: usize) -> Result<Vec<Arc<str>>, LoadError> {
        let callers = self.callers.iter().cycle().take(count).cloned().collect();
        let open = |mut caller: Caller| async move { caller.open().await.map(Arc::from) };
        in_order(callers, UNARY_CALLERS, open).await
    }

    async fn tokenize(
        &self,
        asked: Vec<pb::TokenizeRequest>,
        unary: bool,
    ) -> Result<Vec<Outcome<pb::TokenizeResponse>>, LoadError> {
        if !unary {
            return streamed(&self.tokenizing, asked).await;
        }
        let callers = self.callers.iter().cycle().cloned();
        let parts = asked.into_iter().zip(callers).collect();
        let call = |(request, mut caller): (_, Caller)| async move {
            Ok(caller.tokenize_with(request).await)
        };
        in_order(parts, UNARY_CALLERS, call).await
    }

    async fn redeem(
        &self,
        asked: Vec<pb::RedeemRequest>,
        unary: bool,
    ) -> Result<Vec<Outcome<pb::RedeemResponse>>, LoadError> {
        if !unary {
            return streamed(&self.redeeming, asked).await;
        }
        let callers = self.callers.iter().cycle().cloned();
        let parts = asked.into_iter().zip(callers).collect();
        let call = |(request, mut caller): (_, Caller)| async move {
            Ok(caller.redeem_with(request).await)
        };
        in_order(parts, UNARY_CALLERS, call).await
    }
}

/// Asks in messages of as many items as one may have, several at once.
async fn streamed<K: lane::Kind>(
    stream: &Arc<Stream<K>>,
    asked: Vec<K::Item>,
) -> Result<Vec<Outcome<K::Done>>, LoadError> {
    let ask = |items| {
        let stream = Arc::clone(stream);
        async move { stream.ask(items).await }
    };
    let answers = in_order(chunks(asked), LANES, ask).await?;
    Ok(answers.into_iter().flatten().collect())
}

fn chunks<T>(all: Vec<T>) -> Vec<Vec<T>> {
    let mut all = all.into_iter();
    std::iter::from_fn(|| {
        let part: Vec<T> = all
            .by_ref()
            .take(limits::STREAM_MESSAGE_ITEMS_MAX)
            .collect();
        (!part.is_empty()).then_some(part)
    })
    .collect()
}

/// Resident KiB of one end, block by block.
#[derive(Default)]
struct Resident(Vec<u64>);

/// What was seen of an end's memory once it had settled, in KiB.
#[derive(Debug, Default)]
struct Settled {
    least: u64,
    middle: u64,
    most: u64,
    /// The middle of each stretch, in the order of time.
    stretches: Vec<u64>,
    flat: bool,
}

impl Resident {
    /// Flat is when no stretch's middle is far from the whole's: memory that grows or leaks moves
    /// them, and what an allocator holds for a moment doesn't.
    fn settled(&self) -> Settled {
        let from = (self.0.len() as f64 * SETTLED) as usize;
        let seen = &self.0[from..];
        let (Some(&least), Some(&most)) = (seen.iter().min(), seen.iter().max()) else {
            return Settled::default();
        };
        let middle = middle(seen);
        let stretches: Vec<u64> = seen
            .chunks(seen.len().div_ceil(STRETCHES))
            .map(self::middle)
            .collect();
        let near = |kib: &u64| (*kib as f64 - middle as f64).abs() <= FLAT * middle as f64;
        let flat = stretches.iter().all(near);
        Settled {
            least,
            middle,
            most,
            stretches,
            flat,
        }
    }
}

/// The median; of none, 0.
fn middle(seen: &[u64]) -> u64 {
    let mut seen = seen.to_vec();
    seen.sort_unstable();
    seen.get(seen.len() / 2).copied().unwrap_or(0)
}

/// Soaks.
///
/// # Errors
/// At the first wrong answer, or when memory isn't flat.
pub async fn soak(args: SoakArgs) -> Result<(), LoadError> {
    let ground = args.place.ground()?;
    let (server, dev) = children::vault(&ground.vault, ground.cores)?;
    let pid = server.pid();
    let uses = Uses {
        tokens_per_transaction: limits::TOKENS_PER_TRANSACTION_MAX as u32,
        redeems_per_token: 1,
    };
    let target = vault_target(&dev, uses, Some(pid))?;
    let ends = Ends::open(&target).await?;
    // [tokenize, redeem], by stream and by call.
    let (mut streamed, mut called) = <([Pace; 2], [Pace; 2])>::default();
    let (mut own, mut servers) = (Resident::default(), Resident::default());
    let (mut good, mut refused) = (0u64, 0u64);
    let bar = bar("items", args.items);
    let mut first = 0;
    for block in 0u64.. {
        let items: Vec<u64> = (first..args.items.min(first + BLOCK)).collect();
        if items.is_empty() {
            break;
        }
        first += items.len() as u64;
        let unary = block % UNARY_EACH == UNARY_EACH - 1;
        let paces = if unary { &mut called } else { &mut streamed };
        let places = items.len().div_ceil(limits::TOKENS_PER_TRANSACTION_MAX);
        let places = ends.transactions(places).await?;
        let place = |at: usize| &places[at % places.len()];
        let wrong = |item: u64| Wrong::of(item, args.bad_each);

        let asked = items.iter().enumerate();
        let asked = asked.map(|(at, item)| tokenization(*item, place(at), wrong(*item)));
        let asked: Vec<_> = asked.collect();
        let begin = Instant::now();
        let outcomes = ends.tokenize(asked, unary).await?;
        paces[0].add(items.len(), begin);
        if outcomes.len() != items.len() {
            return Err(wrong_answer("tokenize", first, "not an answer an item"));
        }
        let mut made = Vec::with_capacity(items.len());
        for ((at, item), outcome) in items.iter().enumerate().zip(outcomes) {
            match judge_token(*item, wrong(*item), outcome)? {
                Some(token) => made.push(Made {
                    item: *item,
                    transaction: Arc::clone(place(at)),
                    token,
                }),
                None => refused += 1,
            }
        }
        good += made.len() as u64;

        // Others than those that had no token: one of so many, again.
        let wrong = |of: &Made| Wrong::of(of.item + args.bad_each / 2, args.bad_each);
        let asked: Vec<_> = made.iter().map(|of| redemption(of, wrong(of))).collect();
        let begin = Instant::now();
        let outcomes = ends.redeem(asked, unary).await?;
        paces[1].add(made.len(), begin);
        if outcomes.len() != made.len() {
            return Err(wrong_answer("redeem", first, "not an answer an item"));
        }
        for (of, outcome) in made.iter().zip(outcomes) {
            judge_release(of, wrong(of), outcome)?;
            refused += u64::from(wrong(of) != Wrong::Nothing);
        }
        own.0.push(number_of(std::process::id(), "status", "VmRSS"));
        servers.0.push(number_of(pid, "status", "VmRSS"));
        bar.inc(items.len() as u64);
    }
    bar.finish_and_clear();
    server.stop()?;

    println!(
        "{} items: {good} tokens, {refused} refused, every answer as it had to be",
        first
    );
    for (at, name) in ["tokenize", "redeem"].into_iter().enumerate() {
        let (stream, call) = (streamed[at].per_second(), called[at].per_second());
        if called[at].items > 0 {
            println!(
                "{name}: {stream:.0} items/s by stream, {call:.0} by call with {UNARY_CALLERS} \
                 callers: {:.2} times",
                stream / call
            );
        } else {
            println!("{name}: {stream:.0} items/s by stream");
        }
    }
    let mut flat = true;
    for (name, resident) in [("vault", &servers), ("client", &own)] {
        let seen = resident.settled();
        flat &= seen.flat;
        println!(
            "{name}: resident {} KiB in the middle ({} to {}), after the first {:.0} % of the \
             items: {}",
            seen.middle,
            seen.least,
            seen.most,
            SETTLED * 100.0,
            if seen.flat { "flat" } else { "NOT FLAT" }
        );
        println!("  the middles of its stretches: {:?}", seen.stretches);
    }
    match flat {
        true => Ok(()),
        false => Err(LoadError::Server("memory is not flat".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_item_has_a_card_of_its_own_that_passes_luhn() {
        let numbers: std::collections::BTreeSet<String> = (0..10_000).map(number).collect();
        assert_eq!(numbers.len(), 10_000);
        for number in numbers {
            assert!(
                payvault::payment::luhn::contains_card_number(&number),
                "{number}"
            );
        }
    }

    #[test]
    fn memory_that_grows_is_not_flat() {
        let flat = |seen: Vec<u64>| Resident(seen).settled().flat;
        assert!(flat((0..100).map(|at| 1_000 + at % 7).collect()));
        assert!(flat((0..100).map(|at| 1_000 + 500 * (at % 3)).collect()));
        assert!(!flat((0..100).map(|at| 1_000 + 10 * at).collect()));
        assert!(!flat(Vec::new()));
    }
}
