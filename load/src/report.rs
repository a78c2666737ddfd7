//! What a run says: a table for people, one JSON document for machines.

use crate::drive::Measured;
use crate::failure::LoadError;
use crate::machine::{Machine, load_average};
use crate::mix::Op;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Latencies in µs.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Latency {
    /// How many.
    pub calls: u64,
    /// Their mean.
    pub mean_us: f64,
    /// Half took no longer.
    pub p50_us: f64,
    /// 90 % took no longer.
    pub p90_us: f64,
    /// 99 % took no longer.
    pub p99_us: f64,
    /// 99.9 % took no longer.
    pub p999_us: f64,
    /// None took longer.
    pub max_us: f64,
}

impl Latency {
    /// Reads them off a histogram of ns.
    pub fn of(histogram: &Histogram<u64>) -> Latency {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Latency {
            calls: histogram.len(),
            mean_us: histogram.mean() / 1e3,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: histogram.max() as f64 / 1e3,
        }
    }
}

/// One load on one server.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// "echo" or "vault".
    pub server: String,
    /// The calls.
    pub mix: String,
    /// How many callers.
    pub callers: usize,
    /// Over how many connections a principal.
    pub connections: usize,
    /// Calls a second that fell due; closed when there is none.
    pub rate: Option<f64>,
    /// The time that counted.
    pub seconds: f64,
    /// Successful calls a second.
    pub per_second: f64,
    /// The same, by the echo's under the same load.
    pub ratio: Option<f64>,
    /// Of all successful calls.
    pub latency: Latency,
    /// Of each kind of call, when there are several.
    pub by_call: BTreeMap<&'static str, Latency>,
    /// CPU time of the server a call, in its own code.
    pub server_user_us: Option<f64>,
    /// CPU time of the server a call, in the kernel.
    pub server_system_us: Option<f64>,
    /// How busy the server's process was: 1 is one core.
    pub server_busy: Option<f64>,
    /// How busy the client was. Near 1 it is the client that bounds the figure.
    pub client_busy: f64,
    /// Failed calls, by what was said.
    pub errors: BTreeMap<String, u64>,
    /// Whether it ended early for want of tokens or transactions.
    pub ran_dry: bool,
    /// Open load: most calls that waited for a caller.
    pub backlog_max: u64,
    /// Lines that an export in the background gave each second.
    pub exported_per_second: Option<f64>,
}

impl Row {
    /// Puts a measurement into figures.
    pub fn new(
        server: &str,
        mix: &str,
        callers: usize,
        connections: usize,
        rate: Option<f64>,
        m: &Measured,
        has_pid: bool,
    ) -> Row {
        let latency = Latency::of(&m.all());
        let a_call = |time: std::time::Duration| {
            (has_pid && latency.calls > 0).then(|| time.as_secs_f64() * 1e6 / latency.calls as f64)
        };
        let by_call: BTreeMap<_, _> = Op::ALL
            .into_iter()
            .zip(&m.latencies)
            .filter(|(_, histogram)| !histogram.is_empty())
            .map(|(op, histogram)| (op.as_str(), Latency::of(histogram)))
            .collect();
        let seconds = m.seconds.max(1e-9);
        Row {
            server: server.to_owned(),
            mix: mix.to_owned(),
            callers,
            connections: connections.min(callers),
            rate,
            seconds: m.seconds,
            per_second: m.per_second(),
            ratio: None,
            latency,
            by_call: if by_call.len() > 1 {
                by_call
            } else {
                BTreeMap::new()
            },
            server_user_us: a_call(m.server.user),
            server_system_us: a_call(m.server.system),
            server_busy: has_pid.then(|| m.server.total().as_secs_f64() / seconds),
            client_busy: m.client.total().as_secs_f64() / seconds,
            errors: m.errors.clone(),
            ran_dry: m.ran_dry,
            backlog_max: m.backlog_max,
            exported_per_second: None,
        }
    }
}

/// What the design asks for, and what was found.
#[derive(Debug, Clone, Serialize)]
pub struct Aim {
    /// What is asked.
    pub what: String,
    /// The bound.
    pub aim: f64,
    /// The figure.
    pub found: f64,
    /// Whether it is met.
    pub met: bool,
}

/// A whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What it ran on.
    pub machine: Machine,
    /// Whether server and client had a core each.
    pub pinned: bool,
    /// Load averages at the end.
    pub load_average_after: String,
    /// Whether this binary was optimised.
    pub release: bool,
    /// The figures.
    pub rows: Vec<Row>,
    /// Against the aims of the design.
    pub aims: Vec<Aim>,
}

impl Report {
    /// Gathers a run.
    pub fn new(machine: Machine, pinned: bool, mut rows: Vec<Row>) -> Report {
        for at in 0..rows.len() {
            let same = |other: &&Row| {
                // Under open load both do what falls due.
                other.server == "echo"
                    && other.rate.is_none()
                    && (&other.mix, other.callers) == (&rows[at].mix, rows[at].callers)
            };
            let echo = rows.iter().find(same).map(|echo| echo.per_second);
            rows[at].ratio = echo.map(|echo| rows[at].per_second / echo);
        }
        Report {
            aims: aims(&rows, machine.fdatasync_p50_us),
            machine,
            pinned,
            load_average_after: load_average(),
            release: !cfg!(debug_assertions),
            rows,
        }
    }

    /// Failed calls of all rows.
    pub fn failed(&self) -> u64 {
        self.rows.iter().flat_map(|row| row.errors.values()).sum()
    }

    /// Writes the document.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write(&self, path: &Path) -> Result<(), LoadError> {
        write_json(path, self)
    }

    /// Prints the table.
    pub fn print(&self) {
        let machine = &self.machine;
        println!(
            "{}, {} cores, {}; fdatasync of 4 KiB: {:.0} µs (median)",
            machine.cpu, machine.cores, machine.kernel, machine.fdatasync_p50_us
        );
        println!(
            "server and client {}; load averages {} before, {} after{}",
            if self.pinned {
                "pinned to a core each"
            } else {
                "not pinned"
            },
            machine.load_average,
            self.load_average_after,
            if self.release {
                ""
            } else {
                "; NOT OPTIMISED: figures mean nothing"
            }
        );
        println!();
        println!(
            "{:<6} {:<24} {:>7} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>6} {:>13} {:>6} {:>6}",
            "server",
            "calls",
            "callers",
            "calls/s",
            "p50 µs",
            "p90 µs",
            "p99 µs",
            "p99.9 µs",
            "max µs",
            "ratio",
            "CPU µs a call",
            "server",
            "client"
        );
        for row in &self.rows {
            print_row(row);
        }
        for aim in &self.aims {
            let met = if aim.met { "met" } else { "NOT MET" };
            println!("{}: {:.3}, aim {:.3}: {met}", aim.what, aim.found, aim.aim);
        }
    }
}

/// Writes a document.
///
/// # Errors
/// When the file can't be written.
pub fn write_json(path: &Path, document: &impl Serialize) -> Result<(), LoadError> {
    let mut text = serde_json::to_string_pretty(document)
        .map_err(|error| LoadError::Usage(format!("no JSON: {error}")))?;
    text.push('\n');
    std::fs::write(path, text).map_err(LoadError::file(path))
}

fn print_row(row: &Row) {
    let l = &row.latency;
    let or_dash = |figure: Option<f64>, digits: usize| {
        figure.map_or("-".to_owned(), |figure| format!("{figure:.digits$}"))
    };
    let cpu = match (row.server_user_us, row.server_system_us) {
        (Some(user), Some(system)) => format!("{:.1} ({user:.0}+{system:.0})", user + system),
        _ => "-".to_owned(),
    };
    println!(
        "{:<6} {:<24} {:>7} {:>9.0} {:>9.0} {:>9.0} {:>9.0} {:>9.0} {:>9.0} {:>6} {:>13} {:>6} {:>6.2}",
        row.server,
        row.mix,
        row.callers,
        row.per_second,
        l.p50_us,
        l.p90_us,
        l.p99_us,
        l.p999_us,
        l.max_us,
        or_dash(row.ratio, 3),
        cpu,
        or_dash(row.server_busy, 2),
        row.client_busy,
    );
    if let Some(rate) = row.rate {
        println!(
            "       open load: {rate:.0}/s fell due; at most {} waited for a caller",
            row.backlog_max
        );
    }
    if let Some(lines) = row.exported_per_second {
        println!("       meanwhile exports gave {lines:.0} lines/s");
    }
    for (call, l) in &row.by_call {
        println!(
            "       {call:<23} {:>7} {:>9.0} {:>9.0} {:>9.0} {:>9.0} {:>9.0} {:>9.0}",
            "",
            l.calls as f64 / row.seconds,
            l.p50_us,
            l.p90_us,
            l.p99_us,
            l.p999_us,
            l.max_us
        );
    }
    if row.ran_dry {
        println!(
            "       ended after {:.1} s: nothing was left to use up",
            row.seconds
        );
    }
    for (what, count) in &row.errors {
        println!("       ERROR {count} × {what}");
    }
}

/// A lone caller may wait for this much beside the echo's time and one flush.
const LONE_US: f64 = 150.0;

/// How many items of a stream are done in the time of one call.
const STREAM_RATIO: f64 = 2.0;

fn aims(rows: &[Row], fdatasync_us: f64) -> Vec<Aim> {
    let find = |server: &str, mix: &str, callers: usize| {
        rows.iter()
            .filter(|row| row.rate.is_none())
            .find(|row| row.server == server && row.mix == mix && row.callers == callers)
    };
    let mut aims = Vec::new();
    for (mix, aim) in [("tokenize", 0.4), ("redeem", 0.45)] {
        if let Some(found) = find("vault", mix, 64).and_then(|row| row.ratio) {
            aims.push(Aim {
                what: format!("{mix} at 64 callers, ratio to the echo"),
                aim,
                found,
                met: found >= aim,
            });
        }
        if let (Some(echo), Some(vault)) = (find("echo", mix, 1), find("vault", mix, 1)) {
            let aim = echo.latency.p50_us + fdatasync_us + LONE_US;
            let found = vault.latency.p50_us;
            aims.push(Aim {
                what: format!("{mix}, a lone caller's median in µs"),
                aim,
                found,
                met: found <= aim,
            });
        }
    }
    // An item of a stream against a call, with as many under way.
    for (stream, call) in [("tokenize-stream", "tokenize"), ("redeem-stream", "redeem")] {
        for row in rows.iter().filter(|row| row.mix == stream) {
            let call = find("vault", call, row.callers);
            if let Some(call) = call.filter(|_| row.server == "vault" && row.rate.is_none()) {
                let found = row.per_second / call.per_second.max(1e-9);
                aims.push(Aim {
                    what: format!(
                        "{stream}, {} items under way, by {} with as many callers",
                        row.callers, call.mix
                    ),
                    aim: STREAM_RATIO,
                    found,
                    met: found >= STREAM_RATIO,
                });
            }
        }
    }
    aims
}
