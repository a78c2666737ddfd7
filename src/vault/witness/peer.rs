//! One witness: what it holds, how it fails, and what is told of it.

use super::ask::{self, Asker, Said};
use super::{Bench, WitnessAt};
use crate::clock::Clock;
use crate::ledger::Submission;
use crate::limits;
use crate::vault::alarms::{Alarm, WITNESS_CONFLICT, WITNESS_SILENT};
use crate::vault::publish::Published;

/// How a witness does, for those who ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its name.
    pub witness: String,
    /// Size that it cosigned last, since the vault was opened.
    pub cosigned: u64,
    /// Why its last answer was no cosignature; none while all is well.
    pub failing: Option<String>,
    /// It contradicts the ledger, in words.
    pub conflict: Option<String>,
    /// It has been silent for the time that was configured.
    pub silent: bool,
}

/// A witness as the thread knows it.
pub(super) struct Peer {
    at: WitnessAt,
    /// What it is thought to hold.
    holds: u64,
    /// What it cosigned last.
    cosigned: u64,
    /// Since when there is something to cosign and it isn't.
    owing_since_ms: Option<u64>,
    silent: bool,
    failing: Option<String>,
    conflict: Option<String>,
    /// When the last alarm of a conflict was: of one that nothing proves, and of a proven one, which
    /// a forged answer before it must not hush.
    alarmed_ms: [Option<u64>; 2],
    pause_ms: u64,
    due_ms: u64,
}

impl Peer {
    pub(super) fn new(at: WitnessAt, now_ms: u64) -> Peer {
        Peer {
            at,
            holds: 0,
            cosigned: 0,
            owing_since_ms: None,
            silent: false,
            failing: None,
            conflict: None,
            alarmed_ms: [None, None],
            pause_ms: limits::WITNESS_PAUSE_MS,
            due_ms: now_ms,
        }
    }

    /// Whether it didn't cosign this one yet.
    pub(super) fn owes(&self, newest: &Published) -> bool {
        self.cosigned < newest.checkpoint.size
    }

    /// Whether its time to be asked again has come.
    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        self.due_ms <= now_ms
    }

    pub(super) fn standing(&self) -> Standing {
        Standing {
            witness: self.at.key.name().to_owned(),
            cosigned: self.cosigned,
            failing: self.failing.clone(),
            conflict: self.conflict.clone(),
            silent: self.silent,
        }
    }

    /// Asks it to cosign, and gives the lines by which it did.
    pub(super) async fn ask(
        &mut self,
        asker: &Asker,
        bench: &Bench,
        newest: &Published,
    ) -> Option<String> {
        let asked = self.try_twice(asker, bench, newest).await;
        let now_ms = bench.clock.monotonic_ms();
        match asked {
            Ok(lines) => {
                if self.failing.take().is_some() {
                    tracing::info!(witness = self.at.key.name(), "the witness cosigns again");
                }
                self.conflict = None;
                self.pause_ms = limits::WITNESS_PAUSE_MS;
                self.due_ms = now_ms;
                self.holds = newest.checkpoint.size;
                Some(lines)
            }
            Err(why) => {
                if self.failing.as_ref() != Some(&why) {
                    tracing::warn!(
                        witness = self.at.key.name(),
                        why,
                        "a witness doesn't cosign; it is asked again"
                    );
                }
                self.failing = Some(why);
                self.due_ms = now_ms + self.pause_ms;
                self.pause_ms = (2 * self.pause_ms).min(limits::WITNESS_PAUSE_MS_MAX);
                None
            }
        }
    }

    /// The lines by which it cosigned this one are kept.
    pub(super) fn has_cosigned(&mut self, newest: &Published) {
        self.cosigned = newest.checkpoint.size;
    }

    /// A second time, when it holds another size than it was thought to.
    async fn try_twice(
        &mut self,
        asker: &Asker,
        bench: &Bench,
        newest: &Published,
    ) -> Result<String, String> {
        let size = newest.checkpoint.size;
        for _ in 0..2 {
            if self.holds > size {
                return self.holds_more(asker, bench).await;
            }
            let submission = Submission {
                old: self.holds,
                proof: bench.proof(self.holds, size)?,
                note: newest.note.to_string(),
            };
            match ask::submit(asker, &self.at, &submission).await? {
                Said::Cosigned(lines) => return self.verified(&newest.note, &lines),
                // Of the size that it holds it has another tree (C2SP tlog-witness).
                Said::Holds(held) if held == self.holds && held == size => {
                    return self.contradicts(asker, bench, Claim::Other).await;
                }
                Said::Holds(held) if held == self.holds => {
                    return Err("it refuses the size that it says it holds".to_owned());
                }
                Said::Holds(held) => self.holds = held,
                Said::Inconsistent => {
                    return self.contradicts(asker, bench, Claim::Other).await;
                }
            }
        }
        Err("it holds another size each time that it is asked".to_owned())
    }

    /// Only its own lines are taken over, and only ones that are its.
    fn verified(&self, note: &str, lines: &str) -> Result<String, String> {
        let wanted = format!("— {} ", self.at.key.name());
        let own: String = lines
            .split_inclusive('\n')
            .filter(|line| line.starts_with(&wanted) && line.ends_with('\n'))
            .take(1)
            .collect();
        match self.at.key.cosigned(&format!("{note}{own}")) {
            Ok(Some(_)) => Ok(own),
            Ok(None) => Err("it cosigned with another key than the configured one".to_owned()),
            Err(why) => Err(format!("its cosignature is refused: {why}")),
        }
    }

    /// It says that it holds more than was submitted: somebody may have been faster, and then the
    /// ledger has all of it; or entries are gone.
    async fn holds_more(&mut self, asker: &Asker, bench: &Bench) -> Result<String, String> {
        let own = bench.shared.head.load().size;
        let held = self.holds;
        // Asked anew the next time, whatever it said now.
        self.holds = 0;
        if held <= own {
            return Err("it says that it holds a newer one already".to_owned());
        }
        self.contradicts(asker, bench, Claim::More).await
    }

    /// It contradicts the ledger. That is told, and whether the ledger's own signature proves it. No
    /// number of its own goes anywhere: whoever answers in its place could have a card number
    /// entered by it.
    async fn contradicts(
        &mut self,
        asker: &Asker,
        bench: &Bench,
        claim: Claim,
    ) -> Result<String, String> {
        let own = bench.shared.head.load().size;
        let shown = ask::newest(asker, &self.at, &bench.ledger).await;
        let proven = shown
            .ok()
            .flatten()
            .filter(|checkpoint| bench.extends(checkpoint) == Some(false))
            .map(|checkpoint| checkpoint.size);
        // It may have been put back by then.
        self.holds = 0;
        let words = in_words(claim, own, proven);
        self.conflict = Some(words.clone());
        if let Some(alarm) = self.conflict_alarm(claim, own, proven, &bench.clock) {
            tracing::error!(
                alarm = WITNESS_CONFLICT,
                witness = self.at.key.name(),
                own,
                missing = alarm.count,
                proven = proven.is_some(),
                "A WITNESS CONTRADICTS THE LEDGER: {words}"
            );
            bench.shared.raise(alarm);
        }
        Err(words)
    }

    /// The alarm of a conflict, once an hour.
    fn conflict_alarm(
        &mut self,
        claim: Claim,
        own: u64,
        proven: Option<u64>,
        clock: &Clock,
    ) -> Option<Alarm> {
        let now_ms = clock.monotonic_ms();
        let last = &mut self.alarmed_ms[usize::from(proven.is_some())];
        if last.is_some_and(|at| now_ms.saturating_sub(at) < limits::WITNESS_CONFLICT_MS) {
            return None;
        }
        *last = Some(now_ms);
        let held = match (proven, claim) {
            (Some(size), _) => size.to_string(),
            (None, Claim::More) => "more than ours".to_owned(),
            (None, Claim::Other) => "others than ours".to_owned(),
        };
        let detail = vec![
            ("witness", self.at.key.name().to_owned()),
            ("held", held),
            ("own", own.to_string()),
            (
                "proven",
                if proven.is_some() { "yes" } else { "no" }.to_owned(),
            ),
        ];
        Some(Alarm {
            count: proven.map_or(0, |size| size.saturating_sub(own)),
            detail,
            ..Alarm::of(WITNESS_CONFLICT, clock.now())
        })
    }

    /// The alarm that it has been silent for too long, once.
    pub(super) fn silence(
        &mut self,
        newest: &Published,
        now_ms: u64,
        silent_ms: u64,
        clock: &Clock,
    ) -> Option<Alarm> {
        if !self.owes(newest) {
            self.owing_since_ms = None;
            self.silent = false;
            return None;
        }
        let since_ms = *self.owing_since_ms.get_or_insert(now_ms);
        let silent_for_ms = now_ms.saturating_sub(since_ms);
        if self.silent || silent_for_ms < silent_ms {
            return None;
        }
        self.silent = true;
        let name = self.at.key.name();
        let why = self.failing.clone().unwrap_or_default();
        tracing::error!(
            alarm = WITNESS_SILENT,
            witness = name,
            why,
            "a witness has not cosigned for too long"
        );
        let now = clock.now();
        Some(Alarm {
            count: newest.checkpoint.size - self.cosigned,
            detail: vec![("witness", name.to_owned())],
            ..Alarm::of(
                WITNESS_SILENT,
                crate::clock::Timestamp(now.0.saturating_sub(silent_for_ms)),
            )
        })
    }
}

/// What a witness says without proof.
#[derive(Clone, Copy)]
enum Claim {
    /// It holds more entries than the ledger has.
    More,
    /// It holds other ones.
    Other,
}

/// A contradiction; a size only where this ledger's own key signed it.
fn in_words(claim: Claim, own: u64, proven: Option<u64>) -> String {
    let by = "this ledger's own signature proves it: the database is an old copy, or was rewritten";
    match (proven, claim) {
        (Some(held), _) if held > own => {
            let missing = held - own;
            format!(
                "it holds {held} entries and this ledger has {own}: {missing} are missing; {by}"
            )
        }
        (Some(held), _) => {
            format!("it holds other entries than this ledger's first {held}; {by}")
        }
        (None, Claim::More) => format!(
            "it says that it holds more than ours, which are {own} entries; nothing proves it so far"
        ),
        (None, Claim::Other) => {
            "it says that it holds other entries than ours; nothing proves it so far".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, Timestamp};
    use crate::ledger::{Checkpoint, Cosigner};
    use std::sync::Arc;

    fn cosigner() -> Cosigner {
        Cosigner::of_seed("w.example", &[1; 32]).unwrap()
    }

    fn peer() -> Peer {
        let at = WitnessAt {
            url: "http://127.0.0.1:1".to_owned(),
            key: cosigner().verifier(),
        };
        Peer::new(at, 0)
    }

    fn published(size: u64) -> Published {
        let checkpoint = Checkpoint {
            origin: "log.example".to_owned(),
            size,
            root: [7; 32],
        };
        let key = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
        let note = Arc::from(checkpoint.sign(&key).unwrap());
        Published { checkpoint, note }
    }

    #[test]
    fn a_witness_that_owes_for_too_long_is_an_alarm_once() {
        let clock = Clock::Manual(ManualClock::starting_at(Timestamp(1_000_000)));
        let mut peer = peer();
        let newest = published(5);
        let silence = |peer: &mut Peer, at| peer.silence(&newest, at, 60_000, &clock);
        assert_eq!(silence(&mut peer, 1_000), None);
        assert_eq!(silence(&mut peer, 60_999), None);
        let alarm = silence(&mut peer, 61_000).unwrap();
        assert_eq!((alarm.what, alarm.count), (WITNESS_SILENT, 5));
        assert_eq!(alarm.since, Timestamp(940_000));
        assert!(peer.standing().silent);
        assert_eq!(silence(&mut peer, 90_000), None);
        // It cosigns; what it then owes begins anew.
        peer.cosigned = 5;
        assert_eq!(silence(&mut peer, 91_000), None);
        assert!(!peer.standing().silent);
        peer.cosigned = 4;
        assert_eq!(silence(&mut peer, 92_000), None);
        assert!(silence(&mut peer, 152_000).is_some());
    }

    #[test]
    fn only_its_own_line_is_taken_over() {
        let peer = peer();
        let newest = published(5);
        let text = newest.checkpoint.text();
        let own = cosigner().cosign(&text, 7).unwrap();
        let stranger = Cosigner::of_seed("w.example", &[2; 32]).unwrap();
        let foreign = stranger.cosign(&text, 7).unwrap();
        let other = Cosigner::of_seed("v.example", &[3; 32]).unwrap();
        let more = other.cosign(&text, 7).unwrap();
        let verified = |lines: &str| peer.verified(&newest.note, lines);
        assert_eq!(verified(&format!("{more}{own}")), Ok(own.clone()));
        let of_another_text = cosigner()
            .cosign(&published(6).checkpoint.text(), 7)
            .unwrap();
        for bad in [
            "",
            "nonsense\n",
            &own[..own.len() - 1],
            &more,
            &foreign,
            &of_another_text,
        ] {
            assert!(verified(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_conflict_is_an_alarm_once_an_hour_and_says_only_sizes_that_are_proven() {
        let time = ManualClock::starting_at(Timestamp(1_000_000));
        let clock = Clock::Manual(Arc::clone(&time));
        let mut peer = peer();
        let alarm = peer.conflict_alarm(Claim::More, 5, None, &clock).unwrap();
        assert_eq!((alarm.what, alarm.count), (WITNESS_CONFLICT, 0));
        assert!(
            alarm
                .detail
                .contains(&("held", "more than ours".to_owned()))
        );
        assert!(peer.conflict_alarm(Claim::More, 5, None, &clock).is_none());
        // A cosignature in between makes it no news.
        peer.has_cosigned(&published(5));
        assert!(peer.conflict_alarm(Claim::Other, 5, None, &clock).is_none());
        // A proof is news, once.
        let proven = peer.conflict_alarm(Claim::Other, 5, Some(9), &clock);
        let proven = proven.unwrap();
        assert_eq!(proven.count, 4);
        assert!(proven.detail.contains(&("held", "9".to_owned())));
        assert!(
            peer.conflict_alarm(Claim::More, 5, Some(9), &clock)
                .is_none()
        );
        time.pass_ms(limits::WITNESS_CONFLICT_MS);
        assert!(peer.conflict_alarm(Claim::More, 5, None, &clock).is_some());
    }
}
