//! Sessions of people: a random secret, bound to the principal whose certificate logged in. In
//! memory only, so a restart ends them all. Ages are monotonic (PCI DSS 8.2.8).

use crate::ids::{PrincipalId, letters};
use crate::limits;
use crate::policy::Denial;
use crate::secret::{SecretBytes, SecretText};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use subtle::ConstantTimeEq;

struct Session {
    digest: [u8; 32],
    began_ms: u64,
    used_ms: u64,
}

/// The sessions, by principal.
#[derive(Default)]
pub struct Sessions {
    live: Mutex<HashMap<PrincipalId, Vec<Session>>>,
}

impl Sessions {
    /// Begins a session. When a principal has too many, its oldest one ends.
    pub fn begin(&self, principal: PrincipalId, now_ms: u64) -> SecretText {
        let secret = SecretBytes::<32>::random();
        let text = SecretText::new(letters(secret.expose()));
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let own = live.entry(principal).or_default();
        own.retain(|s| is_live(s, now_ms));
        if own.len() >= limits::SESSIONS_PER_PRINCIPAL_MAX {
            own.remove(0);
        }
        own.push(Session {
            digest: digest(text.expose()),
            began_ms: now_ms,
            used_ms: now_ms,
        });
        text
    }

    /// Uses a session: it must be this principal's, and live.
    ///
    /// # Errors
    /// [`Denial::SessionEnded`].
    pub fn touch(&self, principal: PrincipalId, secret: &str, now_ms: u64) -> Result<(), Denial> {
        let wanted = digest(secret);
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let own = live.get_mut(&principal).ok_or(Denial::SessionEnded)?;
        own.retain(|s| is_live(s, now_ms));
        let session = own
            .iter_mut()
            .find(|s| bool::from(s.digest.ct_eq(&wanted)))
            .ok_or(Denial::SessionEnded)?;
        session.used_ms = now_ms;
        Ok(())
    }

    /// Ends one session.
    pub fn end(&self, principal: PrincipalId, secret: &str) {
        let wanted = digest(secret);
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = live.get_mut(&principal) {
            own.retain(|s| !bool::from(s.digest.ct_eq(&wanted)));
        }
    }

    /// Ends every session of a principal: its secret changed, or it was disabled.
    pub fn end_all(&self, principal: PrincipalId) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.remove(&principal);
    }
}

fn is_live(session: &Session, now_ms: u64) -> bool {
    now_ms.saturating_sub(session.used_ms) < limits::SESSION_IDLE_MS
        && now_ms.saturating_sub(session.began_ms) < limits::SESSION_MS_MAX
}

fn digest(secret: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"payvault session v1");
    hash.update(secret.as_bytes());
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHO: PrincipalId = PrincipalId([1; 16]);

    #[test]
    fn a_session_is_its_principals_own_and_ends_when_idle() {
        let sessions = Sessions::default();
        let secret = sessions.begin(WHO, 0);
        let idle = limits::SESSION_IDLE_MS;
        assert!(sessions.touch(WHO, secret.expose(), idle - 1).is_ok());
        assert!(
            sessions
                .touch(PrincipalId([2; 16]), secret.expose(), idle)
                .is_err()
        );
        assert!(sessions.touch(WHO, "bcdf", idle).is_err());
        assert!(sessions.touch(WHO, secret.expose(), 2 * idle - 2).is_ok());
        assert!(sessions.touch(WHO, secret.expose(), 3 * idle - 2).is_err());
    }

    #[test]
    fn a_session_in_use_ends_after_eight_hours() {
        let sessions = Sessions::default();
        let secret = sessions.begin(WHO, 0);
        let mut now = 0;
        while now + 60_000 < limits::SESSION_MS_MAX {
            now += 60_000;
            assert!(sessions.touch(WHO, secret.expose(), now).is_ok());
        }
        assert!(
            sessions
                .touch(WHO, secret.expose(), limits::SESSION_MS_MAX)
                .is_err()
        );
    }

    #[test]
    fn ended_sessions_are_refused() {
        let sessions = Sessions::default();
        let one = sessions.begin(WHO, 0);
        let two = sessions.begin(WHO, 0);
        sessions.end(WHO, one.expose());
        assert!(sessions.touch(WHO, one.expose(), 1).is_err());
        assert!(sessions.touch(WHO, two.expose(), 1).is_ok());
        sessions.end_all(WHO);
        assert!(sessions.touch(WHO, two.expose(), 1).is_err());
    }
}
