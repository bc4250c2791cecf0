//! What operations do within a batch, one file each.

pub(crate) mod acl;
pub(crate) mod annotate;
pub(crate) mod append;
pub(crate) mod copy;
pub(crate) mod expunge;
pub(crate) mod flags;
pub(crate) mod folders;
pub(crate) mod marks;
pub(crate) mod metadata;
pub(crate) mod reap;
pub(crate) mod restore;
pub(crate) mod staged;
