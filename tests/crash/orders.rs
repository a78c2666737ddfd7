//! Faults of disk and clock, ordered while the binary runs: `faults.c`, preloaded, and its file of
//! orders.

use crate::children::preload;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// One number of the file; `struct orders` in `faults.c` has the same list.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    WritesSeen,
    SyncsSeen,
    NamesSeen,
    FaultsDone,
    WriteAt,
    WriteCount,
    WriteErrno,
    SyncAt,
    SyncCount,
    SyncErrno,
    NameAt,
    NameCount,
    NameErrno,
    WriteShort,
    SyncDelayMs,
    WriteDelayMs,
    ClockOffMs,
}

/// The first number that is ordered and not counted.
const FIRST_ORDERED: u64 = Order::WriteAt as u64;
const NUMBERS: u64 = Order::ClockOffMs as u64 + 1;

/// The orders for one process.
pub struct Orders {
    file: File,
    path: PathBuf,
    library: &'static Path,
    watched: PathBuf,
}

impl Orders {
    /// No faults yet below `watched`; `None`, with a message, where nothing can be preloaded.
    pub fn none(path: PathBuf, watched: &Path) -> Option<Orders> {
        let library = preload(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/crash/faults.c"))?;
        let file = File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(&path)
            .expect("a file of orders");
        file.set_len(NUMBERS * 8).expect("its length");
        Some(Orders {
            file,
            path,
            library,
            watched: std::fs::canonicalize(watched).expect("a directory"),
        })
    }

    /// What the binary's environment needs.
    pub fn environment(&self) -> Vec<(&'static str, &str)> {
        fn text(path: &Path) -> &str {
            path.to_str().expect("UTF-8")
        }
        vec![
            ("LD_PRELOAD", text(self.library)),
            ("FAULT_DIR", text(&self.watched)),
            ("FAULT_ORDERS", text(&self.path)),
        ]
    }

    pub fn get(&self, order: Order) -> u64 {
        let mut bytes = [0; 8];
        self.file
            .read_exact_at(&mut bytes, order as u64 * 8)
            .expect("an order");
        u64::from_le_bytes(bytes)
    }

    pub fn set(&self, order: Order, value: u64) {
        self.file
            .write_all_at(&value.to_le_bytes(), order as u64 * 8)
            .expect("an order");
    }

    /// All is well again; the counts stay.
    pub fn clear(&self) {
        for number in FIRST_ORDERED..NUMBERS {
            self.file
                .write_all_at(&[0; 8], number * 8)
                .expect("an order");
        }
    }
}
