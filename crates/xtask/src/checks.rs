//! The checks, each a command that a person could type.

use std::process::Command;
use std::time::Instant;

use anyhow::Context as _;

use crate::metadata::{cargo, root};
use crate::{layers, licences};

/// Debian packages that the tests need: the clients and tools that no one here wrote.
const DEBIAN_PACKAGES: [(&str, &str); 6] = [
    ("mbsync", "isync"),
    ("curl", "curl"),
    ("python3", "python3"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("dovecot", "dovecot-imapd"),
];

/// All of continuous integration.
pub fn check() -> anyhow::Result<()> {
    step("format", || run(&cargo(), &["fmt", "--all", "--check"], &[]))?;
    step("layers", layers::check)?;
    step("licences", licences::check)?;
    step("lints", || {
        run(
            &cargo(),
            &["clippy", "--workspace", "--all-targets", "--locked", "--", "--deny", "warnings"],
            &[],
        )
    })?;
    step("docs", || {
        let quiet = [("RUSTDOCFLAGS", "--deny warnings")];
        run(&cargo(), &["doc", "--workspace", "--no-deps", "--locked", "--document-private-items"], &quiet)
    })?;
    test()?;
    step("fuzz", fuzz)
}

/// All tests.
pub fn test() -> anyhow::Result<()> {
    step("deps", deps)?;
    // The transcripts and clients drive the real binary.
    step("binary", || run(&cargo(), &["build", "--package", "mss", "--locked"], &[]))?;
    step("tests", || run(&cargo(), &["test", "--workspace", "--locked"], &[]))
}

/// Installs what is missing, or says what could not be.
pub fn deps() -> anyhow::Result<()> {
    let missing: Vec<&str> = DEBIAN_PACKAGES
        .iter()
        .filter(|(program, _)| !on_path(program))
        .map(|(_, package)| *package)
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
    Ok(())
}

/// Every fuzz target for some seconds each.
pub fn fuzz() -> anyhow::Result<()> {
    let seconds = std::env::var("MSS_FUZZ_SECONDS").unwrap_or_else(|_| "20".into());
    run(
        &cargo(),
        &["test", "--package", "conformance", "--test", "fuzz", "--locked"],
        &[("MSS_FUZZ_SECONDS", &seconds)],
    )
}

fn on_path(program: &str) -> bool {
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

fn run(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> anyhow::Result<()> {
    let status = Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(root())
        .status()
        .with_context(|| format!("{program} cannot be run"))?;
    anyhow::ensure!(status.success(), "{program} {} ended with {status}", arguments.join(" "));
    Ok(())
}
