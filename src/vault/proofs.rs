//! Proofs for whoever wants to check that nothing was rewritten.
