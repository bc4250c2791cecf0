//! What is kept in the database: cursors, dead letters, and the addresses of accounts. Every transaction of this crate.
//!
//! Each is safe to run twice: it sets values that do not depend on what was there, or looks first.

use std::sync::Arc;

use bytes::Bytes;
use feed::log::{self, Position};
use kv::{
    AtomicOp, Engine, Error, ErrorKind, RangeRequest, ReadMode, RetryPolicy, Transaction, TransactionOptions,
};
use model::limits::DEVICES_PER_ACCOUNT_MAX;
use model::{AccountId, CpmAddress, DeviceId, PARTITIONS, Partition};
use store::keyspace::{KeyRange, Keyspace, Subspace};
use store::records::{AccountRecord, DeadLetter, DeviceRecord};

use crate::limits::{ACCOUNTS_PAGE, LETTERS_PER_PARTITION_MAX};
use crate::notice::Target;

const OPTIONS: TransactionOptions = TransactionOptions { priority: kv::Priority::Default, tag: Some("push") };

/// The database, as this crate uses it.
#[derive(Clone)]
pub(crate) struct Database {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) keys: Keyspace,
}

/// Whom a notice goes to.
#[derive(Clone, Debug)]
pub(crate) struct Addressee {
    pub(crate) address: CpmAddress,
    /// The devices that the operator made known.
    pub(crate) devices: Vec<Target>,
}

impl Database {
    fn begin(&self) -> Box<dyn Transaction> {
        self.engine.begin(OPTIONS)
    }

    async fn run<T: Send>(
        &self,
        body: impl for<'a> FnMut(&'a mut dyn Transaction, kv::Attempt) -> kv::BodyFuture<'a, T, Error>,
    ) -> Result<T, Error> {
        Ok(kv::run(self.engine.as_ref(), OPTIONS, RetryPolicy::idempotent(), body).await?.0)
    }

    /// The cursor of a partition. Where there is none, it is the end of the log as of now: what was changed before
    /// anybody was there to tell is not told.
    pub(crate) async fn cursor(&self, partition: Partition) -> Result<Position, Error> {
        let key = self.keys.push_cursor(partition);
        if let Some(found) = self.begin().get(&key, ReadMode::Snapshot).await? {
            return position(&found);
        }
        let end = log::end(self.engine.as_ref(), &self.keys, partition).await?;
        let end = end.unwrap_or(Position([0; 12]));
        self.run(|trx, _| {
            let key = key.clone();
            Box::pin(async move {
                match trx.get(&key, ReadMode::Serializable).await? {
                    // Another process was faster.
                    Some(found) => position(&found),
                    None => {
                        trx.set(&key, &end.0);
                        Ok(end)
                    }
                }
            })
        })
        .await
    }

    /// Gives every partition that has no cursor one at the end of its log. Pages of partitions, a transaction each.
    pub(crate) async fn begin_cursors(&self) -> Result<(), Error> {
        const PAGE: u16 = 512;
        for first in (0..PARTITIONS).step_by(PAGE.into()) {
            let partitions: Vec<Partition> = (first..(first + PAGE).min(PARTITIONS)).map(Partition).collect();
            self.run(|trx, _| {
                let (keys, partitions) = (self.keys.clone(), partitions.clone());
                Box::pin(async move {
                    let cursors: Vec<Bytes> = partitions.iter().map(|p| keys.push_cursor(*p)).collect();
                    let heads: Vec<Bytes> = partitions.iter().map(|p| keys.feed_head(*p)).collect();
                    let found = trx.get_many(&cursors, ReadMode::Serializable).await?;
                    let heads = trx.get_many(&heads, ReadMode::Snapshot).await?;
                    for ((key, found), head) in cursors.iter().zip(found).zip(heads) {
                        if found.is_none() {
                            // After all parts of the commit that the head names.
                            let mut end = [0; 12];
                            if let Some(head) = head.as_deref().and_then(|head| head.first_chunk::<10>()) {
                                end = [0xFF; 12];
                                end[..10].copy_from_slice(head);
                            }
                            trx.set(key, &end);
                        }
                    }
                    Ok(())
                })
            })
            .await?;
        }
        Ok(())
    }

    /// Moves the cursor of a partition. It never goes back: of two processes that hold themselves for the owner, each
    /// has told everything before what it writes, since it began at a cursor of which that was true.
    pub(crate) async fn advance(&self, partition: Partition, to: Position) -> Result<(), Error> {
        self.run(|trx, _| {
            let key = self.keys.push_cursor(partition);
            Box::pin(async move {
                trx.atomic(AtomicOp::ByteMax, &key, &to.0);
                Ok(())
            })
        })
        .await
    }

    /// Whether something after `after` was cleared from the log of a partition; then, up to where.
    pub(crate) async fn gap(&self, partition: Partition, after: Position) -> Result<Option<Position>, Error> {
        let trimmed = self.begin().get(&self.keys.feed_trimmed(partition), ReadMode::Snapshot).await?;
        let Some(stamp) = trimmed.as_deref().and_then(|stamp| stamp.first_chunk::<10>()) else {
            return Ok(None);
        };
        let mut position = [0xFF; 12];
        position[..10].copy_from_slice(stamp);
        let cleared = Position(position);
        // The stamp alone counts: the cursor may stand in the commit that was cleared last.
        Ok((after.0[..10] < stamp[..]).then_some(cleared))
    }

    /// Whom notices of an account go to; none for an account that is gone.
    pub(crate) async fn addressee(&self, account: AccountId) -> Result<Option<Addressee>, Error> {
        let devices = self.keys.subspace(account, Subspace::Device);
        let range = RangeRequest::new(devices.begin, devices.end).limit(DEVICES_PER_ACCOUNT_MAX);
        let (values, mut pages) =
            self.begin().get_together(&[self.keys.address(account)], &[range], ReadMode::Snapshot).await?;
        let Some(address) = values.first().and_then(Option::as_deref).and_then(address_of) else {
            return Ok(None);
        };
        let pairs = pages.pop().map(|page| page.pairs).unwrap_or_default();
        let devices = pairs.iter().filter_map(|pair| {
            let device: DeviceId = self.keys.device_of(&pair.key)?;
            Some(Target { device, push_address: DeviceRecord::decode(&pair.value)?.push_address })
        });
        Ok(Some(Addressee { address, devices: devices.collect() }))
    }

    /// Keeps a notice that was given up. Returns how many older ones gave way.
    pub(crate) async fn bury(
        &self,
        partition: Partition,
        number: u64,
        letter: &DeadLetter,
    ) -> Result<u64, Error> {
        let value = Bytes::from(letter.encode());
        self.run(|trx, _| {
            let (keys, value) = (self.keys.clone(), value.clone());
            Box::pin(async move {
                let KeyRange { begin, end } = keys.dead_letters_of(partition);
                let mut numbers = Vec::new();
                // Values are large: read the keys a few at a time.
                let mut from = begin;
                loop {
                    let page =
                        trx.get_range(&RangeRequest::new(from, end.clone()), ReadMode::Serializable).await?;
                    numbers.extend(page.pairs.iter().map(|pair| pair.key.clone()));
                    match page.pairs.last() {
                        Some(last) if page.more => from = [&last.key[..], &[0]].concat().into(),
                        _ => break,
                    }
                }
                let key = keys.dead_letter(partition, number);
                numbers.retain(|other| *other != key);
                let surplus = (numbers.len() + 1).saturating_sub(LETTERS_PER_PARTITION_MAX);
                for oldest in &numbers[..surplus] {
                    trx.clear(oldest);
                }
                trx.set_bytes(key, value);
                Ok(surplus as u64)
            })
        })
        .await
    }

    /// Accounts of a partition after `after`, at most a page; fewer than that many are the last.
    pub(crate) async fn accounts(
        &self,
        partition: Partition,
        mut after: Option<AccountId>,
    ) -> Result<Vec<AccountId>, Error> {
        let mut trx = self.begin();
        let mut accounts = Vec::new();
        while accounts.len() < ACCOUNTS_PAGE {
            let KeyRange { begin, end } = self.keys.accounts_of_partition(partition, after);
            let page = trx.get_range(&RangeRequest::new(begin, end).limit(1), ReadMode::Snapshot).await?;
            let Some(found) = page.pairs.first().and_then(|pair| self.keys.account_of(&pair.key)) else {
                break;
            };
            accounts.push(found);
            after = Some(found);
        }
        Ok(accounts)
    }

    /// Sees to it that every account has its address beside it: those created by a release that did not write it get it
    /// from the directory. Once for an installation; begun again where it was cut short.
    pub(crate) async fn address_accounts(&self) -> Result<(), Error> {
        let done = self.keys.push_addressed();
        if self.begin().get(&done, ReadMode::Snapshot).await?.is_some() {
            return Ok(());
        }
        let mut after: Option<CpmAddress> = None;
        loop {
            let KeyRange { begin, end } = self.keys.directory_after(after.as_ref());
            let (last, done) = self
                .run(|trx, _| {
                    let (keys, request) = (
                        self.keys.clone(),
                        RangeRequest::new(begin.clone(), end.clone()).limit(ACCOUNTS_PAGE),
                    );
                    Box::pin(async move {
                        // With a conflict, so that no account that is removed meanwhile gets an address.
                        let page = trx.get_range(&request, ReadMode::Serializable).await?;
                        let mut last = None;
                        for pair in &page.pairs {
                            last = keys.address_of(&pair.key);
                            if let (Some(address), Some(record)) = (&last, AccountRecord::decode(&pair.value))
                            {
                                trx.set(&keys.address(record.id), address.as_str().as_bytes());
                            }
                        }
                        Ok((last, !page.more))
                    })
                })
                .await?;
            match last {
                Some(last) if !done => after = Some(last),
                _ => break,
            }
        }
        self.run(|trx, _| {
            let key = done.clone();
            Box::pin(async move {
                trx.set(&key, &[]);
                Ok(())
            })
        })
        .await
    }
}

fn position(stored: &[u8]) -> Result<Position, Error> {
    let corrupt = || Error::new(ErrorKind::Internal, "a cursor of the notices has not twelve octets");
    stored.try_into().map(Position).map_err(|_| corrupt())
}

fn address_of(stored: &[u8]) -> Option<CpmAddress> {
    CpmAddress::parse(std::str::from_utf8(stored).ok()?).ok()
}
