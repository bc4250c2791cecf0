//! Live progress on the terminal, silent when standard error is none.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// One line that changes while a run goes on.
#[derive(Debug, Clone)]
pub struct Progress {
    bar: ProgressBar,
    label: String,
}

impl Progress {
    /// A line that starts with `label`, the target and profile; hidden when `quiet` or without a terminal.
    pub fn new(label: String, quiet: bool) -> Self {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(None, target);
        // A template that does not parse would fail the first run of anybody; the default style stands in for it.
        if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_bar:.cyan} {pos}/{len} {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(label.clone());
        Self { bar, label }
    }

    /// Starts a phase of `length` steps.
    pub fn begin(&self, phase: &str, length: u64) {
        self.bar.set_prefix(format!("{}: {phase}", self.label));
        self.bar.set_message("");
        self.bar.set_length(length);
        self.bar.set_position(0);
    }

    /// Some steps are done.
    pub fn advance(&self, steps: u64) {
        self.bar.inc(steps);
    }

    /// A measurement is at step `position` with `done` operations, `lately` of them in the last `interval`.
    pub fn measured(&self, position: u64, done: u64, lately: u64, interval: Duration) {
        self.bar.set_position(position);
        let rate = lately as f64 / interval.as_secs_f64();
        self.bar.set_message(format!("{done} operations, {rate:.0}/s"));
    }

    /// Prints a line above the progress, or plainly on standard error.
    pub fn say(&self, text: &str) {
        if self.bar.is_hidden() {
            eprintln!("{}: {text}", self.label);
        } else {
            self.bar.println(format!("{}: {text}", self.label));
        }
    }

    /// Takes the line away.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}
