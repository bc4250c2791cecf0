//! The subcommands.

pub mod account;
pub mod serve;
