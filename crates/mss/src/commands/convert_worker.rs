//! `mss convert-worker`: what `mss serve` and `mss imap` start to convert parts of messages; nothing for people.

use convert::worker::{Bounds, run as work};

/// Convert parts of messages, from standard input to standard output.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Memory, bytes
    memory_bytes_max: u64,
    /// Processor time of a conversion, seconds
    cpu_seconds_max: u64,
    /// Largest part, bytes
    source_bytes_max: u64,
}

/// Runs until its input ends.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let &Arguments { memory_bytes_max, cpu_seconds_max, source_bytes_max } = arguments;
    Ok(work(Bounds { memory_bytes_max, cpu_seconds_max, source_bytes_max })?)
}
