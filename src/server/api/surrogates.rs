//! Broken surrogate pairs in the strings of a JSON body.
//!
//! JSON writes a character beyond U+FFFF as two escapes, such as `\ud83d\ude42`. Programs that cut
//! a string between the two send half of a character. Python's `json`, tiktoken and the hosted APIs
//! read it as U+FFFD; serde_json rejects it.

/// The bytes of one escape: `\uXXXX`.
const ESCAPE_BYTES: usize = 6;

/// Replaces every escape that is half of a surrogate pair by that of U+FFFD, in place. Returns
/// their number.
///
/// In JSON a backslash occurs only inside strings, so the strings need not be found. In any other
/// text the result is not JSON either.
pub(super) fn replace_lone_surrogates(json: &mut [u8]) -> usize {
    let mut replaced = 0;
    let mut next = 0;
    while let Some(found) = json.get(next..).and_then(|rest| rest.iter().position(|&byte| byte == b'\\')) {
        let at = next + found;
        next = at
            + match code_unit(&json[at..]) {
                // Another escape, such as `\\` or `\"`.
                None => 2,
                Some(0xD800..=0xDBFF) if matches!(code_unit(&json[at + ESCAPE_BYTES..]), Some(0xDC00..=0xDFFF)) => {
                    2 * ESCAPE_BYTES
                }
                Some(0xD800..=0xDFFF) => {
                    json[at..at + ESCAPE_BYTES].copy_from_slice(br"\uFFFD");
                    replaced += 1;
                    ESCAPE_BYTES
                }
                Some(_) => ESCAPE_BYTES,
            };
    }
    replaced
}

/// Reads the UTF-16 code unit of the escape at the start, if there is one.
fn code_unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(br"\u")?.get(..4)?;
    // `from_str_radix` would accept a sign.
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A part of a string: a code unit as an escape, or a character as it is.
    #[derive(Clone, Debug)]
    enum Part {
        Escape(u16, bool),
        Character(char),
        Short(&'static str, char),
    }

    fn parts() -> impl Strategy<Value = Vec<Part>> {
        let short = [(r"\\", '\\'), (r#"\""#, '"'), (r"\n", '\n'), (r"\/", '/')];
        let part = prop_oneof![
            4 => (0xD7FE_u16..=0xE001, any::<bool>()).prop_map(|(unit, upper)| Part::Escape(unit, upper)),
            1 => (any::<u16>(), any::<bool>()).prop_map(|(unit, upper)| Part::Escape(unit, upper)),
            1 => any::<char>().prop_filter("JSON escapes it", |c| !c.is_control() && !['\\', '"'].contains(c))
                .prop_map(Part::Character),
            2 => prop::sample::select(short.to_vec()).prop_map(|(escape, c)| Part::Short(escape, c)),
            1 => prop::sample::select(vec!['u', 'd', '8', '0']).prop_map(Part::Character),
        ];
        prop::collection::vec(part, 0..12)
    }

    fn json(parts: &[Part]) -> String {
        let text = |part: &Part| match part {
            Part::Escape(unit, true) => format!("\\u{unit:04X}"),
            Part::Escape(unit, false) => format!("\\u{unit:04x}"),
            Part::Character(c) => c.to_string(),
            Part::Short(escape, _) => (*escape).to_owned(),
        };
        format!("\"{}\"", parts.iter().map(text).collect::<String>())
    }

    /// The string by the rule of UTF-16, and how many code units are no character. A character that
    /// is not an escape ends a pair, although its code units could complete one.
    fn expected(parts: &[Part]) -> (String, usize) {
        let mut text = String::new();
        let mut replaced = 0;
        let mut units = Vec::new();
        let mut flush = |units: &mut Vec<u16>, text: &mut String| {
            for c in char::decode_utf16(units.drain(..)) {
                replaced += usize::from(c.is_err());
                text.push(c.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
        };
        for part in parts {
            match part {
                Part::Escape(unit, _) => units.push(*unit),
                Part::Character(c) | Part::Short(_, c) => {
                    flush(&mut units, &mut text);
                    text.push(*c);
                }
            }
        }
        flush(&mut units, &mut text);
        (text, replaced)
    }

    proptest! {
        #[test]
        fn lone_surrogates_are_read_as_utf_16_reads_them(parts in parts()) {
            let mut bytes = json(&parts).into_bytes();
            let replaced = replace_lone_surrogates(&mut bytes);
            let text: String = serde_json::from_slice(&bytes).expect("JSON");
            prop_assert_eq!((text, replaced), expected(&parts));
        }

        #[test]
        fn bytes_that_are_not_json_keep_their_length_and_cause_no_panic(
            bytes in prop::collection::vec(prop::sample::select(br#"\uUdD8cCfF09" {x"#.to_vec()), 0..40)
        ) {
            let mut changed = bytes.clone();
            let replaced = replace_lone_surrogates(&mut changed);
            prop_assert_eq!(bytes.len(), changed.len());
            prop_assert_eq!(replaced == 0, bytes == changed);
        }
    }
}
