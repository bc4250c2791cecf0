//! What devices were told.

use model::{MailboxId, ModSeq, Result};
use store_api::Checkpoint;

use crate::error::invalid;
use crate::pb;

pub(crate) fn checkpoint(given: pb::Checkpoint) -> Result<Checkpoint> {
    let pb::Checkpoint { tree_version, folders, modseqs } = given;
    if folders.len() != modseqs.len() || modseqs.iter().any(|modseq| ModSeq(*modseq) > ModSeq::MAX) {
        return Err(invalid("a checkpoint has a MODSEQ for each folder"));
    }
    let folders = folders.into_iter().map(MailboxId).zip(modseqs.into_iter().map(ModSeq));
    Ok(Checkpoint { tree_version, folders: folders.collect() })
}

pub(crate) fn checkpoint_pb(told: &Checkpoint) -> pb::Checkpoint {
    pb::Checkpoint {
        tree_version: told.tree_version,
        folders: told.folders.iter().map(|(folder, _)| folder.0).collect(),
        modseqs: told.folders.iter().map(|(_, modseq)| modseq.0).collect(),
    }
}
