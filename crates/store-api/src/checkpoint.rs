//! What a device was last told of an account.

use model::{MailboxId, ModSeq};

/// Up to where a device was told of changes, for when it wishes to be told again. Folders that are not named count as
/// never told of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// The version of the tree of folders that it was told of, as [`FolderTree::version`](crate::FolderTree).
    pub tree_version: u64,
    /// Folders with the MODSEQ up to which it was told of each: ascending and distinct, at most
    /// [`model::limits::CHECKPOINT_FOLDERS_MAX`].
    pub folders: Vec<(MailboxId, ModSeq)>,
}

impl Checkpoint {
    /// Up to where it was told of a folder; 0 for never.
    pub fn of(&self, folder: MailboxId) -> ModSeq {
        let at = self.folders.binary_search_by_key(&folder, |(id, _)| *id);
        at.map_or(ModSeq(0), |at| self.folders[at].1)
    }
}
