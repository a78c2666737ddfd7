//! What the figures were measured on, and what the system says of a process.

use crate::failure::LoadError;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// The machine.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// How many of them this process may use.
    pub cores: usize,
    /// Operating system and its version.
    pub kernel: String,
    /// How many wanted to run at the beginning, averaged over a minute: other work that shares the
    /// machine makes figures worse and ratios wrong.
    pub load_average: String,
    /// Median of an append of 4 KiB and its fdatasync, in the vault's directory, in µs.
    pub fdatasync_p50_us: f64,
}

impl Machine {
    /// Looks at it; writes and removes a file in `dir`. `cores` from before anything was pinned.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn look(dir: &Path, cores: usize) -> Result<Machine, LoadError> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name"))
            .map_or("unknown", |rest| rest.trim_start_matches([' ', '\t', ':']));
        let uname = rustix::system::uname();
        Ok(Machine {
            cpu: cpu.to_owned(),
            cores,
            kernel: format!(
                "{} {}",
                uname.sysname().to_string_lossy(),
                uname.release().to_string_lossy()
            ),
            load_average: load_average(),
            fdatasync_p50_us: fdatasync(dir)?.as_secs_f64() * 1e6,
        })
    }
}

/// The three averages, as the system has them.
pub fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn fdatasync(dir: &Path) -> Result<Duration, LoadError> {
    const TIMES: usize = 200;
    let path = dir.join("fdatasync.probe");
    let failed = || LoadError::file(&path);
    let mut file = fs::File::create(&path).map_err(failed())?;
    let mut took = Vec::with_capacity(TIMES);
    for _ in 0..TIMES {
        let begin = Instant::now();
        file.write_all(&[7; 4096]).map_err(failed())?;
        file.sync_data().map_err(failed())?;
        took.push(begin.elapsed());
    }
    fs::remove_file(&path).map_err(failed())?;
    took.sort();
    Ok(took[TIMES / 2])
}

/// Cores that this thread may use.
pub fn cores() -> usize {
    sched_getaffinity(None).map_or(1, |set| set.count() as usize)
}

/// Keeps this thread, and what it starts from now on, on one core.
///
/// # Errors
/// When there is no such core.
pub fn pin(core: usize) -> Result<(), LoadError> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).map_err(|error| {
        LoadError::Usage(format!(
            "can't keep to core {core} ({error}); on a machine with one core use --no-pin"
        ))
    })
}

/// CPU time that a process used, its ended threads included.
#[derive(Debug, Clone, Copy, Default)]
pub struct CpuTime {
    /// In its own code.
    pub user: Duration,
    /// In the kernel on its behalf.
    pub system: Duration,
}

impl CpuTime {
    /// Of a process; zero when it is gone. Accurate to a clock tick, mostly 10 ms.
    pub fn of(pid: u32) -> CpuTime {
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
            return CpuTime::default();
        };
        // The name, in brackets, may hold anything.
        let rest = text.rsplit(')').next().unwrap_or_default();
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        let field = |at: usize| {
            let ticks = rest.split_whitespace().nth(at).and_then(|f| f.parse().ok());
            Duration::from_millis(ticks.unwrap_or(0u64) * 1_000 / per_second)
        };
        CpuTime {
            user: field(11),
            system: field(12),
        }
    }

    /// Both.
    pub fn total(self) -> Duration {
        self.user + self.system
    }
}

/// A line of `/proc/<pid>/<file>` such as `VmRSS:   1234 kB`; 0 when there is none.
pub fn number_of(pid: u32, file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
    let word = line.and_then(|l| l.split_whitespace().next());
    word.and_then(|w| w.parse().ok()).unwrap_or(0)
}

/// Bytes that a directory takes on disk, blocks that are allocated and not lengths.
pub fn disk_bytes(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir(dir) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => disk_bytes(&entry.path()),
            Ok(meta) => meta.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}
