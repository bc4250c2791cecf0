//! The checks, each a command that a person could type.

use std::process::Command;
use std::time::Instant;

use anyhow::Context as _;

use crate::metadata::{cargo, root};
use crate::{deploy, layers, licences};

/// Debian packages that the tests and the feature of pre-shared keys need: what no one here wrote.
const DEBIAN_PACKAGES: [(&str, &str); 16] = [
    ("mbsync", "isync"),
    ("interimap", "interimap"),
    ("perl", "perl"),
    ("curl", "curl"),
    ("python3", "python3"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("dovecot", "dovecot-imapd"),
    ("nginx", "nginx-light"),
    ("promtool", "prometheus"),
    ("haproxy", "haproxy"),
    ("openssl", "openssl"),
    ("gnutls-cli", "gnutls-bin"),
    ("pkg-config", "pkg-config"),
    ("kamailio", "kamailio"),
    ("systemd-analyze", "systemd"),
];

/// Debian packages without a program of their own: what those above load, and what OpenSSL's bindings are built with.
const DEBIAN_MODULES: [&str; 3] = ["kamailio-presence-modules", "libmail-imaptalk-perl", "libssl-dev"];

/// Everything that is off unless asked for.
const FEATURES: [&str; 2] = ["--features", "mss/psk,conformance/psk"];

/// All of continuous integration.
pub fn check() -> anyhow::Result<()> {
    step("format", || run(&cargo(), &["fmt", "--all", "--check"], &[]))?;
    step("layers", layers::check)?;
    step("licences", licences::check)?;
    // Before what is built with them.
    step("deps", deps)?;
    step("lints", || {
        let lint = |features: &[&str]| {
            let everything = ["clippy", "--workspace", "--all-targets", "--locked"];
            run(&cargo(), &[&everything, features, &["--", "--deny", "warnings"]].concat(), &[])
        };
        lint(&FEATURES)?;
        lint(&[])
    })?;
    step("docs", || {
        let quiet = [("RUSTDOCFLAGS", "--deny warnings")];
        let arguments = ["doc", "--workspace", "--no-deps", "--locked", "--document-private-items"];
        run(&cargo(), &[&arguments, &FEATURES[..]].concat(), &quiet)
    })?;
    all_tests()?;
    step("deploy", deploy::check)?;
    step("fuzz", fuzz)?;
    tell_of_foundationdb();
    Ok(())
}

/// All tests.
pub fn test() -> anyhow::Result<()> {
    all_tests()?;
    tell_of_foundationdb();
    Ok(())
}

fn all_tests() -> anyhow::Result<()> {
    step("deps", deps)?;
    // A program as it is built unless asked for more: the crates that are another thing then.
    step("tests without features", || {
        run(&cargo(), &["test", "--package", "psk", "--package", "mss", "--locked"], &[])
    })?;
    // The transcripts and clients drive the real binary.
    step("binary", || run(&cargo(), &["build", "--package", "mss", "--locked", "--features", "psk"], &[]))?;
    step("tests", || {
        let arguments = ["test", "--workspace", "--locked", "--no-fail-fast"];
        run(&cargo(), &[&arguments, &FEATURES[..]].concat(), &[])
    })?;
    if foundationdb_is_named() { step("foundationdb", foundationdb) } else { Ok(()) }
}

/// Tests against the FoundationDB that `MSS_FDB_CLUSTER_FILE` names: the engine itself, then storage nodes and front ends
/// on it, whose processes and its own are killed.
pub fn foundationdb() -> anyhow::Result<()> {
    anyhow::ensure!(
        foundationdb_is_named(),
        "MSS_FDB_CLUSTER_FILE is not set: it names the cluster file of a FoundationDB that tests may write to and kill"
    );
    step("deps", deps)?;
    let tests = ["test", "--package", "kv-fdb", "--package", "conformance", "--locked", "--no-fail-fast"];
    let chosen = ["--", "--include-ignored", "foundationdb", "--nocapture"];
    run(&cargo(), &[&tests[..], &chosen[..]].concat(), &[])
}

fn foundationdb_is_named() -> bool {
    std::env::var_os("MSS_FDB_CLUSTER_FILE").is_some()
}

/// The last line, so that nobody takes what did not run for what passed.
fn tell_of_foundationdb() {
    if !foundationdb_is_named() {
        eprintln!(
            "== NOT TESTED: FoundationDB. MSS_FDB_CLUSTER_FILE is not set (`cargo xtask foundationdb`)"
        );
    }
}

/// Installs what is missing, or says what could not be.
pub fn deps() -> anyhow::Result<()> {
    let missing: Vec<&str> = DEBIAN_PACKAGES
        .iter()
        .filter(|(program, _)| !on_path(program))
        .map(|(_, package)| *package)
        .chain(DEBIAN_MODULES.into_iter().filter(|package| !is_installed(package)))
        .collect();
    if !missing.is_empty() {
        println!("installing {}", missing.join(" "));
        let noninteractive = [("DEBIAN_FRONTEND", "noninteractive")];
        run("apt-get", &["update", "--quiet"], &noninteractive)
            .with_context(|| format!("install these Debian packages by hand: {}", missing.join(" ")))?;
        let mut arguments = vec!["install", "--yes", "--quiet", "--no-install-recommends"];
        arguments.extend(&missing);
        run("apt-get", &arguments, &noninteractive)
            .with_context(|| format!("install these Debian packages by hand: {}", missing.join(" ")))?;
    }
    for (program, package) in DEBIAN_PACKAGES {
        anyhow::ensure!(on_path(program), "{program} is still missing after installing {package}");
    }
    for package in DEBIAN_MODULES {
        anyhow::ensure!(is_installed(package), "{package} is still missing after installing it");
    }
    npm_clients()
}

/// Whether the package manager has it, with all its files.
fn is_installed(package: &str) -> bool {
    let asked =
        Command::new("dpkg-query").args(["--show", "--showformat=${db:Status-Status}", package]).output();
    asked.is_ok_and(|answer| answer.stdout == b"installed")
}

/// npm packages of the lock file, in `target/clients`; nothing to do when they are there.
fn npm_clients() -> anyhow::Result<()> {
    let from = root().join("crates/conformance/clients");
    let into = root().join("target/clients");
    let lock = std::fs::read(from.join("package-lock.json"))?;
    let installed = std::fs::read(into.join("package-lock.json")).is_ok_and(|found| found == lock);
    if installed && into.join("node_modules").is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(&into)?;
    // The lock file last: it says that what it lists is there.
    let staged = into.join("staged");
    std::fs::create_dir_all(&staged)?;
    for name in ["package.json", "package-lock.json"] {
        std::fs::copy(from.join(name), staged.join(name))?;
    }
    let folder = staged.to_string_lossy().into_owned();
    run("npm", &["ci", "--prefix", &folder, "--ignore-scripts", "--no-audit", "--no-fund"], &[])?;
    let modules = into.join("node_modules");
    if modules.is_dir() {
        std::fs::remove_dir_all(&modules)?;
    }
    std::fs::rename(staged.join("node_modules"), &modules)?;
    std::fs::write(into.join("package-lock.json"), lock)?;
    std::fs::remove_dir_all(&staged)?;
    Ok(())
}

/// Transcripts against a server that runs already, or judged by Dovecot.
pub fn conformance(arguments: &[String]) -> anyhow::Result<()> {
    let mut command = vec!["test", "--package", "conformance", "--test", "transcripts", "--"];
    let mut variables = Vec::new();
    match arguments {
        [] => command.push("every_transcript_holds"),
        [option] if option == "--oracle" => command.push("dovecot_agrees"),
        [address] => {
            command.push("every_transcript_holds");
            variables.push(("MSS_IMAP_ADDR", address.as_str()));
        }
        _ => anyhow::bail!("wants nothing, --oracle, or the address of a server"),
    }
    command.push("--nocapture");
    run(&cargo(), &command, &variables)
}

/// Every fuzz target for some seconds each, guided by coverage. Inputs that failed stay in `target/fuzz/failed`, the
/// corpus in `target/fuzz/corpus`.
pub fn fuzz() -> anyhow::Result<()> {
    /// What libFuzzer needs of the compiler, and checks that release builds leave out.
    const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks";
    let seconds = std::env::var("MSS_FUZZ_SECONDS").unwrap_or_else(|_| "20".into());
    let target = root().join("target/fuzz");
    let target_text = target.to_string_lossy().into_owned();
    // Of its own: the flags would make every other build start anew. The target is named so that they stay away from
    // build scripts and macros.
    let platform = "x86_64-unknown-linux-gnu";
    let build = ["build", "--package", "fuzz", "--locked", "--profile", "fuzz", "--target", platform];
    run(&cargo(), &build, &[("RUSTFLAGS", FLAGS), ("CARGO_TARGET_DIR", &target_text)])?;
    let failed = target.join("failed");
    std::fs::create_dir_all(&failed)?;
    let mut targets = 0;
    for entry in std::fs::read_dir(target.join(platform).join("fuzz"))? {
        let program = entry?.path();
        let name = program.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if !name.starts_with("fuzz_") || program.extension().is_some() {
            continue;
        }
        println!("-- {name}");
        targets += 1;
        let corpus = target.join("corpus").join(&name);
        std::fs::create_dir_all(&corpus)?;
        run(
            &program.to_string_lossy(),
            &[
                &corpus.to_string_lossy(),
                &format!("-max_total_time={seconds}"),
                &format!("-artifact_prefix={}/{name}-", failed.display()),
                "-rss_limit_mb=2048",
                "-timeout=10",
                "-verbosity=0",
                "-print_final_stats=1",
            ],
            &[],
        )?;
    }
    anyhow::ensure!(targets > 0, "no fuzz target was built");
    Ok(())
}

/// Simulates many seeds.
pub fn sim(arguments: &[String]) -> anyhow::Result<()> {
    let mut command = vec!["run", "--profile", "fast", "--locked", "--package", "sim", "--", "run"];
    command.extend(arguments.iter().map(String::as_str));
    run(&cargo(), &command, &[])
}

/// Whether there is a program of this name.
pub fn on_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).chain(["/usr/sbin".into()]).any(|dir| dir.join(program).is_file())
    })
}

fn step(name: &str, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    println!("== {name}");
    let began = Instant::now();
    work().with_context(|| format!("the step {name:?} failed"))?;
    println!("== {name}: done in {} s", began.elapsed().as_secs());
    Ok(())
}

/// Runs a program at the root of the repository.
///
/// # Errors
/// When it cannot be run or fails.
pub fn run(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> anyhow::Result<()> {
    let status = Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(root())
        .status()
        .with_context(|| format!("{program} cannot be run"))?;
    anyhow::ensure!(status.success(), "{program} {} ended with {status}", arguments.join(" "));
    Ok(())
}
