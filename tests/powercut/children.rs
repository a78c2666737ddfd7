//! This test binary, started again as a child: with the power cut or a fault before it, or plain.
//! A child is told by its environment what to do and answers on its standard error, line by line;
//! what it wrote there before it was killed is kept by the pipe.

use payvault::store::EngineKind;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// A child that takes longer hangs: the engine waits without a time-out when its threads died.
const CHILD_MAX: Duration = Duration::from_secs(600);

/// One kind of work that a child can do.
pub struct Subject {
    /// How it is asked for.
    pub name: &'static str,
    /// Commits rounds until it is killed or done; calls [`acknowledged`] after each.
    pub live: fn(&Orders),
    /// Compares what is there with what was committed.
    pub check: fn(&Orders) -> Verdict,
}

/// What a child was told.
pub struct Orders {
    /// The directory that the work is done in; it is watched.
    pub data: PathBuf,
    /// The store's engine.
    pub engine: EngineKind,
    /// The seed of the content.
    pub seed: u64,
    /// Rounds to commit beyond those that are there.
    pub rounds: u64,
}

/// What is left of a store.
#[derive(Debug)]
pub enum Verdict {
    /// Exactly the state after this round; 0 for an empty store.
    Holds(u64),
    /// It opens, and is the state after no round.
    Broken(String),
    /// It does not open, or not in time.
    Unopenable(String),
}

/// In the child: a round's commit returned.
pub fn acknowledged(round: u64) {
    eprintln!("acknowledged {round}");
}

/// In the child: a commit failed and was settled.
pub fn settled(round: u64, how: &str) {
    eprintln!("settled {round} {how}");
}

/// Runs as a child, if this process is one.
pub fn run(subjects: &[Subject]) {
    let Ok(work) = std::env::var("PAYVAULT_POWERCUT_WORK") else {
        return;
    };
    let told = |name: &str| std::env::var(name).expect("the parent sets it");
    let orders = Orders {
        data: told("PAYVAULT_POWERCUT_DATA").into(),
        engine: *EngineKind::ALL
            .iter()
            .find(|engine| engine.name() == told("PAYVAULT_POWERCUT_ENGINE"))
            .expect("an engine"),
        seed: told("PAYVAULT_POWERCUT_SEED").parse().unwrap(),
        rounds: told("PAYVAULT_POWERCUT_ROUNDS").parse().unwrap(),
    };
    let name = told("PAYVAULT_POWERCUT_SUBJECT");
    let subject = subjects.iter().find(|s| s.name == name).expect("subject");
    match work.as_str() {
        "live" => (subject.live)(&orders),
        _ => match (subject.check)(&orders) {
            Verdict::Holds(round) => eprintln!("holds {round}"),
            Verdict::Broken(why) => eprintln!("broken {why}"),
            Verdict::Unopenable(why) => eprintln!("unopenable {why}"),
        },
    }
}

/// Where a store lives and dies; removed at the end.
pub struct Place {
    directory: tempfile::TempDir,
    engine: EngineKind,
}

impl Place {
    pub fn of(engine: EngineKind) -> Place {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("data")).unwrap();
        std::fs::create_dir(directory.path().join("grave")).unwrap();
        Place { directory, engine }
    }

    /// Another one with the same files.
    pub fn copy(&self) -> Place {
        let copy = Place::of(self.engine);
        copy_tree(&self.data(), &copy.data());
        copy
    }

    /// The data directory; all below is watched.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The store's own directory in it.
    pub fn store(&self) -> PathBuf {
        store_in(&self.data())
    }
}

fn copy_tree(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&to).unwrap();
            copy_tree(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), &to).unwrap();
        }
    }
}

/// The store's directory in a data directory.
pub fn store_in(data: &Path) -> PathBuf {
    data.join("db")
}

/// A cut or a fault to come.
pub struct Cut {
    variable: &'static str,
    at: u64,
    seed: u64,
}

impl Cut {
    /// The power goes at the `at`-th write.
    pub fn at(at: u64, seed: u64) -> Cut {
        let variable = "CUT_AT";
        Cut { variable, at, seed }
    }

    /// The `at`-th sync fails.
    pub fn failed_sync(at: u64, seed: u64) -> Cut {
        let variable = "CUT_FAIL_SYNC_AT";
        Cut { variable, at, seed }
    }

    /// The disk is full, once, at the `at`-th write.
    pub fn failed_write(at: u64, seed: u64) -> Cut {
        let variable = "CUT_FAIL_WRITE_AT";
        Cut { variable, at, seed }
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={} CUT_SEED={}", self.variable, self.at, self.seed)
    }
}

/// One child's life over a place.
pub struct Life<'a> {
    subject: &'static str,
    place: &'a Place,
    seed: u64,
    rounds: u64,
    barrier: bool,
}

/// What came of a life.
pub struct Lived {
    /// The last round whose commit returned; 0 when none did.
    pub acknowledged: u64,
    /// Rounds that were settled after a failed commit.
    pub settled: u64,
    /// Whether the cut came.
    pub was_cut: bool,
    /// Whether it came to its own end.
    pub ended_well: bool,
    /// All that it said besides.
    pub said: String,
}

impl<'a> Life<'a> {
    pub fn of(subject: &'static str, place: &'a Place, seed: u64, rounds: u64) -> Life<'a> {
        Life {
            subject,
            place,
            seed,
            rounds,
            barrier: true,
        }
    }

    /// The same with the barrier that the system would give sled, or with a disk that ignores the
    /// syncs that redb asks for.
    pub fn without_barrier(self) -> Life<'a> {
        Life {
            barrier: false,
            ..self
        }
    }

    /// Lives under `cutter`.
    pub fn live(&self, cutter: &Path, cut: Option<&Cut>) -> Lived {
        let mut command = self.command("live");
        command
            .env("LD_PRELOAD", cutter)
            .env("CUT_DIR", self.place.data())
            .env("CUT_GRAVE", self.place.directory.path().join("grave"));
        if let Some(cut) = cut {
            command
                .env(cut.variable, cut.at.to_string())
                .env("CUT_SEED", cut.seed.to_string());
        }
        if self.barrier {
            command.env("CUT_ORDER", "db");
        } else {
            // sled's own flush is what fails it; redb asks for the right thing, so the disk lies.
            let off = match self.place.engine {
                EngineKind::Sled => "PAYVAULT_TEST_BARRIER_OFF",
                EngineKind::Redb => "CUT_SYNC_OFF",
            };
            command.env(off, "1");
        }
        lived(command)
    }

    /// Lives plainly.
    pub fn live_uncut(&self) -> Lived {
        lived(self.command("live"))
    }

    /// Looks at what is left, in a child too: a damaged store may panic in a thread of the engine,
    /// and leave it unusable for the rest of the process.
    pub fn check(&self) -> Verdict {
        let (lines, status) = converse(self.command("check"));
        for line in &lines {
            match line.split_once(' ') {
                Some(("holds", round)) => return Verdict::Holds(round.parse().unwrap()),
                Some(("broken", why)) => return Verdict::Broken(why.to_owned()),
                Some(("unopenable", why)) => return Verdict::Unopenable(why.to_owned()),
                _ => {}
            }
        }
        let status = status.map_or("none within the bound".to_owned(), |s| s.to_string());
        Verdict::Unopenable(format!("{status}: {}", lines.join("\n")))
    }

    /// Keeps the files for a look at them; says where.
    pub fn keep(&self) -> PathBuf {
        let kept = self.place.directory.path().with_extension("kept");
        let _ = std::fs::rename(self.place.directory.path(), &kept);
        kept
    }

    /// Mostly small: rounds move into the engine all the time, and cuts meet it at work.
    fn journal_bytes(&self) -> u64 {
        [1, 50_000, 400_000, payvault::limits::JOURNAL_BYTES_MAX][(self.seed % 4) as usize]
    }

    fn command(&self, work: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env("PAYVAULT_POWERCUT_WORK", work)
            .env("PAYVAULT_POWERCUT_SUBJECT", self.subject)
            .env("PAYVAULT_POWERCUT_DATA", self.place.data())
            .env("PAYVAULT_POWERCUT_ENGINE", self.place.engine.name())
            .env("PAYVAULT_POWERCUT_SEED", self.seed.to_string())
            .env("PAYVAULT_POWERCUT_ROUNDS", self.rounds.to_string())
            .env(
                "PAYVAULT_TEST_JOURNAL_BYTES",
                self.journal_bytes().to_string(),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }
}

fn lived(command: Command) -> Lived {
    let (lines, status) = converse(command);
    let mut lived = Lived {
        acknowledged: 0,
        settled: 0,
        was_cut: status.is_some_and(|s| s.signal() == Some(9)),
        ended_well: status.is_some_and(|s| s.success()),
        said: String::new(),
    };
    for line in lines {
        match line.split_once(' ') {
            Some(("acknowledged", round)) => lived.acknowledged = round.parse().unwrap(),
            Some(("settled", _)) => lived.settled += 1,
            _ => {
                lived.said.push_str(&line);
                lived.said.push('\n');
            }
        }
    }
    lived
}

/// Runs the child to its end; its lines, and its status unless it hung and was killed by us.
fn converse(mut command: Command) -> (Vec<String>, Option<std::process::ExitStatus>) {
    let mut child = command.spawn().unwrap();
    let stderr = child.stderr.take().expect("it is piped");
    let reader = std::thread::spawn(move || {
        // A killed child may leave half a line; it acknowledged nothing.
        let mut lines = Vec::new();
        let mut stderr = BufReader::new(stderr);
        let mut line = String::new();
        while stderr.read_line(&mut line).unwrap_or(0) > 0 {
            if let Some(whole) = line.strip_suffix('\n') {
                lines.push(whole.to_owned());
            }
            line.clear();
        }
        lines
    });
    let status = wait(&mut child);
    (reader.join().unwrap(), status)
}

fn wait(child: &mut Child) -> Option<std::process::ExitStatus> {
    let started = Instant::now();
    while started.elapsed() < CHILD_MAX {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    None
}

/// The compiled `cut.c`; `None`, with a message, where there is no C compiler.
pub fn cutter() -> Option<&'static Path> {
    preload(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/powercut/cut.c"))
}

/// What `source` is compiled to, once a process, to be preloaded; `None`, with a message, where
/// that isn't possible.
pub fn preload(source: &'static str) -> Option<&'static Path> {
    type Libraries = BTreeMap<&'static str, Option<&'static Path>>;
    static LIBRARIES: Mutex<Libraries> = Mutex::new(BTreeMap::new());
    let mut libraries = LIBRARIES.lock().unwrap();
    *libraries.entry(source).or_insert_with(|| compile(source))
}

fn compile(source: &'static str) -> Option<&'static Path> {
    if !cfg!(all(target_os = "linux", target_env = "gnu")) {
        println!("skipped: {source} is preloaded, which needs Linux and glibc");
        return None;
    }
    static DIRECTORY: OnceLock<tempfile::TempDir> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| tempfile::tempdir().unwrap());
    let name = Path::new(source).with_extension("so");
    let library = directory.path().join(name.file_name().unwrap());
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-o"])
        .arg(&library)
        .arg(source)
        .args(["-ldl", "-lpthread"])
        .status();
    match compiled {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: there is no C compiler (cc) for {source}");
            None
        }
        compiled => {
            assert!(compiled.unwrap().success(), "{source} does not compile");
            Some(Box::leak(library.into_boxed_path()))
        }
    }
}
