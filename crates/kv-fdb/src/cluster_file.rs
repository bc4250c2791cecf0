//! Which cluster: the file that names its coordinators, found as FoundationDB's own tools find it.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::{OpenError, limits};

/// Where FoundationDB's packages put the file.
const DEFAULT: &str = "/etc/foundationdb/fdb.cluster";

/// The file to use: the one given, else that of the environment variable `FDB_CLUSTER_FILE`, else `fdb.cluster` in the
/// working directory if there is one, else the packages' default.
pub(crate) fn find(given: Option<&Path>, environment: Option<PathBuf>) -> PathBuf {
    if let Some(path) = given {
        return path.to_owned();
    }
    if let Some(path) = environment.filter(|path| !path.as_os_str().is_empty()) {
        return path;
    }
    let here = Path::new("fdb.cluster");
    if here.exists() { here.to_owned() } else { PathBuf::from(DEFAULT) }
}

/// The coordinators that a cluster file names, as it writes them.
///
/// The client reads the file itself, and may accept what is not foreseen here: only what it would certainly refuse is
/// refused, with words that say where.
pub(crate) fn coordinators(file: &Path) -> Result<Vec<String>, OpenError> {
    let unreadable = |source| OpenError::ClusterFile { file: file.to_owned(), source };
    let malformed = |problem: &str| OpenError::ClusterFileMalformed {
        file: file.to_owned(),
        problem: problem.to_owned(),
    };
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file).map_err(unreadable)?;
    opened.take(limits::CLUSTER_FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > limits::CLUSTER_FILE_BYTES_MAX {
        return Err(malformed("it is too long"));
    }
    let text = String::from_utf8(bytes).map_err(|_| malformed("it is not text"))?;
    let line: String = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .flat_map(str::chars)
        .filter(|c| !c.is_whitespace())
        .collect();
    if line.is_empty() {
        return Err(malformed("it is empty"));
    }
    let (name, addresses) = line.split_once('@').ok_or_else(|| malformed("there is no @ in it"))?;
    let word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    match name.split_once(':') {
        Some((description, id)) if word(description) && word(id) => {}
        _ => return Err(malformed("before the @ there is no DESCRIPTION:ID")),
    }
    addresses
        .split(',')
        .map(|address| {
            let plain = address.strip_suffix(":tls").unwrap_or(address);
            // The client adds this to addresses that it resolved from a name.
            let plain = plain.strip_suffix("(fromHostname)").unwrap_or(plain);
            let port = plain.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
            match port.and_then(|port| port.parse::<u16>().ok()) {
                Some(_) => Ok(address.to_owned()),
                None => Err(malformed(&format!("{address:?} is no HOST:PORT"))),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Vec<String>, String> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("fdb.cluster");
        std::fs::write(&file, text).unwrap();
        coordinators(&file).map_err(|error| error.to_string())
    }

    #[test]
    fn what_the_client_accepts() {
        assert_eq!(check("a_b:ID1@127.0.0.1:4500\n").unwrap(), ["127.0.0.1:4500"]);
        assert_eq!(
            check("# made by hand\n docker:docker@10.0.0.1:4500:tls,\n [::1]:4501 , db.example.com:4500\n")
                .unwrap(),
            ["10.0.0.1:4500:tls", "[::1]:4501", "db.example.com:4500"]
        );
        assert_eq!(check("a:b@1.2.3.4:1(fromHostname):tls").unwrap().len(), 1);
    }

    #[test]
    fn what_it_would_refuse_is_named() {
        for (text, names) in [
            ("", "empty"),
            ("# nothing\n", "empty"),
            ("127.0.0.1:4500", "no @"),
            ("@127.0.0.1:4500", "DESCRIPTION:ID"),
            ("a@127.0.0.1:4500", "DESCRIPTION:ID"),
            ("a:b@", "no HOST:PORT"),
            ("a:b@127.0.0.1", "\"127.0.0.1\""),
            ("a:b@127.0.0.1:4500,127.0.0.1:99999", "99999"),
            ("a:b@:4500", "\":4500\""),
        ] {
            let told = check(text).unwrap_err();
            assert!(told.contains(names), "{text:?}: {told}");
        }
        let long = "x".repeat(usize::try_from(limits::CLUSTER_FILE_BYTES_MAX).unwrap() + 1);
        assert!(check(&long).unwrap_err().contains("too long"));
        let absent = coordinators(Path::new("/no/such/fdb.cluster")).unwrap_err();
        assert!(absent.to_string().contains("/no/such/fdb.cluster"));
    }

    #[test]
    fn the_nearest_one_is_used() {
        let given = Path::new("/given");
        assert_eq!(find(Some(given), Some("/environment".into())), given);
        assert_eq!(find(None, Some("/environment".into())), Path::new("/environment"));
        assert_eq!(find(None, Some(PathBuf::new())), Path::new(DEFAULT));
        assert_eq!(find(None, None), Path::new(DEFAULT));
    }
}
