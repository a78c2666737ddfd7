//! The ledger: what an entry says, the tree that makes rewriting it noticeable, and what leaves the
//! vault to be checked elsewhere (checkpoints, receipts, exports). The bytes are
//! `docs/format.md` §5.3, §5.4 and §7.
//!
//! Pure: nothing here reads a store, a clock or a key ring. Rows come in as byte slices, older
//! tiles through [`TileSource`], and the signing key as an argument.

mod bucket;
mod checkpoint;
mod cosignature;
mod entry;
mod error;
mod event;
mod export;
mod fault;
mod filter;
mod hash;
mod key;
mod leaf;
mod line_reader;
mod lines;
mod note;
mod page;
mod receipt;
mod recorded;
mod report;
mod submission;
mod tile_files;
mod tiles;
mod tree;
mod verify;
mod window;

#[cfg(test)]
mod tests;

pub use bucket::Bucket;
pub use checkpoint::{Checkpoint, hex_of_origin, origin};
pub use cosignature::{Cosigner, WitnessKey};
pub use entry::{Entry, Outcome};
pub use error::{LedgerError, NoteFault, ProofRefused};
pub use event::{DETAIL_KEY, Event};
pub use export::{ExportHeader, Exporter, Shown, open_line};
pub use fault::{Fault, VerifyError};
pub use filter::{Filter, Miss};
pub use hash::{Hash, from_base64, to_base64};
pub use key::VerifierKey;
pub use leaf::{Facet, Leaf, Opened, commitment, facets_digest, leaf_hash, salts, seal_content};
pub use note::{Note, sign as sign_note};
pub use page::{Page, PageEntry, PageRow, encode_pages};
pub use receipt::Receipt;
pub use recorded::Recorded;
pub use report::{ReceiptReport, Report};
pub use submission::{Accepted, Refused, Submission};
pub use tile_files::{TILE_HASHES, TileFile, TileWriter, partial_tiles, tile_path};
pub use tiles::{HALF_BYTES, HALF_HASHES, HalfTile, Staged, TileSource, Tree};
pub use tree::{
    Boundaries, Frontier, Hashes, consistency_path, empty_root, inclusion_path, node_hash,
    range_boundaries, root_from_boundaries, root_of_prefix, verify_consistency, verify_inclusion,
};
pub use verify::{Seen, SeenAs, read_export, verify_export, verify_receipt};
