//! A range as a transaction sees it: the database at its read version, and its own writes over it.

use bytes::Bytes;

use super::{Own, WriteSet, fold};
use crate::{Error, ErrorKind, KeyValue, RangePage, RangeRequest};

/// The pairs of a range in the database, changed by the transaction's own writes.
pub struct Merge<'a, S> {
    writes: &'a WriteSet,
    stored_pairs: S,
    /// The next pair of the database that no range clear covers.
    stored: Option<(Bytes, Bytes)>,
    own: Box<dyn Iterator<Item = (&'a Bytes, Own<'a>)> + 'a>,
    own_next: Option<(&'a Bytes, Own<'a>)>,
    reverse: bool,
}

impl<'a, S: Iterator<Item = Result<(Bytes, Bytes), Error>>> Merge<'a, S> {
    /// `stored_pairs`: what the database holds of the range, in the order of the request.
    pub fn new(stored_pairs: S, writes: &'a WriteSet, request: &'a RangeRequest) -> Self {
        let points = writes.points_in(&request.begin, &request.end);
        let own: Box<dyn Iterator<Item = _>> =
            if request.reverse { Box::new(points.rev()) } else { Box::new(points) };
        Self { writes, stored_pairs, stored: None, own, own_next: None, reverse: request.reverse }
    }

    /// One page of them.
    pub fn page(mut self, request: &RangeRequest) -> Result<RangePage, Error> {
        let limit = if request.limit == 0 { usize::MAX } else { request.limit };
        let bytes_max = if request.bytes == 0 { crate::limits::RANGE_PAGE_BYTES } else { request.bytes };
        let mut page = RangePage::default();
        let mut bytes = 0;
        self.advance_stored()?;
        self.own_next = self.own.next();
        while page.pairs.len() < limit && (page.pairs.is_empty() || bytes < bytes_max) {
            let Some(next) = self.next_pair()? else { return Ok(page) };
            bytes += pair_bytes(&next);
            page.pairs.push(next);
        }
        page.more = true;
        Ok(page)
    }

    fn next_pair(&mut self) -> Result<Option<KeyValue>, Error> {
        loop {
            let own_first = match (&self.own_next, &self.stored) {
                (None, None) => return Ok(None),
                (None, Some(_)) => false,
                (Some(_), None) => true,
                (Some((own, _)), Some((stored, _))) if self.reverse => *own >= stored,
                (Some((own, _)), Some((stored, _))) => *own <= stored,
            };
            if !own_first {
                let pair = self.stored.take().map(|(key, value)| KeyValue { key, value });
                self.advance_stored()?;
                return Ok(pair);
            }
            let Some((key, own)) = self.own_next.take() else { return Ok(None) };
            self.own_next = self.own.next();
            let same = self.stored.as_ref().is_some_and(|(stored, _)| stored == key);
            let base = if same {
                let value = self.stored.take().map(|(_, value)| value);
                self.advance_stored()?;
                value
            } else {
                None
            };
            let value = match own {
                Own::Value(value) => Some(value.clone()),
                Own::Absent => None,
                Own::Atomic(ops) => fold(base, ops),
                Own::Unreadable => return Err(unreadable()),
                Own::Untouched => base,
            };
            if let Some(value) = value {
                return Ok(Some(KeyValue { key: key.clone(), value }));
            }
        }
    }

    fn advance_stored(&mut self) -> Result<(), Error> {
        loop {
            self.stored = self.stored_pairs.next().transpose()?;
            match &self.stored {
                Some((key, _)) if self.writes.is_cleared(key) => {}
                _ => return Ok(()),
            }
        }
    }
}

/// What a pair counts towards the size of a page.
pub fn pair_bytes(pair: &KeyValue) -> usize {
    pair.key.len() + pair.value.len()
}

/// The error of a read that meets a versionstamp still to be given.
pub fn unreadable() -> Error {
    Error::new(ErrorKind::Internal, "read of a key whose versionstamp is not known before the commit")
}
