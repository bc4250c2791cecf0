//! The forms that records share: varints, optional numbers, counted octets.

use model::varint;

/// Writes a record.
pub(super) struct Writer(Vec<u8>);

impl Writer {
    /// A record of that version.
    pub(super) fn new(version: u8, capacity: usize) -> Self {
        let mut out = Vec::with_capacity(capacity);
        out.push(version);
        Self(out)
    }

    pub(super) fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    pub(super) fn number(&mut self, value: u64) -> &mut Self {
        varint::put(&mut self.0, value);
        self
    }

    pub(super) fn signed(&mut self, value: i64) -> &mut Self {
        varint::put_signed(&mut self.0, value);
        self
    }

    /// A number that may be absent: 0, or 1 and the number.
    pub(super) fn optional(&mut self, value: Option<u64>) -> &mut Self {
        match value {
            None => self.u8(0),
            Some(value) => self.u8(1).number(value),
        }
    }

    pub(super) fn fixed(&mut self, octets: &[u8]) -> &mut Self {
        self.0.extend_from_slice(octets);
        self
    }

    pub(super) fn counted(&mut self, octets: &[u8]) -> &mut Self {
        self.number(octets.len() as u64).fixed(octets)
    }

    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    pub(super) fn done(self) -> Vec<u8> {
        self.0
    }
}

/// Reads a record; every method gives none past its end.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The version, and the rest.
    pub(super) fn new(record: &'a [u8]) -> Option<(u8, Self)> {
        let (&version, rest) = record.split_first()?;
        Some((version, Self(rest)))
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        let (&value, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(value)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        varint::take(&mut self.0)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    pub(super) fn signed(&mut self) -> Option<i64> {
        varint::take_signed(&mut self.0)
    }

    #[expect(clippy::option_option, reason = "unreadable, absent, present")]
    pub(super) fn optional(&mut self) -> Option<Option<u64>> {
        match self.u8()? {
            0 => Some(None),
            1 => Some(Some(self.number()?)),
            _ => None,
        }
    }

    pub(super) fn fixed(&mut self, len: usize) -> Option<&'a [u8]> {
        let (octets, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(octets)
    }

    pub(super) fn counted(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.number()?).ok()?;
        self.fixed(len)
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.counted()?).ok()
    }

    pub(super) fn input(&mut self) -> &mut &'a [u8] {
        &mut self.0
    }

    /// How many octets are left.
    pub(super) fn left(&self) -> usize {
        self.0.len()
    }

    /// `value`, if nothing is left.
    pub(super) fn end<T>(self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}
