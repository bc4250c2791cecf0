//! Dates and times: the proleptic Gregorian calendar by hand. The two formats IMAP has are fixed-width and in
//! English, and the arithmetic is the pair of functions below; a calendar library would parse neither for us.

/// A calendar day without a zone, as SEARCH has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    /// 1 to 9999.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to the month's length.
    pub day: u8,
}

impl Date {
    /// The day, if the calendar has it.
    pub fn new(year: u16, month: u8, day: u8) -> Option<Date> {
        let valid = (1..=9999).contains(&year)
            && (1..=12).contains(&month)
            && (1..=days_in_month(year, month)).contains(&day);
        valid.then_some(Date { year, month, day })
    }

    /// Days since 1970-01-01.
    pub fn days(self) -> i64 {
        // Years run from March, so that the leap day is a year's last; eras of 400 years have 146 097 days.
        let (month, day) = (i64::from(self.month), i64::from(self.day));
        let year = i64::from(self.year) - i64::from(month <= 2);
        let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
    }

    /// The day `days` after 1970-01-01, held within the years 1 to 9999.
    pub fn from_days(days: i64) -> Date {
        const FIRST: i64 = -719_162; // 0001-01-01
        const LAST: i64 = 2_932_896; // 9999-12-31
        let shifted = days.clamp(FIRST, LAST) + 719_468;
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        Date {
            year: (era * 400 + year_of_era + i64::from(month <= 2)) as u16,
            month: month as u8,
            day: (day_of_year - (153 * shifted_month + 2) / 5 + 1) as u8,
        }
    }
}

/// An instant and the zone it was written in: INTERNALDATE. Equal when both parts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DateTime {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub unix_seconds: i64,
    /// Minutes east of UTC, within ±(99·60 + 59).
    pub zone_minutes: i16,
}

/// Length of a month, in days.
pub fn days_in_month(year: u16, month: u8) -> u8 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// `date-month`, in order.
pub(crate) const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// 1 to 12 for a month's English abbreviation in any case.
pub(crate) fn month_number(name: &[u8]) -> Option<u8> {
    MONTHS.iter().position(|month| name.eq_ignore_ascii_case(*month)).map(|i| i as u8 + 1)
}

/// `date-text = date-day "-" date-month "-" date-year`, with one or two digits of day.
pub(crate) fn parse_date(text: &[u8]) -> Option<Date> {
    let mut parts = text.split(|&b| b == b'-');
    let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || year.len() != 4 || !(1..=2).contains(&day.len()) {
        return None;
    }
    Date::new(digits(year)?, month_number(month)?, digits(day)? as u8)
}

/// The inside of `date-time`: `dd-Mmm-yyyy hh:mm:ss ±zzzz`, the day padded with a space or a zero. A second of
/// 60 is taken as the next minute's first.
pub(crate) fn parse_date_time(text: &[u8]) -> Option<DateTime> {
    if text.len() != 26 || [text[11], text[20]] != *b"  " || [text[14], text[17]] != *b"::" {
        return None;
    }
    let date = parse_date(if text[0] == b' ' { &text[1..11] } else { &text[..11] })?;
    let (hour, minute, second) = (digits(&text[12..14])?, digits(&text[15..17])?, digits(&text[18..20])?);
    let (zone_hour, zone_minute) = (digits(&text[22..24])?, digits(&text[24..26])?);
    if hour > 23 || minute > 59 || second > 60 || zone_minute > 59 {
        return None;
    }
    let zone = (zone_hour * 60 + zone_minute) as i16;
    let zone_minutes = match text[21] {
        b'+' => zone,
        b'-' => -zone,
        _ => return None,
    };
    let local = date.days() * 86_400 + i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
    Some(DateTime { unix_seconds: local - i64::from(zone_minutes) * 60, zone_minutes })
}

/// A short decimal number of digits alone.
fn digits(text: &[u8]) -> Option<u16> {
    let mut value = 0;
    for &b in text {
        if !b.is_ascii_digit() {
            return None;
        }
        value = value * 10 + u16::from(b - b'0');
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_back() {
        assert_eq!(Date::new(1970, 1, 1).unwrap().days(), 0);
        assert_eq!(Date::new(2000, 2, 29).unwrap().days(), 11_016);
        assert_eq!(Date::new(1, 1, 1).unwrap().days(), -719_162);
        assert_eq!(Date::new(9999, 12, 31).unwrap().days(), 2_932_896);
        let mut previous = Date::from_days(-719_162);
        for days in -719_161..=2_932_896 {
            let date = Date::from_days(days);
            assert_eq!(date.days(), days);
            assert!(date > previous && Date::new(date.year, date.month, date.day) == Some(date));
            previous = date;
        }
    }

    #[test]
    fn date_times() {
        let check = |text: &str, expected: Option<(i64, i16)>| {
            let parsed = parse_date_time(text.as_bytes()).map(|d| (d.unix_seconds, d.zone_minutes));
            assert_eq!(parsed, expected, "{text}");
        };
        check("17-Jul-1996 02:44:25 -0700", Some((837_596_665, -420)));
        check(" 1-jan-1970 00:00:00 +0000", Some((0, 0)));
        check("01-Jan-1970 01:00:00 +0100", Some((0, 60)));
        check("31-Dec-2016 23:59:60 +0000", Some((1_483_228_800, 0)));
        check("29-Feb-2023 00:00:00 +0000", None);
        check("01-Jan-1970 24:00:00 +0000", None);
        check("01-Jan-1970 00:00:00 0000 ", None);
        check("01-Jan-1970 00:00:00 *0000", None);
        check("1-Jan-1970 00:00:00 +0000", None);
        check("01-Foo-1970 00:00:00 +0000", None);
    }
}
