//! Metrics of a node's view of the cluster.

use metrics::{Counter, counter, describe_counter, describe_gauge, gauge};
use model::{PARTITIONS, Partition};
use store::keyspace::Group;
use store_api::{Members, NodeId, NodeState};

/// Handles made once.
pub(crate) struct Telemetry {
    pub(crate) deaths: Counter,
    pub(crate) rejoins: Counter,
    moved: Counter,
    group: Group,
}

impl Telemetry {
    pub(crate) fn new(group: Group) -> Self {
        if group == Group::Storage {
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
        } else {
            describe_gauge!("mss_push_group_nodes", "Processes that push by state, as this one sees them.");
            describe_gauge!("mss_push_group_epoch", "Ascends with each join, leave and change of state.");
            describe_gauge!("mss_push_group_partitions_owned", "Partitions for which this process pushes.");
            describe_counter!("mss_push_group_handovers_total", "Partitions that another process took over.");
            describe_counter!(
                "mss_push_group_deaths_total",
                "Records of dead processes that this one removed."
            );
            describe_counter!(
                "mss_push_group_rejoins_total",
                "Times that this process was taken for dead and came back."
            );
            describe_counter!("mss_push_group_failures_total", "Heartbeats, looks and removals that failed.");
        }
        for what in ["heartbeat", "look", "removal"] {
            counter!(name(group, "failures_total"), "what" => what).increment(0);
        }
        Self {
            deaths: counter!(name(group, "deaths_total")),
            rejoins: counter!(name(group, "rejoins_total")),
            moved: counter!(name(group, "handovers_total")),
            group,
        }
    }

    /// Notes a heartbeat, look or removal that failed.
    pub(crate) fn failed(&self, what: &'static str) {
        counter!(name(self.group, "failures_total"), "what" => what).increment(1);
    }

    /// Notes a change of the members.
    pub(crate) fn note(&self, before: &Members, after: &Members, own: NodeId) {
        for state in NodeState::ALL {
            let count = after.all().iter().filter(|member| member.state == state).count();
            gauge!(name(self.group, "nodes"), "state" => state.name()).set(count as f64);
        }
        gauge!(name(self.group, "epoch")).set(after.epoch as f64);
        gauge!(name(self.group, "partitions_owned")).set(after.owned(own) as f64);
        let moved = (0..PARTITIONS)
            .filter(|p| before.owner(Partition(*p)).map(|m| m.id) != after.owner(Partition(*p)).map(|m| m.id))
            .count();
        self.moved.increment(moved as u64);
    }
}

/// The name of a metric of a group: a process may be of several.
fn name(group: Group, what: &str) -> String {
    match group {
        Group::Storage => format!("mss_cluster_{what}"),
        Group::Push => format!("mss_push_group_{what}"),
    }
}
