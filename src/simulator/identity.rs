//! ID numbers (GB 11643-1999) and what the OCR of a card yields.

use jiff::Timestamp;
use jiff::tz::Offset;

/// Whether `id_number` has the shape of a resident ID number: 18 characters, a capital X at most at
/// the end, and the right check digit.
pub(super) fn is_id_number(id_number: &str) -> bool {
    let characters = id_number.as_bytes();
    characters.len() == 18
        && characters[..17].iter().all(u8::is_ascii_digit)
        && check_digit(&characters[..17]) == characters[17]
}

/// Texts that the card reader has read off a card. Every text is as it is printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Card {
    pub(super) name: String,
    pub(super) id_number: String,
    pub(super) gender: &'static str,
    pub(super) nation: &'static str,
    /// `YYYY/M/D`.
    pub(super) birth: String,
    pub(super) address: String,
    pub(super) authority: String,
    /// `YYYY.MM.DD-YYYY.MM.DD`.
    pub(super) valid_date: String,
}

/// The card that a person holds up at `now_ms`. What the caller submitted is on it; the rest is
/// made up, the same for the same `seed`.
pub(super) fn card(name: Option<&str>, id_number: Option<&str>, seed: u64, now_ms: i64) -> Card {
    let (invented_name, place) = pick(seed);
    let id_number = id_number.map_or_else(|| invent_id_number(place.code, seed), str::to_owned);
    let man = id_number.as_bytes().get(16).is_some_and(|digit| (digit - b'0') % 2 == 1);
    let issued = year(now_ms) - 4;
    Card {
        name: name.unwrap_or(invented_name).to_owned(),
        gender: if man { "男" } else { "女" },
        nation: "汉",
        birth: birth(&id_number),
        address: format!("{}{}路{}号", place.name, place.road, seed % 200 + 1),
        authority: format!("{}公安局", place.name),
        valid_date: format!("{issued}.03.01-{}.03.01", issued + 20),
        id_number,
    }
}

impl Card {
    /// The same card, out of date at `now_ms`.
    pub(super) fn expired(mut self, now_ms: i64) -> Self {
        let ended = year(now_ms) - 1;
        self.valid_date = format!("{}.03.01-{ended}.03.01", ended - 10);
        self
    }

    /// Somebody else's card: the ID number differs, and so does what is read off it.
    pub(super) fn with_other_number(mut self, seed: u64) -> Self {
        let mut other = invent_id_number(pick(seed).1.code, seed);
        if other == self.id_number {
            other = invent_id_number(pick(seed).1.code, seed + 1);
        }
        self.birth = birth(&other);
        self.id_number = other;
        self
    }
}

struct Place {
    code: &'static str,
    name: &'static str,
    road: &'static str,
}

fn pick(seed: u64) -> (&'static str, &'static Place) {
    const NAMES: [&str; 4] = ["林晓宁", "周明远", "陈思齐", "何清"];
    const PLACES: [Place; 3] = [
        Place { code: "440305", name: "广东省深圳市南山区", road: "海天二" },
        Place { code: "110108", name: "北京市海淀区", road: "学院" },
        Place { code: "310115", name: "上海市浦东新区", road: "世纪" },
    ];
    let at = |length: usize| usize::try_from(seed % length as u64).unwrap_or(0);
    (NAMES[at(NAMES.len())], &PLACES[at(PLACES.len())])
}

fn invent_id_number(place_code: &str, seed: u64) -> String {
    let year = 1970 + seed % 35;
    let (month, day, order) = (seed % 12 + 1, seed % 28 + 1, seed % 999 + 1);
    let body = format!("{place_code}{year}{month:02}{day:02}{order:03}");
    let check = check_digit(body.as_bytes());
    format!("{body}{}", char::from(check))
}

/// ISO 7064 MOD 11-2 over the first 17 digits.
fn check_digit(digits: &[u8]) -> u8 {
    const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    let sum: u32 = digits.iter().zip(WEIGHTS).map(|(digit, weight)| u32::from(digit - b'0') * weight).sum();
    b"10X98765432"[(sum % 11) as usize]
}

fn birth(id_number: &str) -> String {
    let part = |from: usize, to: usize| id_number.get(from..to).and_then(|digits| digits.parse::<u16>().ok());
    let (Some(year), Some(month), Some(day)) = (part(6, 10), part(10, 12), part(12, 14)) else {
        return String::new();
    };
    format!("{year}/{month}/{day}")
}

fn year(now_ms: i64) -> i16 {
    let now = Timestamp::from_millisecond(now_ms).unwrap_or_default();
    Offset::UTC.to_datetime(now).year()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_700_000_000_000; // 2023-11-14

    #[test]
    fn the_check_digit_and_the_capital_x_are_demanded() {
        // The example of the standard itself.
        assert!(is_id_number("11010519491231002X"));
        assert!(!is_id_number("11010519491231002x"));
        assert!(!is_id_number("110105194912310021"));
        assert!(!is_id_number("1101051949123100"));
        assert!(!is_id_number("身份证身份证"));
    }

    #[test]
    fn a_card_shows_what_the_caller_submitted() {
        let card = card(Some("韦小宝"), Some("11010519491231002X"), 7, NOW_MS);
        assert_eq!((card.name.as_str(), card.id_number.as_str()), ("韦小宝", "11010519491231002X"));
        assert_eq!((card.gender, card.birth.as_str()), ("女", "1949/12/31"));
        assert_eq!(card.valid_date, "2019.03.01-2039.03.01");
        assert_eq!(card.clone().expired(NOW_MS).valid_date, "2012.03.01-2022.03.01");
        assert_ne!(card.clone().with_other_number(7).id_number, card.id_number);
    }

    #[test]
    fn every_invented_number_is_valid() {
        for seed in 0..2000 {
            assert!(is_id_number(&card(None, None, seed, NOW_MS).id_number), "{seed}");
        }
    }
}
