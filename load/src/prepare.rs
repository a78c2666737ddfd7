//! Fills the stock, as fast as the server lets it.

use crate::caller::{Caller, Target};
use crate::failure::LoadError;
use crate::requests;
use crate::stock::{Stock, Uses};
use indicatif::{ProgressBar, ProgressStyle};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::task::JoinSet;
use tonic::Status;

/// Callers that fill, and their connections.
pub const CALLERS: usize = 192;
/// See [`CALLERS`].
pub const CONNECTIONS: usize = 4;

/// A bar on stderr; `what` stands before it.
pub fn bar(what: &str, count: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{prefix:>22} {bar:30} {human_pos}/{human_len} {per_sec} {eta}",
    );
    let bar = ProgressBar::new(count).with_prefix(what.to_owned());
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Makes the stock hold `places` tokenizations and `redeems` redemptions, at least.
///
/// # Errors
/// When the server refuses a call.
pub async fn fill(target: &Target, places: u64, redeems: u64) -> Result<(), LoadError> {
    let stock = &target.stock;
    let uses = stock.uses();
    let per_place = u64::from(uses.tokens_per_transaction);
    let per_token = u64::from(uses.redeems_per_token);
    let places = places
        .saturating_sub(stock.places_left())
        .div_ceil(per_place);
    let tokens = redeems
        .saturating_sub(stock.redeems_left())
        .div_ceil(per_token);
    let full = tokens.div_ceil(per_place);
    if places + full == 0 {
        return Ok(());
    }
    let bar = bar("making stock", places + full);
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for caller in target.callers(CALLERS, CONNECTIONS).await? {
        let (next, bar) = (Arc::clone(&next), bar.clone());
        tasks.spawn(make(caller, next, places, places + full, bar));
    }
    while let Some(done) = tasks.join_next().await {
        match done {
            Ok(made) => made.map_err(LoadError::refused("making stock"))?,
            Err(error) => return Err(LoadError::Server(error.to_string())),
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// Makes transactions until all are made: the first `empty` of them stay empty, the others get
/// their tokens.
async fn make(
    mut caller: Caller,
    next: Arc<AtomicU64>,
    empty: u64,
    all: u64,
    bar: ProgressBar,
) -> Result<(), Status> {
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= all {
            return Ok(());
        }
        let transaction = caller.open().await?;
        if number < empty {
            caller.stock().add_place(transaction);
        } else {
            let transaction: Arc<str> = transaction.into();
            for _ in 0..caller.stock().uses().tokens_per_transaction {
                let token = caller.tokenize(&transaction).await?;
                caller.stock().add_token(&transaction, token);
            }
        }
        bar.inc(1);
    }
}

/// A stock for a server that doesn't look at what it gets.
pub fn made_up() -> Stock {
    let stock = Stock::new(Uses {
        tokens_per_transaction: u32::MAX,
        redeems_per_token: u32::MAX,
    });
    for _ in 0..1024 {
        let (transaction, token) = requests::made_up();
        stock.add_token(&transaction.as_str().into(), token);
        stock.add_place(transaction);
    }
    stock
}
