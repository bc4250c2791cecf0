//! Handles and the memory behind results, as the C interface lays them out.

use std::ffi::{c_int, c_uchar, c_void};

/// An error code; 0 is success.
pub type fdb_error_t = c_int;
/// A truth value; 0 is false.
pub type fdb_bool_t = c_int;

macro_rules! handles {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        $(
            $(#[$doc])*
            #[repr(C)]
            pub struct $name {
                opaque: [u8; 0],
                // Neither Send, Sync nor Unpin: what stands behind the pointer is the library's.
                marker: core::marker::PhantomData<(*mut u8, core::marker::PhantomPinned)>,
            }
        )*
    };
}

handles! {
    /// A result that may be still to come.
    FDBFuture,
    /// A database.
    FDBDatabase,
    /// A tenant of a database; nothing here makes one.
    FDBTenant,
    /// A transaction.
    FDBTransaction,
}

/// Called once when a future is ready, on the network thread or the one that asked.
pub type FDBCallback = Option<unsafe extern "C" fn(future: *mut FDBFuture, callback_parameter: *mut c_void)>;

/// A byte string. Packed to four bytes, so that it may lie at any multiple of four.
#[repr(C, packed(4))]
#[derive(Clone, Copy, Debug)]
pub struct FDBKey {
    pub key: *const u8,
    pub key_length: c_int,
}

/// A key and its value. Packed to four bytes, as [`FDBKey`].
#[repr(C, packed(4))]
#[derive(Clone, Copy, Debug)]
pub struct FDBKeyValue {
    pub key: *const u8,
    pub key_length: c_int,
    pub value: *const u8,
    pub value_length: c_int,
}

/// Where a range begins or ends.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FDBKeySelector {
    pub key: FDBKey,
    pub orEqual: fdb_bool_t,
    pub offset: c_int,
}

/// The range that a mapped range read went on to read, and what it found.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FDBGetRangeReqAndResult {
    pub begin: FDBKeySelector,
    pub end: FDBKeySelector,
    pub data: *mut FDBKeyValue,
    pub m_size: c_int,
    pub m_capacity: c_int,
}

/// One pair of a mapped range read.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FDBMappedKeyValue {
    pub key: FDBKey,
    pub value: FDBKey,
    pub getRange: FDBGetRangeReqAndResult,
    pub buffer: [c_uchar; 32],
}

// The sizes that the library's own headers give on 64-bit machines.
#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(size_of::<FDBKey>() == 12 && align_of::<FDBKey>() == 4);
    assert!(size_of::<FDBKeyValue>() == 24 && align_of::<FDBKeyValue>() == 4);
    assert!(size_of::<FDBKeySelector>() == 20);
    assert!(size_of::<FDBGetRangeReqAndResult>() == 56);
    assert!(size_of::<FDBMappedKeyValue>() == 112);
};
