//! Releases an hour: how fast a processor can redeem a portal's transactions, so that a stolen
//! certificate can't drain the vault. Counted in memory; a restart begins a new hour.

use crate::clock::Timestamp;
use crate::ids::PrincipalId;
use std::collections::HashMap;

/// Releases of the current hour, by portal and processor.
#[derive(Default)]
pub struct ReleaseRates {
    counts: HashMap<(PrincipalId, PrincipalId), (u64, u32)>,
    /// What the round in the making counted.
    counted: Vec<(PrincipalId, PrincipalId)>,
}

impl ReleaseRates {
    /// Counts one release unless `per_hour` were made already; whether it was counted.
    pub fn count(
        &mut self,
        portal: PrincipalId,
        processor: PrincipalId,
        per_hour: u32,
        now: Timestamp,
    ) -> bool {
        let hour = now.0 / 3_600_000;
        let slot = self.counts.entry((portal, processor)).or_insert((hour, 0));
        if slot.0 != hour {
            *slot = (hour, 0);
        }
        let counted = slot.1 < per_hour;
        if counted {
            slot.1 += 1;
            self.counted.push((portal, processor));
        }
        counted
    }

    /// The round is durable.
    pub fn keep(&mut self) {
        self.counted.clear();
    }

    /// The round failed: nothing was released by it.
    pub fn undo(&mut self) {
        for pair in self.counted.drain(..) {
            if let Some(slot) = self.counts.get_mut(&pair) {
                slot.1 = slot.1.saturating_sub(1);
            }
        }
    }
}
