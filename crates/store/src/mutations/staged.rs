//! The first step of a body written ahead: its number, and the note by which the sweeper finds it if it is given up.

use async_trait::async_trait;
use model::BodyId;

use crate::combiner::{Cost, Mutation};
use crate::failure::Failure;
use crate::keyspace::PendingKind;
use crate::records::Pending;
use crate::work::Work;

/// Opens a body of `size` octets.
pub(crate) struct Stage {
    pub(crate) size: u64,
}

#[async_trait]
impl Mutation for Stage {
    type Outcome = BodyId;

    fn cost(&self) -> Cost {
        Cost { bytes: 128, messages: 0 }
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<BodyId, Failure> {
        // So that what cannot become a message is not sent at all; the append checks again.
        work.check_quota(self.size, 1)?;
        let body = BodyId(work.take_id());
        let key = work.shared.keys.pending(work.account, PendingKind::Staged, body.0);
        let staged = Pending::Staged { touched_at: work.now, size: self.size, finished: false };
        work.trx.set_bytes(key, staged.encode().into());
        Ok(body)
    }
}
