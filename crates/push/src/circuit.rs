//! Whether the enabler is asked at all: while it takes nothing, one notice at a time tries it.
//!
//! A failure that speaks of the enabler and not of a notice opens the circuit. After a pause one request may pass; if it
//! fails, the pause doubles, with jitter, up to a bound. The first that is answered, whatever the answer, closes it.
//! So an enabler that is down for hours gets one request a pause, and a single notice at which it fails each time
//! does not keep the others from it.

use std::time::Duration;

use parking_lot::Mutex;
use rand::Rng as _;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::limits::RETRY_PAUSE_MIN;

/// A circuit.
pub(crate) struct Circuit {
    state: Mutex<State>,
    /// Counts up when a state ends that others wait in.
    turn: watch::Sender<u64>,
    pause_max: Duration,
}

#[derive(Default)]
struct State {
    /// Failures since the last answer; 0 while it is closed.
    failures: u32,
    /// When the next request may pass.
    until: Option<Instant>,
    /// A request is under way that decides.
    probing: bool,
    /// Requests that were answered.
    answered: u64,
}

/// Leave to send one request. Must be ended by what came of it; dropped, it counts as never taken.
pub(crate) struct Pass<'a> {
    circuit: &'a Circuit,
    probe: bool,
}

impl Circuit {
    pub(crate) fn new(pause_max: Duration) -> Self {
        Self { state: Mutex::default(), turn: watch::Sender::new(0), pause_max }
    }

    /// Waits until a request may be sent. Cancel-safe.
    pub(crate) async fn enter(&self) -> Pass<'_> {
        let mut turn = self.turn.subscribe();
        loop {
            turn.borrow_and_update();
            let wait = {
                let mut state = self.state.lock();
                if state.failures == 0 {
                    return Pass { circuit: self, probe: false };
                }
                match state.until.filter(|until| *until > Instant::now()) {
                    Some(until) => Some(until),
                    None if state.probing => None,
                    None => {
                        state.probing = true;
                        return Pass { circuit: self, probe: true };
                    }
                }
            };
            // The sender lives as long as `self`.
            match wait {
                None => drop(turn.changed().await),
                Some(until) => drop(tokio::time::timeout_at(until, turn.changed()).await),
            }
        }
    }

    /// Whether requests pass freely.
    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().failures == 0
    }

    /// How many requests were answered, whatever the answer.
    pub(crate) fn answered(&self) -> u64 {
        self.state.lock().answered
    }

    fn next_turn(&self) {
        self.turn.send_modify(|turn| *turn += 1);
    }
}

impl Pass<'_> {
    /// The enabler answered. Whether that closed the circuit.
    pub(crate) fn answered(self) -> bool {
        let mut state = self.circuit.state.lock();
        state.answered += 1;
        let was_open = state.failures > 0;
        state.failures = 0;
        state.until = None;
        drop(state);
        if was_open {
            self.circuit.next_turn();
        }
        was_open
    }

    /// It did not. Whether that opened the circuit.
    pub(crate) fn failed(self, retry_after: Option<Duration>) -> bool {
        let mut state = self.circuit.state.lock();
        // Those that were under way when it opened tell nothing new.
        if state.failures > 0 && !self.probe {
            return false;
        }
        state.failures = state.failures.saturating_add(1);
        let pause = pause(state.failures, self.circuit.pause_max);
        let pause = retry_after.map_or(pause, |asked| asked.clamp(pause, self.circuit.pause_max.max(pause)));
        state.until = Some(Instant::now() + pause);
        state.failures == 1
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.probe {
            self.circuit.state.lock().probing = false;
        }
        if self.probe || !self.circuit.is_closed() {
            self.circuit.next_turn();
        }
    }
}

/// The pause after so many failures in a row: doubling up to `pause_max`, of which a random
/// part of at most a half is left out.
pub(crate) fn pause(failures: u32, pause_max: Duration) -> Duration {
    let doubled = RETRY_PAUSE_MIN.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(pause_max);
    doubled.mul_f64(rand::rng().random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    async fn waits(circuit: &Circuit, wait: Duration) -> bool {
        tokio::time::timeout(wait, circuit.enter()).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn one_at_a_time_tries_an_enabler_that_is_down() {
        let circuit = Circuit::new(LONG);
        let (a, b) = (circuit.enter().await, circuit.enter().await);
        assert!(a.failed(None));
        assert!(!b.failed(None), "it was under way");
        assert!(!circuit.is_closed());
        let probe = circuit.enter().await;
        assert!(waits(&circuit, LONG * 10).await, "only one");
        drop(probe);
        let probe = circuit.enter().await;
        assert!(!probe.failed(None));
        let probe = circuit.enter().await;
        let (closed, passed) = tokio::join!(async { probe.answered() }, circuit.enter());
        assert!(closed && circuit.is_closed());
        drop(passed);
        assert_eq!(circuit.answered(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_their_bound() {
        let circuit = Circuit::new(Duration::from_secs(5));
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let began = Instant::now();
            circuit.enter().await.failed(None);
            pauses.push(began.elapsed());
        }
        assert!(pauses.iter().all(|pause| *pause <= Duration::from_secs(5)), "{pauses:?}");
        assert!(pauses[11] >= Duration::from_millis(2_500), "{pauses:?}");
        assert!(pauses[1] <= RETRY_PAUSE_MIN + Duration::from_millis(2), "{pauses:?}");
        // What the enabler asks for counts, within the bound.
        let circuit = Circuit::new(LONG);
        circuit.enter().await.failed(Some(Duration::from_secs(30)));
        assert!(waits(&circuit, Duration::from_secs(29)).await);
        assert!(!waits(&circuit, Duration::from_secs(2)).await);
    }
}
