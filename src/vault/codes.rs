//! Card security codes: in locked process memory, and nowhere else (PCI DSS 3.3.1).
//!
//! This module must never import the codec, the envelope or the store: a code that can't be
//! encoded can't be stored. Ages are monotonic, so a clock that is set back keeps no code alive.

use crate::ids::PrincipalId;
use crate::limits;
use crate::payment::SecurityCode;
use std::collections::HashMap;

/// One code in memory.
struct Held {
    // Wiped before its pages are unlocked: fields drop in this order.
    code: SecurityCode,
    _locked: crate::os::Locked,
    taken_in_ms: u64,
    released: Option<Released>,
}

/// To whom a code went, so that a lost reply can be repeated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Released {
    /// The principal.
    pub to: PrincipalId,
    /// The stored half of its request's tag.
    pub request: [u8; 16],
    /// When (monotonic).
    pub at_ms: u64,
}

/// The codes, by their token's selector.
#[derive(Default)]
pub struct SecurityCodes {
    held: HashMap<[u8; 16], Held>,
}

impl SecurityCodes {
    /// Whether another code can be taken in.
    pub fn has_room(&self) -> bool {
        self.held.len() < limits::SECURITY_CODES_MAX
    }

    /// Takes a code in, locked against swapping where the system allows it.
    pub fn take_in(&mut self, selector: [u8; 16], code: SecurityCode, now_ms: u64) {
        let locked = crate::os::lock_memory(code.expose().as_bytes());
        self.held.insert(
            selector,
            Held {
                code,
                _locked: locked,
                taken_in_ms: now_ms,
                released: None,
            },
        );
    }

    /// A copy of a code that was not released yet and is not too old.
    pub fn fresh(&self, selector: &[u8; 16], now_ms: u64) -> Option<SecurityCode> {
        let held = self.held.get(selector)?;
        let age = now_ms.saturating_sub(held.taken_in_ms);
        (held.released.is_none() && age < limits::SECURITY_CODE_MS).then(|| held.code.duplicate())
    }

    /// A copy of a code that was released to the same principal by the same request, within 60 s.
    pub fn again(
        &self,
        selector: &[u8; 16],
        to: PrincipalId,
        request: [u8; 16],
        now_ms: u64,
    ) -> Option<SecurityCode> {
        let held = self.held.get(selector)?;
        let released = held.released?;
        let same = released.to == to && released.request == request;
        let age = now_ms.saturating_sub(released.at_ms);
        (same && age < limits::SECURITY_CODE_REPEAT_MS).then(|| held.code.duplicate())
    }

    /// Notes that a code was released. It is wiped 60 s later.
    pub fn mark_released(&mut self, selector: &[u8; 16], released: Released) {
        if let Some(held) = self.held.get_mut(selector) {
            held.released = Some(released);
        }
    }

    /// Wipes a code.
    pub fn wipe(&mut self, selector: &[u8; 16]) {
        self.held.remove(selector);
    }

    /// Wipes every code that is too old, or was released and can't be repeated any more.
    pub fn wipe_old(&mut self, now_ms: u64) {
        self.held.retain(|_, held| match held.released {
            None => now_ms.saturating_sub(held.taken_in_ms) < limits::SECURITY_CODE_MS,
            Some(r) => now_ms.saturating_sub(r.at_ms) < limits::SECURITY_CODE_REPEAT_MS,
        });
    }
}
