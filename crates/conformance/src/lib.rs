//! Transcripts and outside clients against a running server.
//!
//! What a server must do on the wire is written down as data, in `transcripts/`: what each connection sends and what
//! may come back, with the RFC that says so. This crate reads those files ([`transcript`]), plays them ([`run`]) and
//! tells what differed. Nothing here links to the server: it is a process with an address ([`server`]), and any other
//! IMAP server can stand in its place, which keeps the transcripts honest.
//!
//! Deliberately absent: an IMAP client library (the [`client`] knows lines and literals only), and any use of the
//! server's own crates.

pub mod client;
pub mod clients;
pub mod foundationdb;
pub mod malformed;
pub mod nginx;
pub mod oracle;
pub mod pattern;
pub mod process;
pub mod run;
pub mod server;
pub mod specs;
pub mod transcript;
pub mod value;
