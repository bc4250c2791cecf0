//! Programs that others wrote, and what they need.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The scripts and the npm lock file.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

/// Where `cargo xtask deps` puts npm packages: `node_modules` below `target/clients`.
///
/// # Errors
/// Says what to run when they are not there or of another lock file.
pub fn node_modules() -> Result<PathBuf, String> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/clients");
    let wanted = std::fs::read(folder().join("package-lock.json")).map_err(|error| error.to_string())?;
    match std::fs::read(target.join("package-lock.json")) {
        Ok(installed) if installed == wanted && target.join("node_modules/imapflow").is_dir() => {
            Ok(target.join("node_modules"))
        }
        _ => Err(format!("npm packages are missing in {}: run `cargo xtask deps`", target.display())),
    }
}

/// Runs a program to its end; its standard output.
///
/// # Errors
/// What it printed, when it is missing or ends with another code than 0.
pub fn run(command: &mut Command) -> Result<String, String> {
    let shown = format!("{command:?}");
    let mut process = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{shown}: {error}; `cargo xtask deps` installs what the tests need"))?;
    // Both pipes are read at once, so that neither fills up.
    let mut stderr = process.stderr.take();
    let errors = std::thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(stderr) = &mut stderr {
            // What cannot be read is not shown; the exit code tells the outcome.
            let _ = stderr.read_to_end(&mut text);
        }
        text
    });
    let output = process.wait_with_output().map_err(|error| format!("{shown}: {error}"))?;
    let errors = errors.join().unwrap_or_default();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    Err(format!("{shown}: {}\n{text}{}", output.status, String::from_utf8_lossy(&errors)))
}
