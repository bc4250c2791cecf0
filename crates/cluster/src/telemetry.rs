//! Metrics of a node's view of the cluster.

use metrics::{Counter, counter, describe_counter, describe_gauge, gauge};
use model::{PARTITIONS, Partition};
use store_api::{Members, NodeId, NodeState};

/// Notes a heartbeat, look or removal that failed.
pub(crate) fn failed(what: &'static str) {
    counter!("mss_cluster_failures_total", "what" => what).increment(1);
}

/// Handles made once.
pub(crate) struct Telemetry {
    pub(crate) deaths: Counter,
    pub(crate) rejoins: Counter,
    moved: Counter,
}

impl Telemetry {
    pub(crate) fn new() -> Self {
        describe_gauge!("mss_cluster_nodes", "Storage nodes by state, as this one sees them.");
        describe_gauge!("mss_cluster_epoch", "Ascends with each join, leave and change of state.");
        describe_gauge!("mss_cluster_partitions_owned", "Partitions that this node owns.");
        describe_counter!("mss_cluster_handovers_total", "Partitions whose owner changed.");
        describe_counter!("mss_cluster_deaths_total", "Records of dead nodes that this one removed.");
        describe_counter!(
            "mss_cluster_rejoins_total",
            "Times that this node was taken for dead and came back."
        );
        describe_counter!("mss_cluster_failures_total", "Heartbeats, looks and removals that failed.");
        for what in ["heartbeat", "look", "removal"] {
            counter!("mss_cluster_failures_total", "what" => what).increment(0);
        }
        Self {
            deaths: counter!("mss_cluster_deaths_total"),
            rejoins: counter!("mss_cluster_rejoins_total"),
            moved: counter!("mss_cluster_handovers_total"),
        }
    }

    /// Notes a change of the members.
    pub(crate) fn note(&self, before: &Members, after: &Members, own: NodeId) {
        for state in NodeState::ALL {
            let count = after.all().iter().filter(|member| member.state == state).count();
            gauge!("mss_cluster_nodes", "state" => state.name()).set(count as f64);
        }
        gauge!("mss_cluster_epoch").set(after.epoch as f64);
        gauge!("mss_cluster_partitions_owned").set(after.owned(own) as f64);
        let moved = (0..PARTITIONS)
            .filter(|p| before.owner(Partition(*p)).map(|m| m.id) != after.owner(Partition(*p)).map(|m| m.id))
            .count();
        self.moved.increment(moved as u64);
    }
}
