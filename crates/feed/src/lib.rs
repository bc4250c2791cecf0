//! The change feed: tails each partition's log and wakes who subscribed.
