//! What was answered OK survives (README: promises 1, 2, 4 and 5), whenever the process is killed and when the disk is
//! full.
//!
//! Workers append, flag, move and expunge, and write down what was answered. The server is killed with SIGKILL after a
//! random number of answers, started again, and asked for everything: each message is exactly where its record says, or
//! for the one command in flight, where it was or where it should have gone, whole.

mod account;
mod apart;
mod full_disk;
mod kill;
mod record;
mod worker;
