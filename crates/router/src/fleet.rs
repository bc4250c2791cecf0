//! The nodes that can be asked, with what is needed to ask them.

use std::collections::HashMap;
use std::sync::Arc;

use model::{PARTITIONS, Partition};
use store_api::{Member, Members, NodeId};
use store_rpc::{ClientCaches, Endpoint, EndpointError, RemoteStore, Tls, connect};
use tonic::transport::Channel;

use crate::circuit::Circuit;

/// A node that serves.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) store: RemoteStore,
    pub(crate) circuit: Circuit,
    channels: Vec<Channel>,
}

impl Node {
    fn new(member: &Member, tls: Option<&Tls>, caches: &Arc<ClientCaches>) -> Result<Self, EndpointError> {
        let channels = connect(&member.address.parse::<Endpoint>()?, tls)?;
        Ok(Self {
            id: member.id,
            name: member.name.clone(),
            address: member.address.clone(),
            store: RemoteStore::new(channels.clone(), caches.clone()),
            circuit: Circuit::default(),
            channels,
        })
    }

    /// A connection for streams.
    pub(crate) fn channel(&self) -> Channel {
        self.channels[0].clone()
    }
}

/// The nodes that serve, as of one view.
#[derive(Default)]
pub(crate) struct Fleet {
    pub(crate) members: Arc<Members>,
    pub(crate) nodes: HashMap<NodeId, Arc<Node>>,
    /// The owner of each partition; empty when nobody serves.
    owners: Vec<Arc<Node>>,
}

impl Fleet {
    /// The fleet of a view. Nodes that were there before keep their connections and circuits.
    pub(crate) fn new(
        members: Arc<Members>,
        before: &Self,
        tls: Option<&Tls>,
        caches: &Arc<ClientCaches>,
    ) -> Self {
        let mut nodes = HashMap::new();
        for member in members.serving() {
            let kept = before.nodes.get(&member.id).filter(|node| node.address == member.address);
            let node = match kept {
                Some(node) => node.clone(),
                None => match Node::new(member, tls, caches) {
                    Ok(node) => Arc::new(node),
                    Err(error) => {
                        tracing::error!(node = member.name, %error, "a storage node cannot be asked");
                        continue;
                    }
                },
            };
            nodes.insert(member.id, node);
        }
        let owner = |partition| {
            let owner = members.owner(Partition(partition)).and_then(|member| nodes.get(&member.id));
            owner.or_else(|| nodes.values().next()).cloned()
        };
        let owners = (0..PARTITIONS).map_while(owner).collect();
        Self { members, nodes, owners }
    }

    /// The node to ask about a partition, of those not tried yet: the first in rendezvous order whose circuit admits it.
    pub(crate) fn pick(&self, partition: Partition, tried: &[NodeId]) -> Option<Arc<Node>> {
        let owner = self.owners.get(usize::from(partition.0))?;
        if !tried.contains(&owner.id) && owner.circuit.admits() {
            return Some(owner.clone());
        }
        self.members
            .ranking(partition)
            .into_iter()
            .filter(|member| member.id != owner.id && !tried.contains(&member.id))
            .filter_map(|member| self.nodes.get(&member.id))
            .find(|node| node.circuit.admits())
            .cloned()
    }
}
