//! The one check at every door that a secret comes in by. It says which character is wrong and
//! where, never more of the text.

/// Cuts the line break that editors and `echo` put at the end of a file.
pub fn without_line_break(text: &str) -> &str {
    text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n')).unwrap_or(text)
}

/// Checks a secret, which may have several lines.
///
/// # Errors
/// The first fault and its place: the text is empty, in quotes, has a blank at an end, or an
/// invisible character anywhere.
pub fn check_secret(text: &str) -> Result<(), String> {
    let count = text.chars().count();
    for (i, char) in text.chars().enumerate() {
        let is_at_an_end = i == 0 || i + 1 == count;
        if is_invisible(char) || (is_at_an_end && char.is_whitespace()) {
            return Err(format!("has {} as character {} of {count}; remove it", name_of(char), i + 1));
        }
    }
    match (text.chars().next(), text.chars().next_back()) {
        (None, _) | (_, None) => Err("is empty".into()),
        (Some(first), Some(last)) if count > 1 && are_quotes(first, last) => {
            Err(format!("is in quotes, {} as its first and last character; remove them", name_of(first)))
        }
        _ => Ok(()),
    }
}

/// A character by its code point, with its name where it is one that copying brings along.
pub fn name_of(char: char) -> String {
    let name = match char {
        '\t' => "tab",
        '\n' | '\r' => "line break",
        ' ' => "blank",
        '"' | '\'' => "quotation mark",
        '\u{A0}' => "no-break space",
        '\u{3000}' => "ideographic space",
        '\u{200B}' => "zero-width space",
        '\u{FEFF}' => "byte order mark",
        _ => return format!("U+{:04X}", u32::from(char)),
    };
    format!("U+{:04X} ({name})", u32::from(char))
}

/// Characters that nobody sees and no secret has.
fn is_invisible(char: char) -> bool {
    let is_control = char.is_control() && !matches!(char, '\n' | '\r' | '\t');
    let is_wide_blank = char.is_whitespace() && !char.is_ascii();
    let has_no_width = matches!(char, '\u{AD}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}');
    is_control || is_wide_blank || has_no_width
}

fn are_quotes(first: char, last: char) -> bool {
    [('"', '"'), ('\'', '\''), ('`', '`'), ('“', '”'), ('‘', '’'), ('「', '」')].contains(&(first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_break_is_cut() {
        for (text, cut) in [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a \n", "a "), ("", "")] {
            assert_eq!(without_line_break(text), cut, "{text:?}");
        }
    }

    #[test]
    fn what_copying_brings_along_is_refused_with_its_place() {
        for (text, problem) in [
            ("", "is empty"),
            (" ", "has U+0020 (blank) as character 1 of 1; remove it"),
            ("\u{FEFF}abc", "has U+FEFF (byte order mark) as character 1 of 4; remove it"),
            ("abc ", "has U+0020 (blank) as character 4 of 4; remove it"),
            ("abc\n", "has U+000A (line break) as character 4 of 4; remove it"),
            ("ab\u{A0}c", "has U+00A0 (no-break space) as character 3 of 4; remove it"),
            ("a\u{200B}b", "has U+200B (zero-width space) as character 2 of 3; remove it"),
            ("\u{3000}b", "has U+3000 (ideographic space) as character 1 of 2; remove it"),
            ("a\u{7}b", "has U+0007 as character 2 of 3; remove it"),
            ("\"abc\"", "is in quotes, U+0022 (quotation mark) as its first and last character; remove them"),
            ("“abc”", "is in quotes, U+201C as its first and last character; remove them"),
        ] {
            assert_eq!(check_secret(text), Err(problem.to_owned()), "{text:?}");
        }
        for good in ["abc", "\"", "it's", "k1:AQ==\nk2:AQ==", "密钥"] {
            assert_eq!(check_secret(good), Ok(()), "{good:?}");
        }
    }
}
