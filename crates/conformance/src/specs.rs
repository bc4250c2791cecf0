//! `specs.tsv`: each document, how far we follow it, and which transcripts show it, and below the documents each
//! requirement of OMA CPM on the server, with the tests that show it; `capabilities.tsv`: which document a capability
//! comes from.

use std::fs;
use std::path::Path;

/// How far a document is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// As far as it concerns a server.
    Full,
    /// The note says what is missing.
    Partial,
    /// Known, and not built.
    None,
}

/// A row of `specs.tsv`.
#[derive(Debug, Clone)]
pub struct Document {
    /// `RFC 9051`, or the name of an OMA document.
    pub name: String,
    /// How far it is followed.
    pub status: Status,
    /// What it is about, and what is missing.
    pub note: String,
    /// Folders of transcripts that show it; for a requirement, the transcripts and test functions that do.
    pub transcripts: Vec<String>,
}

impl Document {
    /// Whether this is a requirement of OMA CPM, such as `S0-06`, and not a document. What shows it is named after it:
    /// a transcript `requirements/s0-06-…` or a test function `s0_06_…`.
    pub fn is_requirement(&self) -> bool {
        matches!(self.name.as_bytes(), [b'S', b'0'..=b'9', b'-', b'0'..=b'9', b'0'..=b'9'])
    }
}

/// The name of every test function in `crates/` that is named after a requirement, such as `s0_06_…`.
pub fn requirement_tests() -> Result<Vec<String>, String> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (mut folders, mut names) = (vec![crates], Vec::new());
    while let Some(folder) = folders.pop() {
        let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text =
                    fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
                names.extend(tests_of(&text));
            }
        }
    }
    names.sort();
    Ok(names)
}

/// The functions of a source text that have the attribute `test` and the name of a requirement.
fn tests_of(text: &str) -> Vec<String> {
    let (mut names, mut is_test) = (Vec::new(), false);
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[test") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some(name) = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ") {
            let name = name.split('(').next().unwrap_or_default();
            if is_test
                && matches!(name.as_bytes(), [b's', b'0'..=b'9', b'_', b'0'..=b'9', b'0'..=b'9', b'_', ..])
            {
                names.push(name.to_owned());
            }
            is_test = false;
        }
    }
    names
}

/// The documents, sorted by name as the file must be.
pub fn documents() -> Result<Vec<Document>, String> {
    let mut rows = Vec::new();
    for (number, fields) in table("specs.tsv")? {
        let [name, status, note, rest @ ..] = fields.as_slice() else {
            return Err(format!("specs.tsv:{number}: wants document, status, note, transcripts"));
        };
        let status = match status.as_str() {
            "full" => Status::Full,
            "partial" => Status::Partial,
            "none" => Status::None,
            other => return Err(format!("specs.tsv:{number}: unknown status {other}")),
        };
        let transcripts =
            rest.first().map(|text| text.split(' ').map(str::to_owned).collect()).unwrap_or_default();
        rows.push(Document { name: name.clone(), status, note: note.clone(), transcripts });
    }
    Ok(rows)
}

/// Capabilities and the document each comes from. A name that ends in `=` stands for any value.
pub fn capabilities() -> Result<Vec<(String, String)>, String> {
    table("capabilities.tsv")?
        .into_iter()
        .map(|(number, fields)| match fields.as_slice() {
            [capability, document] => Ok((capability.clone(), document.clone())),
            _ => Err(format!("capabilities.tsv:{number}: wants capability, document")),
        })
        .collect()
}

/// `RFC 9051 §6.4.8` is of `RFC 9051`.
pub fn document_of(source: &str) -> &str {
    let end = [" §", " Appendix"].iter().filter_map(|mark| source.find(mark)).min().unwrap_or(source.len());
    source[..end].trim()
}

fn table(name: &str) -> Result<Vec<(usize, Vec<String>)>, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.starts_with('#') && !line.is_empty())
        .map(|(at, line)| (at + 1, line.split('\t').map(str::to_owned).collect()))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_of_sources() {
        assert_eq!(document_of("RFC 9051 §6.4.8"), "RFC 9051");
        assert_eq!(document_of("RFC 9051 Appendix A"), "RFC 9051");
        assert_eq!(document_of("RFC 2047"), "RFC 2047");
        let oma = "OMA-TS-CPM_MessageStorage-V2_0";
        assert_eq!(document_of("OMA-TS-CPM_MessageStorage-V2_0 Appendix C"), oma);
    }

    #[test]
    fn tests_named_after_requirements() {
        let text = "#[test]\nfn s0_06_asks() {}\n#[tokio::test(flavor = \"x\")]\n#[ignore]\nasync fn s3_12_x() {}\n\
                    fn s1_01_no_test() {}\n#[test]\nfn other() {}\n";
        assert_eq!(tests_of(text), ["s0_06_asks", "s3_12_x"]);
    }

    #[test]
    fn rows_are_sorted_and_single() {
        let names: Vec<String> = documents().expect("specs.tsv").into_iter().map(|row| row.name).collect();
        let mut sorted = names.clone();
        sorted.sort_by_key(|name| (!name.starts_with("OMA"), name.clone()));
        sorted.dedup();
        assert_eq!(names, sorted);
        let names: Vec<String> =
            capabilities().expect("capabilities.tsv").into_iter().map(|row| row.0).collect();
        let mut sorted = names.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(names, sorted);
    }
}
