use proptest::prelude::*;

use super::*;

const UTC: UtcOffset = UtcOffset(0);

fn at(text: &str) -> Option<i64> {
    parse(text.as_bytes(), UTC)
}

/// 2017-09-30 22:06:13.191.
const NIGHT: i64 = 1_506_809_173_191_000_000;

#[test]
fn dates_of_vector_in_two_languages_and_two_clocks() {
    for text in [
        "Sat Sep 30 10:06:13.191 pm 2017",
        "Sat Sep 30 10:06:13.191 PM 2017",
        "Sat Sep 30 22:06:13.191 2017",
        "Sam Sep 30 22:06:13.191 2017",
        "Sa. September 30. 22:06:13.191 2017",
        "sep 30 22:06:13.191000000 2017",
        "Sat Sep 30 22:06:13.191 pm 2017",
    ] {
        assert_eq!(at(text), Some(NIGHT), "{text}");
    }
    let march = at("Mon Mar 7 00:00:00 2016").unwrap();
    assert_eq!(march, 1_457_308_800 * 1_000_000_000);
    for text in ["Mo Mär 7 00:00:00 2016", "Mo Mrz 07 12:00:00 am 2016", "Mon March 7 00:00:00 2016"] {
        assert_eq!(at(text), Some(march), "{text}");
    }
    assert_eq!(parse(b"Mo M\xE4r 7 00:00:00 2016", UTC), Some(march), "code page 1252");
    assert_eq!(at("Thu May 27 12:30:00 pm 2014"), at("Don Mai 27 12:30:00 2014"));
    assert_eq!(at("Di Okt 7 01:00:00 pm 2014"), at("Tue Oct 7 13:00:00 2014"));
    assert_eq!(at("Di Dez 2 01:00:00 2014"), at("Tue Dec 2 01:00:00 2014"));
}

#[test]
fn dates_of_peak_and_of_iso_8601() {
    for text in [
        "30.09.2017 22:06:13.191",
        "30.09.2017 22:06:13.191.0",
        "30.9.2017 22:06:13.191000.",
        "2017-09-30 22:06:13.191",
        "2017-09-30T22:06:13.191Z",
        "2017-10-01T00:06:13.191+02:00",
        "2017-09-30 17:06:13.191000-0500",
        "2017-09-30 22:06:13.191000+00:00",
        "2017-10-01 03:36:13.191 +05:30",
    ] {
        let expected = if text.ends_with("000.") { None } else { Some(NIGHT) };
        assert_eq!(at(text), expected, "{text}");
    }
    assert_eq!(at("06.03.2009 16:15:12.317.3").unwrap() % 1_000_000_000, 317_300_000);
    assert_eq!(peak_days(b"43008.920986006946", UTC), Some(NIGHT + 134));
    assert_eq!(peak_days(b"39878.6772258947;", UTC), peak_days(b" 39878.6772258947 ", UTC));
    assert_eq!(peak_days(b"25569", UTC), Some(0));
    assert_eq!(peak_days(b"25568.75", UTC), Some(-21_600 * 1_000_000_000));
    assert_eq!(peak_days(b"25570.00000000000000000000000000000000000000000000000009", UTC), Some(86_400_000_000_000));
    for bad in [&b""[..], b".5", b"1e5", b"-1", b"99999999999", b"4294967295", b"25569.1x", b"2017-09-30"] {
        assert_eq!(peak_days(bad, UTC), None, "{:?}", String::from_utf8_lossy(bad));
    }
}

#[test]
fn what_is_no_date_is_none() {
    for text in [
        "",
        "Sat",
        "Sat Sep 30 2017",
        "Sat Sep 31 22:06:13 2017",
        "Sat Feb 29 22:06:13 2017",
        "Sat Foo 30 22:06:13 2017",
        "Sat Sep 30 24:06:13 2017",
        "Sat Sep 30 22:60:13 2017",
        "Sat Sep 30 22:06 2017",
        "Sat Sep 30 22:06:13 20177",
        "Sat Sep 30 22:06:13 1969",
        "Sat Sep 30 22:06:13 9999",
        "Sat Sep 30 22:06:13 2017 2017",
        "Sat Sep 30 22:06:13 am pm 2017",
        "09/30/2017 22:06:13",
        "2017-13-30 22:06:13",
        "2017-09-30X22:06:13",
    ] {
        assert_eq!(at(text), None, "{text}");
    }
    assert!(at("Mon Feb 29 22:06:13 2016").is_some());
}

#[test]
fn local_time_is_what_the_offset_says() {
    let east: UtcOffset = "+02:00".parse().unwrap();
    assert_eq!(parse(b"Sun Oct 1 00:06:13.191 2017", east), Some(NIGHT));
    assert_eq!(peak_days(b"43009.0043193402777777", east), Some(NIGHT));
    // A zone in the text is better known.
    assert_eq!(parse(b"2017-09-30T22:06:13.191Z", east), Some(NIGHT));
    for (text, seconds) in [("Z", 0), ("+00:00", 0), ("-05:30", -19_800), ("+0200", 7200), ("+14", 50_400)] {
        assert_eq!(text.parse::<UtcOffset>().unwrap().seconds(), seconds, "{text}");
    }
    for text in ["", "2", "02:00", "+2", "+24:00", "+02:60", "Berlin", "+02:00:00", "+ää"] {
        assert!(text.parse::<UtcOffset>().unwrap_err().to_string().contains("write it as +02:00"), "{text}");
    }
    assert_eq!(UtcOffset::from_seconds(-19_800).unwrap().to_string(), "-05:30");
    assert_eq!(UtcOffset::from_seconds(86_400), None);
}

proptest! {
    #[test]
    fn each_day_follows_the_one_before(day in 0_i64..106_000) {
        // The calendar the other way round.
        let (mut year, mut rest) = (1970_u32, day);
        loop {
            let length = if days(year, 2, 29).is_some() { 366 } else { 365 };
            if rest < length { break; }
            (year, rest) = (year + 1, rest - length);
        }
        let month = (1..=12).rev().find(|month| days(year, *month, 1).is_some_and(|first| first <= day)).unwrap();
        let first = days(year, month, 1).unwrap();
        prop_assert_eq!(days(year, month, u32::try_from(day - first + 1).unwrap()), Some(day));
    }

    #[test]
    fn arbitrary_texts_never_panic(text in proptest::collection::vec(any::<u8>(), 0..60), likely in "[0-9:. TZ+-]{0,40}") {
        let _ = parse(&text, UTC);
        let _ = parse(likely.as_bytes(), UTC);
        let _ = parse(format!("Sat Sep {likely}").as_bytes(), UTC);
        let _ = peak_days(likely.as_bytes(), UTC);
    }
}
