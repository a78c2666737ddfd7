//! Numbers for choices that a seed repeats.

/// Numbers that look random and are the same for the same seed (SplitMix64).
pub struct Dice(u64);

impl Dice {
    /// With a seed.
    pub fn new(seed: u64) -> Dice {
        // One throw, so that the sequences of neighbouring seeds have nothing in common.
        Dice(Dice(seed).throw())
    }

    /// The next number.
    pub fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The next number, below `bound` (at least 1). The bias is below 2^-40 for what is drawn here.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.throw() % bound.max(1)
    }
}
