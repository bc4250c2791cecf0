//! The server over a real store and engine, spoken to over sockets.

mod accounts;
mod annotations;
mod changes;
mod client;
mod contexts;
mod fixture;
mod limits;
mod login;
mod mailboxes;
mod multisearch;
mod notify;
mod others;
mod reaping;
mod security;
mod strangers;
