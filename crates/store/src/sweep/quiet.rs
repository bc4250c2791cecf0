//! Which bodies written ahead are given up, whatever clocks say.
//!
//! The time in a body's note is its writer's, and clocks jump and differ between nodes. So a note that looks old is
//! only a suspicion: its body goes when the note then stays as it is for [`STAGED_QUIET_SECONDS`] by the time that
//! passes here. A writer that lives rewrites its note several times in that time.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::limits::{STAGED_QUIET_SECONDS, SUSPECTS_MAX};

/// Notes that look old, as they were when that was first seen.
#[derive(Default)]
pub(crate) struct Quiet(Mutex<HashMap<Bytes, Suspect>>);

struct Suspect {
    touched_at: i64,
    since: Duration,
}

impl Quiet {
    /// Whether the note, which looks old, has long been as it is. `elapsed`: time that does not jump.
    pub(crate) fn is_quiet(&self, note: &Bytes, touched_at: i64, elapsed: Duration) -> bool {
        let quiet = Duration::from_secs(STAGED_QUIET_SECONDS);
        let mut suspects = self.0.lock();
        match suspects.get(note) {
            Some(suspect) if suspect.touched_at == touched_at => {
                let is_quiet = elapsed.saturating_sub(suspect.since) >= quiet;
                if is_quiet {
                    suspects.remove(note);
                }
                return is_quiet;
            }
            _ => {}
        }
        if suspects.len() >= SUSPECTS_MAX {
            // Those whose note went without the sweeper; if there are none, this one has to wait for a place.
            suspects.retain(|_, suspect| elapsed.saturating_sub(suspect.since) < 2 * quiet);
        }
        if suspects.len() < SUSPECTS_MAX {
            // A copy: the key is part of a larger page.
            let note = Bytes::copy_from_slice(note);
            suspects.insert(note, Suspect { touched_at, since: elapsed });
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stays_as_it_is_is_quiet() {
        let quiet = Quiet::default();
        let (a, b) = (Bytes::from_static(b"a"), Bytes::from_static(b"b"));
        let at = |seconds| Duration::from_secs(1_000 + seconds);
        assert!(!quiet.is_quiet(&a, 5, at(0)));
        assert!(!quiet.is_quiet(&b, 5, at(STAGED_QUIET_SECONDS - 1)));
        assert!(!quiet.is_quiet(&a, 6, at(STAGED_QUIET_SECONDS)), "touched meanwhile");
        assert!(!quiet.is_quiet(&a, 6, at(2 * STAGED_QUIET_SECONDS - 1)));
        assert!(quiet.is_quiet(&a, 6, at(2 * STAGED_QUIET_SECONDS)));
        assert!(quiet.is_quiet(&b, 5, at(2 * STAGED_QUIET_SECONDS)));
        assert!(quiet.0.lock().is_empty());
    }
}
