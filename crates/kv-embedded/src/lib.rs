//! The embedded engine: one directory, optimistic serializable transactions, group commit.
