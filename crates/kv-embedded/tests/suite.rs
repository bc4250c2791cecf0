//! The engine suite.

use kv::suite;
use kv_embedded::{EmbeddedEngine, Options};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_the_embedded_engine() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { free_bytes_min: 0, ..Options::default() };
    let engine = EmbeddedEngine::open(directory.path(), options).unwrap();
    suite::report(&suite::run_all(|| engine.clone()).await);
}
