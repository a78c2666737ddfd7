//! Reading many rows. While the system has them in memory, one after the other is fastest. Once the
//! store has outgrown it they come from the disk, which answers several questions in hardly more time
//! than one; and a round waits for all of its rows.

use crate::limits::READS_AT_ONCE_MAX;
use crate::os;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// `read` of every key, in their order; up to [`READS_AT_ONCE_MAX`] at once as soon as one had to wait
/// for the disk.
///
/// # Errors
/// One of those that `read` gave. Which of the other keys were read is then left open.
///
/// # Panics
/// When `read` does.
pub(in crate::store) fn read_all<K: Sync, T: Send, E: Send>(
    keys: &[K],
    read: impl Fn(&K) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    let before = os::blocks_read();
    read_all_while(keys, read, || os::blocks_read() == before)
}

fn read_all_while<K: Sync, T: Send, E: Send>(
    keys: &[K],
    read: impl Fn(&K) -> Result<T, E> + Sync,
    fast: impl Fn() -> bool,
) -> Result<Vec<T>, E> {
    let mut values = Vec::with_capacity(keys.len());
    for key in keys {
        // The last one gains nothing.
        if values.len() + 1 < keys.len() && !fast() {
            break;
        }
        values.push(read(key)?);
    }
    let left = keys.len() - values.len();
    if left == 0 {
        return Ok(values);
    }
    let next = AtomicUsize::new(values.len());
    let some = || {
        let mut own = Vec::new();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(key) = keys.get(place) else {
                return Ok(own);
            };
            own.push((place, read(key)?));
        }
    };
    let mut rest = thread::scope(|scope| {
        let start = |_| {
            let thread = thread::Builder::new().name("store-read".to_owned());
            thread.spawn_scoped(scope, some).ok()
        };
        // Where no thread is to be had, this one reads them all.
        let threads: Vec<_> = (1..left.min(READS_AT_ONCE_MAX)).map_while(start).collect();
        let mut rest = some()?;
        for thread in threads {
            rest.extend(thread.join().unwrap_or_else(|panic| resume_unwind(panic))?);
        }
        Ok(rest)
    })?;
    rest.sort_unstable_by_key(|(place, _)| *place);
    values.extend(rest.into_iter().map(|(_, value)| value));
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::{Barrier, Mutex};

    #[test]
    fn every_value_comes_once_and_in_order_however_fast_they_are() {
        for count in [0, 1, 2, 15, 16, 17, 64, 1_000] {
            let keys: Vec<usize> = (0..count).collect();
            let twice: Vec<usize> = keys.iter().map(|key| key * 2).collect();
            for slow_after in [0, 1, 5, usize::MAX] {
                let asked = AtomicUsize::new(0);
                let fast = || asked.fetch_add(1, Ordering::Relaxed) < slow_after;
                let values = read_all_while(&keys, |key| Ok::<_, ()>(key * 2), fast);
                assert_eq!(values.as_ref(), Ok(&twice), "{count}, {slow_after}");
            }
            let values = read_all(&keys, |key| Ok::<_, ()>(key * 2));
            assert_eq!(values, Ok(twice), "{count}");
        }
    }

    #[test]
    fn what_waits_is_read_at_once_and_what_does_not_by_one_thread() {
        let keys: Vec<usize> = (0..READS_AT_ONCE_MAX).collect();
        // Every read waits until as many are under way: one after the other would wait for ever.
        let together = Barrier::new(READS_AT_ONCE_MAX);
        let wait = |key: &usize| {
            together.wait();
            Ok::<_, ()>(*key)
        };
        assert_eq!(read_all_while(&keys, wait, || false), Ok(keys.clone()));

        let threads = Mutex::new(BTreeSet::new());
        let note = |_: &usize| {
            let id = format!("{:?}", thread::current().id());
            threads.lock().unwrap().insert(id);
            Ok::<_, ()>(())
        };
        read_all_while(&keys, note, || true).unwrap();
        assert_eq!(threads.lock().unwrap().len(), 1);
    }

    #[test]
    fn one_failure_or_panic_is_the_answer_to_all() {
        let keys: Vec<usize> = (0..100).collect();
        for bad in [0, 1, 50, 99] {
            let read = |key: &usize| if *key == bad { Err(bad) } else { Ok(()) };
            assert_eq!(read_all_while(&keys, read, || false), Err(bad));
            assert_eq!(read_all_while(&keys, read, || true), Err(bad));
            let panics = |key: &usize| match *key == bad {
                true => panic!("a test's"),
                false => Ok::<_, ()>(()),
            };
            let call = || read_all_while(&keys, panics, || false);
            assert!(catch_unwind(AssertUnwindSafe(call)).is_err(), "{bad}");
        }
    }
}
