//! The subcommands.

pub mod account;
pub mod check;
pub mod cluster;
pub mod convert_worker;
pub mod function;
pub mod imap;
pub mod push;
pub mod serve;
pub mod store;
