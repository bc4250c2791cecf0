//! Who made a change, as the feed tells it.

use model::{DeviceId, Flags, KeywordTable};
use store_api::{Ctx, Requestor};

use crate::records::{FEED_KEYWORDS_MAX, FlagNames};

/// Who made a change. A transaction holds changes of several requestors, so it goes with each of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The request.
    pub(crate) request: u64,
    /// The device, where one said who it is.
    pub(crate) device: Option<DeviceId>,
    /// Whether it is a subscriber, whom the class of service binds, and no network function or operator.
    pub(crate) bound: bool,
    /// Whether it is a network function, which may not know whether an earlier deposit arrived.
    pub(crate) network: bool,
}

impl Origin {
    /// The requestor of `ctx`.
    pub(crate) fn of(ctx: &Ctx) -> Self {
        let (bound, network) = match &ctx.requestor {
            Requestor::User(user) => (!user.network, user.network),
            Requestor::Operator => (false, false),
            Requestor::Nobody => (true, false),
        };
        Self { request: ctx.request_id, device: ctx.requestor.device().cloned(), bound, network }
    }
}

/// The names of `flags`, as many as the feed has room for.
pub(crate) fn flag_names(flags: Flags, table: &KeywordTable) -> FlagNames {
    let keywords = flags.keyword_indexes().filter_map(|index| table.get(index).cloned());
    FlagNames { system: flags.system_only(), keywords: keywords.take(FEED_KEYWORDS_MAX).collect() }
}
