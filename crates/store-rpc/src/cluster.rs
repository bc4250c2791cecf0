//! What a node knows of the others: both sides of `mss.cluster.v1`.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use model::{Error, ErrorKind, Result};
use store_api::{Ctx, Member, Members, Membership, NodeId, NodeState, Requestor};
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

use crate::cluster_pb as pb;
use crate::cluster_pb::cluster_client::ClusterClient;
use crate::cluster_pb::cluster_server::Cluster as ClusterService;
use crate::error::{Call, from_status, to_status};
use crate::gate::{Gate, stopping};
use crate::metadata::{self, STREAM_LIFE, request};

/// A node, asked for what it knows of the others.
#[derive(Clone, Debug)]
pub struct RemoteCluster {
    client: ClusterClient<Channel>,
}

impl RemoteCluster {
    /// Asks over this channel.
    pub fn new(channel: Channel) -> Self {
        Self { client: ClusterClient::new(channel) }
    }

    /// The nodes now, and whenever they change.
    ///
    /// # Errors
    /// `Unavailable` when the node cannot be reached, stops, or is not known to the others itself.
    pub async fn members(&self) -> Result<Views> {
        let ctx = Ctx {
            request_id: rand::random(),
            deadline: Some(std::time::Instant::now() + STREAM_LIFE),
            requestor: Requestor::Operator,
        };
        let answered = self.client.clone().members(request(&ctx, pb::MembersRequest {})).await;
        Ok(Views(answered.map_err(|status| from_status(&status, Call::Read))?.into_inner()))
    }

    /// The nodes now, with how long each has been silent, and which one told.
    ///
    /// # Errors
    /// As [`RemoteCluster::members`].
    pub async fn status(&self, ctx: &Ctx) -> Result<(Members, NodeId)> {
        let answered = self.client.clone().status(request(ctx, pb::StatusRequest {})).await;
        let status = answered.map_err(|status| from_status(&status, Call::Read))?.into_inner();
        Ok((members(status.view.unwrap_or_default())?, NodeId(status.answered_by)))
    }

    /// The key of answers about addresses without an account. A secret.
    ///
    /// # Errors
    /// As [`RemoteCluster::members`].
    pub async fn decoy_key(&self, ctx: &Ctx) -> Result<[u8; 32]> {
        let answered = self.client.clone().common(request(ctx, pb::CommonRequest {})).await;
        let common = answered.map_err(|status| from_status(&status, Call::Read))?.into_inner();
        common.decoy_key.as_ref().try_into().map_err(|_| broken("a decoy key has 32 octets"))
    }
}

/// What a node knows of all, whenever it changes.
pub struct Views(Streaming<pb::View>);

impl Views {
    /// The next view; none when the stream's life is over. Cancel-safe.
    ///
    /// # Errors
    /// As [`RemoteCluster::members`].
    pub async fn next(&mut self) -> Result<Option<Members>> {
        match self.0.next().await {
            None => Ok(None),
            Some(Err(status)) => Err(from_status(&status, Call::Read)),
            Some(Ok(view)) => members(view).map(Some),
        }
    }
}

/// What the cluster calls answer from.
pub(crate) struct ClusterCalls {
    pub(crate) membership: Arc<dyn Membership>,
    pub(crate) own: NodeId,
    pub(crate) decoy_key: [u8; 32],
    pub(crate) gate: Gate,
}

#[tonic::async_trait]
impl ClusterService for ClusterCalls {
    type MembersStream = Pin<Box<dyn Stream<Item = Result<pb::View, Status>> + Send>>;

    async fn members(
        &self,
        request: Request<pb::MembersRequest>,
    ) -> Result<Response<Self::MembersStream>, Status> {
        let ctx = metadata::ctx(request.metadata()).map_err(|e| to_status(&e))?;
        drop(self.gate.enter().map_err(|e| to_status(&e))?);
        let deadline = ctx.deadline.unwrap_or_else(|| std::time::Instant::now() + STREAM_LIFE);
        let mut watch = self.membership.watch();
        watch.mark_changed();
        let state = (watch, self.gate.clone(), false);
        let views = futures::stream::unfold(state, move |(mut watch, gate, over)| async move {
            if over {
                return None;
            }
            let end = |status| Some((Err(status), true));
            // Biased: that this node drains is told before the stream ends for it.
            let (view, over) = tokio::select! {
                biased;
                changed = watch.changed() => match changed {
                    Ok(()) => Some((Ok(view(&watch.borrow_and_update(), false)), false)),
                    Err(_) => end(to_status(&stopping())),
                },
                () = gate.closed() => end(to_status(&stopping())),
                () = tokio::time::sleep_until(deadline.into()) => None,
            }?;
            Some((view, (watch, gate, over)))
        });
        Ok(Response::new(Box::pin(views)))
    }

    async fn status(
        &self,
        request: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        metadata::ctx(request.metadata()).map_err(|e| to_status(&e))?;
        let view = view(&self.membership.now(), true);
        Ok(Response::new(pb::StatusResponse { view: Some(view), answered_by: self.own.0 }))
    }

    async fn common(
        &self,
        request: Request<pb::CommonRequest>,
    ) -> Result<Response<pb::CommonResponse>, Status> {
        metadata::ctx(request.metadata()).map_err(|e| to_status(&e))?;
        Ok(Response::new(pb::CommonResponse { decoy_key: self.decoy_key.to_vec().into() }))
    }
}

fn view(members: &Members, with_partitions: bool) -> pb::View {
    let node = |member: &Member| pb::Node {
        id: member.id.0,
        name: member.name.clone(),
        address: member.address.clone(),
        state: match member.state {
            NodeState::Joining => pb::State::Joining,
            NodeState::Serving => pb::State::Serving,
            NodeState::Draining => pb::State::Draining,
        }
        .into(),
        version: member.version.clone(),
        silent_ms: member.silent_ms,
        partitions: if with_partitions { members.owned(member.id) as u32 } else { 0 },
    };
    pb::View {
        installation: members.installation,
        epoch: members.epoch,
        nodes: members.all().iter().map(node).collect(),
    }
}

fn members(view: pb::View) -> Result<Members> {
    let mut nodes = Vec::with_capacity(view.nodes.len());
    for node in view.nodes {
        let state = match pb::State::try_from(node.state) {
            Ok(pb::State::Joining) => NodeState::Joining,
            Ok(pb::State::Serving) => NodeState::Serving,
            Ok(pb::State::Draining) => NodeState::Draining,
            // A later release knows more states; what this one does not know it does not ask.
            Ok(pb::State::Unspecified) | Err(_) => continue,
        };
        if node.id == 0 || node.name.is_empty() {
            return Err(broken("a node has an id and a name"));
        }
        nodes.push(Member {
            id: NodeId(node.id),
            name: node.name,
            address: node.address,
            state,
            version: node.version,
            silent_ms: node.silent_ms,
        });
    }
    Ok(Members::new(view.installation, view.epoch, nodes))
}

fn broken(what: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, "the storage tier cannot be understood; try again later")
        .with_detail(what)
}
