//! Follows the membership: asks one node for all of them, and another when that one falls silent.

use std::sync::{Arc, Weak};

use model::{ErrorKind, Result};
use rand::seq::SliceRandom as _;
use store_api::Members;
use store_rpc::{Endpoint, RemoteCluster, connect};

use crate::fleet::Fleet;
use crate::limits::STREAM_PAUSE;
use crate::{Shared, pause, telemetry};

/// Follows until the router is gone.
pub(crate) async fn run(router: Weak<Shared>) {
    let mut failures = 0;
    loop {
        let Some(shared) = router.upgrade() else { return };
        let sources = sources(&shared);
        drop(shared);
        for endpoint in sources {
            match follow(&router, &endpoint, &mut failures).await {
                Ok(()) => {}
                Err(error) if failures > 8 && failures.is_power_of_two() => {
                    tracing::warn!(node = %endpoint, %error, "no storage node tells who is there");
                }
                Err(error) => tracing::debug!(node = %endpoint, %error, "another node is followed"),
            }
            failures += 1;
            tokio::time::sleep(pause(failures, STREAM_PAUSE.0, STREAM_PAUSE.1)).await;
        }
    }
}

/// Whom to ask: those known to serve in any order, so that front ends spread, then those of the settings.
fn sources(shared: &Shared) -> Vec<Endpoint> {
    let fleet = shared.fleet.load();
    let mut known: Vec<Endpoint> =
        fleet.nodes.values().filter_map(|node| node.address.parse().ok()).collect();
    known.shuffle(&mut rand::rng());
    let mut given: Vec<Endpoint> =
        shared.options.nodes.iter().filter(|node| !known.contains(node)).cloned().collect();
    given.shuffle(&mut rand::rng());
    known.extend(given);
    known
}

/// Takes what one node tells until its stream ends.
async fn follow(router: &Weak<Shared>, endpoint: &Endpoint, failures: &mut u32) -> Result<()> {
    let Some(tls) = router.upgrade().map(|shared| shared.options.tls.clone()) else { return Ok(()) };
    let mut channels = connect(endpoint, tls.as_ref())
        .map_err(|error| model::Error::new(ErrorKind::Cannot, error.to_string()))?;
    channels.truncate(1);
    let Some(channel) = channels.pop() else { return Ok(()) };
    let mut views = RemoteCluster::new(channel).members().await?;
    while let Some(members) = views.next().await? {
        *failures = 0;
        let Some(shared) = router.upgrade() else { return Ok(()) };
        shared.apply(members);
    }
    Ok(())
}

impl Shared {
    /// Takes a view for the truth, unless a newer one is known.
    fn apply(self: &Arc<Self>, members: Members) {
        let before = self.fleet.load_full();
        let known = &before.members;
        if known.installation == members.installation && members.epoch < known.epoch {
            return;
        }
        if known.installation != 0 && known.installation != members.installation {
            tracing::warn!("another installation has taken the place of the one known");
        }
        let members = Arc::new(members);
        let fleet = Arc::new(Fleet::new(members.clone(), &before, self.options.tls.as_ref(), &self.caches));
        telemetry::heard(fleet.nodes.len(), members.epoch);
        tracing::info!(epoch = members.epoch, serving = fleet.nodes.len(), "the storage nodes changed");
        self.fleet.store(fleet.clone());
        self.switchboard.connect(self, &fleet);
        self.members.send_replace(members);
        self.revived.notify_waiters();
    }
}
