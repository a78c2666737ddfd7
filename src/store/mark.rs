//! The high-water mark.
