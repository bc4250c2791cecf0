//! Watches: who wants to know when a key changes.
//!
//! A watch is armed after its transaction committed, with a hash of the value the transaction saw, under the
//! lock that the pipeline takes to announce what a batch changed. Whoever arms then looks at the published
//! value once more: a change before that look is seen by it, one after it finds the watch in the table.

use std::collections::HashMap;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use kv::{Error, ErrorKind};
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// All watches of an engine.
pub(crate) struct Watches {
    table: Mutex<Table>,
    outstanding: AtomicUsize,
    hasher: RandomState,
}

#[derive(Default)]
struct Table {
    by_key: HashMap<Bytes, Vec<Armed>>,
    next_id: u64,
    closed: bool,
}

struct Armed {
    id: u64,
    seen: u64,
    wake: oneshot::Sender<()>,
}

/// A watch whose transaction has not committed yet.
pub(crate) struct Unarmed {
    pub(crate) key: Bytes,
    /// Hash of the value seen; none when the transaction itself writes a value it does not know yet.
    pub(crate) seen: Option<u64>,
    id: u64,
    wake: oneshot::Sender<()>,
}

struct WatchFuture {
    // The order matters: the channel must be closed before the guard looks for an armed entry.
    fired: oneshot::Receiver<()>,
    _guard: Guard,
}

/// Gives the watch's place back, and disarms it.
struct Guard {
    watches: Arc<Watches>,
    key: Bytes,
    id: u64,
}

impl Watches {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            table: Mutex::default(),
            outstanding: AtomicUsize::new(0),
            hasher: RandomState::new(),
        })
    }

    /// What stands for a value: equal values have equal hashes, and others do not, but for one in 2^64.
    pub(crate) fn hash(&self, value: Option<&[u8]>) -> u64 {
        self.hasher.hash_one(value)
    }

    /// A watch and the half of it that its transaction arms.
    pub(crate) fn create(
        self: &Arc<Self>,
        key: Bytes,
        seen: Option<u64>,
    ) -> Result<(Unarmed, kv::Watch), Error> {
        if self.outstanding.fetch_add(1, Ordering::Relaxed) >= kv::limits::WATCHES_MAX {
            self.outstanding.fetch_sub(1, Ordering::Relaxed);
            return Err(Error::new(ErrorKind::Unavailable, "too many watches"));
        }
        let id = {
            let mut table = self.table.lock();
            table.next_id += 1;
            table.next_id
        };
        let (wake, fired) = oneshot::channel();
        let guard = Guard { watches: self.clone(), key: key.clone(), id };
        Ok((Unarmed { key, seen, id, wake }, Box::pin(WatchFuture { fired, _guard: guard })))
    }

    /// Arms a watch of a committed transaction. `current` reads the published value of its key.
    pub(crate) fn arm(&self, watch: Unarmed, current: impl FnOnce(&Bytes) -> Option<u64>) {
        let Unarmed { key, seen, id, wake } = watch;
        let seen_hash = seen.unwrap_or_default();
        {
            let mut table = self.table.lock();
            if wake.is_closed() || table.closed {
                return;
            }
            table.by_key.entry(key.clone()).or_default().push(Armed { id, seen: seen_hash, wake });
        }
        // Unreadable counts as changed: the caller reads again and learns of it.
        let changed = seen.is_none() || current(&key) != Some(seen_hash);
        if changed && let Some(armed) = self.disarm(&key, id) {
            let _ = armed.wake.send(());
        }
    }

    /// Fires the watches of the keys whose value changed.
    pub(crate) fn announce<'a>(&self, changed: impl Iterator<Item = (&'a Bytes, Option<&'a Bytes>)>) {
        if self.outstanding.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut table = self.table.lock();
        if table.by_key.is_empty() {
            return;
        }
        for (key, value) in changed {
            let Some(armed) = table.by_key.get_mut(key) else { continue };
            let now = self.hash(value.map(AsRef::as_ref));
            for fired in armed.extract_if(.., |armed| armed.seen != now) {
                let _ = fired.wake.send(());
            }
            if armed.is_empty() {
                table.by_key.remove(key);
            }
        }
    }

    /// Ends all watches, and those armed later, with [`ErrorKind::Unavailable`].
    pub(crate) fn close(&self) {
        let mut table = self.table.lock();
        table.closed = true;
        table.by_key.clear();
    }

    /// Watches that are held by someone.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Relaxed)
    }

    fn disarm(&self, key: &Bytes, id: u64) -> Option<Armed> {
        let mut table = self.table.lock();
        let armed = table.by_key.get_mut(key)?;
        let found = armed.iter().position(|armed| armed.id == id).map(|at| armed.swap_remove(at));
        if armed.is_empty() {
            table.by_key.remove(key);
        }
        found
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.watches.outstanding.fetch_sub(1, Ordering::Relaxed);
        self.watches.disarm(&self.key, self.id);
    }
}

impl Future for WatchFuture {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.fired).poll(cx).map(|fired| {
            fired.map_err(|_| {
                Error::new(
                    ErrorKind::Unavailable,
                    "the watch ended: engine stopped or transaction not committed",
                )
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_watch_leaves_nothing() {
        let watches = Watches::new();
        let key = Bytes::from_static(b"k");
        let seen = watches.hash(None);
        let (unarmed, watch) = watches.create(key.clone(), Some(seen)).unwrap();
        watches.arm(unarmed, |_| Some(seen));
        let (late, dropped_early) = watches.create(key, Some(seen)).unwrap();
        assert_eq!(watches.outstanding(), 2);
        drop(dropped_early);
        watches.arm(late, |_| Some(seen));
        assert_eq!(watches.table.lock().by_key.values().map(Vec::len).sum::<usize>(), 1);
        drop(watch);
        assert!(watches.table.lock().by_key.is_empty());
        assert_eq!(watches.outstanding(), 0);
    }

    #[test]
    fn there_is_a_most() {
        let watches = Watches::new();
        let held: Vec<_> =
            (0..kv::limits::WATCHES_MAX).map(|_| watches.create(Bytes::new(), None).unwrap()).collect();
        assert_eq!(watches.create(Bytes::new(), None).err().unwrap().kind(), ErrorKind::Unavailable);
        drop(held);
        assert!(watches.create(Bytes::new(), None).is_ok());
    }
}
