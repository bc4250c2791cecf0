//! Range reads: pages of the trait's size, put together from what the client gives at a time.

use bytes::Bytes;
use foundationdb::future::{FdbKeyValue, FdbValues};
use foundationdb::options::StreamingMode;
use foundationdb::{FdbResult, KeySelector, RangeOption, Transaction};
use foundationdb_sys as sys;
use kv::{KeyValue, RangePage, RangeRequest};

use crate::limits;

/// One page of `request`, whose keys stand under `prefix` in the database.
///
/// A reply holds some 80 kB at most, so that a larger page takes several, one after another: where the next begins is
/// known only then. A page may be one pair longer than its bytes.
pub(crate) async fn page(
    trx: &Transaction,
    prefix: &[u8],
    request: &RangeRequest,
    snapshot: bool,
) -> FdbResult<RangePage> {
    if request.begin >= request.end {
        return Ok(RangePage::default());
    }
    let mut begin = [prefix, request.begin.as_ref()].concat();
    let mut end = [prefix, request.end.as_ref()].concat();
    let bytes_max = if request.bytes == 0 { kv::limits::RANGE_PAGE_BYTES } else { request.bytes };
    let pairs_max = if request.limit == 0 { limits::RANGE_PAIRS_MAX } else { request.limit };
    // Who gives a number wants that many at once; otherwise as much as a reply holds.
    let mode = if request.limit == 0 { StreamingMode::WantAll } else { StreamingMode::Exact };
    let mut page = RangePage { pairs: Vec::new(), more: true };
    let mut bytes = 0;
    let mut iteration = 1;
    while page.more && page.pairs.len() < pairs_max && bytes < bytes_max {
        let wanted = (pairs_max - page.pairs.len()).min(limits::RANGE_PAIRS_MAX);
        let option = RangeOption {
            begin: KeySelector::first_greater_or_equal(begin.as_slice()),
            end: KeySelector::first_greater_or_equal(end.as_slice()),
            limit: Some(wanted),
            target_bytes: bytes_max - bytes,
            mode,
            reverse: request.reverse,
            ..RangeOption::default()
        };
        let values = trx.get_range(&option, iteration, snapshot).await?;
        iteration += 1;
        page.more = values.more();
        page.pairs.reserve(values.len());
        for value in &values {
            let pair = copy(value, prefix.len());
            bytes += pair.key.len() + pair.value.len();
            page.pairs.push(pair);
        }
        match last_key(&values) {
            Some(last) if request.reverse => last.clone_into(&mut end),
            Some(last) => {
                last.clone_into(&mut begin);
                begin.push(0);
            }
            // The client says that there may be more only after at least one pair.
            None => page.more = false,
        }
    }
    Ok(page)
}

fn last_key(values: &FdbValues) -> Option<&[u8]> {
    values.last().map(FdbKeyValue::key)
}

/// The pair, in one buffer of its own: what the client gave stands in memory that ends with its reply.
fn copy(pair: &FdbKeyValue, prefix_bytes: usize) -> KeyValue {
    let (key, value) = (pair.key(), value(pair));
    let key = key.get(prefix_bytes..).unwrap_or_default();
    let mut both = Vec::with_capacity(key.len() + value.len());
    both.extend_from_slice(key);
    both.extend_from_slice(value);
    let mut key_bytes = Bytes::from(both);
    let value_bytes = key_bytes.split_off(key.len());
    KeyValue { key: key_bytes, value: value_bytes }
}

/// The pair's value. The client may give no address for one of no bytes, which the crate's own accessor takes for an
/// address all the same.
fn value(pair: &FdbKeyValue) -> &[u8] {
    const { assert!(size_of::<FdbKeyValue>() == size_of::<sys::FDBKeyValue>()) };
    let raw: *const sys::FDBKeyValue = std::ptr::from_ref(pair).cast();
    // SAFETY: `FdbKeyValue` is a struct of one field, which is `FDBKeyValue`, without padding (the sizes are equal), and
    // `pair` is alive; read without regard to alignment, since both are packed.
    let raw = unsafe { raw.read_unaligned() };
    let length = usize::try_from(raw.value_length).unwrap_or_default();
    if length == 0 {
        return &[];
    }
    // SAFETY: the client's array of pairs has `value_length` bytes at `value`, which stand as long as the reply that
    // `pair` borrows from.
    unsafe { std::slice::from_raw_parts(raw.value, length) }
}
