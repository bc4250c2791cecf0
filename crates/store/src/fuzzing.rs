//! Entry points for fuzzing: any octets in, no panic, and what is read is written the same.

use bytes::Bytes;
use kv::Versionstamp;
use model::AccountId;

use crate::keyspace::Keyspace;
use crate::records::{
    AccountRecord, AnnotationRecord, CheckpointRecord, DeadLetter, DeletedNote, DeviceRecord, FeedEntry,
    FolderRecord, IdentityBlock, Ledger, LogBatch, MetadataRecord, MoveRecord, NewsRecord, Pending, Place,
    ReferenceKey, StateRecord,
};

/// Reads `input` as each kind of stored value.
///
/// # Panics
/// If a value that was read is not read again from what it is written as.
pub fn stored_values(input: &[u8]) {
    fn check<T: PartialEq + std::fmt::Debug>(
        input: &[u8],
        decode: impl Fn(&[u8]) -> Option<T>,
        encode: impl Fn(&T) -> Vec<u8>,
    ) {
        if let Some(value) = decode(input) {
            assert_eq!(decode(&encode(&value)).as_ref(), Some(&value));
        }
    }
    check(input, AccountRecord::decode, AccountRecord::encode);
    check(input, AnnotationRecord::decode, AnnotationRecord::encode);
    check(input, CheckpointRecord::decode, CheckpointRecord::encode);
    check(input, DeadLetter::decode, DeadLetter::encode);
    check(input, DeletedNote::decode, DeletedNote::encode);
    check(input, DeviceRecord::decode, DeviceRecord::encode);
    check(input, FeedEntry::decode, FeedEntry::encode);
    check(input, FolderRecord::decode, FolderRecord::encode);
    check(input, IdentityBlock::decode, IdentityBlock::encode);
    check(input, Ledger::decode, Ledger::encode);
    check(input, LogBatch::decode, LogBatch::encode);
    check(input, MetadataRecord::decode, MetadataRecord::encode);
    check(input, MoveRecord::decode, MoveRecord::encode);
    check(input, NewsRecord::decode, NewsRecord::encode);
    check(input, Pending::decode, Pending::encode);
    check(input, Place::decode, Place::encode);
    check(input, ReferenceKey::decode, ReferenceKey::encode);
    check(input, StateRecord::decode, StateRecord::encode);
    check(input, model::Block::decode, model::Block::encode);
    if let Ok(index) = cpm_mime::MessageIndex::decode(Bytes::copy_from_slice(input)) {
        assert_eq!(index.encode(), input);
    }
}

/// Reads `input` as each kind of key.
pub fn stored_keys(input: &[u8]) {
    let keys = Keyspace::new(b"prefix");
    let _ = keys.address_of(input);
    let _ = keys.feed_partition_of(input);
    let _: Option<Versionstamp> = keys.feed_stamp_of(input);
    let _ = keys.feed_entry_of(input);
    let _ = keys.pending_of(input);
    let _: Option<AccountId> = keys.account_of(input);
    let _ = keys.id_of(input);
    let _ = keys.tree_key_of(input);
    let _ = keys.block_of(input);
    let _ = keys.identities_of(input);
    let _ = keys.annotations_of(input);
    let _ = keys.log_modseq_of(input);
    let _ = keys.header_value_of(input);
    let _ = keys.notified_of(input);
    let _ = keys.deleted_of(input);
}
