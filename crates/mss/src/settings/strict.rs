//! Reads one source of settings to the letter: nothing unknown, nothing rounded, nothing turned into another type.
//!
//! Layers are merged by the config library, which is generous with types (it would take `1.5` for a number of
//! connections). So each source is first read by itself, against [`Settings`], and only then merged.

use std::path::Path;

use anyhow::Context as _;
use toml::{Table, Value};

use super::Settings;

/// The settings of a TOML file.
///
/// # Errors
/// One sentence that names the key, or the line if the file is not TOML.
pub fn file(path: &Path) -> anyhow::Result<Table> {
    anyhow::ensure!(path.is_file(), "--config: there is no file {}", path.display());
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("--config: {} cannot be read", path.display()))?;
    let table = text.parse::<Table>().map_err(|error| {
        let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].lines().count().max(1));
        let shown = text.lines().nth(line.saturating_sub(1)).unwrap_or_default().trim();
        anyhow::anyhow!(
            "{} line {line}, {shown:?}, is not TOML: {}",
            path.display(),
            one_line(error.message())
        )
    })?;
    match mistake(&table) {
        None => Ok(table),
        Some(mistake) => anyhow::bail!("{mistake}, in {}", path.display()),
    }
}

/// Variables that name a cluster to tests, and look like settings.
const OF_TESTS: [&str; 2] = ["MSS_FDB_CLUSTER_FILE", "MSS_FDB_LIBRARY"];

/// The settings of environment variables `MSS_<SECTION>__<KEY>`; others are left alone, for many programs make such
/// names, but not one that is a setting's with a single underscore.
///
/// # Errors
/// One sentence that names the variable.
pub fn environment(variables: impl Iterator<Item = (String, String)>) -> anyhow::Result<Table> {
    let mut all = Table::new();
    for (name, text) in variables {
        let Some(path) = name.strip_prefix("MSS_") else { continue };
        if !path.contains("__") {
            match meant(path).filter(|_| !OF_TESTS.contains(&name.as_str())) {
                Some(meant) => anyhow::bail!("{name}, in the environment, is not a setting; {meant} is"),
                None => continue,
            }
        }
        let path: Vec<String> = path.split("__").map(str::to_lowercase).collect();
        let table = readings(&text)
            .map(|value| nested(&path, value))
            .find(|table| mistake(table).is_none())
            .ok_or_else(|| {
                let as_text = mistake(&nested(&path, Value::String(text.clone())));
                anyhow::anyhow!("{}, in the environment variable {name}", as_text.unwrap_or_default())
            })?;
        merge(&mut all, table);
    }
    Ok(all)
}

/// The variable that sets what somebody meant who wrote one underscore for two, after the prefix.
fn meant(path: &str) -> Option<String> {
    path.match_indices('_').map(|(at, _)| (&path[..at], &path[at + 1..])).find_map(|(section, key)| {
        let names = [section, key].map(str::to_lowercase);
        let mistake = mistake(&nested(&names, Value::String(String::new())));
        let known = mistake.is_none_or(|mistake| !mistake.contains(" is not a setting; "));
        known.then(|| format!("MSS_{section}__{key}"))
    })
}

/// What the text of an environment variable may mean, the most literal first: the type of its setting decides.
fn readings(text: &str) -> impl Iterator<Item = Value> {
    let list = || text.split(',').map(|item| Value::String(item.trim().to_owned())).collect();
    [
        Some(Value::String(text.to_owned())),
        text.parse().ok().map(Value::Integer),
        text.parse().ok().map(Value::Boolean),
        Some(Value::Array(list())),
    ]
    .into_iter()
    .flatten()
}

/// A table of one value at `path`.
pub fn nested(path: &[impl AsRef<str>], value: Value) -> Table {
    let mut table = Table::new();
    match path {
        [] => {}
        [last] => {
            table.insert(last.as_ref().to_owned(), value);
        }
        [first, rest @ ..] => {
            table.insert(first.as_ref().to_owned(), Value::Table(nested(rest, value)));
        }
    }
    table
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(there)), Value::Table(more)) => merge(there, more),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// What is wrong with these settings, the key first.
fn mistake(table: &Table) -> Option<String> {
    let error = serde_path_to_error::deserialize::<_, Settings>(Value::Table(table.clone())).err()?;
    let message = one_line(error.inner().message());
    let (key, unknown) = (error.path().to_string(), message.starts_with("unknown field"));
    if !unknown {
        return Some(format!("{key}: {}", in_words(&message)));
    }
    let known = message.split_once("expected ").map_or("", |(_, known)| known.trim_start_matches("one of "));
    Some(format!("{key} is not a setting; there are {}", known.replace('`', "")))
}

/// Names of Rust's types as an operator would say them.
fn in_words(message: &str) -> String {
    let (found, expected) = message.rsplit_once(", expected ").unwrap_or((message, ""));
    let expected = match expected {
        "" => return found.to_owned(),
        "usize" | "u64" | "u32" | "u16" | "u8" => "a whole number, not negative",
        "path string" => "a text",
        "a string" => "a text",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        other if other.starts_with("struct ") => "a section",
        other => other,
    };
    format!("{found}, but must be {expected}").replace('`', "")
}

fn one_line(text: &str) -> String {
    text.trim().replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_underscore_is_told() {
        let read = |name: &str| environment([(name.to_owned(), "1".to_owned())].into_iter());
        for (name, meant) in [
            ("MSS_PUSH_URL", "MSS_PUSH__URL"),
            ("MSS_LIMITS_CONNECTIONS_MAX", "MSS_LIMITS__CONNECTIONS_MAX"),
            ("MSS_NETWORK_FUNCTIONS_FILE", "MSS_NETWORK_FUNCTIONS__FILE"),
        ] {
            let told = read(name).expect_err(name).to_string();
            assert!(told.starts_with(name) && told.contains(meant), "{told}");
        }
        // What a cluster manager makes of a service's name, and what tests are told.
        for name in ["MSS_STORE_SERVICE_HOST", "MSS_STORE_PORT_7143_TCP", "MSS_", "MSS_FDB_CLUSTER_FILE"] {
            assert!(read(name).is_ok_and(|table| table.is_empty()), "{name}");
        }
    }

    #[test]
    fn variables_become_what_their_setting_is() -> anyhow::Result<()> {
        let variables =
            [("MSS_LIMITS__CONNECTIONS_MAX", "8"), ("MSS_TLS__KEY", "12"), ("MSS_TEAM", "x"), ("HOME", "/")];
        let table = environment(variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))?;
        let expected: Table = toml::from_str("limits.connections_max = 8\ntls.key = '12'\n")?;
        assert_eq!(table, expected);
        Ok(())
    }
}
