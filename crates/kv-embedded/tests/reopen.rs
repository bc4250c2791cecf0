//! Opening, closing and opening again.

use bytes::Bytes;
use kv::{Engine, ErrorKind, RangeRequest, ReadMode, TransactionOptions};
use kv_embedded::{EmbeddedEngine, OpenError, Options};

fn options() -> Options {
    Options { free_bytes_min: 0, ..Options::default() }
}

#[tokio::test]
async fn what_was_committed_is_there_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let mut versions = Vec::new();
    for round in 0..3u8 {
        let engine = EmbeddedEngine::open(directory.path(), options()).unwrap();
        let mut trx = engine.begin(TransactionOptions::default());
        for earlier in 0..round {
            assert_eq!(
                trx.get(&[b'k', earlier], ReadMode::Serializable).await.unwrap().as_deref(),
                Some(&[earlier][..])
            );
        }
        trx.set(&[b'k', round], &[round]);
        trx.set_bytes(Bytes::from(vec![b'v', round]), Bytes::from(vec![round; 5000]));
        let committed = trx.commit().await.unwrap();
        assert_eq!(&committed.versionstamp.unwrap().0[..8], committed.version.to_be_bytes());
        versions.push(committed.version);
        engine.close();
        let refused = engine.begin(TransactionOptions::default()).read_version().await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
    let engine = EmbeddedEngine::open(directory.path(), options()).unwrap();
    let mut trx = engine.begin(TransactionOptions::default());
    let page = trx.get_range(&RangeRequest::prefix(b"v"), ReadMode::Snapshot).await.unwrap();
    assert_eq!(page.pairs.len(), 3);
    assert!(page.pairs.iter().all(|pair| pair.value.len() == 5000));
}

#[test]
fn one_engine_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let first = EmbeddedEngine::open(directory.path(), options()).unwrap();
    let error = EmbeddedEngine::open(directory.path(), options()).err().unwrap();
    assert!(matches!(error, OpenError::Locked { holder: Some(pid), .. } if pid == std::process::id()));
    assert!(error.to_string().contains(&directory.path().display().to_string()), "{error}");
    drop(first);
    EmbeddedEngine::open(directory.path(), options()).unwrap();
}

#[test]
fn another_format_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    drop(EmbeddedEngine::open(directory.path(), options()).unwrap());
    let format = directory.path().join("FORMAT");
    assert_eq!(std::fs::read_to_string(&format).unwrap(), "mss-kv-embedded 1\n");
    std::fs::write(&format, "mss-kv-embedded 99\n").unwrap();
    let error = EmbeddedEngine::open(directory.path(), options()).err().unwrap();
    assert!(matches!(error, OpenError::Format { expected: 1, .. }), "{error}");
    std::fs::remove_file(&format).unwrap();
    assert!(
        EmbeddedEngine::open(directory.path(), options()).is_err(),
        "a store without a format is not ours"
    );
}

#[test]
fn a_directory_of_somebody_else_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("lost+found")).unwrap();
    std::fs::write(directory.path().join("notes.txt"), "mine").unwrap();
    let error = EmbeddedEngine::open(directory.path(), options()).err().unwrap();
    assert!(matches!(&error, OpenError::Foreign { found, .. } if found == "notes.txt"), "{error}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2, "nothing was put into it");
    std::fs::remove_file(directory.path().join("notes.txt")).unwrap();
    EmbeddedEngine::open(directory.path(), options()).unwrap();
    assert!(EmbeddedEngine::is_in(directory.path()));
    std::fs::write(directory.path().join("notes.txt"), "beside a store").unwrap();
    EmbeddedEngine::open(directory.path(), options()).unwrap();
}

#[tokio::test]
async fn a_clear_of_too_much_is_refused_whole() {
    let directory = tempfile::tempdir().unwrap();
    let most = 1000u32;
    let options = Options { cleared_keys_max: most as usize, ..options() };
    let engine = EmbeddedEngine::open(directory.path(), options).unwrap();
    let mut trx = engine.begin(TransactionOptions::default());
    for number in 0..=most {
        trx.set(&number.to_be_bytes(), b"");
    }
    trx.commit().await.unwrap();
    let clear = async |end: u32| {
        let mut trx = engine.begin(TransactionOptions::default());
        trx.set(b"\x80", b"with it");
        trx.clear_range(&[0], &end.to_be_bytes());
        trx.commit().await.map_err(|error| error.kind()).err()
    };
    let count = async || {
        let mut trx = engine.begin(TransactionOptions::default());
        let request = RangeRequest { bytes: 1 << 30, ..RangeRequest::new(&[0][..], &[0xFF][..]) };
        trx.get_range(&request, ReadMode::Snapshot).await.unwrap().pairs.len()
    };
    assert_eq!(clear(most + 1).await, Some(ErrorKind::TooLarge));
    assert_eq!(count().await, most as usize + 1);
    assert_eq!(clear(most).await, None);
    assert_eq!(count().await, 2, "the one beyond, and the one beside");
}
