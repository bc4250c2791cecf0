//! Bounds of a cluster.

/// Most nodes of an installation; the next one is refused. Bounds a look, which reads two small values a node.
pub(crate) const NODES_MAX: usize = 1_000;
/// Longest name, address or version of a node, bytes. A byte counts them in the record.
pub(crate) const TEXT_BYTES_MAX: usize = 255;
