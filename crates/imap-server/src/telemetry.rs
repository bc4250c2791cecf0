//! The figures a server tells of itself; handles are looked up once. Install the recorder before the server starts.

use std::sync::LazyLock;

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, describe_histogram, gauge};
use model::ErrorKind;
use model::error::Retry;

macro_rules! counters {
    ($($(#[$doc:meta])* $handle:ident = $name:literal;)*) => {
        $($(#[$doc])* pub(crate) static $handle: LazyLock<Counter> = LazyLock::new(|| counter!($name));)*
    };
}

counters! {
    /// Octets read from clients, before inflating.
    RECEIVED_BYTES = "mss_imap_received_bytes_total";
    /// Octets written to clients, after deflating.
    SENT_BYTES = "mss_imap_sent_bytes_total";
    /// Connections accepted.
    CONNECTIONS = "mss_imap_connections_total";
    /// Connections refused because of a limit.
    REFUSED_CONNECTIONS = "mss_imap_connections_refused_total";
}

/// Open connections by what they are at. Source: RFC 9051 §3.
pub(crate) struct Sessions {
    not_authenticated: Gauge,
    authenticated: Gauge,
    selected: Gauge,
    idle: Gauge,
}

static SESSIONS: LazyLock<Sessions> = LazyLock::new(|| {
    let of = |state| gauge!("mss_imap_sessions", "state" => state);
    Sessions {
        not_authenticated: of("not_authenticated"),
        authenticated: of("authenticated"),
        selected: of("selected"),
        idle: of("idle"),
    }
});

/// What a connection is at, as the gauge tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    NotAuthenticated,
    Authenticated,
    Selected,
    Idle,
}

impl Stage {
    fn gauge(self) -> &'static Gauge {
        match self {
            Self::NotAuthenticated => &SESSIONS.not_authenticated,
            Self::Authenticated => &SESSIONS.authenticated,
            Self::Selected => &SESSIONS.selected,
            Self::Idle => &SESSIONS.idle,
        }
    }
}

/// One connection's share of the gauge.
#[derive(Debug)]
pub(crate) struct StageGauge(Stage);

impl StageGauge {
    pub fn new() -> Self {
        Stage::NotAuthenticated.gauge().increment(1);
        Self(Stage::NotAuthenticated)
    }

    pub fn set(&mut self, stage: Stage) {
        if self.0 != stage {
            self.0.gauge().decrement(1);
            stage.gauge().increment(1);
            self.0 = stage;
        }
    }
}

impl Drop for StageGauge {
    fn drop(&mut self) {
        self.0.gauge().decrement(1);
    }
}

/// Counts a login that failed; `reason` is one of few fixed words.
pub(crate) fn login_failed(reason: &'static str) {
    counter!("mss_imap_login_failures_total", "reason" => reason).increment(1);
}

/// Counts a login of a network function; names are provisioned, so they are few.
pub(crate) fn function_logged_in(name: &str) {
    counter!("mss_imap_function_logins_total", "function" => name.to_owned()).increment(1);
}

/// Counts a connection to a trusted listener that was sent away; `reason` is one of few fixed words.
pub(crate) fn proxy_refused(reason: &'static str) {
    counter!("mss_imap_proxy_refused_total", "reason" => reason).increment(1);
}

/// Counts a handshake with a key that both sides know.
pub(crate) fn psk_handshake(outcome: &'static str) {
    counter!("mss_imap_psk_handshakes_total", "outcome" => outcome).increment(1);
}

/// Whether a failure is the operator's to know of: the client did nothing wrong.
pub(crate) fn is_fault(kind: ErrorKind) -> bool {
    kind.wire().2 != Retry::Never || matches!(kind, ErrorKind::Bug | ErrorKind::Corrupt)
}

/// Counts a command that failed through no doing of the client's.
pub(crate) fn faulted(kind: ErrorKind) {
    counter!("mss_imap_faults_total", "cause" => kind.name()).increment(1);
}

/// Says what the figures are, and shows from the start, as zero, those that only failures count.
pub(crate) fn describe() {
    describe_histogram!(
        "mss_imap_command_seconds",
        metrics::Unit::Seconds,
        "Time of a command, from its last octet to its tagged response."
    );
    describe_gauge!("mss_imap_sessions", "Open connections by what they are at.");
    describe_counter!("mss_imap_received_bytes_total", "Octets from clients, as they came.");
    describe_counter!("mss_imap_sent_bytes_total", "Octets to clients, as they went.");
    describe_counter!("mss_imap_connections_total", "Connections accepted, the refused ones included.");
    describe_counter!("mss_imap_connections_refused_total", "Connections refused because of a limit.");
    describe_counter!("mss_imap_login_failures_total", "Logins that failed, by reason.");
    describe_counter!(
        "mss_imap_proxy_refused_total",
        "Connections to a trusted listener that were sent away: not from a trusted proxy, or without its word."
    );
    describe_counter!("mss_imap_function_logins_total", "Logins of network functions, by their name.");
    describe_counter!("mss_imap_faults_total", "Commands that failed through no doing of the client's.");
    describe_counter!(
        "mss_imap_psk_handshakes_total",
        "Handshakes with keys that both sides know, by outcome."
    );
    for outcome in ["done", "failed"] {
        counter!("mss_imap_psk_handshakes_total", "outcome" => outcome).increment(0);
    }
    for counter in [&RECEIVED_BYTES, &SENT_BYTES, &CONNECTIONS, &REFUSED_CONNECTIONS] {
        counter.increment(0);
    }
    LazyLock::force(&SESSIONS);
    for reason in ["credentials", "disabled", "authorization", "token", "expired", "blocked", "store"] {
        counter!("mss_imap_login_failures_total", "reason" => reason).increment(0);
    }
    for kind in ErrorKind::ALL.into_iter().filter(|kind| is_fault(*kind)) {
        counter!("mss_imap_faults_total", "cause" => kind.name()).increment(0);
    }
}
