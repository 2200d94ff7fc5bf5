//! Names and ID numbers of people.

use secrecy::{ExposeSecret, SecretString};

/// A person's name as on the ID card: 1 to 32 characters, as the vendor takes it (document 31816).
#[derive(Clone)]
pub struct PersonName(SecretString);

impl PersonName {
    const MAX_CHARS: usize = 32;

    /// Checks a name.
    ///
    /// # Errors
    /// The fault, without the name.
    pub fn parse(text: &str) -> Result<Self, String> {
        let length = text.chars().count();
        if length > Self::MAX_CHARS {
            return Err(format!("has {length} characters; the limit is {}", Self::MAX_CHARS));
        }
        if text.trim().is_empty() {
            return Err("is blank".into());
        }
        if let Some((place, character)) = text.chars().enumerate().find(|(_, character)| is_invisible(*character)) {
            let code = u32::from(character);
            return Err(format!("has an invisible or control character, U+{code:04X}, at position {}", place + 1));
        }
        // Inside, a blank is part of names of foreigners; at the ends and in any other form it is a
        // slip of the keyboard.
        let odd_blank = |(place, character): &(usize, char)| {
            character.is_whitespace() && (*character != ' ' || *place == 0 || *place + 1 == length)
        };
        if let Some((place, character)) = text.chars().enumerate().find(odd_blank) {
            let code = u32::from(character);
            return Err(format!("has a blank, U+{code:04X}, at position {}: take it out", place + 1));
        }
        Ok(Self(text.into()))
    }

    /// The name in the clear.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// Whether a character takes no place on the screen or reorders what does: the vendor compares and
/// bills it all the same.
fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{00AD}' // soft hyphen
                | '\u{034F}' // combining grapheme joiner
                | '\u{061C}' // Arabic letter mark
                | '\u{115F}'..='\u{1160}' // Hangul fillers
                | '\u{17B4}'..='\u{17B5}' // Khmer inherent vowels
                | '\u{180B}'..='\u{180F}' // Mongolian selectors
                | '\u{200B}'..='\u{200F}' // zero width, direction marks
                | '\u{2028}'..='\u{202E}' // separators, embeddings, overrides
                | '\u{2060}'..='\u{206F}' // joiners, isolates
                | '\u{3164}' // Hangul filler
                | '\u{FE00}'..='\u{FE0F}' // variation selectors
                | '\u{FEFF}' // byte-order mark
                | '\u{FFA0}' // half-width Hangul filler
                | '\u{FFF0}'..='\u{FFFB}' // interlinear annotations
                | '\u{E0000}'..='\u{E0FFF}' // tags, selectors
        )
}

/// The number of an identity document. Each kind has a check of its own.
#[derive(Clone)]
pub struct IdDocument {
    pub kind: IdDocumentKind,
    number: SecretString,
}

/// A kind of document that the vendor compares (document 31816).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdDocumentKind {
    /// 居民身份证.
    ResidentCard,
    /// 港澳台居民居住证: the region is 81, 82 or 83.
    HkMacauTaiwanPermit,
    /// 外国人永久居留身份证, since 2023: begins with 9.
    ForeignerPermit,
}

impl IdDocument {
    /// Checks the number of a document.
    ///
    /// # Errors
    /// The fault, without the number.
    pub fn parse(text: &str) -> Result<Self, String> {
        // All kinds so far have the number of a citizen (GB 11643-1999); a passport would have a
        // check of its own.
        check_citizen_number(text)?;
        let kind = match text.as_bytes() {
            [b'8', b'1'..=b'3', ..] => IdDocumentKind::HkMacauTaiwanPermit,
            [b'9', ..] => IdDocumentKind::ForeignerPermit,
            _ => IdDocumentKind::ResidentCard,
        };
        Ok(Self { kind, number: text.into() })
    }

    /// The number in the clear.
    pub fn expose(&self) -> &str {
        self.number.expose_secret()
    }
}

const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
const CHECK_CHARACTERS: [u8; 11] = *b"10X98765432";

/// 17 digits and a check character (GB 11643-1999). The vendor takes only a capital X (document
/// 31816).
fn check_citizen_number(text: &str) -> Result<(), String> {
    let length = text.chars().count();
    let (digits, check) = match text.as_bytes() {
        [digits @ .., check] if length == 18 => (digits, *check),
        _ => return Err(format!("has {length} characters; an ID number has 18")),
    };
    if !digits.iter().all(u8::is_ascii_digit) || !(check.is_ascii_digit() || matches!(check, b'X' | b'x')) {
        return Err("is not 17 digits and a check character (a digit or X)".into());
    }
    if check == b'x' {
        return Err("ends in a lower-case x; the vendor takes only a capital X".into());
    }
    let sum: u32 = digits.iter().zip(WEIGHTS).map(|(digit, weight)| u32::from(digit - b'0') * weight).sum();
    if CHECK_CHARACTERS[sum as usize % 11] != check {
        return Err("has a wrong check character (GB 11643-1999): a digit is mistyped".into());
    }
    Ok(())
}

/// A name with all but its first and last character hidden; of two characters, only the first
/// stays.
pub fn mask_name(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    match chars.as_slice() {
        [] | [_] => "*".repeat(chars.len()),
        [first, _] => format!("{first}*"),
        [first, hidden @ .., last] => format!("{first}{}{last}", "*".repeat(hidden.len())),
    }
}

/// A number with only its first 3 and last 4 characters shown; a number of fewer than 11 characters
/// is hidden whole.
pub fn mask_number(number: &str) -> String {
    let chars: Vec<char> = number.chars().collect();
    if chars.len() < 11 {
        return "*".repeat(chars.len());
    }
    let hidden = "*".repeat(chars.len() - 7);
    let (head, tail) = (&chars[..3], &chars[chars.len() - 4..]);
    head.iter().copied().chain(hidden.chars()).chain(tail.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn takes_names_up_to_32_characters() {
        assert!(PersonName::parse("张三").is_ok());
        assert!(PersonName::parse("阿卜杜拉·𠮷").is_ok());
        assert!(PersonName::parse(&"王".repeat(32)).is_ok());
        assert_eq!(PersonName::parse(&"王".repeat(33)).err().unwrap(), "has 33 characters; the limit is 32");
        assert!(PersonName::parse(" \u{3000}").is_err());
        assert!(PersonName::parse("张\n三").is_err());
        assert!(PersonName::parse("Anna Maria").is_ok());
    }

    #[test]
    fn names_the_odd_character_of_a_name_and_its_place() {
        let problem = |text| PersonName::parse(text).err().unwrap();
        for (name, code, place) in [
            ("张三\u{200B}", "U+200B", 3),
            ("\u{FEFF}张三", "U+FEFF", 1),
            ("张\u{202E}三", "U+202E", 2),
            (" 张三", "U+0020", 1),
            ("张三 ", "U+0020", 3),
            ("张\u{3000}三", "U+3000", 2),
            ("张\u{A0}三", "U+00A0", 2),
            ("张\t三", "U+0009", 2),
        ] {
            let problem = problem(name);
            assert!(problem.contains(code) && problem.contains(&format!("position {place}")), "{name:?}: {problem}");
        }
    }

    #[test]
    fn takes_id_numbers_with_a_right_check_character() {
        assert!(IdDocument::parse("11010519491231002X").is_ok());
        assert!(IdDocument::parse("440524188001010014").is_ok());
        let problem = |text| IdDocument::parse(text).err().unwrap();
        assert!(problem("11010519491231002x").contains("capital X"));
        assert!(problem("110105194912310021").contains("check character"));
        assert!(problem("1101051949123100").contains("18"));
        assert!(problem("1101051949123100２X").contains("17 digits"), "full-width digit");
        assert!(problem("11010519491231002Ｘ").contains("17 digits"), "full-width X");
        assert!(problem("11010519491231O02X").contains("17 digits"));
    }

    #[test]
    fn tells_the_kinds_of_documents_apart() {
        let kind = |seventeen: &str| {
            let numbers = CHECK_CHARACTERS.map(|check| format!("{seventeen}{}", char::from(check)));
            numbers.iter().find_map(|number| IdDocument::parse(number).ok()).unwrap().kind
        };
        assert_eq!(kind("11010519491231002"), IdDocumentKind::ResidentCard);
        for region in ["810000", "820000", "830000"] {
            assert_eq!(kind(&format!("{region}19900307001")), IdDocumentKind::HkMacauTaiwanPermit);
        }
        assert_eq!(kind("91184019900307001"), IdDocumentKind::ForeignerPermit);
    }

    proptest! {
        #[test]
        fn one_mistyped_digit_is_always_found(prefix in "[0-9]{17}", position in 0usize..17, shift in 1u8..10) {
            let check = (0..11).map(|i| CHECK_CHARACTERS[i] as char)
                .find(|check| IdDocument::parse(&format!("{prefix}{check}")).is_ok()).unwrap();
            let mut typed = prefix.into_bytes();
            typed[position] = b'0' + (typed[position] - b'0' + shift) % 10;
            let typed = format!("{}{check}", String::from_utf8(typed).unwrap());
            prop_assert!(IdDocument::parse(&typed).is_err());
        }
    }

    #[test]
    fn masks_names_and_numbers() {
        assert_eq!(mask_name("张三"), "张*");
        assert_eq!(mask_name("欧阳小三"), "欧**三");
        assert_eq!(mask_name("李"), "*");
        assert_eq!(mask_number("11010519491231002X"), "110***********002X");
        assert_eq!(mask_number("13800138000"), "138****8000");
        assert_eq!(mask_number("12345"), "*****");
    }
}
