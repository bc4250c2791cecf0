//! Who a client is, by the word of others: the bearer tokens of an authorization server ([`oauth`]).
//!
//! It is a crate of its own, below `imap-server`, so that a front end knows the question (whose token is this?) and not how
//! it is answered: no HTTP, no keys, no signatures there.
//!
//! Deliberately absent: accounts, which are the store's; IMAP and SASL; keys that both sides know, by which whoever can
//! check a token could make one.

pub mod limits;
pub mod oauth;
