//! The leaf of an entry (`docs/format.md` §7.1): the tree commits to site, kind and body each
//! under its own salt, so that one can be shown without the others, and so that a destroyed key
//! leaves hashes that say nothing.

use super::event::Event;
use super::hash::Hash;
use crate::codec::{Malformed, Reader, Writer};
use crate::ids::Site;
use crate::secret::SecretBuffer;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

const LEAF_LABEL: &[u8] = b"payvault leaf v1";
const FACET_LABEL: &[u8] = b"payvault facet v1";
const FACETS_LABEL: &[u8] = b"payvault facets v1";
const SALT_LABEL: &[u8] = b"payvault salt v1";

/// One of the three things that a leaf commits to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Facet {
    /// The site's name.
    Site = 1,
    /// The event's code.
    Kind = 2,
    /// The canonical JSON.
    Body = 3,
}

impl Facet {
    /// All three, in the order in which salts and commitments are listed.
    pub const ALL: [Facet; 3] = [Facet::Site, Facet::Kind, Facet::Body];

    /// Its name in a closed line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Facet::Site => "site",
            Facet::Kind => "kind",
            Facet::Body => "body",
        }
    }

    /// Its place in a list of salts or commitments.
    pub const fn place(self) -> usize {
        self as usize - 1
    }
}

/// Everything that the tree needs of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The leaf hash: what the tree holds.
    pub hash: Hash,
    /// The digest of the three commitments: kept beside the leaf hash, since with it the leaf still
    /// proves its bucket when salts and body are destroyed.
    pub facets: Hash,
    /// Salted commitments to site, kind and body.
    pub commitments: [Hash; 3],
    /// The salts that open them.
    pub salts: [Hash; 3],
}

impl Leaf {
    /// The leaf of an entry whose canonical JSON is `json`; `seed` is 32 random bytes, sealed
    /// with it.
    pub fn of(
        epoch: u32,
        bucket: &str,
        site: Site,
        event: Event,
        json: &str,
        seed: &[u8; 32],
    ) -> Leaf {
        let salts = salts(seed);
        let values = [site.as_str(), event.as_str(), json];
        let commitments =
            Facet::ALL.map(|f| commitment(f, &salts[f.place()], values[f.place()].as_bytes()));
        let facets = facets_digest(&commitments);
        Leaf {
            hash: leaf_hash(epoch, bucket, &facets),
            facets,
            commitments,
            salts,
        }
    }
}

/// The salts of site, kind and body: HMAC-SHA-256 under the entry's seed, so that showing one
/// says nothing about the others.
pub fn salts(seed: &[u8; 32]) -> [Hash; 3] {
    let keyed = Hmac::<Sha256>::new_from_slice(seed).expect("HMAC takes a key of any length");
    Facet::ALL.map(|facet| {
        let mut mac = keyed.clone();
        mac.update(SALT_LABEL);
        mac.update(&[facet as u8]);
        mac.finalize().into_bytes().into()
    })
}

/// The salted commitment to `value`.
pub fn commitment(facet: Facet, salt: &Hash, value: &[u8]) -> Hash {
    let length = u32::try_from(value.len()).expect("inputs are bounded far below 4 GiB");
    let mut hash = Sha256::new();
    hash.update(FACET_LABEL);
    hash.update([facet as u8]);
    hash.update(salt);
    hash.update(length.to_be_bytes());
    hash.update(value);
    hash.finalize().into()
}

/// The digest of the three commitments, in which the leaf holds them.
pub fn facets_digest(commitments: &[Hash; 3]) -> Hash {
    let mut hash = Sha256::new();
    hash.update(FACETS_LABEL);
    for commitment in commitments {
        hash.update(commitment);
    }
    hash.finalize().into()
}

/// The leaf hash (RFC 6962 2.1: prefix 0x00) of an entry of this epoch and bucket.
pub fn leaf_hash(epoch: u32, bucket: &str, facets: &Hash) -> Hash {
    let length = u32::try_from(bucket.len()).expect("inputs are bounded far below 4 GiB");
    let mut hash = Sha256::new();
    hash.update([0]);
    hash.update(LEAF_LABEL);
    hash.update(epoch.to_be_bytes());
    hash.update(length.to_be_bytes());
    hash.update(bucket.as_bytes());
    hash.update(facets);
    hash.finalize().into()
}

/// What is sealed of an entry: the seed and the JSON (`docs/format.md` §7, "Sealed content").
pub fn seal_content(seed: &[u8; 32], json: &str) -> SecretBuffer {
    let mut content = Writer::with_capacity(seed.len() + 4 + json.len());
    content.raw(seed).str(json);
    content.finish()
}

/// An entry's content, unsealed: borrowed from the buffer that wipes it.
#[derive(Clone, Copy)]
pub struct Opened<'a> {
    /// The salts' seed.
    pub seed: &'a [u8; 32],
    /// The canonical JSON; [`Recorded::parse`](super::Recorded::parse) reads it.
    pub json: &'a str,
}

impl<'a> Opened<'a> {
    /// Reads what [`seal_content`] wrote.
    ///
    /// # Errors
    /// When it has another shape.
    pub fn parse(content: &'a [u8]) -> Result<Opened<'a>, Malformed> {
        let (seed, rest) = content
            .split_first_chunk::<32>()
            .ok_or(Malformed::new("entry's content ends early"))?;
        let mut reader = Reader::new(rest);
        let json = reader.str()?;
        reader.end()?;
        Ok(Opened { seed, json })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_read_back_and_refused_when_cut_or_longer() {
        let content = seal_content(&[7; 32], r#"{"v":1}"#);
        let opened = Opened::parse(&content).unwrap();
        assert_eq!((opened.seed, opened.json), (&[7; 32], r#"{"v":1}"#));
        for cut in 0..content.len() {
            assert!(Opened::parse(&content[..cut]).is_err(), "cut at {cut}");
        }
        let mut longer = content.to_vec();
        longer.push(0);
        assert!(Opened::parse(&longer).is_err());
    }

    #[test]
    fn a_leaf_depends_on_everything_that_it_commits_to() {
        let nl = Site::parse("nl").unwrap();
        let us = Site::parse("us").unwrap();
        let base = Leaf::of(1, "log/nl/2026-11", nl, Event::Redeemed, "{}", &[1; 32]);
        let others = [
            Leaf::of(2, "log/nl/2026-11", nl, Event::Redeemed, "{}", &[1; 32]),
            Leaf::of(1, "log/nl/2026-12", nl, Event::Redeemed, "{}", &[1; 32]),
            Leaf::of(1, "log/nl/2026-11", us, Event::Redeemed, "{}", &[1; 32]),
            Leaf::of(1, "log/nl/2026-11", nl, Event::Tokenized, "{}", &[1; 32]),
            Leaf::of(1, "log/nl/2026-11", nl, Event::Redeemed, "[]", &[1; 32]),
            Leaf::of(1, "log/nl/2026-11", nl, Event::Redeemed, "{}", &[2; 32]),
        ];
        for other in others {
            assert_ne!(other.hash, base.hash);
        }
        assert_ne!(base.salts[0], base.salts[1]);
        assert_ne!(base.salts[1], base.salts[2]);
    }
}
