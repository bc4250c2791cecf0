//! The subcommands.

pub mod account;
pub mod check;
pub mod serve;
