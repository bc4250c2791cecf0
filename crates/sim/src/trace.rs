//! What happened, in order: a fingerprint of all of it, and the last of it in words.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::machine;

/// Lines kept for whoever reads of a failure.
const LINES_KEPT: usize = 60;

#[derive(Default)]
struct State {
    fingerprint: u64,
    lines: VecDeque<String>,
    events: u64,
}

/// The record of one simulation.
pub struct Trace {
    state: Mutex<State>,
    /// Every line is printed as it comes.
    print: bool,
}

impl Trace {
    /// An empty record.
    pub fn new(print: bool) -> Self {
        Self { state: Mutex::default(), print }
    }

    /// Notes an event in words.
    pub fn say(&self, who: fmt::Arguments<'_>, what: fmt::Arguments<'_>) {
        let line = format!("{:>9.3} {who}: {what}", machine::elapsed().as_secs_f64());
        self.mix(line.as_bytes());
        if self.print {
            println!("{line}");
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.lines.len() == LINES_KEPT {
            state.lines.pop_front();
        }
        state.lines.push_back(line);
    }

    /// Notes octets that count for the fingerprint alone. FNV-1a: the same on every machine.
    pub fn mix(&self, octets: &[u8]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.events += 1;
        for octet in octets {
            state.fingerprint = (state.fingerprint ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01B3);
        }
        state.fingerprint = (state.fingerprint ^ 0xFF).wrapping_mul(0x0100_0000_01B3);
    }

    /// The fingerprint of all events so far, and how many they were.
    pub fn fingerprint(&self) -> (u64, u64) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.fingerprint, state.events)
    }

    /// Ends the simulation, and the process with it: a promise was broken.
    pub fn broken(&self, promise: impl fmt::Display) -> ! {
        {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if !self.print {
                for line in &state.lines {
                    println!("{line}");
                }
            }
            let now = machine::elapsed().as_secs_f64();
            println!("{now:>9.3} BROKEN: {promise}");
            println!("fingerprint {:016x} events {}", state.fingerprint, state.events);
        }
        std::process::exit(crate::BROKEN);
    }
}
