//! What is wrong with the library, the cluster file or the cluster is told in one sentence, within a bounded time.
//!
//! A process has one client library for life, so each case runs in a process of its own: this test program again, told
//! by its environment what to open. Libraries that stand in for broken ones are compiled here. They show what the loader
//! and the opening make of them; they are no database.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kv_fdb::{FdbEngine, NetworkGuard, Options};

const LIBRARY: &str = "KV_FDB_TEST_LIBRARY";
const CLUSTER_FILE: &str = "KV_FDB_TEST_CLUSTER_FILE";
const API_VERSION: &str = "KV_FDB_TEST_API_VERSION";
/// Patience of the child for the cluster's first answer.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// Longest that a child may take, on a busy machine too.
const SOON: Duration = Duration::from_secs(20);

/// Not a case: the process in which each case opens an engine.
#[test]
fn child() {
    let Some(library) = std::env::var_os(LIBRARY) else { return };
    let _network = NetworkGuard::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let options = Options {
        library: (!library.is_empty()).then(|| library.into()),
        cluster_file: std::env::var_os(CLUSTER_FILE).map(PathBuf::from),
        api_version: std::env::var(API_VERSION).map_or(730, |version| version.parse().unwrap()),
        connect_max: CONNECT_MAX,
        ..Options::default()
    };
    match runtime.block_on(FdbEngine::open(options)) {
        Ok(_) => println!("outcome: open"),
        Err(error) => {
            let mut told = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(inner) = source {
                write!(told, ": {inner}").unwrap();
                source = inner.source();
            }
            println!("outcome: {told}");
        }
    }
}

/// A directory, a cluster file of a cluster that does not exist, and libraries.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { directory: tempfile::tempdir().unwrap() };
        // Nothing listens on the discard port.
        std::fs::write(place.cluster_file(), "test:test@127.0.0.1:9\n").unwrap();
        place
    }

    fn cluster_file(&self) -> PathBuf {
        self.directory.path().join("fdb.cluster")
    }

    /// A library with these C functions, and with an empty one of every other name that the client has but `without`.
    fn library(&self, functions: &[(&str, &str)], without: &str) -> PathBuf {
        let mut text = "#include <unistd.h>\nstatic volatile int stopped;\n".to_owned();
        for name in foundationdb_sys::REQUIRED.iter().filter(|name| **name != without) {
            match functions.iter().find(|(given, _)| given == name) {
                Some((_, body)) => writeln!(text, "{body}").unwrap(),
                None => writeln!(text, "int {name}(void) {{ return 0; }}").unwrap(),
            }
        }
        let (source, library) =
            (self.directory.path().join("library.c"), self.directory.path().join("library.so"));
        std::fs::write(&source, text).unwrap();
        let compiled =
            Command::new("gcc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status().unwrap();
        assert!(compiled.success());
        library
    }

    /// What a process says that opens an engine.
    fn open(&self, library: &Path, cluster_file: &Path, api_version: i32) -> String {
        let began = Instant::now();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(LIBRARY, library)
            .env(CLUSTER_FILE, cluster_file)
            .env(API_VERSION, api_version.to_string())
            .current_dir(self.directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        while child.try_wait().unwrap().is_none() {
            if began.elapsed() > SOON {
                child.kill().unwrap();
                panic!("it hangs: {:?}", child.wait_with_output());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{}: {text}", output.status);
        let outcome = text.split("outcome: ").nth(1).unwrap_or_else(|| panic!("no outcome in {text}"));
        outcome.lines().next().unwrap().to_owned()
    }

    fn check(&self, library: &Path, cluster_file: &Path, api_version: i32, names: &[&str]) {
        let told = self.open(library, cluster_file, api_version);
        for name in names {
            assert!(told.contains(name), "{name:?} is not in {told:?}");
        }
    }
}

/// A client that starts, and whose cluster never answers.
const SILENT: &[(&str, &str)] = &[
    ("fdb_get_max_api_version", "int fdb_get_max_api_version(void) { return 730; }"),
    ("fdb_get_error", "const char *fdb_get_error(int code) { return \"an error\"; }"),
    ("fdb_run_network", "int fdb_run_network(void) { while (!stopped) usleep(1000); return 0; }"),
    ("fdb_stop_network", "int fdb_stop_network(void) { stopped = 1; return 0; }"),
    (
        "fdb_create_database",
        "int fdb_create_database(char *f, void **db) { *db = (void *)&stopped; return 0; }",
    ),
    (
        "fdb_database_create_transaction",
        "int fdb_database_create_transaction(void *db, void **t) { *t = db; return 0; }",
    ),
    ("fdb_transaction_get_read_version", "void *fdb_transaction_get_read_version(void *t) { return t; }"),
];

#[test]
fn libraries_that_are_none() {
    let place = Place::new();
    let absent = place.directory.path().join("absent.so");
    place.check(
        &absent,
        &place.cluster_file(),
        730,
        &["client library", "absent.so cannot be opened", "No such file"],
    );
    let garbage = place.directory.path().join("garbage.so");
    std::fs::write(&garbage, "this is no library\n".repeat(100)).unwrap();
    place.check(&garbage, &place.cluster_file(), 730, &["garbage.so cannot be opened", "ELF"]);
    let other = place.library(SILENT, "fdb_transaction_get_mapped_range");
    place.check(
        &other,
        &place.cluster_file(),
        730,
        &["library.so is no client of FoundationDB 7.1", "fdb_transaction_get_mapped_range is missing"],
    );
}

#[test]
fn libraries_of_another_age() {
    let place = Place::new();
    let old = place
        .library(&[("fdb_get_max_api_version", "int fdb_get_max_api_version(void) { return 720; }")], "");
    place.check(&old, &place.cluster_file(), 730, &["library.so", "up to 720", "730 is asked for", "7.3"]);
    place.check(&old, &place.cluster_file(), 700, &["API version is 700", "from 710 to 730"]);
    place.check(&old, &place.cluster_file(), 740, &["API version is 740", "from 710 to 730"]);
}

#[test]
fn a_client_that_does_not_start() {
    let place = Place::new();
    let mut functions = SILENT.to_vec();
    functions.push(("fdb_setup_network", "int fdb_setup_network(void) { return 1500; }"));
    let library = place.library(&functions, "");
    place.check(
        &library,
        &place.cluster_file(),
        730,
        &["cannot start", "setting up the network", "an error (1500)"],
    );
}

#[test]
fn cluster_files_that_are_none() {
    let place = Place::new();
    // The library is not looked at before the file is.
    let library = Path::new("/no/such/library.so");
    let absent = place.directory.path().join("absent.cluster");
    place.check(library, &absent, 730, &["absent.cluster cannot be read", "No such file"]);
    let malformed = place.directory.path().join("malformed.cluster");
    std::fs::write(&malformed, "127.0.0.1:4500\n").unwrap();
    place.check(
        library,
        &malformed,
        730,
        &["malformed.cluster is no FoundationDB cluster file", "no @", "HOST:PORT"],
    );
}

#[test]
fn a_cluster_that_does_not_answer() {
    let place = Place::new();
    let library = place.library(SILENT, "");
    let began = Instant::now();
    place.check(
        &library,
        &place.cluster_file(),
        730,
        &["no answer from the FoundationDB cluster", "fdb.cluster", "within 1 s", "127.0.0.1:9"],
    );
    assert!(began.elapsed() > CONNECT_MAX, "it waited for the answer");
}

/// With the real client library, if there is one: its own time limit, and its own words.
#[test]
fn a_real_client_without_a_cluster() {
    let Some(library) = std::env::var_os("MSS_FDB_LIBRARY") else {
        // Past what the test harness captures: whoever reads the output is to see it.
        let _ = writeln!(
            std::io::stderr(),
            "==== NOT RUN: MSS_FDB_LIBRARY names no FoundationDB client library ===="
        );
        return;
    };
    let place = Place::new();
    for api_version in [730, 710] {
        place.check(
            Path::new(&library),
            &place.cluster_file(),
            api_version,
            &["no answer from the FoundationDB cluster", "within 1 s", "connections: 127.0.0.1:9 connecting"],
        );
    }
}
