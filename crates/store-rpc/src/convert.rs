//! Between the contract's types and ours. From the wire everything is checked; what passes is valid.

pub(crate) mod annotations;
mod changes;
mod checkpoint;
mod reference;

use std::sync::Arc;

use bytes::Bytes;
use model::{
    AccountId, Acl, AclAction, AclEntry, Block, BlockNo, BodyId, CpmAddress, DeviceId, EntryName, Flags,
    FolderState, Identifier, Keyword, KeywordTable, MailboxId, MailboxName, ModSeq, Result, Rights,
    SpecialUse, Uid, UidList, UidSet, UidValidity, limits,
};
use store_api::{
    Account, AccountState, AppendBody, AppendMessage, Appended, CopyMode, CopyOutcome, Credentials,
    DateField, DeleteRule, FlagAction, FolderEntry, FolderRule, HeaderField, Identities, Metadata,
    MetadataChange, ObjectRule, QuotaLimits, ScramVerifier, SearchKey, ServiceClass,
};

pub(crate) use changes::{changed_folder, changes, changes_pb, changes_since, changes_since_pb};
pub(crate) use checkpoint::{checkpoint, checkpoint_pb};
pub(crate) use reference::{reference, reference_pb, signed_reference, signed_reference_pb};

use crate::error::invalid;
use crate::pb;

/// Most bytes of a message of the contract, either way.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 << 20;

pub(crate) fn address(text: &str) -> Result<CpmAddress> {
    CpmAddress::parse(text).map_err(|e| invalid(&e.to_string()))
}

pub(crate) fn addresses(texts: &[String]) -> Result<Vec<CpmAddress>> {
    texts.iter().map(|text| address(text)).collect()
}

pub(crate) fn name(text: &str) -> Result<MailboxName> {
    MailboxName::parse(text).map_err(|e| invalid(&e.to_string()))
}

/// The folder of a number, none for the account itself.
pub(crate) fn mailbox_or_account(n: u64) -> Option<MailboxId> {
    (n != 0).then_some(MailboxId(n))
}

pub(crate) fn metadata_change(entry: pb::MetadataEntry) -> Result<MetadataChange> {
    let name = EntryName::parse(entry.name.as_bytes()).map_err(|e| invalid(&e.to_string()))?;
    Ok((name, entry.value))
}

pub(crate) fn metadata_change_pb((name, value): MetadataChange) -> pb::MetadataEntry {
    pb::MetadataEntry { name: name.to_string(), value }
}

pub(crate) fn metadata(entries: Vec<pb::MetadataEntry>) -> Result<Metadata> {
    let value = |(name, value): MetadataChange| {
        Ok((name, value.ok_or_else(|| invalid("a metadata entry has no value"))?))
    };
    entries.into_iter().map(|entry| metadata_change(entry).and_then(value)).collect()
}

pub(crate) fn metadata_pb(metadata: &Metadata) -> pb::get_metadata_response::Answer {
    let entries =
        metadata.iter().map(|(name, value)| metadata_change_pb((name.clone(), Some(value.clone()))));
    pb::get_metadata_response::Answer { entries: entries.collect() }
}

pub(crate) fn uid(n: u32) -> Result<Uid> {
    Uid::new(n).ok_or_else(|| invalid("a UID must be 1 or more"))
}

pub(crate) fn uid_validity(n: u32) -> Result<UidValidity> {
    UidValidity::new(n).ok_or_else(|| invalid("UIDVALIDITY must be 1 or more"))
}

pub(crate) fn modseq(n: u64) -> Result<ModSeq> {
    if n > ModSeq::MAX.0 { Err(invalid("a MODSEQ must be below 2^63")) } else { Ok(ModSeq(n)) }
}

pub(crate) fn device(text: Option<String>) -> Result<Option<DeviceId>> {
    text.map(|text| DeviceId::parse(text.as_bytes()).map_err(|e| invalid(&e.to_string()))).transpose()
}

pub(crate) fn identities(m: pb::get_identities_response::Message) -> Result<(Uid, Identities)> {
    Ok((uid(m.uid)?, Identities { seen: device(m.seen)?, deleted: device(m.deleted)? }))
}

pub(crate) fn identities_pb((uid, of): (Uid, Identities)) -> pb::get_identities_response::Message {
    let text = |device: Option<DeviceId>| device.map(|device| device.as_str().to_owned());
    pb::get_identities_response::Message { uid: uid.get(), seen: text(of.seen), deleted: text(of.deleted) }
}

pub(crate) fn keywords(texts: &[String]) -> Result<Vec<Keyword>> {
    texts.iter().map(|t| Keyword::parse(t).map_err(|e| invalid(&e.to_string()))).collect()
}

pub(crate) fn keyword_texts(keywords: &[Keyword]) -> Vec<String> {
    keywords.iter().map(ToString::to_string).collect()
}

pub(crate) fn system_flags(bits: u64) -> Result<Flags> {
    let known = Flags::SYSTEM.iter().fold(Flags::default(), |all, (flag, _)| all.union(*flag));
    if known.contains(Flags(bits)) {
        Ok(Flags(bits))
    } else {
        Err(invalid("a flag bit is not a system flag"))
    }
}

pub(crate) fn special_use(text: &str) -> Result<Option<SpecialUse>> {
    if text.is_empty() {
        return Ok(None);
    }
    SpecialUse::parse(text).map(Some).ok_or_else(|| invalid("special_use is not an attribute of RFC 6154"))
}

pub(crate) fn uid_set(set: &pb::UidSet) -> Result<UidSet> {
    let ordered = set.ranges.iter().all(|r| r.first >= 1 && r.first <= r.last);
    if !ordered || set.ranges.windows(2).any(|w| w[0].last >= w[1].first) {
        return Err(invalid("the ranges of a UID set must be ascending and disjoint"));
    }
    Ok(UidSet::from_ranges(set.ranges.iter().map(|r| (r.first, r.last))))
}

pub(crate) fn uid_set_pb(set: &UidSet) -> pb::UidSet {
    pb::UidSet { ranges: set.ranges().map(|(first, last)| pb::UidRange { first, last }).collect() }
}

pub(crate) fn uid_list(list: Option<&pb::UidSet>) -> Result<UidList> {
    let runs = list.into_iter().flat_map(|list| &list.ranges).map(|run| (run.first, run.last));
    UidList::from_runs(runs).ok_or_else(|| invalid("the runs of a list of UIDs must ascend"))
}

pub(crate) fn uid_list_pb(list: &UidList) -> pb::UidSet {
    pb::UidSet { ranges: list.runs().map(|(first, last)| pb::UidRange { first, last }).collect() }
}

// --- accounts ----------------------------------------------------------------------------------------------------

pub(crate) fn limits(limits: Option<pb::QuotaLimits>) -> QuotaLimits {
    limits.map(|l| QuotaLimits { bytes: l.bytes, messages: l.messages }).unwrap_or_default()
}

pub(crate) fn limits_pb(limits: QuotaLimits) -> pb::QuotaLimits {
    pb::QuotaLimits { bytes: limits.bytes, messages: limits.messages }
}

pub(crate) fn credentials(wire: Option<pb::Credentials>) -> Result<Credentials> {
    use pb::credentials::Kind;
    Ok(match wire.and_then(|c| c.kind) {
        None => Credentials::None,
        Some(Kind::Argon2(hash)) => Credentials::Argon2(hash),
        Some(Kind::Scram(v)) => {
            let key = |bytes: &[u8]| {
                <[u8; 32]>::try_from(bytes).map_err(|_| invalid("a SCRAM key must be 32 octets"))
            };
            if v.iterations < 4096 || v.salt.len() < 16 || v.salt.len() > 256 {
                return Err(invalid("SCRAM needs 4096 iterations and a salt of 16 to 256 octets"));
            }
            Credentials::Scram(ScramVerifier {
                iterations: v.iterations,
                salt: v.salt.to_vec(),
                stored_key: key(&v.stored_key)?,
                server_key: key(&v.server_key)?,
            })
        }
    })
}

pub(crate) fn credentials_pb(credentials: &Credentials) -> pb::Credentials {
    use pb::credentials::Kind;
    let kind = match credentials {
        Credentials::None => None,
        Credentials::Argon2(hash) => Some(Kind::Argon2(hash.clone())),
        Credentials::Scram(v) => Some(Kind::Scram(pb::ScramVerifier {
            iterations: v.iterations,
            salt: Bytes::copy_from_slice(&v.salt),
            stored_key: Bytes::copy_from_slice(&v.stored_key),
            server_key: Bytes::copy_from_slice(&v.server_key),
        })),
    };
    pb::Credentials { kind }
}

pub(crate) fn service(wire: Option<pb::ServiceClass>) -> ServiceClass {
    let pb::ServiceClass { strict_objects, cpm_folders, recursive_delete } = wire.unwrap_or_default();
    ServiceClass {
        objects: if strict_objects { ObjectRule::Strict } else { ObjectRule::Lenient },
        folders: if cpm_folders { FolderRule::Cpm } else { FolderRule::Free },
        delete: if recursive_delete { DeleteRule::Recursive } else { DeleteRule::Rfc3501 },
    }
}

pub(crate) fn service_pb(service: ServiceClass) -> pb::ServiceClass {
    pb::ServiceClass {
        strict_objects: service.objects == ObjectRule::Strict,
        cpm_folders: service.folders == FolderRule::Cpm,
        recursive_delete: service.delete == DeleteRule::Recursive,
    }
}

pub(crate) fn account_state(state: i32) -> Result<AccountState> {
    match pb::AccountState::try_from(state) {
        Ok(pb::AccountState::Active) => Ok(AccountState::Active),
        Ok(pb::AccountState::Disabled) => Ok(AccountState::Disabled),
        _ => Err(invalid("state must be active or disabled")),
    }
}

pub(crate) fn account_state_pb(state: AccountState) -> pb::AccountState {
    match state {
        AccountState::Active => pb::AccountState::Active,
        AccountState::Disabled => pb::AccountState::Disabled,
    }
}

pub(crate) fn account(wire: pb::Account) -> Result<Account> {
    Ok(Account {
        id: AccountId(wire.id),
        address: address(&wire.address)?,
        state: account_state(wire.state)?,
        credentials: credentials(wire.credentials)?,
        limits: limits(wire.limits),
        service: service(wire.service),
        created_at: wire.created_at,
        linked: addresses(&wire.linked)?,
    })
}

pub(crate) fn account_pb(account: &Account) -> pb::Account {
    pb::Account {
        id: account.id.0,
        address: account.address.to_string(),
        state: account_state_pb(account.state).into(),
        credentials: Some(credentials_pb(&account.credentials)),
        limits: Some(limits_pb(account.limits)),
        created_at: account.created_at,
        linked: account.linked.iter().map(ToString::to_string).collect(),
        service: Some(service_pb(account.service)),
    }
}

// --- folders -----------------------------------------------------------------------------------------------------

pub(crate) fn folder_entry(wire: &pb::FolderEntry) -> Result<FolderEntry> {
    Ok(FolderEntry {
        id: MailboxId(wire.id),
        name: name(&wire.name)?,
        special_use: special_use(&wire.special_use)?,
        noselect: wire.noselect,
        rights: rights(wire.rights)?,
        acl: acl(&wire.acl)?,
    })
}

pub(crate) fn rights(bits: u32) -> Result<Rights> {
    let rights = u16::try_from(bits).map(Rights::from_bits).unwrap_or_default();
    if u32::from(rights.bits()) == bits { Ok(rights) } else { Err(invalid("rights are not known")) }
}

pub(crate) fn identifier(text: &str) -> Result<Identifier> {
    Identifier::parse(text).map_err(|e| invalid(&e.to_string()))
}

fn acl(wire: &[pb::AclEntry]) -> Result<Acl> {
    if wire.len() > limits::ACL_ENTRIES_MAX {
        return Err(invalid("an access control list has too many entries"));
    }
    let entry = |entry: &pb::AclEntry| {
        let (identifier, rights) = (identifier(&entry.identifier)?, rights(entry.rights)?);
        Ok(AclEntry { identifier, account: entry.account.map(AccountId), rights })
    };
    let entries = wire.iter().map(entry).collect::<Result<_>>()?;
    Acl::new(entries).ok_or_else(|| invalid("an access control list names an identifier twice"))
}

pub(crate) fn acl_action(wire: pb::AclAction) -> Result<AclAction> {
    match wire {
        pb::AclAction::Unspecified => Err(invalid("an action is missing")),
        pb::AclAction::Set => Ok(AclAction::Set),
        pb::AclAction::Add => Ok(AclAction::Add),
        pb::AclAction::Remove => Ok(AclAction::Remove),
    }
}

pub(crate) fn acl_action_pb(action: AclAction) -> pb::AclAction {
    match action {
        AclAction::Set => pb::AclAction::Set,
        AclAction::Add => pb::AclAction::Add,
        AclAction::Remove => pb::AclAction::Remove,
    }
}

pub(crate) fn folder_entry_pb(entry: &FolderEntry) -> pb::FolderEntry {
    pb::FolderEntry {
        id: entry.id.0,
        name: entry.name.to_string(),
        special_use: entry.special_use.map(SpecialUse::attribute).unwrap_or_default().to_owned(),
        noselect: entry.noselect,
        rights: entry.rights.bits().into(),
        acl: entry.acl.entries().iter().map(acl_entry_pb).collect(),
    }
}

fn acl_entry_pb(entry: &AclEntry) -> pb::AclEntry {
    pb::AclEntry {
        identifier: entry.identifier.to_string(),
        account: entry.account.map(|account| account.0),
        rights: entry.rights.bits().into(),
    }
}

pub(crate) fn folder_state(wire: &pb::FolderState) -> Result<FolderState> {
    if wire.keywords.len() > limits::KEYWORDS_PER_FOLDER_MAX {
        return Err(invalid("a folder has too many keywords"));
    }
    let keyword = |t: &String| -> Result<Option<Keyword>> {
        if t.is_empty() { Ok(None) } else { Keyword::parse(t).map(Some).map_err(|e| invalid(&e.to_string())) }
    };
    let slots = wire.keywords.iter().map(keyword).collect::<Result<Vec<_>>>()?;
    Ok(FolderState {
        uid_validity: uid_validity(wire.uid_validity)?,
        uid_next: wire.uid_next,
        highest_modseq: modseq(wire.highest_modseq)?,
        expunge_modseq: modseq(wire.expunge_modseq)?,
        messages: wire.messages,
        unseen: wire.unseen,
        deleted: wire.deleted,
        bytes: wire.bytes,
        deleted_bytes: wire.deleted_bytes,
        recent_uid: wire.recent_uid,
        keywords: Arc::new(KeywordTable::from_slots(slots)),
    })
}

pub(crate) fn folder_state_pb(state: &FolderState) -> pb::FolderState {
    pb::FolderState {
        uid_validity: state.uid_validity.get(),
        uid_next: state.uid_next,
        highest_modseq: state.highest_modseq.0,
        expunge_modseq: state.expunge_modseq.0,
        messages: state.messages,
        unseen: state.unseen,
        deleted: state.deleted,
        bytes: state.bytes,
        deleted_bytes: state.deleted_bytes,
        recent_uid: state.recent_uid,
        keywords: state
            .keywords
            .slots()
            .iter()
            .map(|k| k.as_ref().map(ToString::to_string).unwrap_or_default())
            .collect(),
    }
}

pub(crate) fn block(wire: &pb::folder_page::Block) -> Result<(BlockNo, Arc<Block>)> {
    let block = Block::decode(&wire.rows).ok_or_else(|| invalid("a block of rows cannot be read"))?;
    let number = BlockNo(wire.number);
    if block.rows().iter().any(|r| BlockNo::of(r.uid) != number) {
        return Err(invalid("a block has rows of another"));
    }
    Ok((number, Arc::new(block)))
}

// --- messages ----------------------------------------------------------------------------------------------------

pub(crate) fn append_message(wire: pb::AppendMessage) -> Result<AppendMessage> {
    use pb::append_message::Body;
    let zone = i16::try_from(wire.zone_minutes).ok().filter(|z| z.abs() < 1440);
    let zone = zone.ok_or_else(|| invalid("zone_minutes must be from -1439 to 1439"))?;
    let body = match wire.body {
        Some(Body::Inline(octets)) if octets.len() <= limits::BODY_INLINE_BYTES_MAX => {
            // A copy: the slice at hand would hold on to the whole request.
            AppendBody::Inline(Bytes::copy_from_slice(&octets))
        }
        Some(Body::Inline(_)) => return Err(invalid("an inline body must not be over 262144 octets")),
        Some(Body::Staged(id)) => AppendBody::Staged(BodyId(id)),
        None => return Err(invalid("a message to append has no body")),
    };
    Ok(AppendMessage {
        flags: system_flags(wire.flags)?,
        keywords: keywords(&wire.keywords)?,
        internal_date: wire.internal_date.map(|date| (date, zone)),
        annotations: annotations::changes(wire.annotations)?,
        body,
    })
}

pub(crate) fn append_message_pb(message: AppendMessage) -> pb::AppendMessage {
    use pb::append_message::Body;
    pb::AppendMessage {
        flags: message.flags.0,
        keywords: keyword_texts(&message.keywords),
        internal_date: message.internal_date.map(|(date, _)| date),
        zone_minutes: message.internal_date.map_or(0, |(_, zone)| i32::from(zone)),
        annotations: annotations::changes_pb(message.annotations),
        body: Some(match message.body {
            AppendBody::Inline(octets) => Body::Inline(octets),
            AppendBody::Staged(body) => Body::Staged(body.0),
        }),
    }
}

pub(crate) fn appended(wire: &pb::AppendResponse) -> Result<Appended> {
    Ok(Appended {
        mailbox: MailboxId(wire.mailbox),
        uid_validity: uid_validity(wire.uid_validity)?,
        uids: uid_list(wire.uids.as_ref())?,
        modseq: modseq(wire.modseq)?,
        repeated: wire.repeated,
    })
}

pub(crate) fn appended_pb(appended: &Appended) -> pb::AppendResponse {
    pb::AppendResponse {
        mailbox: appended.mailbox.0,
        uid_validity: appended.uid_validity.get(),
        uids: Some(uid_list_pb(&appended.uids)),
        modseq: appended.modseq.0,
        repeated: appended.repeated,
    }
}

pub(crate) fn flag_action(action: i32) -> Result<FlagAction> {
    match pb::FlagAction::try_from(action) {
        Ok(pb::FlagAction::Add) => Ok(FlagAction::Add),
        Ok(pb::FlagAction::Remove) => Ok(FlagAction::Remove),
        Ok(pb::FlagAction::Replace) => Ok(FlagAction::Replace),
        _ => Err(invalid("action must be add, remove or replace")),
    }
}

pub(crate) fn flag_action_pb(action: FlagAction) -> pb::FlagAction {
    match action {
        FlagAction::Add => pb::FlagAction::Add,
        FlagAction::Remove => pb::FlagAction::Remove,
        FlagAction::Replace => pb::FlagAction::Replace,
    }
}

pub(crate) fn copy_mode(mode: i32) -> Result<CopyMode> {
    match pb::CopyMode::try_from(mode) {
        Ok(pb::CopyMode::Copy) => Ok(CopyMode::Copy),
        Ok(pb::CopyMode::Move) => Ok(CopyMode::Move),
        _ => Err(invalid("mode must be copy or move")),
    }
}

pub(crate) fn copy_mode_pb(mode: CopyMode) -> pb::CopyMode {
    match mode {
        CopyMode::Copy => pb::CopyMode::Copy,
        CopyMode::Move => pb::CopyMode::Move,
    }
}

pub(crate) fn copied(wire: &pb::CopyResponse) -> Result<CopyOutcome> {
    if wire.source_uids.len() != wire.target_uids.len() {
        return Err(invalid("source and target UIDs do not pair"));
    }
    let pairs = wire.source_uids.iter().zip(&wire.target_uids);
    Ok(CopyOutcome {
        target: MailboxId(wire.target),
        uid_validity: uid_validity(wire.uid_validity)?,
        pairs: pairs.map(|(s, t)| Ok((uid(*s)?, uid(*t)?))).collect::<Result<_>>()?,
        source_modseq: modseq(wire.source_modseq)?,
    })
}

pub(crate) fn copied_pb(outcome: &CopyOutcome) -> pb::CopyResponse {
    pb::CopyResponse {
        target: outcome.target.0,
        uid_validity: outcome.uid_validity.get(),
        source_uids: outcome.pairs.iter().map(|(s, _)| s.get()).collect(),
        target_uids: outcome.pairs.iter().map(|(_, t)| t.get()).collect(),
        source_modseq: outcome.source_modseq.0,
    }
}

// --- search ------------------------------------------------------------------------------------------------------

fn date_field(field: i32) -> Result<DateField> {
    match pb::DateField::try_from(field) {
        Ok(pb::DateField::Internal) => Ok(DateField::Internal),
        Ok(pb::DateField::Sent) => Ok(DateField::Sent),
        Ok(pb::DateField::Saved) => Ok(DateField::Saved),
        _ => Err(invalid("a date field must be internal, sent or saved")),
    }
}

fn date_field_pb(field: DateField) -> pb::DateField {
    match field {
        DateField::Internal => pb::DateField::Internal,
        DateField::Sent => pb::DateField::Sent,
        DateField::Saved => pb::DateField::Saved,
    }
}

/// A program from the wire, within the bounds on keys and depth.
pub(crate) fn search_key(wire: Option<pb::SearchKey>) -> Result<SearchKey> {
    let mut keys_left = limits::SEARCH_KEYS_MAX;
    search_key_at(wire, limits::SEARCH_DEPTH_MAX, &mut keys_left)
}

fn search_key_at(wire: Option<pb::SearchKey>, depth_left: usize, keys_left: &mut usize) -> Result<SearchKey> {
    use pb::search_key::Key;
    let (Some(depth_left), Some(left)) = (depth_left.checked_sub(1), keys_left.checked_sub(1)) else {
        return Err(invalid("a SEARCH program has too many keys or is too deep"));
    };
    *keys_left = left;
    let key = wire.and_then(|w| w.key).ok_or_else(|| invalid("a SEARCH key is empty"))?;
    let day = |d: &pb::search_key::Day| -> Result<_> { Ok((date_field(d.field)?, d.day)) };
    Ok(match key {
        Key::All(_) => SearchKey::All,
        Key::And(keys) => {
            let keys = keys.keys.into_iter().map(|k| search_key_at(Some(k), depth_left, keys_left));
            SearchKey::And(keys.collect::<Result<_>>()?)
        }
        Key::Or(keys) => {
            let [a, b] =
                <[pb::SearchKey; 2]>::try_from(keys.keys).map_err(|_| invalid("OR must have two keys"))?;
            let a = search_key_at(Some(a), depth_left, keys_left)?;
            SearchKey::Or(Box::new(a), Box::new(search_key_at(Some(b), depth_left, keys_left)?))
        }
        Key::Not(key) => SearchKey::Not(Box::new(search_key_at(Some(*key), depth_left, keys_left)?)),
        Key::Uids(set) => SearchKey::Uids(uid_set(&set)?),
        Key::Flags(bits) => SearchKey::Flags(system_flags(bits)?),
        Key::Keyword(text) => SearchKey::Keyword(Keyword::parse(&text).map_err(|e| invalid(&e.to_string()))?),
        Key::Larger(n) => SearchKey::Larger(n),
        Key::Smaller(n) => SearchKey::Smaller(n),
        Key::Before(d) => day(&d).map(|(field, day)| SearchKey::Before(field, day))?,
        Key::On(d) => day(&d).map(|(field, day)| SearchKey::On(field, day))?,
        Key::Since(d) => day(&d).map(|(field, day)| SearchKey::Since(field, day))?,
        Key::ReceivedBy(at) => SearchKey::ReceivedBy(at),
        Key::ReceivedFrom(at) => SearchKey::ReceivedFrom(at),
        Key::Header(h) => SearchKey::Header(HeaderField::Named(h.name), h.text),
        Key::Body(text) => SearchKey::Body(text),
        Key::Text(text) => SearchKey::Text(text),
        Key::Modseq(n) => SearchKey::ModSeq(modseq(n)?),
        Key::EmailId(id) => SearchKey::EmailId(BodyId(id)),
        Key::ThreadId(id) => SearchKey::ThreadId(id),
        Key::Annotation(a) => {
            SearchKey::Annotation(annotations::pattern(&a.entry)?, annotations::scope(a.scope)?, a.text)
        }
    })
}

pub(crate) fn search_key_pb(key: &SearchKey) -> pb::SearchKey {
    use pb::search_key::{All, Day, Header, Key, Keys};
    let day = |field: &DateField, day: &i32| Day { field: date_field_pb(*field).into(), day: *day };
    let key = match key {
        SearchKey::All => Key::All(All {}),
        SearchKey::And(keys) => Key::And(Keys { keys: keys.iter().map(search_key_pb).collect() }),
        SearchKey::Or(a, b) => Key::Or(Keys { keys: vec![search_key_pb(a), search_key_pb(b)] }),
        SearchKey::Not(key) => Key::Not(Box::new(search_key_pb(key))),
        SearchKey::Uids(set) => Key::Uids(uid_set_pb(set)),
        SearchKey::Flags(flags) => Key::Flags(flags.0),
        SearchKey::Keyword(keyword) => Key::Keyword(keyword.to_string()),
        SearchKey::Larger(n) => Key::Larger(*n),
        SearchKey::Smaller(n) => Key::Smaller(*n),
        SearchKey::Before(field, d) => Key::Before(day(field, d)),
        SearchKey::On(field, d) => Key::On(day(field, d)),
        SearchKey::Since(field, d) => Key::Since(day(field, d)),
        SearchKey::ReceivedBy(at) => Key::ReceivedBy(*at),
        SearchKey::ReceivedFrom(at) => Key::ReceivedFrom(*at),
        SearchKey::Header(HeaderField::Named(name), text) => {
            Key::Header(Header { name: name.clone(), text: text.clone() })
        }
        SearchKey::Body(text) => Key::Body(text.clone()),
        SearchKey::Text(text) => Key::Text(text.clone()),
        SearchKey::ModSeq(n) => Key::Modseq(n.0),
        SearchKey::EmailId(body) => Key::EmailId(body.0),
        SearchKey::ThreadId(id) => Key::ThreadId(id.clone()),
        SearchKey::Annotation(entry, scope, text) => Key::Annotation(pb::search_key::Annotation {
            entry: entry.to_string(),
            scope: annotations::scope_pb(*scope),
            text: text.clone(),
        }),
    };
    pb::SearchKey { key: Some(key) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_survive_and_are_bounded() {
        let text = || SearchKey::Text("ü".into());
        let key = SearchKey::And(vec![
            SearchKey::Or(
                Box::new(text()),
                Box::new(SearchKey::Not(Box::new(SearchKey::Since(DateField::Sent, -3)))),
            ),
            SearchKey::Uids(UidSet::from_ranges([(1, 3), (9, 9)])),
            SearchKey::Header(HeaderField::Named("X-A".into()), String::new()),
        ]);
        assert_eq!(search_key(Some(search_key_pb(&key))).ok(), Some(key));
        let deep = (0..limits::SEARCH_DEPTH_MAX).fold(text(), |k, _| SearchKey::Not(Box::new(k)));
        assert!(search_key(Some(search_key_pb(&deep))).is_err());
        let wide = SearchKey::And((0..limits::SEARCH_KEYS_MAX).map(|_| text()).collect());
        assert!(search_key(Some(search_key_pb(&wide))).is_err());
        assert!(search_key(None).is_err());
    }

    #[test]
    fn every_class_of_service_survives() {
        for class in (0..8).filter_map(ServiceClass::from_bits) {
            assert_eq!(service(Some(service_pb(class))), class);
        }
        // A peer that knows no classes, or not all of them.
        assert_eq!(service(None), ServiceClass::default());
        let earlier = pb::ServiceClass { cpm_folders: true, ..pb::ServiceClass::default() };
        assert_eq!(
            service(Some(earlier)),
            ServiceClass { folders: FolderRule::Cpm, ..ServiceClass::default() }
        );
    }

    #[test]
    fn sets_are_checked() {
        let range = |first, last| pb::UidRange { first, last };
        for bad in [
            vec![range(0, 1)],
            vec![range(3, 2)],
            vec![range(5, 6), range(6, 9)],
            vec![range(9, 9), range(1, 1)],
        ] {
            assert!(uid_set(&pb::UidSet { ranges: bad }).is_err());
        }
        let mixed = UidList::from_runs([(9, 9), (1, 3), (9, 9)]).expect("runs");
        assert_eq!(uid_list(Some(&uid_list_pb(&mixed))).expect("read back"), mixed);
        assert!(uid_list(Some(&pb::UidSet { ranges: vec![pb::UidRange { first: 3, last: 2 }] })).is_err());
        let good = UidSet::from_ranges([(1, 3), (9, u32::MAX)]);
        assert_eq!(uid_set(&uid_set_pb(&good)).ok(), Some(good));
    }
}
