//! What the store does, as its callers see it, over the embedded engine.
#![allow(clippy::unwrap_used, reason = "a test fails where it is surprised")]

mod accounts;
mod annotating;
mod appending;
mod changes;
mod checking;
mod checkpoints;
mod copying;
mod costs;
mod deleting;
mod devices;
mod expunging;
mod flagging;
mod folders;
mod harness;
mod large;
mod metadata;
mod objects;
mod reaping;
mod references;
mod restoring;
mod searching;
mod sharing;
