//! What a server is told at its start: options and bounds.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use registration::Registrations;
use rustls::pki_types::CertificateDer;

use crate::functions::Functions;

/// How a server behaves.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The certificate and keys; without them neither STARTTLS nor implicit TLS.
    pub tls: Option<Tls>,
    /// Where passwords may come in clear.
    pub cleartext_login: CleartextLogin,
    /// The key of what a login that must fail is told, 32 octets or more: the same on all front ends and after a
    /// restart, so that the salt shown for an address without an account never changes. None: random at the start.
    pub decoy_key: Option<secrecy::SecretSlice<u8>>,
    /// Where connections to listeners of [`crate::Security::Proxied`] may come from.
    pub proxies: Vec<IpNet>,
    /// Who may act for subscribers.
    pub functions: Functions,
    /// TLS with keys that client and server both know, for listeners of [`crate::Security::Psk`].
    pub psk: Option<Arc<psk::Acceptor>>,
    /// Who checks bearer tokens; none where they are not taken.
    pub tokens: Option<Arc<vouch::oauth::Tokens>>,
    /// What `/shared/comment` says of the server (RFC 5464 §6.2.1).
    pub comment: Option<String>,
    /// What `/shared/admin` says: how to reach the operator, a URI (RFC 5464 §6.2.1).
    pub admin: Option<String>,
    /// The server's name in URLs of messages (RFC 5092 §4), without a port: what clients connect to. Others are refused;
    /// none takes any, since no other server's token passes here.
    pub url_host: Option<String>,
    /// What clients may send unasked.
    pub literals: Literals,
    /// Who knows which addresses a login reaches; what the operator linked, unless said otherwise.
    pub registrations: Registrations,
    /// Whether the accounts of a subscriber reach each other's folders without SELECTA, as far as the store lets them.
    pub siblings: bool,
    /// Who converts parts of messages, and how many at a time; none for a server that offers no CONVERT (RFC 5259).
    pub conversion: Option<Conversion>,
    /// The bounds.
    pub limits: Limits,
}

/// What CONVERT works with.
#[derive(Clone, Debug)]
pub struct Conversion {
    /// The worker processes.
    pub converter: convert::Converter,
    /// Messages that one command converts; more get MAXCONVERTMESSAGES.
    pub messages_max: usize,
    /// Parts of each message that one command converts; more get MAXCONVERTPARTS.
    pub parts_max: usize,
    /// What pictures become when the client leaves that to the server.
    pub picture: convert::Target,
}

/// Literals that clients send without being asked for them (RFC 7888). One of the two is offered, never both (§5).
///
/// With `LITERAL+` a phone saves a round trip for every message. What speaks against it is a large message sent for
/// nothing, because it is above the limit: with APPENDLIMIT (RFC 7889) clients know the limit before they send, and a
/// message above it is skipped and answered with TOOBIG, on the same connection where that is bearable. Where clients
/// are known not to look at APPENDLIMIT, or are often over their quota, `LITERAL-` makes them ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Literals {
    /// `LITERAL+`: of any size.
    #[default]
    Plus,
    /// `LITERAL-`: up to 4096 octets.
    Minus,
}

/// The server's side of TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Versions, suites, certificates.
    pub config: Arc<rustls::ServerConfig>,
    /// The certificate that every client is shown, for the channel binding tls-server-end-point (RFC 5929 §4); none
    /// when it differs between clients, and then only tls-exporter (RFC 9266) binds.
    pub certificate: Option<CertificateDer<'static>>,
}

/// Where passwords may come without TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CleartextLogin {
    /// From the same machine only.
    #[default]
    Loopback,
    /// From everywhere: something in front of the server ends TLS.
    Everywhere,
    /// Nowhere.
    Nowhere,
}

/// Bounds of one server process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time. The next one gets `* BYE [UNAVAILABLE]`.
    pub connections_max: usize,
    /// Connections at a time from one address (of IPv6, from one /64). Carriers put many phones behind one address.
    pub connections_per_address_max: usize,
    /// Sessions at a time of one account. The next login gets `NO [LIMIT]`.
    pub sessions_per_account_max: usize,
    /// From connecting to being logged in.
    pub login_time_max: Duration,
    /// Silence between two commands, 30 minutes or more (RFC 9051 §5.4).
    pub silence_max: Duration,
    /// Silence of a client that is in the middle of a command.
    pub pause_in_command_max: Duration,
    /// How long an IDLE may last; clients renew it within 29 minutes (RFC 2177 §3).
    pub idle_max: Duration,
    /// Between two `* OK` of an IDLE in which nothing happens. Two minutes stay below the time after which most
    /// carrier NATs forget a TCP connection (RFC 5382 allows them 2 h 4 min, many use 5 to 10 min), and cost a phone
    /// one short wake-up of its radio each; zero for none.
    pub idle_keepalive: Duration,
    /// How long a client may take nothing of what it is sent.
    pub write_stall_max: Duration,
    /// Octets that wait for a slow reader before commands wait too.
    pub output_bytes_max: usize,
    /// How long a call of the store may take.
    pub call_time_max: Duration,
    /// Between two notices that a long command is at work (RFC 9585 §4); clients give up after 30 seconds of silence or
    /// later.
    pub progress_interval: Duration,
    /// Searches through many messages, and orderings of many, of one account at a time; more wait. Phones search one
    /// at a time.
    pub searches_per_account_max: usize,
    /// Orderings (SORT, THREAD) of many messages of all accounts at a time, each of which may hold 64 MiB; more wait.
    pub orderings_max: usize,
    /// Mailboxes of its own account that one session may have watched by NOTIFY, 32 bytes each; beyond, NOTIFICATIONOVERFLOW.
    /// As many of all other users together; beyond, whoever shares most is left out.
    pub notify_folders_max: usize,
    /// Mailboxes that one ESEARCH may search, some 100 bytes each while it runs; beyond, NO `[LIMIT]`. As many as an
    /// account may have, so that only who adds those of other users meets it.
    pub multisearch_folders_max: usize,
    /// Between two looks, of a session at work, at whether its active account is open and, after SELECTA, still its
    /// subscriber's: how long one that was disabled or taken away may be used. A look reads one value of the store, after
    /// SELECTA two, and one more for each account that is reached without. A session in IDLE looks when something happens,
    /// and with each keep-alive.
    pub account_check_interval: Duration,
    /// Lines that are no commands, before login; then `* BYE`.
    pub bad_lines_max: u32,
    /// Failed logins on one connection; then `* BYE`.
    pub login_failures_per_connection_max: u32,
    /// Failed logins from one address within [`Limits::login_failure_window`]; further ones are refused unseen.
    pub login_failures_per_address_max: u32,
    /// Failed logins to one account from one address within the window. Not counted over all addresses: a stranger
    /// could lock an owner out.
    pub login_failures_per_account_max: u32,
    /// How long a failed login is remembered.
    pub login_failure_window: Duration,
    /// How long the first failed login is held before its answer; doubles with each one, up to 16 times this. Long
    /// enough to hide whether a password was checked, and how.
    pub login_failure_delay: Duration,
    /// Passwords being checked at a time.
    pub password_checks_max: usize,
    /// How long a password that was right need not be derived again.
    pub password_memory: Duration,
    /// Octets of a command line before login, literals included.
    pub login_command_bytes_max: usize,
    /// Octets of a command line, without literals.
    pub line_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 100_000,
            connections_per_address_max: 20_000,
            sessions_per_account_max: 100,
            login_time_max: Duration::from_secs(120),
            silence_max: Duration::from_secs(31 * 60),
            pause_in_command_max: Duration::from_secs(120),
            idle_max: Duration::from_secs(60 * 60),
            idle_keepalive: Duration::from_secs(120),
            write_stall_max: Duration::from_secs(60),
            output_bytes_max: 64 * 1024,
            call_time_max: Duration::from_secs(60),
            progress_interval: Duration::from_secs(10),
            searches_per_account_max: 2,
            orderings_max: std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
            notify_folders_max: model::limits::FOLDERS_PER_ACCOUNT_MAX,
            multisearch_folders_max: model::limits::FOLDERS_PER_ACCOUNT_MAX,
            account_check_interval: Duration::from_secs(1),
            bad_lines_max: 10,
            login_failures_per_connection_max: 5,
            login_failures_per_address_max: 1_000,
            login_failures_per_account_max: 20,
            login_failure_window: Duration::from_secs(600),
            login_failure_delay: Duration::from_millis(500),
            password_checks_max: std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
            password_memory: Duration::from_secs(300),
            login_command_bytes_max: 16 * 1024,
            line_bytes_max: 64 * 1024,
        }
    }
}
