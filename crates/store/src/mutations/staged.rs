//! The first step of a body written ahead: its number, and the note by which the sweeper finds it if it is given up.

use async_trait::async_trait;
use kv::{RangeRequest, ReadMode};
use model::{BodyId, Error, ErrorKind};

use crate::combiner::{Cost, Mutation};
use crate::failure::{Failure, corrupt};
use crate::keyspace::{KeyRange, PendingKind};
use crate::limits::{STAGED_BODIES_MAX, STAGED_BYTES_MAX};
use crate::records::Pending;
use crate::snapshot::after;
use crate::work::Work;

/// Opens a body of `size` octets.
pub(crate) struct Stage {
    pub(crate) size: u64,
}

#[async_trait]
impl Mutation for Stage {
    type Outcome = BodyId;

    fn cost(&self) -> Cost {
        Cost { bytes: 128, ..Cost::default() }
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<BodyId, Failure> {
        // So that what cannot become a message is not sent at all; the append checks again.
        work.check_quota(self.size, 1)?;
        self.check_room(work).await?;
        let body = BodyId(work.take_id());
        let key = work.shared.keys.pending(work.account, PendingKind::Staged, body.0);
        let staged =
            Pending::Staged { touched_at: work.now, size: self.size, finished: false, facts_matter: false };
        work.trx.set_bytes(key, staged.encode().into());
        Ok(body)
    }
}

impl Stage {
    /// Answers `Limit` when too much of the account stands written ahead.
    async fn check_room(&self, work: &mut Work<'_>) -> Result<(), Failure> {
        let KeyRange { mut begin, end } = work.shared.keys.pending_of_kind(work.account, PendingKind::Staged);
        let (mut bodies, mut octets) = (1, self.size);
        loop {
            // Without a conflict: two that are let in at once may go a little beyond.
            let request = RangeRequest::new(begin, end.clone());
            let page = work.trx.get_range(&request, ReadMode::Snapshot).await?;
            for pair in &page.pairs {
                match Pending::decode(&pair.value) {
                    Some(Pending::Staged { size, .. }) => octets = octets.saturating_add(size),
                    _ => return Err(corrupt("pending", &pair.key)),
                }
            }
            bodies += page.pairs.len();
            if bodies > STAGED_BODIES_MAX || octets > STAGED_BYTES_MAX {
                let text = "too much of this account is being stored; finish or wait";
                return Err(Error::new(ErrorKind::Limit, text).into());
            }
            match page.pairs.last() {
                Some(last) if page.more => begin = after(&last.key),
                _ => return Ok(()),
            }
        }
    }
}
