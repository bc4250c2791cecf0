//! The behaviour every engine must show, as one suite run unchanged on each.
