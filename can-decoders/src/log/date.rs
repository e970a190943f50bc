//! Dates as recorders write them, to nanoseconds since the epoch, with integers only.
//!
//! Vector writes `Sat Sep 30 10:06:13.191 pm 2017`, with the month in the language of the system and with or without
//! am and pm; PEAK `30.09.2017 22:06:13.191.0` (milliseconds, then tenths of them) and, where a program is to read it,
//! the days since 1899-12-30 as a decimal; others write ISO 8601. None but the last can have a zone. Dates with
//! slashes are refused: whether the month comes first depends on who wrote them.

use std::fmt;
use std::str::FromStr;

use super::text::{Base, Cursor};

const DAY_S: i64 = 86_400;
const SECOND_NS: i64 = 1_000_000_000;
/// From 1899-12-30 to 1970-01-01.
const PEAK_EPOCH_DAYS: i64 = 25_569;

/// Beginnings of months' names, in lower case: English and German, in UTF-8 and code page 1252.
const MONTHS: [(&[u8], u32); 18] = [
    (b"jan", 1),
    (b"feb", 2),
    (b"mar", 3),
    (b"m\xC3\xA4r", 3),
    (b"m\xE4r", 3),
    (b"mrz", 3),
    (b"apr", 4),
    (b"may", 5),
    (b"mai", 5),
    (b"jun", 6),
    (b"jul", 7),
    (b"aug", 8),
    (b"sep", 9),
    (b"oct", 10),
    (b"okt", 10),
    (b"nov", 11),
    (b"dec", 12),
    (b"dez", 12),
];

/// How far local time is ahead of UTC: `+02:00`, `-05:00`, `Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct UtcOffset(i32);

/// A text that is not an offset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an offset from UTC; write it as +02:00, -05:30 or Z")]
pub struct UtcOffsetError(String);

impl UtcOffset {
    /// Seconds east of Greenwich; `None` for a day or more.
    pub fn from_seconds(seconds: i32) -> Option<Self> {
        (i64::from(seconds).abs() < DAY_S).then_some(Self(seconds))
    }

    /// Seconds east of Greenwich.
    pub fn seconds(self) -> i32 {
        self.0
    }

    fn nanoseconds(self) -> i64 {
        i64::from(self.0) * SECOND_NS
    }
}

impl FromStr for UtcOffset {
    type Err = UtcOffsetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        offset(text.as_bytes()).ok_or_else(|| UtcOffsetError(text.to_owned()))
    }
}

impl fmt::Display for UtcOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.0.abs() / 60;
        write!(f, "{}{:02}:{:02}", if self.0 < 0 { '-' } else { '+' }, minutes / 60, minutes % 60)
    }
}

/// `Z`, `+02:00`, `+0200` or `+02`.
fn offset(text: &[u8]) -> Option<UtcOffset> {
    let (sign, digits) = match text {
        b"Z" | b"z" => return Some(UtcOffset(0)),
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = match digits {
        [a, b] => ([*a, *b], *b"00"),
        [a, b, c, d] | [a, b, b':', c, d] => ([*a, *b], [*c, *d]),
        _ => return None,
    };
    let (hours, minutes) = (Base::Dec.number(&hours)?, Base::Dec.number(&minutes)?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    UtcOffset::from_seconds(sign * i32::try_from(hours * 3600 + minutes * 60).ok()?)
}

/// Days from 1970-01-01 to a day of the Gregorian calendar; `None` when there is no such day, or it is not between 1970
/// and 2261, the last whole year that nanoseconds in 64 bits with a sign reach.
fn days(year: u32, month: u32, day: u32) -> Option<i64> {
    if !(1970..2262).contains(&year) {
        return None;
    }
    let leap = |year: u32| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let length = |month: u32| match month {
        2 => 28 + u32::from(leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if !(1..=12).contains(&month) || day == 0 || day > length(month) {
        return None;
    }
    let years: u32 = (1970..year).map(|year| 365 + u32::from(leap(year))).sum();
    Some(i64::from(years + (1..month).map(length).sum::<u32>() + day - 1))
}

/// A moment of a recorder's clock in nanoseconds since the epoch; `None` when it does not exist.
pub(super) fn moment(date: [u32; 3], time: [u32; 3], nanoseconds: u32, zone: UtcOffset) -> Option<i64> {
    let [hour, minute, second] = time;
    if hour > 23 || minute > 59 || second > 60 || i64::from(nanoseconds) >= SECOND_NS {
        return None;
    }
    let seconds = days(date[0], date[1], date[2])? * DAY_S + i64::from(hour * 3600 + minute * 60 + second);
    seconds.checked_mul(SECOND_NS)?.checked_add(i64::from(nanoseconds))?.checked_sub(zone.nanoseconds())
}

/// A moment in UTC, as recordings tell when they start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Date {
    pub(super) year: u16,
    /// From 1.
    pub(super) month: u8,
    /// From 1.
    pub(super) day: u8,
    /// Sunday is 0.
    pub(super) weekday: u8,
    pub(super) hour: u8,
    pub(super) minute: u8,
    pub(super) second: u8,
    pub(super) millisecond: u16,
}

impl Date {
    /// Of nanoseconds since the epoch.
    #[expect(clippy::cast_possible_truncation, reason = "each is less than its divisor; years end at 2554")]
    pub(super) fn of(time_ns: u64) -> Self {
        let (ms, seconds) = (time_ns / 1_000_000 % 1000, time_ns / 1_000_000_000);
        let (days, second) = (seconds / DAY_S.unsigned_abs(), seconds % DAY_S.unsigned_abs());
        // Howard Hinnant, chrono-compatible low-level date algorithms: years begin in March, so that leap days are last.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        Self {
            year: (era * 400 + year_of_era + u64::from(month <= 2)) as u16,
            month: month as u8,
            day: (day_of_year - (153 * from_march + 2) / 5 + 1) as u8,
            weekday: ((days + 4) % 7) as u8,
            hour: (second / 3600) as u8,
            minute: (second / 60 % 60) as u8,
            second: (second % 60) as u8,
            millisecond: ms as u16,
        }
    }
}

/// Days since 1899-12-30 as a decimal, to the nearest nanosecond. PCAN-Explorer 5 ends it with a semicolon.
pub(super) fn peak_days(text: &[u8], zone: UtcOffset) -> Option<i64> {
    let text = text.trim_ascii();
    let text = text.strip_suffix(b";").unwrap_or(text).trim_ascii_end();
    let dot = text.iter().position(|byte| *byte == b'.').unwrap_or(text.len());
    let days = i64::from(Base::Dec.number(&text[..dot])?) - PEAK_EPOCH_DAYS;
    // More digits than this are below a nanosecond, and the product stays within 128 bits.
    let digits = text.get(dot + 1..).unwrap_or_default();
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let (mut fraction, mut unit) = (0_u128, 1_u128);
    for digit in digits.iter().take(20) {
        fraction = fraction * 10 + u128::from(digit - b'0');
        unit *= 10;
    }
    let day_ns = u128::from(DAY_S.unsigned_abs() * SECOND_NS.unsigned_abs());
    let fraction = i64::try_from((fraction * day_ns + unit / 2) / unit).ok()?;
    days.checked_mul(DAY_S)?.checked_mul(SECOND_NS)?.checked_add(fraction)?.checked_sub(zone.nanoseconds())
}

/// A date as a text of one of the forms above, in nanoseconds since the epoch. `zone` is where the recorder was; a zone
/// in the text goes first.
pub(super) fn parse(text: &[u8], zone: UtcOffset) -> Option<i64> {
    // In ISO 8601 a T joins date and time.
    let iso = |text: &[u8]| text.first_chunk::<5>().is_some_and(|[a, .., dash]| a.is_ascii_digit() && *dash == b'-');
    let mut words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).peekable();
    let (mut ymd, mut time, mut year, mut half, mut zone) = ([0; 3], None, None, None, zone);
    let first = words.next()?;
    if iso(first) {
        let (date, rest) = first.split_at_checked(10)?;
        ymd = numbers(date, b'-')?;
        if let [b'T' | b't', rest @ ..] = rest {
            time = Some(clock(rest, &mut zone)?);
        } else if !rest.is_empty() {
            return None;
        }
    } else if first.contains(&b'.') && first[0].is_ascii_digit() {
        let [day, month, year] = numbers(first, b'.')?;
        ymd = [year, month, day];
    } else {
        // The name of the day is in front of that of the month, or left out.
        let name = words.next_if(|word| month(word).is_some()).unwrap_or(first);
        let day = words.next()?;
        ymd[1] = month(name)?;
        ymd[2] = Base::Dec.number(day.strip_suffix(b".").unwrap_or(day))?;
    }
    for word in words {
        match word {
            _ if word.contains(&b':') && time.is_none() => time = Some(clock(word, &mut zone)?),
            _ if half.is_none() && word.eq_ignore_ascii_case(b"am") => half = Some(0),
            _ if half.is_none() && word.eq_ignore_ascii_case(b"pm") => half = Some(12),
            [_, _, _, _] if ymd[0] == 0 && year.is_none() => year = Some(Base::Dec.number(word)?),
            _ => zone = offset(word)?,
        }
    }
    ymd[0] = year.unwrap_or(ymd[0]);
    let ([mut hour, minute, second], nanoseconds) = time?;
    if let Some(half) = half {
        // 12 am is midnight. Hours above 12 are written beside pm, too.
        hour = if hour <= 12 { hour % 12 + half } else { hour };
    }
    moment(ymd, [hour, minute, second], nanoseconds, zone)
}

fn month(word: &[u8]) -> Option<u32> {
    let known = |name: &[u8]| word.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    MONTHS.iter().find(|(name, _)| known(name)).map(|(_, month)| *month)
}

/// Three numbers.
fn numbers(text: &[u8], separator: u8) -> Option<[u32; 3]> {
    let mut parts = text.split(|byte| *byte == separator).map(|part| Base::Dec.number(part));
    let found = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(found)
}

/// `22:06:13`, `22:06:13.191`, `22:06:13.191.0`, with a zone behind it or not.
fn clock(text: &[u8], zone: &mut UtcOffset) -> Option<([u32; 3], u32)> {
    let end = text.iter().position(|byte| matches!(byte, b'Z' | b'z' | b'+' | b'-')).unwrap_or(text.len());
    let (text, behind) = text.split_at(end);
    if !behind.is_empty() {
        *zone = offset(behind)?;
    }
    let dot = text.iter().position(|byte| *byte == b'.').unwrap_or(text.len());
    let time = numbers(&text[..dot], b':')?;
    let mut nanoseconds = 0;
    let mut unit = 100_000_000;
    let mut cursor = Cursor::new(text.get(dot + 1..).unwrap_or_default());
    while let Some(byte) = cursor.peek() {
        // A dot between milliseconds and what is below them.
        if byte == b'.' && cursor.at == 3 {
            cursor.at += 1;
            continue;
        }
        nanoseconds += u32::try_from(cursor.digit()?).ok()? * unit;
        unit /= 10;
    }
    Some((time, nanoseconds))
}

#[cfg(test)]
#[path = "date_tests.rs"]
mod tests;
