//! No two trees of one size: wherever the process ends between a commit and its answer, and
//! whatever older copy is put back. Every checkpoint that was seen outside is kept and compared.

use crate::place::Place;
use crate::size::Rounds;
use payvault::api::proto as pb;
use payvault::ledger::{Checkpoint, Hash, VerifierKey, verify_consistency};
use payvault::store::MarkFile;
use pb::admin_service_client::AdminServiceClient as Admin;
use pb::ledger_service_client::LedgerServiceClient as Ledger;
use std::collections::BTreeMap;
use std::path::Path;
use tonic::transport::Channel;

/// Where it ends: after a round's commit, after its head went to the publisher, after the signature,
/// the mark, the copy outside, and after whoever waited for the checkpoint has it.
const POINTS: [&str; 6] = [
    "committed",
    "offered",
    "signed",
    "marked",
    "sunk",
    "published",
];

/// Every checkpoint that anybody outside saw.
#[derive(Default)]
struct Outside {
    key: Option<VerifierKey>,
    seen: BTreeMap<u64, Hash>,
}

impl Outside {
    fn saw(&mut self, note: &str, from: &str) {
        let key = self.key.clone().expect("the vault's key");
        let (checkpoint, _) = Checkpoint::open(note, &[key]).expect("signed by it");
        let root = *self.seen.entry(checkpoint.size).or_insert(checkpoint.root);
        assert_eq!(
            root, checkpoint.root,
            "two trees of {} ({from})",
            checkpoint.size
        );
    }

    fn look(&mut self, place: &Place) {
        if let Ok(note) = std::fs::read_to_string(place.path("outside/checkpoint")) {
            self.saw(&note, "the sink");
        }
    }

    /// The high-water mark, of a vault that doesn't run.
    fn look_at_mark(&mut self, place: &Place) {
        let marks = MarkFile::open(&place.path("mark")).expect("marks");
        let mark = marks.read().expect("a mark");
        self.saw(&mark.note, "the mark");
    }
}

/// A refusal: one entry.
async fn knock(channel: &Channel) -> bool {
    let mut admin = Admin::new(channel.clone());
    let refused = admin.get_status(pb::GetStatusRequest {}).await;
    let refused = refused.expect_err("no session");
    refused.code() == tonic::Code::Unauthenticated
}

async fn newest(channel: &Channel) -> Option<(pb::Checkpoint, String)> {
    let mut ledger = Ledger::new(channel.clone());
    let reply = ledger
        .get_checkpoint(pb::GetCheckpointRequest {})
        .await
        .ok()?
        .into_inner();
    Some((reply.checkpoint?, reply.verifier_key))
}

/// A directory, whatever `to` was before.
pub fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to).expect("a directory");
    for file in std::fs::read_dir(from).expect("a directory") {
        let file = file.expect("an entry").path();
        let to = to.join(file.file_name().expect("a name"));
        match file.is_dir() {
            true => copy(&file, &to),
            false => drop(std::fs::copy(&file, &to).expect("copied")),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wherever_it_ends_and_whatever_is_put_back_no_size_has_two_trees() {
    let mut place = Place::new();
    let mut outside = Outside::default();
    place.start(&[]).await.expect("it serves");
    let channel = place.channel("ann").await;
    let (first, key) = newest(&channel).await.expect("a checkpoint");
    outside.key = Some(VerifierKey::parse(&key).expect("a key"));
    outside.saw(&first.note, "GetCheckpoint");
    place.stop();

    // The long form ends it many times at each point.
    let mut rounds = Rounds::of("PAYVAULT_FORKS", POINTS.len() as u64);
    let mut ends = 0;
    while let Some(round) = rounds.next() {
        let point = POINTS[round as usize % POINTS.len()];
        let order = format!("{point}:{}", rounds.chance(3, 8));
        match place.start(&[("PAYVAULT_CRASH_AT", &order)]).await {
            Ok(()) => {
                let channel = place.channel("ann").await;
                while place.ended().is_none() {
                    knock(&channel).await;
                    if let Some((checkpoint, _)) = newest(&channel).await {
                        outside.saw(&checkpoint.note, "GetCheckpoint");
                    }
                    outside.look(&place);
                }
            }
            // It ended while it began.
            Err((status, said)) => assert_eq!(status.code(), None, "{order}: {said}"),
        }
        ends += 1;
        outside.look(&place);
        outside.look_at_mark(&place);
    }
    assert!(ends >= POINTS.len() as u64 && outside.seen.len() > POINTS.len());

    // Kept, to be put back below.
    copy(&place.path("data"), &place.path("older-data"));
    copy(&place.path("mark"), &place.path("older-mark"));

    // What is served now goes on from each of them.
    place.start(&[]).await.expect("it serves");
    let channel = place.channel("ann").await;
    assert!(knock(&channel).await);
    let (now, _) = newest(&channel).await.expect("a checkpoint");
    outside.saw(&now.note, "GetCheckpoint");
    let root: Hash = now.root[..].try_into().expect("32 bytes");
    for (size, then) in outside.seen.range(..=now.size) {
        let asked = pb::GetConsistencyProofRequest {
            from_size: *size,
            to_size: now.size,
        };
        let proof = Ledger::new(channel.clone())
            .get_consistency_proof(asked)
            .await;
        let path = proof.expect("a proof").into_inner().path;
        let path: Vec<Hash> = path
            .into_iter()
            .map(|hash| hash.try_into().expect("32 bytes"))
            .collect();
        verify_consistency(*size, now.size, then, &root, &path).expect("it goes on from there");
    }
    for _ in 0..5 {
        assert!(knock(&channel).await);
    }
    place.stop();
    outside.look(&place);
    let known = *outside.seen.keys().last().expect("some");
    let sent = std::fs::read(place.path("outside/checkpoint")).expect("a note");
    copy(&place.path("data"), &place.path("newer-data"));
    copy(&place.path("mark"), &place.path("newer-mark"));
    // An older copy of the database, which the mark tells; of both, which the copy outside tells.
    for (with_mark, sink) in [(true, true), (false, false)] {
        copy(&place.path("older-data"), &place.path("data"));
        let mark = if with_mark {
            "older-mark"
        } else {
            "newer-mark"
        };
        copy(&place.path(mark), &place.path("mark"));
        if !sink {
            std::fs::remove_file(place.path("outside/checkpoint")).expect("there");
        }
        let (status, said) = place.start(&[]).await.expect_err("it refuses to serve");
        assert_eq!(status.code(), Some(7), "{said}");
        let numbers = said
            .split_once("the database ends at ")
            .expect("says where it ends")
            .1;
        let numbers: Vec<u64> = numbers
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|word| word.parse().ok())
            .take(3)
            .collect();
        let [ends, published, missing] = numbers[..] else {
            panic!("{said}");
        };
        assert!(
            published == known && ends + missing == known && missing >= 5,
            "{said}"
        );
        assert!(said.contains("restore a backup"), "{said}");
        let now = std::fs::read(place.path("outside/checkpoint")).ok();
        assert_eq!(now, sink.then(|| sent.clone()), "nothing was signed");
    }
    copy(&place.path("newer-data"), &place.path("data"));
    copy(&place.path("newer-mark"), &place.path("mark"));
    place.start(&[]).await.expect("the newer one is served");
    place.stop();
    outside.look(&place);
}
