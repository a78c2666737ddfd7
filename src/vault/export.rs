//! Exports.
/// x
pub struct ExportRequest;
/// x
pub struct Piece;
