//! The bodies of an account: facts, octets and entries in the index of headers, a page of bodies in a transaction.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use cpm_mime::MessageIndex;
use kv::{RangeRequest, ReadMode, Transaction};
use model::limits::BODY_CHUNK_BYTES;
use model::{AccountId, BodyId, varint};
use store_api::{Finding, FindingKind};

use super::references::Counts;
use super::{Check, in_pages, remedied, transaction};
use crate::failure::Failure;
use crate::keyspace::IndexedHeader;
use crate::mutations::append::indexed_headers;
use crate::records::Place;
use crate::retry::reading;
use crate::snapshot::after;

/// Bodies looked at in one transaction.
const BODIES_PER_PAGE: usize = 128;
/// Entries of the index looked at in one transaction.
const ENTRIES_PER_PAGE: usize = 512;
/// Chunks read in one transaction where all octets are read.
const CHUNKS_PER_PAGE: usize = 32;

/// What a page of bodies told.
#[derive(Default)]
struct Page {
    findings: Vec<Finding>,
    /// Bodies with their size and stored references; none where the facts cannot be read.
    bodies: Vec<(BodyId, Option<u64>, Option<u64>)>,
    /// Bodies of which there is something, but no facts.
    factless: Vec<BodyId>,
    /// The next number to look at; none at the end.
    next: Option<u64>,
    records: usize,
}

/// Checks the bodies of the window of `counts`. Those whose references may be wrong become suspects.
pub(super) async fn check(
    check: &mut Check,
    account: AccountId,
    counts: &mut Counts,
    suspects: &mut BTreeSet<BodyId>,
) -> Result<(), Failure> {
    let (mut low, high) = counts.span();
    loop {
        let page = transaction!(check, trx, page(check, account, low, high, trx.as_mut()).await);
        let Page { findings, bodies, factless, next, records } = page;
        check.tell(findings).await?;
        check.read(records).await?;
        for (body, size, stored) in bodies {
            let counted = counts.take(body);
            if size.is_none() || counted.is_some_and(|counted| stored != Some(u64::from(counted))) {
                suspects.insert(body);
            }
            if let (true, Some(size)) = (check.request.octets, size) {
                octets(check, account, body, size).await?;
            }
        }
        for body in factless {
            counts.take(body);
            suspects.insert(body);
        }
        match next {
            Some(next) => low = next,
            None => break,
        }
    }
    suspects.extend(counts.rest());
    Ok(())
}

async fn page(
    check: &Check,
    account: AccountId,
    low: u64,
    high: u64,
    trx: &mut dyn Transaction,
) -> Result<(Page, bool), Failure> {
    let (keys, mode, repair) = (&check.shared.keys, check.mode(), check.repair());
    let mut told = Page::default();
    let mut wrote = false;
    if trx.get(&keys.ledger(account), ReadMode::Snapshot).await?.is_none() {
        // Removed meanwhile: it is being cleared.
        return Ok((told, false));
    }
    let infos = RangeRequest::new(keys.info(account, BodyId(low)), keys.info(account, BodyId(high)));
    let infos = trx.get_range(&infos.limit(BODIES_PER_PAGE), mode).await?;
    let ids: Vec<u64> = infos.pairs.iter().filter_map(|pair| keys.id_of(&pair.key)).collect();
    // What the page speaks of: all numbers from `low` to before `end`.
    let end = ids.last().filter(|_| infos.more).map_or(high, |last| last + 1);
    told.next = infos.more.then_some(end).filter(|end| *end < high && !ids.is_empty());

    // Octets and counts without facts stand between the bodies that have some.
    let mut gaps = Vec::with_capacity(ids.len() + 1);
    let mut from = low;
    for id in ids.iter().copied().chain([end]) {
        if id > from {
            gaps.push((from, id));
        }
        from = id.saturating_add(1);
    }
    while !gaps.is_empty() {
        let requests: Vec<RangeRequest> = gaps
            .iter()
            .map(|(from, to)| {
                let (begin, end) =
                    (keys.chunk(account, BodyId(*from), 0), keys.chunk(account, BodyId(*to), 0));
                RangeRequest::new(begin, end).limit(1)
            })
            .collect();
        let (_, pages) = trx.get_together(&[], &requests, ReadMode::Snapshot).await?;
        let mut further = Vec::new();
        for ((_, to), page) in gaps.iter().zip(pages) {
            if let Some(id) = page.pairs.first().and_then(|pair| keys.id_of(&pair.key)) {
                told.factless.push(BodyId(id));
                if id + 1 < *to {
                    further.push((id + 1, *to));
                }
            }
        }
        gaps = if told.factless.len() > BODIES_PER_PAGE { Vec::new() } else { further };
    }
    let mut stored: BTreeMap<BodyId, Option<u64>> = BTreeMap::new();
    let (mut begin, end) = (keys.shares(account, BodyId(low)), keys.shares(account, BodyId(end)));
    loop {
        let page = trx.get_range(&RangeRequest::new(begin, end.clone()), ReadMode::Snapshot).await?;
        for pair in &page.pairs {
            let count =
                pair.value.as_ref().try_into().ok().map(u64::from_le_bytes).filter(|count| *count > 0);
            stored.extend(keys.id_of(&pair.key).map(|id| (BodyId(id), count.map(|count| count + 1))));
        }
        match page.pairs.last() {
            Some(last) if page.more => begin = after(&last.key),
            _ => break,
        }
    }

    // First and last chunk of each, and its entries in the index.
    let mut wanted: Vec<Bytes> = Vec::new();
    let mut decoded = Vec::with_capacity(ids.len());
    for (pair, id) in infos.pairs.iter().zip(&ids) {
        let body = BodyId(*id);
        let references = stored.remove(&body).unwrap_or(Some(1));
        let Ok(info) = MessageIndex::decode(pair.value.clone()) else {
            told.bodies.push((body, None, references));
            continue;
        };
        told.bodies.push((body, Some(info.size()), references));
        let last = last_chunk(info.size());
        wanted.extend([keys.chunk(account, body, 0), keys.chunk(account, body, last)]);
        wanted
            .extend(indexed_headers(&info).map(|(header, value)| keys.header(account, header, value, body)));
        decoded.push((body, info));
    }
    let mut values = trx.get_many(&wanted, mode).await?.into_iter();
    for (body, info) in decoded {
        let (first, last) = (values.next().flatten(), values.next().flatten());
        if !whole(info.size(), first.as_deref(), last.as_deref()) {
            let text = "its octets are missing or not as many as its facts say";
            told.findings.push(check.subject.of_body(FindingKind::Octets, body, text));
        }
        for (header, value) in indexed_headers(&info) {
            if values.next().flatten().is_none() {
                if repair {
                    trx.set_bytes(keys.header(account, header, value, body), Bytes::new());
                    wrote = true;
                }
                let text = format_args!("its {header:?} is not in the index");
                told.findings.push(remedied(check.subject.of_body(FindingKind::Headers, body, text), repair));
            }
        }
    }
    told.records = infos.pairs.len() + wanted.len();
    told.factless.extend(stored.into_keys());
    Ok((told, wrote))
}

/// The number of the last chunk of a body.
fn last_chunk(size: u64) -> u32 {
    (size.saturating_sub(1) / BODY_CHUNK_BYTES as u64) as u32
}

/// Whether the first and the last chunk are as a body of that size has them.
fn whole(size: u64, first: Option<&[u8]>, last: Option<&[u8]>) -> bool {
    const CHUNK: u64 = BODY_CHUNK_BYTES as u64;
    let (Some(mut first), Some(last)) = (first, last) else { return false };
    let total = varint::take(&mut first);
    let tail = u64::from(last_chunk(size)) * CHUNK;
    total == Some(size)
        && first.len() as u64 == size.min(CHUNK)
        && (tail == 0 || last.len() as u64 == size - tail)
}

/// Reads all chunks of a body that is there: each page says for itself whether the body still is.
async fn octets(check: &mut Check, account: AccountId, body: BodyId, size: u64) -> Result<(), Failure> {
    let last = last_chunk(size);
    let mut number = 0;
    while number <= last {
        let numbers = number..=last.min(number + CHUNKS_PER_PAGE as u32 - 1);
        let keys: Vec<Bytes> =
            numbers.clone().map(|number| check.shared.keys.chunk(account, body, number)).collect();
        let info = check.shared.keys.info(account, body);
        let (there, lens) = reading!({
            let mut trx = check.shared.begin_batch("check");
            let there = trx.get(&info, ReadMode::Snapshot).await?.is_some();
            let values = trx.get_many(&keys, ReadMode::Snapshot).await?;
            Ok((
                there,
                values.into_iter().map(|value| value.map_or(0, |value| value.len())).collect::<Vec<_>>(),
            ))
        });
        check.read(lens.len()).await?;
        if !there {
            return Ok(());
        }
        let middle = numbers.zip(&lens).find(|(number, len)| {
            // The first and the last were looked at with their facts.
            *number > 0 && *number < last && **len != BODY_CHUNK_BYTES
        });
        if let Some((number, _)) = middle {
            let text =
                format!("its octets from {} on are missing", u64::from(number) * BODY_CHUNK_BYTES as u64);
            let finding = check.subject.of_body(FindingKind::Octets, body, text);
            return check.tell(vec![finding]).await;
        }
        number += CHUNKS_PER_PAGE as u32;
    }
    Ok(())
}

/// Entries of the index of headers that no body has.
pub(super) async fn headers(check: &mut Check, account: AccountId) -> Result<(), Failure> {
    for (header, name) in IndexedHeader::ALL {
        in_pages!(
            check,
            check.shared.keys.header_values(account, header),
            ENTRIES_PER_PAGE,
            ReadMode::Snapshot,
            |pairs, trx| entries(check, account, header, name, pairs, trx).await
        );
    }
    Ok(())
}

async fn entries(
    check: &Check,
    account: AccountId,
    header: IndexedHeader,
    name: &str,
    pairs: &[kv::KeyValue],
    trx: &mut dyn Transaction,
) -> Result<(Vec<Finding>, bool), Failure> {
    let keys = &check.shared.keys;
    let named: Vec<Option<BodyId>> =
        pairs.iter().map(|pair| keys.header_value_of(&pair.key).map(|(_, body)| body)).collect();
    let mut wanted = vec![keys.ledger(account)];
    wanted.extend(named.iter().map(|body| keys.info(account, body.unwrap_or(BodyId(0)))));
    let mut values = trx.get_many(&wanted, check.mode()).await?.into_iter();
    if values.next().flatten().is_none() {
        return Ok((Vec::new(), false));
    }
    let (mut findings, mut wrote) = (Vec::new(), false);
    for ((pair, body), info) in pairs.iter().zip(named).zip(values) {
        let has = match (body, info) {
            (Some(body), Some(info)) => match MessageIndex::decode(info) {
                Ok(info) => indexed_headers(&info).any(|(candidate, value)| {
                    candidate == header && keys.header(account, header, value, body) == pair.key
                }),
                // Told elsewhere; who knows what it has.
                Err(_) => true,
            },
            _ => false,
        };
        if !has {
            if check.repair() {
                trx.clear(&pair.key);
                wrote = true;
            }
            let text = format!("an entry of {name} in the index that no message has");
            let finding = Finding { body, ..check.subject.finding(FindingKind::Headers, text) };
            findings.push(remedied(finding, check.repair()));
        } else if !pair.value.is_empty() && Place::decode(&pair.value).is_none() {
            if check.repair() {
                trx.set_bytes(pair.key.clone(), Bytes::new());
                wrote = true;
            }
            let text = format!("an entry of {name} in the index does not say where its message came");
            let finding = Finding { body, ..check.subject.finding(FindingKind::Headers, text) };
            findings.push(remedied(finding, check.repair()));
        }
    }
    Ok((findings, wrote))
}
