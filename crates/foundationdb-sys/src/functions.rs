//! The functions of the C interface: one table, found by name in the library, and a Rust function over each entry.
//!
//! Signatures are those of API versions 710 to 730, in which none of these changed.

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::sync::OnceLock;

use crate::options::*;
use crate::types::*;
use crate::{LoadError, Loaded};

/// The library and its functions, once it is open. Never closed: its threads and handles live as long as the process.
pub(crate) static LOADED: OnceLock<Loaded> = OnceLock::new();

/// Error code `api_version_unset`, which the library itself gives before an API version is selected: what the functions
/// below answer that can be called before the library is open.
pub const NOT_LOADED: fdb_error_t = 2201;

const NOT_LOADED_TEXT: &std::ffi::CStr = c"the FoundationDB client library is not loaded";

macro_rules! functions {
    (
        handle_free { $($free:ident($($free_arg:ident: $free_type:ty),*) -> $free_out:ty = $fallback:expr;)* }
        on_handles { $($name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $out:ty)?;)* }
        newer { $($newer:ident($($newer_arg:ident: $newer_type:ty),*) -> $newer_out:ty = $absent:expr;)* }
    ) => {
        /// Names of the functions that a library must have.
        pub const REQUIRED: &[&str] = &[$(stringify!($free),)* $(stringify!($name),)*];

        /// Addresses of all functions in the open library.
        pub(crate) struct Functions {
            $($free: unsafe extern "C" fn($($free_type),*) -> $free_out,)*
            $($name: unsafe extern "C" fn($($type),*) $(-> $out)?,)*
            $($newer: Option<unsafe extern "C" fn($($newer_type),*) -> $newer_out>,)*
        }

        impl Functions {
            /// Finds all of them.
            pub(crate) fn find(
                library: &libloading::Library,
                symbol_error: impl Fn(&'static str, libloading::Error) -> LoadError,
            ) -> Result<Self, LoadError> {
                // SAFETY: a function of this name in FoundationDB's client library has this signature (its header
                // `fdb_c.h`); that the operator named that library is the contract of `load`. The addresses stay valid
                // because the library is never closed once this succeeds (`LOADED`).
                unsafe {
                    Ok(Self {
                        $($free: address(library, concat!(stringify!($free), "\0"))
                            .map_err(|error| symbol_error(stringify!($free), error))?,)*
                        $($name: address(library, concat!(stringify!($name), "\0"))
                            .map_err(|error| symbol_error(stringify!($name), error))?,)*
                        // A library without it is an older one.
                        $($newer: address(library, concat!(stringify!($newer), "\0")).ok(),)*
                    })
                }
            }
        }

        $(
            #[doc = concat!("`", stringify!($free), "` of the C interface.")]
            ///
            /// # Safety
            /// As the C function. Before [`crate::load`] succeeded it does nothing and says so.
            pub unsafe fn $free($($free_arg: $free_type),*) -> $free_out {
                match LOADED.get() {
                    // SAFETY: the caller keeps to the C function's contract.
                    Some(loaded) => unsafe { (loaded.functions.$free)($($free_arg),*) },
                    None => $fallback,
                }
            }
        )*

        $(
            #[doc = concat!("`", stringify!($name), "` of the C interface.")]
            ///
            /// # Safety
            /// As the C function: each handle came from the library and is not destroyed.
            pub unsafe fn $name($($arg: $type),*) $(-> $out)? {
                // SAFETY: the caller keeps to the C function's contract.
                unsafe { (loaded().functions.$name)($($arg),*) }
            }
        )*

        $(
            #[doc = concat!("`", stringify!($newer), "` of the C interface, or its absence in an older library.")]
            ///
            /// # Safety
            /// As the C function: each handle came from the library and is not destroyed.
            pub unsafe fn $newer($($newer_arg: $newer_type),*) -> $newer_out {
                match loaded().functions.$newer {
                    // SAFETY: the caller keeps to the C function's contract.
                    Some(function) => unsafe { function($($newer_arg),*) },
                    None => $absent,
                }
            }
        )*
    };
}

/// The address of a function in the library.
///
/// # Safety
/// `T` must be the function's signature, and the address must not outlive the library.
unsafe fn address<T: Copy>(
    library: &libloading::Library,
    name: &'static str,
) -> Result<T, libloading::Error> {
    // SAFETY: the caller vouches for the signature.
    unsafe { library.get::<T>(name.as_bytes()) }.map(|found| *found)
}

/// The open library, for functions that take a handle.
fn loaded() -> &'static Loaded {
    // A handle comes from `fdb_create_database` alone, directly or through another, and that gives none before the
    // library is open: whoever has one called `load` successfully.
    LOADED.get().expect("a handle of a library that is not open")
}

/// Whether the open library has [`fdb_database_get_client_status`]: older ones do not, and it answers null then.
pub fn has_client_status() -> bool {
    LOADED.get().is_some_and(|loaded| loaded.functions.fdb_database_get_client_status.is_some())
}

functions! {
    handle_free {
        fdb_get_error(code: fdb_error_t) -> *const c_char = NOT_LOADED_TEXT.as_ptr();
        fdb_error_predicate(predicate: c_int, code: fdb_error_t) -> fdb_bool_t = 0;
        fdb_get_max_api_version() -> c_int = 0;
        fdb_get_client_version() -> *const c_char = c"".as_ptr();
        fdb_select_api_version_impl(runtime_version: c_int, header_version: c_int) -> fdb_error_t = NOT_LOADED;
        fdb_network_set_option(option: FDBNetworkOption, value: *const u8, value_length: c_int) -> fdb_error_t
            = NOT_LOADED;
        fdb_setup_network() -> fdb_error_t = NOT_LOADED;
        fdb_run_network() -> fdb_error_t = NOT_LOADED;
        fdb_stop_network() -> fdb_error_t = NOT_LOADED;
        fdb_create_database(cluster_file_path: *const c_char, out: *mut *mut FDBDatabase) -> fdb_error_t
            = NOT_LOADED;
    }
    on_handles {
        fdb_future_destroy(future: *mut FDBFuture);
        fdb_future_is_ready(future: *mut FDBFuture) -> fdb_bool_t;
        fdb_future_set_callback(
            future: *mut FDBFuture, callback: FDBCallback, callback_parameter: *mut c_void,
        ) -> fdb_error_t;
        fdb_future_get_error(future: *mut FDBFuture) -> fdb_error_t;
        fdb_future_get_int64(future: *mut FDBFuture, out: *mut i64) -> fdb_error_t;
        fdb_future_get_key(future: *mut FDBFuture, key: *mut *const u8, key_length: *mut c_int) -> fdb_error_t;
        fdb_future_get_value(
            future: *mut FDBFuture, present: *mut fdb_bool_t, value: *mut *const u8, value_length: *mut c_int,
        ) -> fdb_error_t;
        fdb_future_get_keyvalue_array(
            future: *mut FDBFuture, pairs: *mut *const FDBKeyValue, count: *mut c_int, more: *mut fdb_bool_t,
        ) -> fdb_error_t;
        fdb_future_get_mappedkeyvalue_array(
            future: *mut FDBFuture, pairs: *mut *const FDBMappedKeyValue, count: *mut c_int, more: *mut fdb_bool_t,
        ) -> fdb_error_t;
        fdb_future_get_key_array(
            future: *mut FDBFuture, keys: *mut *const FDBKey, count: *mut c_int,
        ) -> fdb_error_t;
        fdb_future_get_string_array(
            future: *mut FDBFuture, strings: *mut *mut *const c_char, count: *mut c_int,
        ) -> fdb_error_t;

        fdb_database_destroy(database: *mut FDBDatabase);
        fdb_database_set_option(
            database: *mut FDBDatabase, option: FDBDatabaseOption, value: *const u8, value_length: c_int,
        ) -> fdb_error_t;
        fdb_database_create_transaction(
            database: *mut FDBDatabase, out: *mut *mut FDBTransaction,
        ) -> fdb_error_t;
        fdb_database_get_main_thread_busyness(database: *mut FDBDatabase) -> f64;

        fdb_transaction_destroy(transaction: *mut FDBTransaction);
        fdb_transaction_cancel(transaction: *mut FDBTransaction);
        fdb_transaction_reset(transaction: *mut FDBTransaction);
        fdb_transaction_set_option(
            transaction: *mut FDBTransaction, option: FDBTransactionOption, value: *const u8, value_length: c_int,
        ) -> fdb_error_t;
        fdb_transaction_set_read_version(transaction: *mut FDBTransaction, version: i64);
        fdb_transaction_get_read_version(transaction: *mut FDBTransaction) -> *mut FDBFuture;
        fdb_transaction_get(
            transaction: *mut FDBTransaction, key: *const u8, key_length: c_int, snapshot: fdb_bool_t,
        ) -> *mut FDBFuture;
        fdb_transaction_get_key(
            transaction: *mut FDBTransaction, key: *const u8, key_length: c_int, or_equal: fdb_bool_t, offset: c_int,
            snapshot: fdb_bool_t,
        ) -> *mut FDBFuture;
        fdb_transaction_get_addresses_for_key(
            transaction: *mut FDBTransaction, key: *const u8, key_length: c_int,
        ) -> *mut FDBFuture;
        fdb_transaction_get_range(
            transaction: *mut FDBTransaction,
            begin_key: *const u8, begin_key_length: c_int, begin_or_equal: fdb_bool_t, begin_offset: c_int,
            end_key: *const u8, end_key_length: c_int, end_or_equal: fdb_bool_t, end_offset: c_int,
            limit: c_int, target_bytes: c_int, mode: FDBStreamingMode, iteration: c_int,
            snapshot: fdb_bool_t, reverse: fdb_bool_t,
        ) -> *mut FDBFuture;
        fdb_transaction_get_mapped_range(
            transaction: *mut FDBTransaction,
            begin_key: *const u8, begin_key_length: c_int, begin_or_equal: fdb_bool_t, begin_offset: c_int,
            end_key: *const u8, end_key_length: c_int, end_or_equal: fdb_bool_t, end_offset: c_int,
            mapper: *const u8, mapper_length: c_int,
            limit: c_int, target_bytes: c_int, mode: FDBStreamingMode, iteration: c_int,
            snapshot: fdb_bool_t, reverse: fdb_bool_t,
        ) -> *mut FDBFuture;
        fdb_transaction_get_estimated_range_size_bytes(
            transaction: *mut FDBTransaction, begin_key: *const u8, begin_key_length: c_int, end_key: *const u8,
            end_key_length: c_int,
        ) -> *mut FDBFuture;
        fdb_transaction_get_range_split_points(
            transaction: *mut FDBTransaction, begin_key: *const u8, begin_key_length: c_int, end_key: *const u8,
            end_key_length: c_int, chunk_size: i64,
        ) -> *mut FDBFuture;
        fdb_transaction_set(
            transaction: *mut FDBTransaction, key: *const u8, key_length: c_int, value: *const u8,
            value_length: c_int,
        );
        fdb_transaction_atomic_op(
            transaction: *mut FDBTransaction, key: *const u8, key_length: c_int, param: *const u8,
            param_length: c_int, operation: FDBMutationType,
        );
        fdb_transaction_clear(transaction: *mut FDBTransaction, key: *const u8, key_length: c_int);
        fdb_transaction_clear_range(
            transaction: *mut FDBTransaction, begin_key: *const u8, begin_key_length: c_int, end_key: *const u8,
            end_key_length: c_int,
        );
        fdb_transaction_watch(
            transaction: *mut FDBTransaction, key: *const u8, key_length: c_int,
        ) -> *mut FDBFuture;
        fdb_transaction_commit(transaction: *mut FDBTransaction) -> *mut FDBFuture;
        fdb_transaction_on_error(transaction: *mut FDBTransaction, code: fdb_error_t) -> *mut FDBFuture;
        fdb_transaction_get_committed_version(transaction: *mut FDBTransaction, out: *mut i64) -> fdb_error_t;
        fdb_transaction_get_approximate_size(transaction: *mut FDBTransaction) -> *mut FDBFuture;
        fdb_transaction_get_versionstamp(transaction: *mut FDBTransaction) -> *mut FDBFuture;
        fdb_transaction_add_conflict_range(
            transaction: *mut FDBTransaction, begin_key: *const u8, begin_key_length: c_int, end_key: *const u8,
            end_key_length: c_int, kind: FDBConflictRangeType,
        ) -> fdb_error_t;
    }
    newer {
        fdb_database_get_client_status(database: *mut FDBDatabase) -> *mut FDBFuture = std::ptr::null_mut();
    }
}

// One width, so that codes of options and predicates go through either.
const _: () = assert!(size_of::<c_uint>() == size_of::<c_int>());
