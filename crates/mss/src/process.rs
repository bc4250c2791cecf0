//! The process as the system sees it: its signals, its limit of open files, its supervisor, its own figures.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Files the process needs beside its connections: tables and journals of the engine, listeners, tools.
const FILES_BESIDE_CONNECTIONS: u64 = 4_096;

/// How a process was asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// SIGTERM: by what runs it; load balancers may still send clients.
    Terminate,
    /// SIGINT: by a person at a terminal.
    Interrupt,
}

/// SIGTERM and SIGINT, which both ask the process to stop.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes both signals over from now on.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The next one of either.
    pub async fn stop(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Terminate,
            _ = self.interrupt.recv() => Asked::Interrupt,
        }
    }
}

/// Raises the soft limit of open files to the hard one, and says so if that is too few for `connections_max`.
pub fn raise_open_files(connections_max: usize) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
    let wanted = connections_max as u64 + FILES_BESIDE_CONNECTIONS;
    if let Some(allowed) = getrlimit(Resource::Nofile).current.filter(|allowed| *allowed < wanted) {
        tracing::warn!(
            allowed,
            wanted,
            "fewer open files are allowed than limits.connections_max needs: raise LimitNOFILE or ulimit -n"
        );
    }
}

/// Tells the service manager, if there is one (`NOTIFY_SOCKET`), that the process serves; and from then until `stop`,
/// as often as it asks (`WATCHDOG_USEC`), that its runtime still turns.
pub fn tell_ready(stop: CancellationToken) {
    notify(NotifyState::Ready);
    let Some(patience) = sd_notify::watchdog_enabled() else { return };
    tokio::spawn(async move {
        let mut tick = tokio::time::interval((patience / 3).max(Duration::from_millis(1)));
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => notify(NotifyState::Watchdog),
            }
        }
    });
}

/// Tells the service manager that the process stops.
pub fn tell_stopping() {
    notify(NotifyState::Stopping);
}

fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}

/// Says what the figures of [`record`] are, and which build this is.
pub fn describe() {
    describe_gauge!("mss_build_info", "Always 1; the version of the binary is its label.");
    gauge!("mss_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    describe_gauge!("process_resident_memory_bytes", Unit::Bytes, "Memory in use that is not paged out.");
    describe_gauge!("process_open_fds", "Open files and sockets.");
    describe_gauge!("process_max_fds", "Open files and sockets allowed.");
    describe_gauge!("process_threads", "Threads.");
    describe_counter!("process_cpu_milliseconds_total", "Processor time used, in the system's calls or not.");
    describe_gauge!("process_start_time_seconds", Unit::Seconds, "When the process began, in Unix time.");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    gauge!("process_start_time_seconds").set(now.as_secs_f64());
}

/// Sets the figures of the process from `/proc`.
pub fn record() {
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        gauge!("process_open_fds").set(files.count() as f64);
    }
    if let Some(allowed) = getrlimit(Resource::Nofile).current {
        gauge!("process_max_fds").set(allowed as f64);
    }
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else { return };
    // The name of the program, in parentheses, may have blanks; fields are counted after it (proc(5): state is 3).
    let Some((_, fields)) = stat.rsplit_once(") ") else { return };
    let fields: Vec<u64> = fields.split(' ').map(|field| field.parse().unwrap_or(0)).collect();
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0);
    let ticks_per_second = rustix::param::clock_ticks_per_second().max(1);
    counter!("process_cpu_milliseconds_total").absolute((field(14) + field(15)) * 1_000 / ticks_per_second);
    gauge!("process_threads").set(field(20) as f64);
    gauge!("process_resident_memory_bytes").set((field(24) * rustix::param::page_size() as u64) as f64);
}
