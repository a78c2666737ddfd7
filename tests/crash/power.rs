//! The power cut, on the real binary: a tenth of the cuts of `tests/powercut`, which explains the
//! model of the disk.

use crate::children::cutter;
use crate::dev::Dev;
use crate::{CLIENTS, Told, check, load, number};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Cuts come at a write up to this one; starting alone takes some dozens.
const CUT_AT_MAX: u64 = 900;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_acknowledged_outlives_a_power_cut() {
    let Some(cutter) = cutter() else { return };
    let cuts = number("PAYVAULT_CUTS").unwrap_or(30).div_ceil(10);
    let mut random =
        number("PAYVAULT_SEED").unwrap_or_else(|| u64::from_be_bytes(payvault::ids::random()));
    println!("PAYVAULT_SEED={random} cuts={cuts}");
    let dir = tempfile::tempdir().expect("a directory");
    let home = dir.path().join("home");
    let grave = dir.path().join("grave");
    std::fs::create_dir(&home).expect("made");
    std::fs::create_dir(&grave).expect("made");
    Dev::start(&home).await.stop().await;
    let text = |path: &std::path::Path| path.to_str().expect("UTF-8").to_owned();
    let (preload, watched, grave) = (text(cutter), text(&home), text(&grave));
    let told = Arc::new(Mutex::new(Told::default()));
    let (mut checked, mut done) = (0, 0);
    while done < cuts {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let (at, seed) = (
            (1 + (random >> 33) % CUT_AT_MAX).to_string(),
            (random >> 40).to_string(),
        );
        // Mostly small: rounds move into the engine all the time.
        let journal = ["1", "100000", "2097152"][(random >> 45) as usize % 3];
        let environment = [
            ("PAYVAULT_TEST_JOURNAL_BYTES", journal),
            ("LD_PRELOAD", preload.as_str()),
            ("CUT_DIR", watched.as_str()),
            ("CUT_GRAVE", grave.as_str()),
            ("CUT_AT", at.as_str()),
            ("CUT_SEED", seed.as_str()),
        ];
        if let Some(dev) = Dev::start_with(&home, &environment).await {
            let stop = Arc::new(AtomicBool::new(false));
            let mut clients = tokio::task::JoinSet::new();
            for client in 0..CLIENTS {
                let (told, stop) = (Arc::clone(&told), Arc::clone(&stop));
                clients.spawn(load(dev.clone_clients(), told, stop, client));
            }
            // Each client ends when the vault has died under it.
            while clients.join_next().await.is_some() {}
            stop.store(true, Ordering::SeqCst);
        }
        done += 1;
        println!("cut {done}: CUT_AT={at} CUT_SEED={seed}");
        let dev = Dev::start(&home).await;
        check(&dev, &told, &mut checked).await;
        dev.stop().await;
    }
}
