//! The machine that a simulation runs on: a clock and a source of chance that follow from the seed alone.
//!
//! Time and chance reach a program by two functions of the C library, whoever asks for them: the standard library's
//! clocks and hash tables, `rand`, the caches, tokio. The program of the simulation brings its own. On the thread of
//! the simulation the clock is that of its runtime, which stands still while there is work and jumps to the next timer
//! when there is none, and random octets come from a generator with the seed. Other threads get the kernel's.
//!
//! What is left: a thread that the code under simulation starts, of which the workload here causes none (passwords of
//! one iteration, small messages, small folders to sort); and counters of the process that outlive a simulation, which
//! is why each has a process of its own.

use std::cell::Cell;
use std::time::Duration;

use libc::{c_int, c_uint, c_void, clockid_t, size_t, ssize_t, timespec};

/// The monotonic clock at the beginning.
const MONOTONIC_START: Duration = Duration::from_secs(1_000_000);
/// The wall clock at the beginning: 2026-01-01 00:00 UTC.
const WALL_START: Duration = Duration::from_secs(1_767_225_600);

thread_local! {
    /// Whether this thread is the simulation's.
    static SIMULATED: Cell<bool> = const { Cell::new(false) };
    /// Whether the runtime's clock is being asked: it must not be asked of its own question.
    static ASKING: Cell<bool> = const { Cell::new(false) };
    /// The runtime's clock at the beginning; none before it runs.
    static BEGAN: Cell<Option<tokio::time::Instant>> = const { Cell::new(None) };
    /// State of the generator.
    static CHANCE: Cell<u64> = const { Cell::new(0) };
}

/// Runs `simulation` in a runtime of its own, on a thread of its own, whose time and chance follow from `seed`.
pub fn run<F: Future<Output = ()>>(seed: u64, simulation: impl FnOnce() -> F + Send + 'static) {
    let thread = std::thread::spawn(move || {
        CHANCE.set(seed);
        SIMULATED.set(true);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without I/O needs nothing that could be missing");
        runtime.block_on(async {
            BEGAN.set(Some(tokio::time::Instant::now()));
            simulation().await;
            BEGAN.set(None);
        });
        SIMULATED.set(false);
    });
    // A panic has been printed.
    if thread.join().is_err() {
        std::process::exit(crate::BROKEN);
    }
}

/// Time since the beginning.
pub fn elapsed() -> Duration {
    let Some(began) = BEGAN.get() else { return Duration::ZERO };
    if ASKING.replace(true) {
        return Duration::ZERO;
    }
    let elapsed = began.elapsed();
    ASKING.set(false);
    elapsed
}

/// The wall clock, seconds since 1970-01-01 UTC.
pub fn wall_seconds() -> i64 {
    (WALL_START + elapsed()).as_secs() as i64
}

/// SplitMix64: every state gives one number, and all follow from the first.
fn chance() -> u64 {
    let state = CHANCE.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
    CHANCE.set(state);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// In place of the C library's.
///
/// # Safety
/// As of `getrandom(2)`: `buffer` is writable for `length` octets.
#[expect(unsafe_code, reason = "a function of the C library cannot be replaced without")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, length: size_t, flags: c_uint) -> ssize_t {
    if !SIMULATED.get() {
        // SAFETY: the arguments are the caller's, who keeps the contract of getrandom(2), which is the system call's.
        return unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) } as ssize_t;
    }
    let mut written = 0;
    while written < length {
        let octets = chance().to_le_bytes();
        let count = octets.len().min(length - written);
        // SAFETY: `written + count` is at most `length`, so the target is within the caller's buffer, which a local
        // array cannot overlap.
        unsafe {
            std::ptr::copy_nonoverlapping(octets.as_ptr(), buffer.cast::<u8>().add(written), count);
        }
        written += count;
    }
    length as ssize_t
}

/// In place of the C library's.
///
/// # Safety
/// As of `clock_gettime(2)`: `time` points to a writable `timespec`.
#[expect(unsafe_code, reason = "a function of the C library cannot be replaced without")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    let start = match clock {
        libc::CLOCK_MONOTONIC => MONOTONIC_START,
        libc::CLOCK_REALTIME => WALL_START,
        _ => Duration::ZERO,
    };
    if !SIMULATED.get() || start.is_zero() {
        // SAFETY: the arguments are the caller's, who keeps the contract of clock_gettime(2), which is the system call's.
        return unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) } as c_int;
    }
    let now = start + elapsed();
    // A timespec has padding on some targets: it is taken whole and its two fields are set.
    // SAFETY: `time` is writable by the caller's contract, and all-zero octets are a timespec: it is made of integers.
    unsafe {
        let mut answer: timespec = std::mem::zeroed();
        answer.tv_sec = now.as_secs() as libc::time_t;
        answer.tv_nsec = now.subsec_nanos().into();
        time.write(answer);
    }
    0
}
