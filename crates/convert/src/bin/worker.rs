//! A worker by itself, for tests: octets of memory, seconds of a processor and octets of a part are its arguments.

use convert::worker::{Bounds, run};

fn main() -> std::io::Result<()> {
    let mut numbers = std::env::args().filter_map(|argument| argument.parse().ok());
    let mut next = || numbers.next().ok_or(std::io::ErrorKind::InvalidInput);
    run(Bounds { memory_bytes_max: next()?, cpu_seconds_max: next()?, source_bytes_max: next()? })
}
