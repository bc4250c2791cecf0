//! Metrics of a router.

use metrics::{counter, describe_counter, describe_gauge, gauge};

pub(crate) fn describe() {
    describe_gauge!("mss_router_nodes", "Storage nodes that serve, as last heard.");
    describe_gauge!("mss_router_nodes_reached", "Storage nodes whose feed stream is up.");
    describe_gauge!("mss_router_epoch", "Epoch of the membership as last heard.");
    describe_counter!("mss_router_retries_total", "Calls asked again, of another node or later.");
    describe_counter!("mss_router_failures_total", "Calls that no node could answer in time.");
    describe_counter!("mss_router_unknown_total", "Writes of which nobody knows whether they happened.");
    describe_counter!("mss_router_feed_moves_total", "Accounts listened to at another node than before.");
    describe_counter!("mss_feed_stream_losses_total", "Feed streams that ended.");
    gauge!("mss_router_nodes_reached").set(0.0);
}

pub(crate) fn retried() {
    counter!("mss_router_retries_total").increment(1);
}

pub(crate) fn failed() {
    counter!("mss_router_failures_total").increment(1);
}

pub(crate) fn unknown() {
    counter!("mss_router_unknown_total").increment(1);
}

pub(crate) fn moved(accounts: usize) {
    counter!("mss_router_feed_moves_total").increment(accounts as u64);
}

pub(crate) fn stream_lost() {
    counter!("mss_feed_stream_losses_total").increment(1);
}

pub(crate) fn reached(nodes: usize) {
    gauge!("mss_router_nodes_reached").set(nodes as f64);
}

pub(crate) fn heard(nodes: usize, epoch: u64) {
    gauge!("mss_router_nodes").set(nodes as f64);
    gauge!("mss_router_epoch").set(epoch as f64);
}
