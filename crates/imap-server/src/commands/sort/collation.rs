//! Keys of i;unicode-casemap: texts that are equal but for case have equal keys. Source: RFC 5051 §2.

use icu_casemap::CaseMapper;
use icu_normalizer::DecomposingNormalizerBorrowed;

/// Makes keys.
pub(crate) struct Collation {
    cases: icu_casemap::CaseMapperBorrowed<'static>,
    normalizer: DecomposingNormalizerBorrowed<'static>,
}

impl Collation {
    /// With the data of the Unicode version that was built in.
    pub fn new() -> Self {
        Self { cases: CaseMapper::new(), normalizer: DecomposingNormalizerBorrowed::new_nfkd() }
    }

    /// The key of `text`: each character's titlecase, decomposed; compared octet by octet.
    pub fn key(&self, text: &str) -> Box<[u8]> {
        if text.is_ascii() {
            return text.to_ascii_uppercase().into_bytes().into_boxed_slice();
        }
        let title: String = text.chars().map(|c| self.cases.simple_titlecase(c)).collect();
        self.normalizer.normalize(&title).as_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_composition_do_not_count() {
        let collation = Collation::new();
        let key = |text: &str| collation.key(text);
        assert_eq!(key("Hello"), key("hELLO"));
        assert_eq!(key("grüße"), key("GRÜßE"));
        assert_eq!(key("e\u{301}"), key("É"));
        assert_eq!(key("ﬁ"), key("\u{fb01}"));
        assert_ne!(key("a"), key("b"));
        assert!(key("a") < key("B") && key("E") < key("é") && key("é") < key("f"));
    }
}
