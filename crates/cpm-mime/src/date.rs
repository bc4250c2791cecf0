//! Dates of RFC 5322 §3.3 and §4.3, to seconds and zone.
//!
//! Own, because the library at hand loses the minutes when blanks or comments stand around a colon (RFC 5322 A.6.3) and
//! takes the 31st of February.

/// (seconds since 1970-01-01T00:00:00Z, zone in minutes east of UTC). None for what is no date. A missing zone is UTC.
pub(crate) fn parse(value: &[u8]) -> Option<(i64, i32)> {
    let mut scan = Scan { rest: value };
    // The day of week is not checked against the date; senders err there, and the date is what counts.
    if let Some(first) = scan.word() {
        first.get(..3).filter(|day| WEEKDAYS.iter().any(|known| known.eq_ignore_ascii_case(day)))?;
        scan.eat(b',');
    }
    let (day, _) = scan.number()?;
    scan.eat(b'-');
    let month = scan.word()?;
    let month =
        1 + MONTHS.iter().position(|known| month.get(..3).is_some_and(|m| known.eq_ignore_ascii_case(m)))?
            as i64;
    scan.eat(b'-');
    let year = match scan.number()? {
        // RFC 5322 §4.3.
        (year, ..=2) if year < 50 => year + 2000,
        (year, ..=3) => year + 1900,
        (year, 4) => year,
        _ => return None,
    };
    let (hour, _) = scan.number()?;
    if !scan.eat(b':') {
        return None;
    }
    let (minute, _) = scan.number()?;
    let second = if scan.eat(b':') { scan.number()?.0 } else { 0 };
    if hour > 23 || minute > 59 || second > 60 || day < 1 || day > days_in(year, month) {
        return None;
    }
    let zone = scan.zone()?;
    let seconds = days_before(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some((seconds - i64::from(zone) * 60, zone))
}

const WEEKDAYS: [&[u8]; 7] = [b"mon", b"tue", b"wed", b"thu", b"fri", b"sat", b"sun"];
const MONTHS: [&[u8]; 12] =
    [b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"];

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a day of the Gregorian calendar, counting years from March so that a leap day is the last.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (century, year_of) = (year.div_euclid(100), year.rem_euclid(100));
    century * 146_097 / 4 + year_of * 1461 / 4 + (month * 153 + 2) / 5 + day - 1 - 719_468
}

struct Scan<'a> {
    rest: &'a [u8],
}

impl<'a> Scan<'a> {
    fn skip_cfws(&mut self) {
        loop {
            self.rest = self.rest.trim_ascii_start();
            if self.rest.first() != Some(&b'(') {
                return;
            }
            let (mut depth, mut at) = (0usize, 0);
            while let Some(byte) = self.rest.get(at) {
                match byte {
                    b'\\' => at += 1,
                    b'(' => depth += 1,
                    b')' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    break;
                }
            }
            self.rest = self.rest.get(at..).unwrap_or_default();
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        self.skip_cfws();
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn run(&mut self, is_part: fn(&u8) -> bool) -> Option<&'a [u8]> {
        self.skip_cfws();
        let end = self.rest.iter().position(|byte| !is_part(byte)).unwrap_or(self.rest.len());
        let (run, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!run.is_empty()).then_some(run)
    }

    fn word(&mut self) -> Option<&'a [u8]> {
        self.run(u8::is_ascii_alphabetic)
    }

    /// A number of at most four digits, and how many it has.
    fn number(&mut self) -> Option<(i64, usize)> {
        let digits = self.run(u8::is_ascii_digit).filter(|digits| digits.len() <= 4)?;
        Some((digits.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0')), digits.len()))
    }

    fn zone(&mut self) -> Option<i32> {
        let sign = if self.eat(b'+') {
            1
        } else if self.eat(b'-') {
            -1
        } else {
            let Some(name) = self.word() else { return Some(0) };
            let hours = match &name.to_ascii_lowercase()[..] {
                b"edt" => -4,
                b"est" | b"cdt" => -5,
                b"cst" | b"mdt" => -6,
                b"mst" | b"pdt" => -7,
                b"pst" => -8,
                // UT, GMT, Z; and by RFC 5322 §4.3 all others, military letters too, as their meaning is not known.
                _ => 0,
            };
            return Some(hours * 60);
        };
        let (digits, count) = self.number()?;
        let (hours, minutes) = if count <= 2 { (digits, 0) } else { (digits / 100, digits % 100) };
        (hours < 24 && minutes < 60).then(|| sign * (hours * 60 + minutes) as i32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (value, expected) in [
            ("Wed, 17 Jul 1996 02:23:25 -0700 (PDT)", Some((837595405, -420))),
            ("Thu, 01 Jan 1970 00:00:00 +0000", Some((0, 0))),
            ("1 Jan 1970 00:00 +0100", Some((-3600, 60))),
            ("Fri, 21 Nov 97 09:55:06 GMT", Some((880106106, 0))),
            ("21 Nov 1997 09:55:06 EST", Some((880124106, -300))),
            ("Fri, 21 Nov 1997 09(comment):   55  :  06 -0600", Some((880127706, -360))),
            (
                "Thu,\r\n      13\r\n        Feb\r\n          1969\r\n      23:32\r\n               -0330 (Newfoundland Time)",
                Some((-27723480, -210)),
            ),
            ("Friday, 21 November 1997 09:55:06 +01", Some((880102506, 60))),
            ("21-Nov-1997 09:55:06 +0000", Some((880106106, 0))),
            ("21 Nov 1997 09:55:06", Some((880106106, 0))),
            ("Sun, 29 Feb 2004 00:00:00 Z", Some((1078012800, 0))),
            ("31 Dec 2016 23:59:60 +0000", Some((1483228800, 0))),
            ("1 Jan 49 00:00 +0000", Some((2493072000, 0))),
            ("1 Jan 100 00:00 +0000", Some((946684800, 0))),
            ("29 Feb 2003 00:00:00 Z", None),
            ("31 Feb 2003 00:00:00 Z", None),
            ("0 Jan 2003 00:00:00 Z", None),
            ("1 Jan 2003 24:00:00 Z", None),
            ("1 Jan 2003 00 Z", None),
            ("1 Foo 2003 00:00 Z", None),
            ("Foo, 1 Jan 2003 00:00 Z", None),
            ("1 Jan 20033 00:00 Z", None),
            ("1 Jan 2003 00:00 +9900", None),
            ("1 Jan 2003 00:00 (unclosed \\", Some((1041379200, 0))),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(parse(value.as_bytes()), expected, "{value}");
        }
    }

    #[test]
    fn the_calendar_is_that_of_the_library() {
        for (year, month, day) in [
            (1900, 1, 1),
            (1900, 3, 1),
            (1999, 12, 31),
            (2000, 2, 29),
            (2024, 3, 1),
            (2100, 2, 28),
            (9999, 12, 31),
        ] {
            let date = mail_parser::DateTime { year, month, day, ..mail_parser::DateTime::from_timestamp(0) };
            let days = days_before(i64::from(year), i64::from(month), i64::from(day));
            assert_eq!(days * 86_400, date.to_timestamp(), "{year}-{month}-{day}");
        }
    }
}
