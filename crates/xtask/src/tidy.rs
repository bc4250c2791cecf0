//! The longest files, as places to look for a second subject. Never a failure.

use std::process::Command;

use crate::metadata::root;

/// Prints the twenty longest source files, without tests.
pub fn list() -> anyhow::Result<()> {
    let output = Command::new("git").args(["ls-files", "*.rs"]).current_dir(root()).output()?;
    anyhow::ensure!(output.status.success(), "git ls-files failed");
    let mut files: Vec<(usize, String)> = Vec::new();
    for path in String::from_utf8_lossy(&output.stdout).lines().filter(|p| !p.contains("/tests/")) {
        let text = std::fs::read_to_string(root().join(path))?;
        let lines = text.lines().take_while(|l| !l.starts_with("#[cfg(test)]")).count();
        files.push((lines, path.to_owned()));
    }
    files.sort_unstable_by(|a, b| b.cmp(a));
    for (lines, path) in files.iter().take(20) {
        println!("{lines:6} {path}");
    }
    Ok(())
}
