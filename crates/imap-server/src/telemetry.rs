//! The figures a server tells of itself; handles are looked up once. Install the recorder before the server starts.

use std::sync::LazyLock;

use metrics::{Counter, Gauge, counter, gauge};

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
