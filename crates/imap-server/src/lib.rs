//! IMAP sessions over the store's client trait.
//!
//! [`Server`] takes listeners and serves IMAP4rev1 (RFC 3501) and IMAP4rev2 (RFC 9051) on them. What stands where:
//!
//! - `server`: accepting, limits on connections, draining. `connection`: octets in and out, TLS, DEFLATE, timeouts.
//! - `session`: who is logged in and what is enabled. `view`: one session's sequence numbers. `sync`: from what the
//!   client knows to what is.
//! - `accounts`: the accounts that a login reaches, and the active one of them.
//! - `commands`: the table of commands; a file each below it. To add one: its grammar in `imap-wire`, its file here,
//!   its row in the table, its capability in `capabilities`.
//! - `heard`: the change feed as a session hears it. `notify`: what NOTIFY wants told, of all mailboxes, between commands.
//! - `contexts`: results of searches that are kept up to date.
//! - `auth`: SASL, the checks of passwords, the slow-down. [`credentials`]: what is kept of a password. [`functions`]:
//!   programs of the operator that act for subscribers.
//!
//! Deliberately absent: anything another front end could not rebuild from (account, folder, MODSEQ); polling; a
//! folder's rows between two commands. Sequence numbers exist here only, the store speaks UIDs.

mod accounts;
mod auth;
mod capabilities;
mod commands;
pub mod config;
mod connection;
mod contexts;
pub mod credentials;
mod encode;
pub mod functions;
mod heard;
mod notify;
mod others;
mod progress;
mod proxied;
mod reply;
mod server;
mod session;
mod sync;
mod telemetry;
mod turns;
mod view;

pub use commands::{CommandInfo, command_table};
pub use config::{CleartextLogin, Conversion, Limits, Literals, Options, Tls};
pub use server::{Security, Server};
