//! Tests that need several files of the ledger at once.
