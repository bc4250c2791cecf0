//! The client in this process: one library, one API version, one network thread.
//!
//! FoundationDB's client runs all of its work on one thread, which is started once and, once stopped, cannot start
//! again. Leaving the process while it runs is undefined behaviour in the library, so whoever may start it holds a
//! [`NetworkGuard`] until nothing uses an engine any more.

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use foundationdb::FdbError;
use foundationdb_sys as sys;
use parking_lot::Mutex;

use crate::OpenError;

enum State {
    /// No client was started.
    Idle,
    /// A library took its API version, but its network is not started.
    Selected { api_version: i32 },
    /// The network thread runs.
    Running { api_version: i32, thread: JoinHandle<()> },
    /// The network thread has ended.
    Stopped,
}

static STATE: Mutex<State> = Mutex::new(State::Idle);

/// Stops the client's network thread when dropped, if an engine started it. To be held by `main` and dropped last, after
/// the runtime: no future of an engine is ready any more after that.
#[derive(Debug)]
#[must_use = "the network thread stops when this is dropped"]
pub struct NetworkGuard {
    _private: (),
}

impl NetworkGuard {
    /// A guard. It starts nothing.
    #[expect(clippy::new_without_default, reason = "a guard is made on purpose")]
    pub fn new() -> Self {
        Self { _private: () }
    }
}

impl Drop for NetworkGuard {
    fn drop(&mut self) {
        stop();
    }
}

/// Opens the library, takes its API version and starts the network thread, if that is not done.
pub(crate) fn start(library: Option<&Path>, api_version: i32) -> Result<(), OpenError> {
    let library = library.map_or_else(|| PathBuf::from(sys::LIBRARY_NAME), Path::to_owned);
    let mut state = STATE.lock();
    // SAFETY: the operator names the library, or the dynamic loader finds it under its own name; that it is
    // FoundationDB's is theirs to say, as it is with any library that a program is linked to.
    unsafe { sys::load(&library) }.map_err(OpenError::Library)?;
    match *state {
        State::Stopped => return Err(OpenError::Stopped),
        State::Selected { api_version: running } | State::Running { api_version: running, .. }
            if running != api_version =>
        {
            return Err(OpenError::AnotherClient { running, asked: api_version });
        }
        State::Running { .. } => return Ok(()),
        State::Selected { .. } => {}
        State::Idle => {
            // SAFETY: takes nothing and may be called at any time after loading.
            let spoken = unsafe { sys::fdb_get_max_api_version() };
            if spoken < api_version {
                return Err(OpenError::LibraryTooOld { library, spoken, asked: api_version });
            }
            // The layouts here are the same in all versions from 710 to 730, so the version asked for is named as that
            // of the header too: a library of 7.1 refuses a newer header.
            //
            // SAFETY: the first call of the library after asking for its version, once, under the lock.
            check("selecting the API version", unsafe {
                sys::fdb_select_api_version_impl(api_version, api_version)
            })?;
            *state = State::Selected { api_version };
        }
    }
    // SAFETY: after the version is selected, before the network runs, under the lock.
    check("setting up the network", unsafe { sys::fdb_setup_network() })?;
    let thread = std::thread::Builder::new()
        .name("kv-fdb-network".to_owned())
        .spawn(|| {
            // SAFETY: the network is set up, and this is the only thread that runs it: the state is left for good.
            let ended = check("running the network", unsafe { sys::fdb_run_network() });
            if let Err(error) = ended {
                tracing::error!(%error, "the FoundationDB client's network thread failed: no call is answered any more");
            }
        })
        .map_err(|error| OpenError::Start { action: "making the network thread", detail: error.to_string() })?;
    *state = State::Running { api_version, thread };
    Ok(())
}

/// Ends the network thread and waits for it.
fn stop() {
    let mut state = STATE.lock();
    match std::mem::replace(&mut *state, State::Stopped) {
        State::Running { thread, .. } => {
            // SAFETY: the network was set up and its thread started; this is the one place that stops it, once.
            if let Err(error) = check("stopping the network", unsafe { sys::fdb_stop_network() }) {
                // It would not end, so there is nothing to wait for.
                tracing::error!(%error, "the FoundationDB client's network thread cannot be stopped");
                return;
            }
            if thread.join().is_err() {
                tracing::error!("the FoundationDB client's network thread panicked");
            }
        }
        // Another guard of this process may still see an engine started.
        State::Idle => *state = State::Idle,
        State::Selected { .. } | State::Stopped => {}
    }
}

fn check(action: &'static str, code: sys::fdb_error_t) -> Result<(), OpenError> {
    if code == 0 {
        return Ok(());
    }
    let error = FdbError::from_code(code);
    Err(OpenError::Start { action, detail: format!("{} ({code})", error.message()) })
}
