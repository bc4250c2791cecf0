//! Whether to ask a node that failed.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::limits::{CIRCUIT_OPEN, PROBE};
use crate::pause;

/// Failures in a row, and until when the node is passed over.
#[derive(Debug, Default)]
pub(crate) struct Circuit {
    broken: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    open_until: Option<Instant>,
}

impl Circuit {
    /// Whether to ask it now. Of a node that failed only one call is let through at a time.
    pub(crate) fn admits(&self) -> bool {
        if !self.broken.load(Acquire) {
            return true;
        }
        let mut state = self.state.lock();
        let now = Instant::now();
        if state.open_until.is_some_and(|until| now < until) {
            return false;
        }
        state.open_until = Some(now + PROBE);
        true
    }

    /// It answered. Returns whether it had failed before.
    pub(crate) fn answered(&self) -> bool {
        if !self.broken.load(Acquire) {
            return false;
        }
        *self.state.lock() = State::default();
        self.broken.swap(false, Release)
    }

    /// It did not answer.
    pub(crate) fn failed(&self) {
        let mut state = self.state.lock();
        let open: Duration = pause(state.failures, CIRCUIT_OPEN.0, CIRCUIT_OPEN.1);
        state.failures = state.failures.saturating_add(1);
        state.open_until = Some(Instant::now() + open);
        self.broken.store(true, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_call_tries_again_after_a_while() {
        let circuit = Circuit::default();
        assert!(circuit.admits() && circuit.admits() && !circuit.answered());
        for _ in 0..8 {
            circuit.failed();
        }
        assert!(!circuit.admits(), "half a second at least");
        circuit.state.lock().open_until = Some(Instant::now());
        assert!(circuit.admits() && !circuit.admits(), "one tries, the others go elsewhere");
        assert!(circuit.answered() && circuit.admits() && !circuit.answered());
    }
}
